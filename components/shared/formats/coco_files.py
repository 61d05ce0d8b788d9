"""Which files of a source are COCO's, and where the images lie that they name."""

import json
import logging
import re
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from components.shared.formats.names import folder_of, join, normal, split_of_file, split_of_folder
from components.shared.formats.tree import Tree
from components.shared.json_stream import texts_in

logger = logging.getLogger(__name__)

_OTHER_TASKS = re.compile(r"^(person_keypoints|captions|stuff|panoptic|image_info)_")
_KEYS = ('"images"', '"annotations"')
_RESULT_KEYS = ('"image_id"', '"category_id"', '"bbox"', '"score"')
_MANIFEST_KEYS = ('"schema_version"', '"image_count"', '"annotation_count"')
_HEAD = 4096
_SAMPLE = 1000
_MANY_FOLDERS = 64


def instance_files(tree: Tree) -> list[str]:
    """JSON files that look like data sets: objects with the keys ``images`` and ``annotations``."""
    paths = [path for path in tree.with_suffix(".json") if _is_instances(Path(tree.files[path]))]
    kept = [path for path in paths if not _other_task(path, paths)]
    if len(kept) < len(paths):
        logger.info("Left out %s: its boxes stand in the instances file beside it.", sorted(set(paths) - set(kept)))
    return kept


def result_files(tree: Tree) -> list[str]:
    """JSON files that look like detection results: lists of objects with image, category, bbox and score."""
    return [path for path in tree.with_suffix(".json") if _is_results(Path(tree.files[path]))]


def recognise(tree: Tree) -> bool:
    """Whether a JSON file below the folder looks like COCO."""
    return any(_is_instances(Path(tree.files[path])) for path in tree.with_suffix(".json"))


def _other_task(path: str, paths: list[str]) -> bool:
    """COCO ships keypoints and captions of the same images: the boxes would count twice."""
    folder, _, name = path.rpartition("/")
    return bool(_OTHER_TASKS.match(name)) and join(folder, _OTHER_TASKS.sub("instances_", name)) in paths


def _is_instances(path: Path) -> bool:
    try:
        head, encoding = _opening(path)
        keys = {key.encode(encoding) for key in _KEYS}
        ours = all(key in head for key in _MANIFEST_KEYS)  # a store's dataset.json names its tables like that
        return head.startswith("{") and not ours and texts_in(path, keys) == keys
    except OSError:
        return False


def _is_results(path: Path) -> bool:
    try:
        head, _ = _opening(path)
    except OSError:
        return False
    return head.startswith("[") and head[1:].lstrip().startswith("{") and all(key in head for key in _RESULT_KEYS)


def _opening(path: Path) -> tuple[str, str]:
    """A JSON file's first characters, without its byte order mark, and its encoding with the order of bytes said."""
    with path.open("rb") as handle:
        head = handle.read(_HEAD)
    encoding: str = json.detect_encoding(head[:4])
    if encoding in {"utf-16", "utf-32"}:
        encoding += "-le" if head.startswith(b"\xff\xfe") else "-be"
    return head.decode(encoding, "replace").removeprefix("\ufeff").lstrip(), encoding.removesuffix("-sig")


class Finder:
    """Finds the files a document names, in the folder that holds most of them first."""

    def __init__(self, tree: Tree, document: str, names: Sequence[str]) -> None:
        """``document`` is the COCO file's path below the source, ``names`` every ``file_name`` in it."""
        self.tree = tree
        self.document = document
        self.split = split_of_file(document)
        self._names = names
        self._folders = self._ordered_folders(names)
        self._basenames = Counter(name.replace("\\", "/").rpartition("/")[2] for name in names)

    def find(self, name: str) -> tuple[str, str | None]:
        """(normalised name, path below the source or ``None``) of a ``file_name``."""
        as_given = normal(name)
        slashed = normal(name.replace("\\", "/"))
        for candidate in (as_given, slashed) if as_given != slashed else (as_given,):
            for folder in self._folders:
                path = f"{folder}/{candidate}" if folder else candidate
                if path in self.tree.files and (len(folder) <= len(self._folders[0]) or path not in self._claimed):
                    return candidate, path
        basename = slashed.rpartition("/")[2]
        same = self.tree.by_name.get(basename, ())
        if len(same) == 1 and self._basenames[basename] == 1 and self._fits(same[0]):
            return slashed, same[0]
        return slashed, None

    @cached_property
    def _claimed(self) -> frozenset[str]:
        """What the names mean in the first folder: in one below it the end of such a path is another image."""
        return frozenset(join(self._folders[0], normal(name.replace("\\", "/"))) for name in self._names)

    def _fits(self, folder: str) -> bool:
        """Another split's folder holds other images, even under the same names."""
        said = split_of_file(f"{folder}/")
        return said is None or self.split is None or said == self.split

    def _ordered_folders(self, names: Sequence[str]) -> list[str]:
        home = folder_of(self.document)
        near = [home, folder_of(home), ""]
        wanted = [join(base, inner) for base in near for inner in ("", "images", "jpegimages", "data")]
        if self.split:
            own = [path for path in self.tree.folders.values() if split_of_folder(path.rpartition("/")[2])]
            wanted = [path for path in own if self._fits(path)] + wanted
        if len(self.tree.folders) <= _MANY_FOLDERS:
            wanted += self.tree.folders.values()
        known = [self.tree.folders.get(path.strip("/").lower(), "") for path in wanted]
        folders = [path for path in dict.fromkeys(known) if self._fits(path)]
        step = max(1, len(names) // _SAMPLE)
        sample = [normal(name.replace("\\", "/")) for name in names[::step]]
        hits = {path: sum(join(path, name) in self.tree.files for name in sample) for path in folders}
        return sorted(folders, key=lambda path: -hits[path])
