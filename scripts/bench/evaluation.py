"""Measures the COCO metrics beside pycocotools: ``python scripts/bench/evaluation.py [--images N] [--detections N]``.

Both get the same freshly drawn tables, each in a process of its own, taking turns; imports and reading the tables come
before the clock starts. Exits with 1 when any number differs by more than a millionth.
"""

# ruff: noqa: PLC0415 - a contestant imports what it measures and nothing else

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

ROOT = Path(__file__).resolve().parents[2]
GOAL = 20.0  # times as fast as pycocotools
PARITY = 1e-6
CONTESTANTS = {"ours": "coco_metrics", "pycocotools": "coco_referee"}
CROWDS = 0.01  # share of the truths that are ignored
SIDE = 640.0  # pixels of an image, either way
COLUMNS = ("image_id", "category", "x", "y", "width", "height")
_MIB_IN_KIB = 1024


@dataclass(frozen=True)
class Size:
    """How much is drawn."""

    images: int
    truths: int
    detections: int
    classes: int

    def names(self) -> list[str]:
        """The class names."""
        return [f"class {number:03}" for number in range(self.classes)]


@dataclass(frozen=True)
class Run:
    """One run: wall and CPU seconds, memory in MiB when the clock started and at its peak, and the numbers found."""

    wall: float
    cpu: float
    before: float
    peak: float
    summary: dict[str, float]
    by_class: dict[str, list[float | None]]


def draw(size: Size, folder: Path) -> None:
    """Write ``truths.parquet`` and ``detections.parquet``; 40 % of the detections lie near a box."""
    random, names = np.random.default_rng(0), np.array(size.names())
    sides = np.exp(random.uniform(np.log(8), np.log(300), (size.truths, 2)))
    boxes = np.concatenate([random.uniform(0, SIDE - 8, (size.truths, 2)), sides], axis=1)
    images = random.integers(0, size.images, size.truths)
    labels = random.integers(0, size.classes, size.truths)
    truths = _table(images, names[labels], boxes).with_columns(
        pl.Series("area", sides.prod(axis=1) * random.uniform(0.4, 1, size.truths)),
        pl.Series("ignore", random.random(size.truths) < CROWDS),
    )
    near = random.random(size.detections) < (0.4 if size.truths else 0)
    source = random.integers(0, max(1, size.truths), size.detections) * near
    found = np.concatenate(
        [random.uniform(0, SIDE - 8, (size.detections, 2)), np.exp(random.uniform(2, 5.7, (size.detections, 2)))],
        axis=1,
    )
    moved = boxes[source[near]]
    found[near] = moved + random.normal(0, 0.1, moved.shape) * np.tile(moved[:, 2:], 2)
    found[:, 2:] = np.maximum(found[:, 2:], 1)
    where = random.integers(0, size.images, size.detections)
    what = random.integers(0, size.classes, size.detections)
    where[near], what[near] = images[source[near]], labels[source[near]]
    score = np.round(random.beta(1, 4, size.detections) + 0.2 * near * random.random(size.detections), 4)
    detections = _table(where, names[what], found).with_columns(pl.Series("score", score))
    truths.sort("image_id", maintain_order=True).write_parquet(folder / "truths.parquet")
    order = {"descending": [False, True], "maintain_order": True}
    detections.sort(["image_id", "score"], **order).write_parquet(folder / "detections.parquet")


def _table(images: np.ndarray, categories: np.ndarray, boxes: np.ndarray) -> pl.DataFrame:
    types = {"image_id": pl.UInt32, "category": pl.String}
    return pl.DataFrame(dict(zip(COLUMNS, (images, categories, *boxes.T), strict=True)), schema_overrides=types)


def measure(contestant: str, size: Size, folder: Path) -> Run:
    """Compute the metrics once, in this process."""
    import importlib

    engine = importlib.import_module(f"components.model_eval.{CONTESTANTS[contestant]}").coco_metrics
    detections, truths = (pl.read_parquet(folder / f"{name}.parquet") for name in ("detections", "truths"))
    engine(detections.head(1), truths.head(1), range(size.images), size.names())  # loads what is loaded late
    before, wall, cpu = _peak(), time.perf_counter(), time.process_time()
    metrics = engine(detections, truths, range(size.images), size.names())
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    by_class = metrics.by_class.drop("category").to_dict(as_series=False)
    return Run(wall, cpu, before, _peak(), metrics.summary, by_class)


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _MIB_IN_KIB


