"""What is measured, ours and the peers': ``contestants.py NAME ARGUMENT...`` does it once and prints its seconds.

Each runs in a process of its own, so that its memory is its own; imports come before the clock starts.
"""

# ruff: noqa: PLC0415 - a contestant imports what it measures and nothing else

import json
import logging
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

Counts = dict[str, float]

_KIB = 1024


class Watch:
    """Measures the time spent in its blocks."""

    seconds = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count what happens inside."""
        start = time.perf_counter()
        yield
        self.seconds += time.perf_counter() - start


def load_ours(watch: Watch, source: str, out: str, store: str = "") -> Counts:
    """data_load with images; ``store`` is another place than a folder below ``out``."""
    from components.data_load.load import load
    from components.data_load.options import LoadOptions

    target = _fresh(out)
    requests = _count_requests() if store else [0]
    with watch.running():
        loaded = load(
            LoadOptions(source=source), store or (target / "store").as_uri(), target / "set", target / "r.html"
        )
    return {"images": loaded.counts["images"], "boxes": loaded.counts["boxes"], "requests": requests[0]}


def load_datumaro(watch: Watch, source: str, out: str) -> Counts:
    """Datumaro's COCO to YOLO with images."""
    return _datumaro(watch, source, out, media=True)


def labels_ours(watch: Watch, source: str, out: str) -> Counts:
    """Our COCO reader, and its tables written as parquet."""
    from components.shared.formats.registry import read_source

    target = _fresh(out)
    with watch.running():
        parsed = read_source(Path(source))[1]
        parsed.images.write_parquet(target / "images.parquet")
        parsed.annotations.write_parquet(target / "annotations.parquet")
    return {"images": parsed.images.height, "boxes": parsed.annotations.height}


def labels_datumaro(watch: Watch, source: str, out: str) -> Counts:
    """Datumaro's COCO to YOLO without images."""
    return _datumaro(watch, source, out, media=False)


def labels_ultralytics(watch: Watch, source: str, out: str) -> Counts:
    """The converter of ultralytics, which writes YOLO labels only."""
    from ultralytics.data.converter import convert_coco

    target = _fresh(out)
    with watch.running():
        convert_coco(f"{source}/annotations", str(target / "yolo"), use_segments=False, cls91to80=False)
    return {"images": sum(1 for _ in (target / "yolo").rglob("*.txt"))}


def prepare_ours(watch: Watch, loaded: str, out: str) -> Counts:
    """data_prep of what ``load_ours`` left in ``loaded``."""
    from components.data_prep.outcome import PrepareOptions
    from components.data_prep.prepare import run

    target, source = _fresh(out), Path(loaded)
    outputs = {split: target / split for split in ("train", "val", "test")}
    with watch.running():
        reports = (target / "report.html", target / "report.md")
        prepared = run(source / "set", (source / "store").as_uri(), outputs, reports, PrepareOptions())
    return {"images": prepared.counts["images"], "boxes": prepared.counts["boxes"]}


def materialise_ours(watch: Watch, loaded: str, out: str, store: str) -> Counts:
    """All images of a loaded dataset brought from the store to disk, as a training does it."""
    from components.shared.dataset import Dataset
    from components.shared.materialise import materialise
    from components.shared.store import open_store

    target = _fresh(out)
    requests = _count_requests()
    with watch.running():
        dataset = Dataset.load(Path(loaded) / "set")
        made = materialise(dataset, open_store(store), target / "files", cache=target / "cache")
    return {"images": made.image_count, "requests": requests[0]}


def _datumaro(watch: Watch, source: str, out: str, *, media: bool) -> Counts:
    import datumaro

    target = _fresh(out)
    with watch.running():
        dataset = datumaro.Dataset.import_from(source, "coco")
        dataset.export(str(target / "yolo"), "yolo", save_media=media)
    return {"images": len(dataset)}


def _fresh(out: str) -> Path:
    shutil.rmtree(out, ignore_errors=True)
    Path(out).mkdir(parents=True)
    return Path(out)


def _count_requests() -> list[int]:
    """A list whose one number grows with each HTTP request that leaves this process, retries included."""
    from urllib3.connectionpool import HTTPConnectionPool

    counted = [0]
    original = HTTPConnectionPool._make_request  # noqa: SLF001 - the one place every request goes through

    def counting(*arguments: object, **named: object) -> object:
        counted[0] += 1
        return original(*arguments, **named)  # type: ignore[arg-type]

    HTTPConnectionPool._make_request = counting  # type: ignore[method-assign, assignment]  # noqa: SLF001 - same
    return counted


CONTESTANTS: dict[str, Callable[..., Counts]] = {
    function.__name__: function
    for function in (
        load_ours, load_datumaro, labels_ours, labels_datumaro, labels_ultralytics, prepare_ours, materialise_ours,
    )
}  # fmt: skip


def main() -> None:
    """Run the contestant that the command line names."""
    logging.basicConfig(level=logging.WARNING)
    watch = Watch()
    counts = CONTESTANTS[sys.argv[1]](watch, *sys.argv[2:])
    usage = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(json.dumps({"seconds": watch.seconds, "memory": max(usage) / _KIB, **counts}))


if __name__ == "__main__":
    main()
