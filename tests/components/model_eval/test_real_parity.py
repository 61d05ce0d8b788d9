"""Our numbers beside pycocotools' and ultralytics' own on real images with a model that was really trained."""

import contextlib
import io
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from components.model_eval.evaluate import EvaluateOptions, Evaluation, Inputs, Outputs, evaluate
from components.model_eval.export import COCO_GROUND_TRUTH, COCO_RESULTS
from components.shared.dataset import ANNOTATIONS, IMAGES, Dataset
from components.shared.detection.manifest import ModelManifest
from components.shared.files import sha256_tree
from components.shared.shards import ShardWriter
from components.shared.store import open_store

DATA = Path(__file__).parents[4] / "shared" / "data"
COCO128, WEIGHTS = DATA / "coco128_yolo", DATA / "weights" / "yolo11n-coco-dequant.pt"
NEAR = 0.005  # of mAP50-95

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("real parity"),
    pytest.mark.skipif(not (COCO128.is_dir() and WEIGHTS.is_file()), reason=f"needs {COCO128} and {WEIGHTS}"),
]


@dataclass(frozen=True)
class Measured:
    evaluation: Evaluation
    folder: Path
    predictions: Path


@pytest.fixture(scope="module")
def measured(light_archive: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Measured:
    """The archive of the real weights, evaluated on validation images of COCO."""
    folder = tmp_path_factory.mktemp("real")
    names = tuple(yaml.safe_load((COCO128 / "config.upstream.yaml").read_text())["names"].values())
    paths = sorted((COCO128 / "images" / "val2017").glob("*.jpg"))
    make_dataset(paths, names, (folder / "store").as_uri()).save(folder / "test")
    write_yolo(paths, names, folder / "yolo")
    archive = light_archive(make_model(paths[0], names, folder / "model"), folder / "archive", name="coco")
    evaluation = evaluate(
        Inputs(folder / "test", archive, (folder / "store").as_uri()),
        Outputs(folder / "predictions", folder / "report.html", folder / "overview.md"),
        EvaluateOptions(),
    )
    return Measured(evaluation, folder, folder / "predictions")


def label_of(path: Path) -> Path:
    return COCO128 / "labels" / "val2017" / f"{path.stem}.txt"


def make_dataset(paths: list[Path], names: tuple[str, ...], store: str) -> Dataset:
    images, annotations = [], []
    with ShardWriter(open_store(store)) as writer:
        for path in paths:
            writer.add(path.read_bytes(), sha256(path.read_bytes()).hexdigest())
    for number, path in enumerate(paths):
        digest = sha256(path.read_bytes()).hexdigest()
        place = writer.locations[digest]
        with Image.open(path) as picture:
            width, height = picture.size
        row = {"image_id": number, "name": path.name, "sha256": digest, "width": width, "height": height}
        row |= {"format": "jpeg", "orientation": 1, "bytes": place.length, "shard": place.shard, "offset": place.offset}
        images.append(row)
        for line in label_of(path).read_text().splitlines() if label_of(path).is_file() else []:
            label, x, y, wide, high = (float(part) for part in line.split())
            box = {"x": (x - wide / 2) * width, "y": (y - high / 2) * height}
            box |= {"width": wide * width, "height": high * height, "category": names[int(label)]}
            row = {"annotation_id": len(annotations), "image_id": number, "kind": "ground_truth"}
            annotations.append({**row, **box, "crowd": False, "difficult": False})
    tables = pl.DataFrame(images, schema=IMAGES), pl.DataFrame(annotations, schema=ANNOTATIONS)
    return Dataset("coco128", names, *tables, shards=writer.shards, split="test")


def make_model(image: Path, names: tuple[str, ...], folder: Path) -> Path:
    folder.mkdir()
    for name, source in (("best.pt", WEIGHTS), ("last.pt", WEIGHTS), ("test.jpg", image)):
        shutil.copyfile(source, folder / name)
    ModelManifest(
        name="coco",
        framework="ultralytics",
        weights="best.pt",
        last="last.pt",
        test_image="test.jpg",
        classes=names,
        imgsz=640,
        parameters={},
        datasets={},
        libraries={},
        files=sha256_tree(folder),
    ).save(folder)
    return folder


def write_yolo(paths: list[Path], names: tuple[str, ...], folder: Path) -> None:
    for kind in ("images", "labels"):
        (folder / kind / "val").mkdir(parents=True)
    for path in paths:
        shutil.copyfile(path, folder / "images" / "val" / path.name)
        if label_of(path).is_file():
            shutil.copyfile(label_of(path), folder / "labels" / "val" / label_of(path).name)
    config = {"path": str(folder), "train": "images/val", "val": "images/val", "names": dict(enumerate(names))}
    (folder / "data.yaml").write_text(yaml.safe_dump(config))


def test_pycocotools_finds_the_same_numbers_in_what_was_exported(measured: Measured) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(measured.predictions / COCO_GROUND_TRUTH))
        judge = COCOeval(truth, truth.loadRes(str(measured.predictions / COCO_RESULTS)), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()

    names = ("map50_95", "map50", "map75", "map_small", "map_medium", "map_large")
    names += ("ar_1", "ar_10", "ar_100", "ar_small", "ar_medium", "ar_large")
    ours = [measured.evaluation.metrics.get(name, -1.0) for name in names]
    assert ours == pytest.approx(judge.stats.tolist(), abs=1e-6)


def test_ultralytics_judges_our_boxes_as_its_own(measured: Measured) -> None:
    """The library's ``val`` as it is called by default (rectangles, several classes a box) beside our archive.

    Its average precision is not COCO's: on the same boxes it is about 0.003 lower here. So its own metric judges both.
    """
    from ultralytics import YOLO  # noqa: PLC0415 - heavy

    folder = measured.folder
    theirs = YOLO(str(folder / "model" / "best.pt")).val(
        data=str(folder / "yolo" / "data.yaml"),
        imgsz=640,
        batch=1,
        device="cpu",
        workers=0,
        plots=False,
        verbose=False,
        project=str(folder / "val"),
    )

    judged = judge_as_ultralytics(measured.predictions)
    assert judged == pytest.approx(theirs.box.map, abs=NEAR)
    assert measured.evaluation.metrics["map50_95"] == pytest.approx(judged, abs=NEAR)


def judge_as_ultralytics(predictions: Path) -> float:
    """mAP50-95 of the exported boxes by the library's own matching and average precision."""
    import torch  # noqa: PLC0415 - heavy
    from ultralytics.engine.validator import BaseValidator  # noqa: PLC0415 - same
    from ultralytics.utils.metrics import ap_per_class, box_iou  # noqa: PLC0415 - same

    truth = json.loads((predictions / COCO_GROUND_TRUTH).read_text())
    found = json.loads((predictions / COCO_RESULTS).read_text())
    levels = SimpleNamespace(iouv=torch.linspace(0.5, 0.95, 10))
    right, scores, labels, true_labels = [], [], [], []
    for image in truth["images"]:
        rows = [row for row in found if row["image_id"] == image["id"]]
        objects = [row for row in truth["annotations"] if row["image_id"] == image["id"]]
        kinds, true_kinds = (torch.tensor([row["category_id"] for row in part]) for part in (rows, objects))
        overlaps = box_iou(corners(objects), corners(rows))
        matched = torch.zeros((len(rows), 10), dtype=torch.bool)
        if rows and objects:
            matched = BaseValidator.match_predictions(levels, kinds, true_kinds, overlaps)
        right.append(matched.numpy())
        scores.append(np.array([row["score"] for row in rows]))
        labels.append(kinds.numpy())
        true_labels.append(true_kinds.numpy())
    tables = (np.concatenate(part) for part in (right, scores, labels, true_labels))
    return float(ap_per_class(*tables, plot=False)[5].mean())


def corners(rows: list[dict[str, Any]]) -> Any:
    import torch  # noqa: PLC0415 - heavy

    boxes = torch.tensor([row["bbox"] for row in rows], dtype=torch.float64).reshape(-1, 4)
    return torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], dim=1)
