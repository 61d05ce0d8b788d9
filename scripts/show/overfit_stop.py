"""Train on a handful of images until it learns them by heart: the watcher sees it, stops, and says when and why."""

import logging

from planted import BASE
from stage import folder, hold, prepared, say

from components.model_train.settings import read_settings
from components.model_train.train import train_model

PLAIN = {"mosaic": "0", "fliplr": "0", "hsv_h": "0", "hsv_s": "0", "hsv_v": "0", "translate": "0", "scale": "0"}
SETTINGS = {**BASE, "epochs": 120, "overfitting": "stop", "overfit_patience": 8, "hyperparameters": PLAIN, "lr0": 0.003}


def main() -> None:
    """Show it."""
    logging.basicConfig(level=logging.INFO, format="   %(message)s")
    with folder() as work:
        train_dir, val_dir, store = prepared(work, images=40, edge=96)
        trained = train_model(
            (train_dir, val_dir), store, read_settings(SETTINGS, {}), work / "model", work / "report.html"
        )
        found = trained.story.overfitting
        hold("it noticed that it was overfitting", true=found is not None)
        if found is not None:
            say(f"   {found.reason}")
            hold(f"and stopped after epoch {found.noticed_epoch}, of 120", true=found.stopped)
        hold("the story says why it ended", true="overfit" in trained.story.stopped.lower())


if __name__ == "__main__":
    main()
