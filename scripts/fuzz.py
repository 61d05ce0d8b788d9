"""Fuzz what reads files from outside with atheris: ``python scripts/fuzz.py yaml -max_total_time=60``.

The first word is a target of ``TARGETS``, the rest are libFuzzer's options. Any error but one of ours is a finding;
libFuzzer then writes the input to ``crash-*``.

libFuzzer compares its memory limit with the peak the kernel keeps for a process, and a process begins with the peak of
the one that started it (Linux, ``exec`` after ``vfork``). So the fuzzing is done by a forked process, whose peak is its
own whoever started this one.
"""

import contextlib
import ctypes
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of prctl(2)

if __name__ == "__main__" and sys.platform == "linux":  # before the imports below start threads
    if child := os.fork():
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the child's
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)

import atheris  # noqa: E402 - the fork comes first

with atheris.instrument_imports(include=["components"]):
    from components.shared.documents import parse_json, parse_xml, parse_yaml
    from components.shared.errors import PipelineError
    from components.shared.formats.registry import FORMATS
    from components.shared.images import probe

_IMAGE = "images/a.jpg"
_PLACES = {
    "groundtruth": "a.manifest",
    "voc": "Annotations/a.xml",
    "ymir": "gt/a.xml",
    "coco": "a.json",
    "labelstudio": "a.json",
    "yolo": "labels/a.txt",
}


def _text(parse: Callable[[bytes, str], object]) -> Callable[[bytes], None]:
    def one(data: bytes) -> None:
        parse(data, "fuzz")

    return one


def _source(name: str, place: str) -> Callable[[bytes], None]:
    """Read a source whose annotation file holds these bytes."""

    def one(data: bytes) -> None:
        with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
            for path, content in ((_IMAGE, b"x"), (place, data)):
                (Path(folder) / path).parent.mkdir(exist_ok=True)
                (Path(folder) / path).write_bytes(content)
            FORMATS[name].read(Path(folder))

    return one


def _image(data: bytes) -> None:
    probe(data)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "json": _text(parse_json),
    "xml": _text(parse_xml),
    "yaml": _text(parse_yaml),
    "image": _image,
    **{name: _source(name, place) for name, place in _PLACES.items()},
}

_VOC = b"""<annotation><filename>a.jpg</filename><size><width>9</width><height>9</height></size><object><name>cat</name>
<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>4</xmax><ymax>5</ymax></bndbox></object></annotation>"""
_COCO = b"""{"images":[{"id":0,"file_name":"a.jpg"}],"categories":[{"id":1,"name":"cat"}],
"annotations":[{"image_id":0,"category_id":1,"bbox":[1,1,2,2]}]}"""
_BOX = b'{"class_id":0,"left":1,"top":1,"width":2,"height":2}'
_MANIFEST = (
    b'{"source-ref":"s3://b/a.jpg","x":{"annotations":[BOX],"image_size":[{"width":9,"height":9}]},META}'.replace(
        b"META", b'"x-metadata":{"type":"groundtruth/object-detection","class-map":{"0":"a"}}'
    ).replace(b"BOX", _BOX)
)
_TASKS = b"""[{"data":{"image":"a.jpg"},"annotations":[{"result":[{"type":"rectanglelabels","value":
{"x":1,"y":1,"width":2,"height":2,"rectanglelabels":["cat"]}}]}]}]"""
SEEDS: dict[str, bytes] = {
    "json": _COCO,
    "xml": _VOC,
    "yaml": b"path: .\nnames: {0: cat, 1: [a, 'b']}\n",
    "image": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    "groundtruth": _MANIFEST,
    "voc": _VOC,
    "ymir": _VOC.replace(b"<object>", b"<cks><a>b</a></cks><object><box_quality>1</box_quality>"),
    "coco": _COCO,
    "labelstudio": _TASKS,
    "yolo": b"0 .5 .5 .25 .25\n1 .1 .1 .2 .2 .3 .3\n",
}


def main() -> None:
    """Run the target that the command line names until libFuzzer stops."""
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:  # noqa: PLR2004 - the target is the first word
        sys.exit(f"Give a target: {', '.join(TARGETS)}.")
    name = sys.argv.pop(1)
    target = TARGETS[name]

    def one(data: bytes) -> None:
        with contextlib.suppress(PipelineError):
            target(data)

    seeds = Path(tempfile.mkdtemp(prefix=f"fuzz-{name}-"))
    (seeds / "seed").write_bytes(SEEDS[name])
    atheris.Setup([*sys.argv, str(seeds)], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
