"""Train with torchvision, pack, evaluate and prove, in an interpreter of its own: ``journey.py FOLDER STORE``."""

import json
import sys
from pathlib import Path
from typing import Any

from components.model_eval.evaluate import EvaluateOptions, Inputs, Outputs, evaluate
from components.model_pack.pack import pack
from components.model_test.prove import prove
from components.model_train.story import Epoch
from components.model_train.trainers.base import Hyperparameters, Start, TrainingJob, TrainingRun
from components.model_train.trainers.torchvision.trainer import TorchvisionTrainer
from components.shared.archive import open_archive
from components.shared.dataset import Dataset
from components.shared.detection.manifest import ModelManifest
from components.shared.files import sha256_tree
from components.shared.materialise import materialise
from components.shared.shards import ImageReader
from components.shared.store import open_store

MODEL = "retinanet_mobilenet_v3_small_fpn"


class Silent:
    """A watch that only keeps the metrics."""

    def __init__(self) -> None:
        self.epochs: list[Epoch] = []

    def begun(self, **_: int) -> None: ...

    def batch_seen(self, *_: object) -> None: ...

    def batch_done(self, *_: object, **__: object) -> None: ...

    def epoch_done(self, epoch: Epoch, _snapshot: object) -> bool:
        self.epochs.append(epoch)
        return False


def travel(folder: Path, store_uri: str) -> dict[str, Any]:
    store = open_store(store_uri)
    train, val = Dataset.load(folder / "train"), Dataset.load(folder / "val")
    parameters = Hyperparameters(
        model=MODEL,
        epochs=3,
        batch=4,
        imgsz=64,
        lr0=0.002,
        optimizer="AdamW",
        warmup_epochs=0.0,
        close_mosaic=0,
        freeze=0,
        device="cpu",
        seed=0,
    )
    files = [materialise(part, store, folder / f"{part.split}-files") for part in (train, val)]
    job = TrainingJob(files[0], files[1], train.classes, parameters, Start("torchvision", MODEL), folder / "work")
    run = TorchvisionTrainer().train(job, Silent())
    model = collect(run, val, ImageReader(store), folder / "model")
    manifest = pack(model, folder / "archive", name="shapes")
    opened = open_archive(folder / "archive", folder / "opened")
    images = [data for _, data in ImageReader(store).read_many(val.images)]
    proof = prove(model, folder / "archive", images=images, report=folder / "proof.html")
    evaluation = evaluate(
        Inputs(test=folder / "val", archive=folder / "archive", store=store_uri),
        Outputs(predictions=folder / "predictions", report=folder / "eval.html"),
        EvaluateOptions(),
    )
    return {
        "proof": proof.numbers,
        "evaluated": evaluation is not None,
        "requirements": manifest.requirements,
        "licences": manifest.licences,
        "packed": sorted(manifest.source_files),
        "mentions": sorted(
            str(path.relative_to(opened.bento))
            for path in opened.bento.rglob("*")
            if path.is_file() and b"ultralytics" in path.read_bytes().lower()
        ),
        "imported": sorted(name for name in sys.modules if name.partition(".")[0] == "ultralytics"),
    }


def collect(run: TrainingRun, val: Dataset, reader: ImageReader, model: Path) -> Path:
    """The model folder, as the step leaves it."""
    for name, path in run.files.items():
        (model / name).parent.mkdir(parents=True, exist_ok=True)
        (model / name).write_bytes(path.read_bytes())
    ((_, data), *_) = reader.read_many(val.images)
    (model / "test_image.jpg").write_bytes(data)
    manifest = ModelManifest(
        framework=TorchvisionTrainer.framework,
        weights=run.weights,
        last=run.last,
        test_image="test_image.jpg",
        classes=val.classes,
        imgsz=64,
        parameters={"model": MODEL},
        datasets={"val": val.version},
        libraries=dict(run.libraries),
        files=sha256_tree(model),
    )
    manifest.save(model)
    return model


if __name__ == "__main__":
    try:
        import ultralytics  # noqa: F401
    except ImportError:
        (Path(sys.argv[1]) / "result.json").write_text(json.dumps(travel(Path(sys.argv[1]), sys.argv[2])))
    else:
        sys.exit("ultralytics can be imported here, so the journey would prove nothing")
