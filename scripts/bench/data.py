"""Measures the data plane side by side with its peers: ``python scripts/bench/data.py [--only NAME] [--json]``.

Loading with images, labels alone, memory at scale, preparing at scale and the requests an S3 server sees. All
contestants work on the same files, freshly drawn, each in a process of its own, taking turns; the page cache is warm.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
from measure import MIB, Run, alternate, run
from s3 import s3_server
from synthetic import Size, draw, warm

RESULT_UNITS = {"images/s": "{:,.0f}", "MiB": "{:,.0f}", "s": "{:.1f}", "requests": "{:.1f}"}


@dataclass(frozen=True)
class Line:
    """A line of the table: what was measured, in which unit, ours, a peer's, and what we promise."""

    what: str
    unit: str
    ours: float
    goal: str
    peer: str = ""
    theirs: float | None = None
    ratio: float | None = None


@dataclass(frozen=True)
class Bench:
    """What the command line asks for."""

    folder: Path
    images: int
    boxes: int
    scale_images: int
    scale_boxes: int
    prepare_images: int
    prepare_boxes: int
    repeats: int

    def out(self, name: str) -> str:
        """A folder for what a contestant writes."""
        return str(self.folder / "out" / name)


def load(bench: Bench) -> Iterator[Line]:
    """data_load with images against datumaro's COCO to YOLO with images."""
    size = Size(bench.images, bench.boxes)
    root = _drawn(bench, size)
    runs = alternate({name: (root, bench.out(name)) for name in ("load_ours", "load_datumaro")}, bench.repeats)
    yield _speed(f"load with images, {_counts(size)}", runs, size, "load_ours", "load_datumaro", "3,000 and x 1.5")
    yield _memory(f"load with images, {_counts(size)}", runs["load_ours"], "", ("datumaro", runs["load_datumaro"]))


def labels(bench: Bench) -> Iterator[Line]:
    """Our COCO reader against both peers' conversions without images."""
    size = Size(bench.images, bench.boxes)
    root = _drawn(bench, size)
    names = ("labels_ours", "labels_datumaro", "labels_ultralytics")
    runs = alternate({name: (root, bench.out(name)) for name in names}, bench.repeats)
    for peer in names[1:]:
        yield _speed(f"labels alone, {_counts(size)}", runs, size, "labels_ours", peer, "10,000")


def memory(bench: Bench) -> Iterator[Line]:
    """Peak memory at scale, of the labels alone and of data_load with tiny images (PNGs of 16 x 16 pixels)."""
    size = Size(bench.scale_images, bench.scale_boxes, photographs=False)
    root = _drawn(bench, size)
    found = run("labels_ours", root, bench.out("labels"))
    yield _memory(f"labels alone, {_counts(size)}", found, "500")
    yield Line(f"labels alone, {_counts(size)}", "images/s", size.images / found.seconds, "10,000")
    yield _memory(f"data_load, {_counts(size)}, tiny images", run("load_ours", root, bench.out("load")), "500")


def prepare(bench: Bench) -> Iterator[Line]:
    """data_prep at the size of COCO's train2017."""
    size = Size(bench.prepare_images, bench.prepare_boxes, photographs=False)
    loaded = bench.out("to-prepare")
    run("load_ours", _drawn(bench, size), loaded)
    found = alternate({"prepare_ours": (loaded, bench.out("prepared"))}, bench.repeats)["prepare_ours"]
    yield Line(f"data_prep, {_counts(size)}", "s", found.seconds, "10")
    yield _memory(f"data_prep, {_counts(size)}", found, "500")


