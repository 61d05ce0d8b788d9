"""Train in two processes (gloo on the CPU, as two GPUs would), kill one run in the middle, and go on."""

from stage import finished, folder, hold, say, submit

SETTINGS = {"gpus": "2", "checkpoint_minutes": "0", "epochs": "6"}


def main() -> None:
    """Show it."""
    with folder() as work:
        say("two processes, killed with -9 in epoch 4")
        run = submit(work / "ranks", SETTINGS)
        run.wait_for_epoch(4)
        run.kill()
        again = finished(work / "ranks", SETTINGS)
        told = [line for line in again.log().splitlines() if "epoch" in line and "/6" in line]
        hold("run again, it did not begin with epoch 1", true=bool(told) and not any(" 1/6" in line for line in told))
        hold("and left a model", true=(again.model() / "manifest.json").is_file())


if __name__ == "__main__":
    main()
