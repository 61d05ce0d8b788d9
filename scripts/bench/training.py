"""Trains the same data with the bare library and through model_train: ``python scripts/bench/training.py [--json]``.

Each training is a process of its own, timed from outside, start-up included; the two take turns. Both use the same
hyperparameters, as many threads, and the files of the same prepared dataset: the bare library finds them on disk,
model_train brings them from the store, keeps checkpoints in it and writes its report and model folder.
"""

# ruff: noqa: PLC0415 - each contestant loads only what it is, inside its own time

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
GOAL = 1.03  # wall time of model_train over the bare library's


@dataclass(frozen=True)
class Bench:
    """What the command line asks for, and the folder everything lies in."""

    folder: Path
    images: int
    imgsz: int
    epochs: int
    model: str
    repeats: int
    cpus: int

    def settings(self) -> dict[str, object]:
        """The hyperparameters both use."""
        return {
            "model": self.model, "epochs": self.epochs, "batch": 16, "imgsz": self.imgsz, "lr0": 0.002,
            "optimizer": "AdamW", "warmup_epochs": 1.0, "close_mosaic": 5, "freeze": 0, "seed": 0,
        }  # fmt: skip


def prepare(bench: Bench) -> None:
    """Load and prepare the sample as the pipeline does, and write YOLO folders for the bare library."""
    from components.data_load.load import load
    from components.data_load.options import LoadOptions, SampleOptions
    from components.data_prep.outcome import PrepareOptions
    from components.data_prep.prepare import run
    from components.shared.dataset import Dataset
    from components.shared.materialise import materialise
    from components.shared.store import open_store

    folder, store = bench.folder, (bench.folder / "store").as_uri()
    sample = SampleOptions(images=bench.images, edge=320, seed=0)
    load(LoadOptions(source="sample://workbench", sample=sample), store, folder / "set", folder / "load.html")
    outputs = {split: folder / split for split in ("train", "val", "test")}
    run(folder / "set", store, outputs, (folder / "prepare.html", folder / "prepare.md"), PrepareOptions())
    for split in ("train", "val"):
        made = materialise(Dataset.load(folder / split), open_store(store), folder / "yolo" / split)
        print(f"{split}: {made.image_count} images, {made.annotation_count} boxes", file=sys.stderr)


def ours(bench: Bench, out: Path) -> dict[str, Any]:
    """model_train; tells how many seconds passed before, in and after the epochs."""
    began = time.monotonic()
    from components.model_train.care import Care
    from components.model_train.model_folder import Outputs
    from components.model_train.train import train_model
    from components.model_train.trainers.base import Hyperparameters

    heard: list[tuple[float, str]] = []

    def notify(_share: float, message: str, /, **_: object) -> None:
        if not heard or heard[-1][1] != message:
            heard.append((time.monotonic() - began, message))

    loaded = time.monotonic() - began
    trained = train_model(
        (bench.folder / "train", bench.folder / "val"),
        (bench.folder / "store").as_uri(),
        (Hyperparameters(device="cpu", **bench.settings()), Care(resume="never", patience=0)),
        Outputs(out / "model", out / "report.html"),
        notify=notify,
    )
    total = time.monotonic() - began
    written = next(moment for moment, message in heard if message == "writing the report")
    epochs = trained.story.epochs[-1].seconds
    return {
        "imports": loaded,
        "files, start and set-up": written - loaded - epochs,
        "epochs": epochs,
        "model folder and report": total - written,
        "map50": trained.manifest.metrics["map50"],
    }


def bare(bench: Bench, out: Path) -> dict[str, Any]:
    """The library's own training, offline and without plots, with as many threads."""
    from components.shared.detection.environment import limit_threads, prepare_environment

    prepare_environment()
    from ultralytics import YOLO

    limit_threads(bench.cpus)
    data = out / "data.yaml"
    classes = json.loads((bench.folder / "train" / "dataset.json").read_text())["classes"]
    lines = [
        f"path: {bench.folder / 'yolo'}",
        "train: train/images",
        "val: val/images",
        f"names: {json.dumps(classes)}",
    ]
    data.write_text("\n".join(lines) + "\n", encoding="utf-8")
    settings = bench.settings()
    model = YOLO(str(settings.pop("model")))
    result = model.train(
        data=str(data), nbs=16, warmup_bias_lr=0.0, momentum=0.9, device="cpu", cache="ram", plots=False, amp=False,
        verbose=False, project=str(out), name="run", **{**settings, "freeze": None},
    )  # fmt: skip
    return {"map50": float(result.results_dict["metrics/mAP50(B)"])}


