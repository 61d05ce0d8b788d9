"""Names and addresses that would lead out of the source, and files that ask for code to be run."""

import json
import os
from collections.abc import Callable
from pathlib import Path

from hostile_case import HARMLESS, Case, Files, coco, picture, tree, voc

UNSAFE, SOURCE, FORMAT = "UnsafeInputError", "SourceError", "FormatError"
_NAME = "unsafe name"
_GOOD: Files = {"images/good.jpg": picture()}
_DOWNLOAD = """download: |
  import os
  os.system("touch CANARY")
  from pathlib import Path; Path("CANARY").touch()
"""


def _coco(name: str, file_name: str, says: str = "") -> Case:
    """A COCO file that names an image so, beside one that is as it should be."""

    def make(folder: Path, outside: Path) -> Path:
        given = file_name.replace("OUTSIDE", str(outside))
        return tree({"a.json": coco("good.jpg", given), **_GOOD}, honest=False)(folder, outside)

    return Case(name, make, says or file_name.replace("OUTSIDE", ""), None, _NAME, "coco")


def _manifest(name: str, reference: str, rule: str | None = _NAME) -> Case:
    def line(address: str) -> str:
        boxes = {"annotations": [{"class_id": 0, "left": 1, "top": 1, "width": 9, "height": 9}]}
        metadata = {"type": "groundtruth/object-detection", "class-map": {"0": "cat"}}
        return json.dumps({"source-ref": address, "x": boxes, "x-metadata": metadata})

    files: Files = {"a.manifest": f"{line('good.jpg')}\n{line(reference)}\n", **_GOOD}
    return Case(name, tree(files, honest=False), reference.rpartition("/")[2], None, rule, "groundtruth")


def _outside(text: str, name: str = "data.yaml") -> Callable[[Path, Path], Path]:
    def make(folder: Path, outside: Path) -> Path:
        return tree({name: text.replace("OUTSIDE", str(outside))})(folder, outside)

    return make


def _link(target: str, at: str) -> Callable[[Path, Path], Path]:
    def make(folder: Path, outside: Path) -> Path:
        tree({})(folder, outside)
        (folder / at).symlink_to(target.replace("OUTSIDE", str(outside)))
        return folder

    return make


def _voc_that_names(name: str) -> Callable[[Path, Path], Path]:
    def make(folder: Path, outside: Path) -> Path:
        text = voc(f"<filename>{name.replace('OUTSIDE', str(outside))}</filename>")
        files: Files = {"Annotations/x.xml": text, "Annotations/b.xml": voc(), "JPEGImages/b.jpg": picture()}
        return tree(files, honest=False)(folder, outside)

    return make


def _pipe(folder: Path, outside: Path) -> Path:
    tree({})(folder, outside)
    os.mkfifo(folder / "images" / "pipe.jpg")
    return folder


CASES = (
    _coco("a file name that climbs", "../../outside/secret.jpg"),
    _coco("a file name with an absolute path", "OUTSIDE/secret.jpg"),
    _coco("a file name on a drive", "C:\\secret.jpg", "C:"),
    _coco("a file name that is a URL", "http://127.0.0.1:9/secret.jpg"),
    _coco("a file name that is a file's URL", "file://OUTSIDE/secret.jpg", "file:"),
    _coco("a file name with control characters", "a\r\n\x1b[2J.jpg", "a\r\n"),
    _coco("a file name with a NUL", "secret.jpg\0.png", "secret.jpg"),
    _coco("an empty file name", "", "a.json"),
    _coco("a file name of dots", "..", ".."),
    Case(
        "a file name of a hundred thousand letters",
        tree({"a.json": coco("good.jpg", "x" * 100_000 + ".jpg"), **_GOOD}, honest=False),
        "",
        None,
        HARMLESS,
        "coco",
    ),
    Case(
        "a file name that a shell would run",
        tree({"a.json": coco("good.jpg", "$(touch CANARY);`touch CANARY`.jpg"), **_GOOD}, honest=False),
        "",
        None,
        HARMLESS,
        "coco",
    ),
    Case("a VOC name that climbs", _voc_that_names("../../outside/secret.jpg"), "x.xml", None, _NAME, "voc"),
    Case("a VOC name with an absolute path", _voc_that_names("OUTSIDE/secret.jpg"), "x.xml", None, _NAME, "voc"),
    _manifest("a manifest address that climbs", "s3://bucket/../../secret.jpg"),
    _manifest("a manifest address of a file", "file:///etc/passwd"),
    _manifest("a manifest address with an absolute path", "/etc/passwd"),
    _manifest("a manifest address on this machine", "https://127.0.0.1:9/a.jpg", "missing image"),
    _manifest("a manifest address of the cloud's metadata", "https://169.254.169.254/latest/meta.jpg", "missing image"),
    _manifest("a manifest address in IPv6 on this machine", "https://[::1]:9/b.jpg", "missing image"),
    Case(
        "a data.yaml that would download and run",
        tree({"data.yaml": f"names: [cat]\n{_DOWNLOAD}"}),
        "",
        None,
        HARMLESS,
        "yolo",
    ),
    Case(
        "a data.yaml that downloads by a shell",
        tree({"data.yaml": "names: [cat]\ndownload: bash touch CANARY\n"}),
        "",
        None,
        HARMLESS,
        "yolo",
    ),
    Case(
        "a data.yaml whose path is elsewhere",
        _outside("path: OUTSIDE\ntrain: .\nnames: [cat]\n"),
        "data.yaml",
        None,
        None,
        "yolo",
    ),
    Case(
        "a data.yaml whose folder climbs",
        tree({"data.yaml": "train: ../../outside\nnames: [cat]\n"}),
        "data.yaml lists '../../outside'",
        None,
        _NAME,
        "yolo",
    ),
    Case(
        "a list of images elsewhere",
        _outside("images/good.jpg\nOUTSIDE/secret.jpg\n../../outside/secret.jpg\n", "train.txt"),
        "train.txt lists '../../outside/secret.jpg'",
        None,
        _NAME,
        "yolo",
    ),
    Case(
        "a link to a file elsewhere", _link("OUTSIDE/secret.jpg", "images/secret.jpg"), "images/secret.jpg", None, _NAME
    ),
    Case("a link to a folder elsewhere", _link("OUTSIDE", "images/door"), "images/door", None, _NAME),
    Case("a link to itself", _link("loop.jpg", "images/loop.jpg"), "images/loop.jpg", None, _NAME),
    Case("a link to the folder it is in", _link("..", "images/up"), "images/up", None, _NAME),
    Case("a pipe instead of an image", _pipe, "images/pipe.jpg", None, _NAME),
    Case("a source at a scheme that nobody reads", lambda _, outside: Path(f"gopher:/{outside}"), "gopher", SOURCE),
)