def in_process(contestant: str, size: Size, folder: Path) -> Run:
    """Run a contestant in a process of its own."""
    plan = json.dumps(asdict(size))
    command = [sys.executable, __file__, "--contestant", contestant, "--plan", plan, "--folder", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{contestant} failed:\n{done.stderr[-3000:]}")
    print(f"{contestant} has run", file=sys.stderr)
    return Run(**json.loads(done.stdout.strip().splitlines()[-1]))


def largest_difference(ours: Run, theirs: Run) -> float:
    """Over the summary and all classes; infinite where only one of the two has a number."""
    pairs = [(ours.summary.get(name), theirs.summary.get(name)) for name in {*ours.summary, *theirs.summary}]
    for name, values in ours.by_class.items():
        pairs += zip(values, theirs.by_class[name], strict=True)
    return max((_difference(mine, other) for mine, other in pairs), default=0.0)


def _difference(mine: float | None, other: float | None) -> float:
    if mine is None or other is None:
        return 0.0 if mine is other else float("inf")
    return abs(mine - other)


def compare(size: Size, repeats: int, folder: Path) -> dict[str, Any]:
    """Run the two in turn; medians of the times, the ratio pair by pair, the largest memory and difference."""
    draw(size, folder)
    pairs = [{name: in_process(name, size, folder) for name in CONTESTANTS} for _ in range(repeats)]
    found: dict[str, Any] = {
        name: {
            "wall": statistics.median(pair[name].wall for pair in pairs),
            "cpu": statistics.median(pair[name].cpu for pair in pairs),
            "before": max(pair[name].before for pair in pairs),
            "peak": max(pair[name].peak for pair in pairs),
        }
        for name in CONTESTANTS
    }
    for clock in ("wall", "cpu"):
        found[f"{clock}_ratio"] = statistics.median(
            getattr(pair["pycocotools"], clock) / getattr(pair["ours"], clock) for pair in pairs
        )
    found["difference"] = max(largest_difference(pair["ours"], pair["pycocotools"]) for pair in pairs)
    found["map50_95"] = pairs[0]["ours"].summary.get("map50_95")
    return found


def show(size: Size, found: dict[str, Any]) -> None:
    """Print the comparison for a person."""
    print(f"{size.images:,} images, {size.truths:,} truths, {size.detections:,} detections, {size.classes} classes\n")
    print(f"{'':<14}{'wall':>10}{'CPU':>10}{'peak memory':>14}{'of it before':>14}")
    for name in CONTESTANTS:
        run = found[name]
        times = f"{run['wall']:>8.2f} s{run['cpu']:>8.2f} s"
        print(f"{name:<14}{times}{run['peak']:>10,.0f} MiB{run['before']:>10,.0f} MiB")
    print(f"{'ratio':<14}{found['wall_ratio']:>9.1f}x{found['cpu_ratio']:>9.1f}x   (goal: {GOAL:g}x)")
    print(f"{'difference':<14}{found['difference']:>10.1e}   (the largest; allowed: {PARITY:g})")


def main() -> None:
    """Compare, or be one of the contestants."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("images", 5000), ("truths", 36_000), ("detections", 500_000), ("classes", 80)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    for hidden in ("--contestant", "--plan", "--folder"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contestant:
        sys.path.insert(0, str(ROOT))
        run = measure(options.contestant, Size(**json.loads(options.plan)), Path(options.folder))
        print(json.dumps(asdict(run)))
        return
    size = Size(options.images, options.truths, options.detections, options.classes)
    with tempfile.TemporaryDirectory(prefix="bench-evaluation-") as folder:
        found = compare(size, options.repeats, Path(folder))
    print(json.dumps(found)) if options.json else show(size, found)
    sys.exit(found["difference"] > PARITY)


if __name__ == "__main__":
    main()
