"""A small executor that keeps YMIR's training contract, version 1.1.0, to the letter.

It reads ``/in``, writes ``/out`` and nothing else; where there are no such folders, the environment variables
``YMIR_IN`` and ``YMIR_OUT`` say what stands for them.
"""
# ruff: noqa: INP001 - a program of its own image, no package

import logging
import os
import sys
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from learner import Learner
from measure import Found, evaluate
from PIL import Image

RUNNING, DONE, ERROR = 2, 3, 4
CONFIGURATION, DATA, PICTURE, MODEL, OBJECTS, MEMORY, NOT_A_NUMBER = (
    300001, 300002, 300003, 300004, 300005, 300103, 300201,
)  # fmt: skip
BOXES = 2  # the object type this executor is for
LATEST = 10  # stages that are kept beside the best

logger = logging.getLogger("executor")


class Refusal(Exception):  # noqa: N818 - it is what the executor says
    """Why the training cannot go on: a return code of the contract and a sentence."""

    def __init__(self, code: int, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


@dataclass(frozen=True)
class Sample:
    """An image that was read, scaled down, with its boxes in the scaled image's pixels."""

    name: str
    pixels: np.ndarray
    boxes: tuple[Found, ...]


class Contract:
    """Where everything lies, and how the platform is told."""

    def __init__(self, env: Mapping[str, Any]) -> None:
        self.task = str(env["task_id"])
        self._in, self._out = env["input"], env["output"]
        if not env.get("run_training"):
            raise Refusal(CONFIGURATION, "env.yaml asks for no training, which is all this executor can do.")

    @classmethod
    def read(cls) -> "Contract":
        """Read ``env.yaml``."""
        return cls(yaml.safe_load(here("/in/env.yaml").read_text(encoding="utf-8")))

    def inside(self, key: str) -> Path:
        """A place of the input."""
        return here(str(self._in[key]))

    def outside(self, key: str) -> Path:
        """A place of the output."""
        return here(str(self._out[key]))

    def tell(self, share: float, state: int = RUNNING, code: int = 0, message: str = "") -> None:
        """Write ``monitor.txt``, its one record, anew."""
        record = f"{self.task}\t{time.time():.6f}\t{share:.2f}\t{state}\t{code}\n{message}"
        path = self.outside("monitor_file")
        path.with_suffix(".new").write_text(record, encoding="utf-8")
        path.with_suffix(".new").replace(path)


def here(path: str) -> Path:
    """An absolute path of the contract, as it is on this machine."""
    for root, variable in (("/in", "YMIR_IN"), ("/out", "YMIR_OUT")):
        if variable in os.environ and (path == root or path.startswith(f"{root}/")):
            return Path(os.environ[variable] + path[len(root) :])
    return Path(path)


def read_config(contract: Contract) -> dict[str, Any]:
    """``config.yaml``, each value this executor needs checked."""
    config = yaml.safe_load(contract.inside("config_file").read_text(encoding="utf-8"))
    bounds = {"epochs": (1, 1000), "image_size": (16, 1024), "colour_bits": (1, 5), "confidence": (0, 1)}
    for name, (low, high) in bounds.items():
        value = config.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise Refusal(CONFIGURATION, f"{name} is {value!r}: it must be a number from {low} to {high}.")
        if name != "confidence" and not isinstance(value, int):
            raise Refusal(CONFIGURATION, f"{name} is {value!r}: it must be a whole number.")
    names = config.get("class_names")
    if not isinstance(names, list) or not names:
        raise Refusal(CONFIGURATION, f"class_names is {names!r}: it must list one class or more.")
    if config.get("export_format") not in {"ark:raw", "det-ark:raw"}:
        raise Refusal(CONFIGURATION, f"export_format is {config.get('export_format')!r}: this executor reads ark:raw.")
    if config.get("object_type", BOXES) != BOXES:
        raise Refusal(OBJECTS, f"object_type is {config['object_type']!r}: this executor is for boxes, {BOXES}.")
    return config


def read_split(index: Path, edge: int, classes: int) -> list[Sample]:
    """The images of an index file with their boxes."""
    if not index.is_file():
        raise Refusal(DATA, f"The index {index.name} is missing.")
    lines = [line.split("\t") for line in index.read_text(encoding="utf-8").splitlines() if line]
    broken = next((number for number, line in enumerate(lines, start=1) if len(line) != 2), 0)  # noqa: PLR2004 - image, boxes
    if broken or not lines:
        raise Refusal(DATA, f"{index.name} has no two paths on line {broken}." if broken else f"{index.name} is empty.")
    return [read_sample(here(image), here(boxes), edge, classes) for image, boxes in lines]


def read_sample(image: Path, annotation: Path, edge: int, classes: int) -> Sample:
    """One image and its boxes; the file's corners are the first and the last pixel inside."""
    try:
        with Image.open(image) as opened:
            scale = min(1.0, edge / max(opened.size))
            size = [max(1, round(side * scale)) for side in opened.size]
            pixels = np.asarray(opened.convert("RGB").resize((size[0], size[1])))
    except FileNotFoundError as error:
        raise Refusal(DATA, f"The image {image.name} is missing.") from error
    except (OSError, ValueError) as error:
        raise Refusal(PICTURE, f"The image {image.name} cannot be read: {error}") from error
    boxes = []
    for line in annotation.read_text(encoding="utf-8").splitlines() if annotation.is_file() else []:
        try:
            label, left, top, right, bottom = (int(part) for part in line.split(",")[:5])
        except ValueError as error:
            raise Refusal(DATA, f"{annotation.name} has a line that is no box: {line!r}.") from error
        if not 0 <= label < classes:
            raise Refusal(DATA, f"{annotation.name} has the class {label}; there are {classes}.")
        box = (left * scale, top * scale, (right + 1) * scale, (bottom + 1) * scale)
        boxes.append(Found(label, 1.0, box))
    return Sample(image.name, pixels, tuple(boxes))


def start_from(learner: Learner, paths: list[str]) -> None:
    """Begin with what the given model knows, if one is given."""
    files = {Path(path).name: here(path) for path in paths}
    if not files:
        return
    try:
        shared = learner.start_from(files["colours.npz"], files["model.json"])
    except (OSError, KeyError, ValueError) as error:
        raise Refusal(MODEL, f"The model to start from cannot be used: {error}.") from error
    logger.info("start from a model that knows %d of these %d classes", shared, len(learner.classes))


def write_stage(contract: Contract, result: dict[str, Any], stage: dict[str, Any]) -> None:
    """Add a stage to ``result.yaml``: the ten latest are kept, and the best."""
    stages = result.setdefault("model_stages", {})
    stages[stage["stage_name"]] = stage
    ordered = sorted(stages.values(), key=lambda each: (each["mAP"], each["timestamp"]))
    result["best_stage_name"], result["mAP"] = ordered[-1]["stage_name"], ordered[-1]["mAP"]
    latest = sorted(stages, key=lambda name: stages[name]["timestamp"])
    for name in latest[:-LATEST]:
        if name != result["best_stage_name"]:
            del stages[name]
    path = contract.outside("training_result_file")
    path.with_suffix(".new").write_text(yaml.safe_dump(result), encoding="utf-8")
    path.with_suffix(".new").replace(path)


def train(contract: Contract) -> None:
    """The training: each epoch shows the learner its share of the images, is measured and makes a stage."""
    config = read_config(contract)
    classes = [str(name) for name in config["class_names"]]
    contract.tell(0.0)
    edge = config["image_size"]
    samples = read_split(contract.inside("training_index_file"), edge, len(classes))
    held_out = read_split(contract.inside("val_index_file"), edge, len(classes))
    if not any(sample.boxes for sample in samples):
        raise Refusal(DATA, "No training image has a box.")
    learner = Learner(classes, config["colour_bits"])
    start_from(learner, list(config.get("pretrained_model_params") or []))
    result: dict[str, Any] = {"evaluate_config": {"conf_thr": config["confidence"], "iou_thr": 0.5}}
    epochs = config["epochs"]
    for epoch in range(1, epochs + 1):
        for sample in samples[epoch - 1 :: epochs]:
            learner.learn(sample.pixels, sample.boxes)
        score = evaluate(
            {sample.name: sample.boxes for sample in held_out},
            {sample.name: learner.find(sample.pixels, confidence=config["confidence"]) for sample in held_out},
        )
        if not np.isfinite(score.mean):
            raise Refusal(NOT_A_NUMBER, f"The mAP of epoch {epoch} is {score.mean}.")
        name = f"epoch_{epoch}"
        folder = contract.outside("models_dir") / name
        folder.mkdir(parents=True, exist_ok=True)
        counts = {"tp": score.hits, "fp": score.false, "fn": score.missed}
        stage = {"stage_name": name, "files": learner.save(folder), "timestamp": int(time.time()), "mAP": score.mean}
        write_stage(contract, result, {**stage, "mAR": score.recall, **counts})
        logger.info("epoch %d of %d: mAP %.3f, recall %.3f", epoch, epochs, score.mean, score.recall)
        contract.tell(0.99 * epoch / epochs)
    contract.tell(1.0, DONE)


def main() -> int:
    """Train; 0 when there is a model, 1 when ``monitor.txt`` says why there is none."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stdout)
    try:
        contract = Contract.read()
    except (OSError, KeyError, TypeError, yaml.YAMLError, Refusal) as error:
        logger.error("env.yaml cannot be used: %s", error)  # noqa: TRY400 - a sentence
        return 1
    try:
        train(contract)
    except Refusal as refusal:
        logger.error("%s", refusal)  # noqa: TRY400 - same
        contract.tell(1.0, ERROR, refusal.code, str(refusal))
        return 1
    except MemoryError:
        contract.tell(1.0, ERROR, MEMORY, "There is not enough memory.")
        return 1
    except Exception:
        logger.exception("a defect of this executor")
        contract.tell(1.0, ERROR, 0, traceback.format_exc())
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
