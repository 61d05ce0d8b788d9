"""Names that come from outside: which are safe, which say a split, which are the same."""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

IMAGE_FOLDERS = ("jpegimages", "images", "imgs", "img", "image")

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_DRIVE = re.compile(r"^[A-Za-z]:/")
_LETTERS = re.compile(r"[a-z]+")
_SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


def why_unsafe(name: str) -> str | None:
    """Why a file name from outside must not be used as a path below a folder; ``None`` when it may.

    >>> why_unsafe("train/a b.jpg"), why_unsafe("../a.jpg")
    (None, 'it climbs out of the folder')
    """
    slashed = name.replace("\\", "/")
    problems = {
        "it names no file": not slashed.strip("/. "),
        "it is a URL": "://" in slashed,
        "it is an absolute path": slashed.startswith("/") or _DRIVE.match(slashed) is not None,
        "it climbs out of the folder": ".." in slashed.split("/"),
        "it holds control characters": _CONTROL.search(slashed) is not None,
        "it is not Unicode text": clean(name) != name,
    }
    return next((problem for problem, holds in problems.items() if holds), None)


def clean(text: str) -> str:
    """Text that every table and terminal takes: broken Unicode written as escapes."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def normal(name: str) -> str:
    """A posix path in Unicode form NFC, without ``./`` and doubled slashes."""
    if not name.isascii():
        name = unicodedata.normalize("NFC", name)
    if "//" in name or name.startswith("./") or "/./" in name:
        name = PurePosixPath(name).as_posix()
    return name


def folder_of(path: str) -> str:
    """The folder part of a posix path; ``""`` for a name without one."""
    return path.rpartition("/")[0]


def without_suffix(path: str) -> str:
    """A posix path without its last suffix: ``x/a.b.jpg`` gives ``x/a.b``."""
    folder, slash, name = path.rpartition("/")
    stem = name.rpartition(".")[0] or name
    return f"{folder}{slash}{stem}"


def join(folder: str, name: str) -> str:
    """``folder/name``; only ``name`` when the folder is the root, ``""``."""
    return f"{folder}/{name}" if folder else name


def split_of_folder(folder: str) -> str | None:
    """The split a folder's own name says: ``train2017`` and ``training`` say train, ``train_data`` says nothing."""
    words = re.fullmatch(r"([a-z]+)[-_]?\d*", folder.lower())
    return _SPLITS.get(words.group(1)) if words else None


def split_of_file(path: str) -> str | None:
    """The split a file's name says, or else the nearest of its folders: ``annotations/instances_val2017.json``."""
    *folders, name = path.split("/")
    said = {_SPLITS[word] for word in _LETTERS.findall(without_suffix(name).lower()) if word in _SPLITS}
    if said:
        return said.pop() if len(said) == 1 else None
    return next((split for folder in reversed(folders) if (split := split_of_folder(folder))), None)


def below_images(path: str) -> tuple[str, str] | None:
    """Cut a path at its first image folder: (that folder, the rest); ``None`` when it has none."""
    parts = path.split("/")
    for position, part in enumerate(parts[:-1]):
        if part.lower() in IMAGE_FOLDERS:
            return "/".join(parts[: position + 1]), "/".join(parts[position + 1 :])
    return None


def distinct(short: Sequence[str], long: Sequence[str]) -> list[str]:
    """For each item its short name where that is unique, else its long one; ``long`` must be unique."""
    chosen = list(short)
    while True:
        taken = Counter(chosen)
        clashing = [i for i, name in enumerate(chosen) if taken[name] > 1 and name != long[i]]
        if not clashing:
            return chosen
        for i in clashing:
            chosen[i] = long[i]
