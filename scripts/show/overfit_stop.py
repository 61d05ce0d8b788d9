"""Train on wrong labels, which can only be learned by heart: the watcher sees it, stops, and says when and why.

Planted: of the training boxes three in five get another class and another place at random, after the data is prepared;
the validation labels stay right. What a model learns of those makes it worse on images it has not seen, so its
validation loss turns. So that it finds things at all it starts from weights: those that the command line names
(``overfit_stop.py yolo11n.pt``), or else the ones that an honest training of the same images with right labels makes
first. ``--scratch`` is for that even where the weights this was measured with are at hand.
"""

import logging
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
from planted import BASE
from stage import ROOT, folder, hold, prepared, say

from components.model_train.model_folder import Outputs
from components.model_train.settings import read_settings
from components.model_train.train import Trained, train_model
from components.shared.dataset import Dataset
from components.shared.detection.environment import prepare_environment

PLAIN = {"mosaic": "0", "fliplr": "0", "hsv_h": "0", "hsv_s": "0", "hsv_v": "0", "translate": "0", "scale": "0"}
SETTINGS = {**BASE, "checkpoint_epochs": 1000, "hyperparameters": PLAIN}
HONEST = {"epochs": 20, "batch": 4, "lr0": 0.003, "overfitting": "off"}
WRONG = {"epochs": 40, "lr0": 0.001, "overfitting": "stop", "overfit_patience": 8}
SHARE = 0.6
WEIGHTS = ROOT.parent / "shared" / "data" / "weights" / "yolo11n-coco-dequant.pt"
Data = tuple[Path, Path, str]


def main() -> None:
    """Show it."""
    prepare_environment()
    logging.basicConfig(level=logging.INFO, format="   %(message)s")
    with folder() as work:
        data = prepared(work, images=40, edge=96)
        weights = start(work, data)
        mislabel(data[0])
        trained = train(work / "wrong", data, {**WRONG, **weights})
        found = trained.story.overfitting
        hold("it noticed that it learned by heart", true=found is not None)
        if found is not None:
            say(f"   {found.reason}")
            hold(f"and stopped after epoch {found.noticed_epoch}, of {WRONG['epochs']}", true=found.stopped)
            best = max(epoch.values["map50"] for epoch in trained.story.epochs)
            hold(f"although it found things (mAP50 {best:.3f})", true=best >= 0.05)  # noqa: PLR2004 - as the watcher says
        hold("the story says why it ended", true="by heart" in trained.story.stopped)


def start(work: Path, data: Data) -> Mapping[str, object]:
    """Where the training on wrong labels begins, as parameters."""
    given = [word for word in sys.argv[1:] if word.endswith(".pt")]
    if given or (WEIGHTS.is_file() and "--scratch" not in sys.argv):
        return {"model": given[0] if given else str(WEIGHTS), "batch": 8}
    say("First an honest training, to start from:")
    train(work / "honest", data, HONEST)
    return {"start_from": str(work / "honest" / "model"), "batch": 16}


def mislabel(directory: Path) -> None:
    """Give boxes of the dataset another class and another place in their image, at random."""
    dataset = Dataset.load(directory)
    generator = np.random.default_rng(0)
    sizes = dataset.images.select("image_id", across="width", down="height")
    boxes = dataset.annotations.join(sizes, on="image_id", maintain_order="left")
    wrong = generator.random(boxes.height) < SHARE
    classes = [
        str(generator.choice([other for other in dataset.classes if other != right])) if planted else right
        for right, planted in zip(boxes.get_column("category"), wrong, strict=True)
    ]
    x, y = (
        np.where(wrong, generator.random(boxes.height) * (boxes[room] - boxes[size]).to_numpy(), boxes[at].to_numpy())
        for at, size, room in (("x", "width", "across"), ("y", "height", "down"))
    )
    changed = [pl.Series("category", classes), pl.Series("x", x), pl.Series("y", y)]
    replace(dataset, annotations=boxes.with_columns(changed).drop("across", "down")).save(directory)


def train(work: Path, data: Data, settings: Mapping[str, object]) -> Trained:
    """A training whose model and report lie in ``work``."""
    train_dir, val_dir, store = data
    asked = read_settings({**SETTINGS, **settings}, {})
    work.mkdir(parents=True)
    return train_model((train_dir, val_dir), store, asked, Outputs(work / "model", work / "report.html"))


if __name__ == "__main__":
    main()