def timed(contestant: str, bench: Bench, number: int) -> tuple[float, dict[str, Any]]:
    """Wall seconds of a contestant's process, and what it told."""
    out = bench.folder / "out" / f"{contestant}-{number}"
    out.mkdir(parents=True)
    options = {**asdict(bench), "folder": str(bench.folder)}
    command = [sys.executable, __file__, "--contestant", contestant, "--plan", json.dumps(options), "--out", str(out)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PIPELINE_CACHE": str(bench.folder / "cache")}
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    seconds = time.monotonic() - began
    if done.returncode:
        sys.exit(f"{contestant} failed:\n{done.stderr[-3000:]}")
    shutil.rmtree(out)
    return seconds, json.loads(done.stdout.strip().splitlines()[-1])


def compare(bench: Bench) -> dict[str, Any]:
    """The two in turn, a pair after a pair, the one that begins changing; ratios are taken pair by pair."""
    timed("bare", bench, 0)  # warms the page cache
    pairs = []
    for number in range(1, bench.repeats + 1):
        order = ("bare", "ours") if number % 2 else ("ours", "bare")
        pairs.append({name: timed(name, bench, number) for name in order})
        print(f"pair {number}: " + ", ".join(f"{name} {pairs[-1][name][0]:.1f} s" for name in order), file=sys.stderr)
    ratios = [pair["ours"][0] / pair["bare"][0] for pair in pairs]
    phases = [pair["ours"][1] for pair in pairs]
    return {
        "bare_seconds": statistics.median(pair["bare"][0] for pair in pairs),
        "ours_seconds": statistics.median(pair["ours"][0] for pair in pairs),
        "ratio": statistics.median(ratios),
        "ratios": ratios,
        "phases": {name: statistics.median(phase[name] for phase in phases) for name in phases[0] if name != "map50"},
        "map50": {name: statistics.median(pair[name][1]["map50"] for pair in pairs) for name in ("bare", "ours")},
    }


def show(found: Mapping[str, Any]) -> None:
    """Print the comparison for a person."""
    print(f"bare library   {found['bare_seconds']:8.1f} s   mAP50 {found['map50']['bare']:.3f}")
    print(f"model_train    {found['ours_seconds']:8.1f} s   mAP50 {found['map50']['ours']:.3f}")
    print(f"ratio          {found['ratio']:8.3f}     (goal: at most {GOAL}; pairs: {_list(found['ratios'])})")
    for name, seconds in found["phases"].items():
        print(f"    {name:<26}{seconds:6.1f} s")


def _list(ratios: list[float]) -> str:
    return ", ".join(f"{ratio:.3f}" for ratio in ratios)


def main() -> None:
    """Compare, or be one of the contestants."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=240)
    parser.add_argument("--imgsz", type=int, default=160)
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--model", default="yolo11n.yaml")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    for hidden in ("--contestant", "--plan", "--out"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contestant:
        plan = json.loads(options.plan)
        bench = Bench(**{**plan, "folder": Path(plan["folder"])})
        print(json.dumps({"ours": ours, "bare": bare}[options.contestant](bench, Path(options.out))))
        return
    from components.shared.cpus import usable_cpus

    with tempfile.TemporaryDirectory(prefix="bench-training-") as folder:
        bench = Bench(
            Path(folder), options.images, options.imgsz, options.epochs, options.model, options.repeats, usable_cpus()
        )
        prepare(bench)
        found = compare(bench)
    print(json.dumps(found)) if options.json else show(found)
    sys.exit(found["ratio"] > GOAL)


if __name__ == "__main__":
    main()
