"""Kill a training with -9 in the middle, run the same command again: it goes on, and ends with the same weights."""

from stage import finished, folder, hold, same_weights, say, submit

SETTINGS = {"checkpoint_minutes": "0"}


def main() -> None:
    """Show it."""
    with folder() as work:
        say("1. a training of 8 epochs, not disturbed")
        whole = finished(work / "whole", SETTINGS)
        say("2. the same in another store, killed with -9 in epoch 6")
        run = submit(work / "killed", SETTINGS)
        run.wait_for_epoch(6)
        run.kill()
        say("3. the same command again")
        again = finished(work / "killed", SETTINGS)
        resumed = [line for line in again.log().splitlines() if "going on after epoch" in line]
        say("   " + (resumed[0] if resumed else "(nothing said)"))
        hold("the second attempt went on from a checkpoint", true=bool(resumed))
        hold("its weights equal the undisturbed ones, bit by bit", true=same_weights(whole.model(), again.model()))


if __name__ == "__main__":
    main()