def requests(bench: Bench) -> Iterator[Line]:
    """Requests that loading into an S3 store, and bringing the images back to disk, cost."""
    size = Size(bench.images, bench.boxes)
    root = _drawn(bench, size)
    with s3_server(bench.folder / "s3") as server:
        if server is None:
            return
        loaded, store = bench.out("s3"), f"s3://{server.bucket}/bench"
        there = run("load_ours", root, loaded, store, environment=server.environment)
        back = run("materialise_ours", loaded, bench.out("back"), store, environment=server.environment)
    for what, found in (("load into S3", there), ("images back from S3", back)):
        share = found.counts["requests"] * 1000 / size.images
        yield Line(f"{what}, {_counts(size)}, for 1,000 images", "requests", share, "10")
        yield Line(f"{what}, {_counts(size)}", "images/s", size.images / found.seconds, "")


BENCHES: dict[str, Callable[[Bench], Iterator[Line]]] = {
    function.__name__: function for function in (load, labels, memory, prepare, requests)
}


def main() -> None:
    """Measure and print the table."""
    options = _arguments()
    with tempfile.TemporaryDirectory(prefix="bench-data-") as scratch:
        folder = Path(options.folder or scratch)
        bench = Bench(
            folder, options.images, options.boxes, options.scale_images, options.scale_boxes,
            options.prepare_images, options.prepare_boxes, options.repeats,
        )  # fmt: skip
        lines = [_told(line) for name in options.only or BENCHES for line in BENCHES[name](bench)]
    machine = f"{os.cpu_count()} cores, {psutil.virtual_memory().total / MIB / 1024:.0f} GiB"
    if options.json:
        print(json.dumps({"machine": machine, "lines": [asdict(line) for line in lines]}, indent=2))
    else:
        print(_table(lines), f"\n{machine}; median of {options.repeats} alternating runs, warm page cache.", sep="\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=5_000, help="photographs of 640 x 480 to load")
    parser.add_argument("--boxes", type=int, default=36_000, help="boxes on them")
    parser.add_argument("--scale-images", type=int, default=100_000, help="tiny images for the memory")
    parser.add_argument("--scale-boxes", type=int, default=1_000_000, help="boxes on them")
    parser.add_argument("--prepare-images", type=int, default=118_000, help="tiny images to prepare")
    parser.add_argument("--prepare-boxes", type=int, default=860_000, help="boxes on them")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each contestant, of which the median counts")
    parser.add_argument("--only", action="append", choices=list(BENCHES), help="measure only this; may be repeated")
    parser.add_argument("--folder", help="keep what is drawn here, for the next time")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    return parser.parse_args()


def _told(line: Line) -> Line:
    print(f"{line.what}: {RESULT_UNITS[line.unit].format(line.ours)} {line.unit}", file=sys.stderr)
    return line


def _drawn(bench: Bench, size: Size) -> Path:
    root = draw(size, bench.folder)
    warm(root)
    return root


def _counts(size: Size) -> str:
    return f"{size.images:,} images, {size.boxes:,} boxes"


def _speed(what: str, runs: dict[str, Run], size: Size, ours: str, peer: str, goal: str) -> Line:
    mine, theirs = (size.images / runs[name].seconds for name in (ours, peer))
    return Line(what, "images/s", mine, goal, peer.rpartition("_")[2], theirs, mine / theirs)


def _memory(what: str, ours: Run, goal: str, peer: tuple[str, Run] | None = None) -> Line:
    if peer is None:
        return Line(what, "MiB", ours.memory, goal)
    return Line(what, "MiB", ours.memory, goal, peer[0], peer[1].memory, ours.memory / peer[1].memory)


def _table(lines: list[Line]) -> str:
    header = ("measured", "unit", "ours", "goal", "peer", "peer's", "ratio")
    rows = [header, tuple("-" * len(title) for title in header)]
    for line in lines:
        show = RESULT_UNITS[line.unit].format
        theirs = "" if line.theirs is None else show(line.theirs)
        ratio = "" if line.ratio is None else f"{line.ratio:.2f}"
        rows.append((line.what, line.unit, show(line.ours), line.goal, line.peer, theirs, ratio))
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    return "\n".join("| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows)


if __name__ == "__main__":
    main()
