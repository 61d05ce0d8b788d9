"""Send SIGTERM to a training, as a spot node does: it saves, says 'preempted' with exit code 75, and goes on later."""

import os
import signal
import time
from pathlib import Path

from stage import finished, folder, hold, same_weights, say, submit

SETTINGS = {"checkpoint_minutes": "60"}  # so that only the signal makes it save
GRACE = 30.0
PREEMPTED = 75


def main() -> None:
    """Show it."""
    with folder() as work:
        whole = finished(work / "whole", SETTINGS)
        say("SIGTERM to model_train in epoch 5")
        run = submit(work / "preempted", SETTINGS)
        run.wait_for_epoch(5)
        began = time.monotonic()
        for pid in run.trainers():
            if Path(f"/proc/{pid}/exe").resolve().name.startswith("python"):  # not the shell around it, which just dies
                os.kill(pid, signal.SIGTERM)
        hold(f"the run ended with exit code {PREEMPTED}", true=run.wait() == PREEMPTED)
        seconds = time.monotonic() - began
        say(f"   {run.progress()['error']}")
        hold(f"within the grace period ({seconds:.1f} s of {GRACE:.0f})", true=seconds < GRACE)
        hold("the step says that it was preempted", true=run.progress()["state"] == "preempted")
        again = finished(work / "preempted", SETTINGS)
        hold("run again, it ends with the undisturbed weights", true=same_weights(whole.model(), again.model()))


if __name__ == "__main__":
    main()
