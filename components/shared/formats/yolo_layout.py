"""Where a YOLO source keeps its images and class names: ``data.yaml``, Darknet files, class lists or folder names."""

import logging
import posixpath
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from components.shared.documents import parse_yaml
from components.shared.errors import FormatError, InputError
from components.shared.formats.names import below_images, clean, folder_of, join, normal, split_of_folder, why_unsafe
from components.shared.formats.rows import shorten
from components.shared.formats.tree import Tree
from components.shared.images import SUFFIXES
from components.shared.ledger import Action, Entry, Rule

Record = Callable[[Entry], None]  # takes a ledger entry

logger = logging.getLogger(__name__)

CLASS_FILES = ("classes.txt", "labels.txt", "obj.names", "_darknet.labels", "classes.names")
LISTS = {"train.txt": "train", "val.txt": "val", "valid.txt": "val", "validation.txt": "val", "test.txt": "test"}
MAX_CLASSES = 10_000
_KEYS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
_PREFERRED = ("data", "dataset")
_DEEPEST = 3
_MOST_CONFIGURATIONS = 50


@dataclass(frozen=True)
class Configuration:
    """What a source says about itself.

    Attributes:
        path: the file that says it, ``""`` for none.
        names: class names by index; ``None`` when the source names none.
        base: folder that paths below ``splits`` start from.
        splits: split -> folders, list files or images, as written.
    """

    path: str = ""
    names: tuple[str, ...] | None = None
    base: str = ""
    splits: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Placed:
    """One image of the source: its path below it, its short name, its split, and whether the file is there."""

    path: str
    short: str
    split: str | None
    exists: bool = True


def configuration(tree: Tree) -> Configuration:
    """What ``data.yaml``, Darknet's ``obj.data`` or a class list says, in this order.

    Raises:
        FormatError: the file that should say it is broken, or sends the reader out of the source.
    """
    return _from_yaml(tree) or _from_darknet(tree) or _from_lists(tree)


def place(tree: Tree, config: Configuration, record: Record) -> list[Placed]:
    """The images that belong to the source, in its order; one that two splits list appears twice.

    With a configuration these are the images it lists, else all images, their split said by their folder. Paths that
    mean nothing in the source and would leave it are followed nowhere, and recorded.

    Raises:
        FormatError: the configuration's training images do not exist though others do.
    """
    found: list[Placed] = []
    missing: list[str] = []
    for split, entries in config.splits.items():
        for entry in entries:
            target = _resolve(tree, entry, config)
            if target is None:
                missing.append(split)
                logger.warning("%r lists %r for %s, which is not in the source.", config.path, entry, split)
                _record_outside(record, config.path, entry, Action.REJECTED)
            else:
                found.extend(_expand(tree, target, split, config, record))
    if found and "train" in missing:
        raise FormatError(f"{config.path!r} lists training images that are not in the source: correct its 'train'.")
    return found or _shortened([(path, _nearest_split(path)) for path in tree.images])


def _nearest_split(path: str) -> str | None:
    folders = path.split("/")[:-1]
    return next((split for folder in reversed(folders) if (split := split_of_folder(folder))), None)


def _shortened(paths: Sequence[tuple[str, str | None]]) -> list[Placed]:
    """Name images by what lies below their image folder and split folder, else below the folder they share."""
    shared: dict[str | None, str] = {}
    for path, split in paths:
        if below_images(path) is None:
            folder = folder_of(path)
            shared[split] = posixpath.commonpath([shared[split], folder]) if split in shared else folder
    return [Placed(path, _short(path, shared.get(split, "")), split) for path, split in paths]


def _short(path: str, shared: str) -> str:
    inside = below_images(path)
    if inside is None:
        return path[len(shared) + 1 :] if shared else path
    first, slash, rest = inside[1].partition("/")
    return rest if slash and split_of_folder(first) else inside[1]


def _record_outside(record: Record, file: str, said: str, action: Action) -> None:
    """Record a path that would leave the source; one that merely is not there is no such thing."""
    problem = why_unsafe(said)
    if problem:
        detail = clean(f"{file} lists {shorten(said)!r}: {problem}, so nothing was read there")
        record(Entry(clean(file), Rule.UNSAFE_NAME, action, detail=detail))


def _expand(tree: Tree, target: str, split: str, config: Configuration, record: Record) -> Iterator[Placed]:
    if target not in tree.files:
        start = f"{target}/" if target else ""
        below = [path for path in tree.images if path.startswith(start)]
        if below_images(f"{start}x") is None:
            yield from _shortened([(path, split) for path in below])
        else:
            yield from (Placed(path, path[len(start) :], split) for path in below)
    elif posixpath.splitext(target)[1].lower() in SUFFIXES:
        yield from _shortened([(target, split)])
    else:
        yield from _listed(tree, target, split, config, record)


def _listed(tree: Tree, target: str, split: str, config: Configuration, record: Record) -> Iterator[Placed]:
    """The images a list file names; paths of another machine are matched by their tail."""
    paths, gone = [], []
    for line in tree.read(target).decode("utf-8-sig", "replace").splitlines():
        name = normal(line.strip().replace("\\", "/"))
        if not name:
            continue
        path = _find(tree, name, (folder_of(target), config.base, ""))
        if path is None:
            gone.append(name)
        else:
            paths.append((path, split))
    yield from _shortened(paths)
    for name in gone:
        _record_outside(record, target, name, Action.KEPT)
        inside = below_images(name.lstrip("./"))
        short = (inside[1] if inside else name.rpartition("/")[2]) or name
        yield Placed(name if why_unsafe(name) is None else short, short, split, exists=False)


def _find(tree: Tree, name: str, bases: Iterable[str]) -> str | None:
    for base in bases:
        path = posixpath.normpath(join(base, name))
        if path in tree.files:
            return path
    same = tree.by_name.get(name.rpartition("/")[2], [])
    if len(same) < 2:  # noqa: PLR2004 - none or the only one
        return same[0] if same else None
    parts = name.split("/")[::-1]
    ranked = sorted(same, key=lambda path: -_common(path.split("/")[::-1], parts))
    lengths = [_common(path.split("/")[::-1], parts) for path in ranked[:2]]
    return ranked[0] if lengths[0] > lengths[1] else None


def _common(left: list[str], right: list[str]) -> int:
    return next((i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right)))


def _resolve(tree: Tree, entry: str, config: Configuration) -> str | None:
    """The folder or file of the source that an entry means: as written, else by the longest tail that exists."""
    parts = [part for part in entry.replace("\\", "/").split("/") if part not in {"", ".", ".."}]
    home = folder_of(config.path)
    if not parts:
        return config.base if entry.strip("/") in {".", ""} and entry else None
    for start in range(len(parts)):
        tail = normal("/".join(parts[start:]))
        for base in dict.fromkeys((config.base, home, "")):
            path = join(base, tail)
            if path in tree.files:
                return path
            if path.lower() in tree.folders:
                return tree.folders[path.lower()]
    return None


def _from_yaml(tree: Tree) -> Configuration | None:
    paths = [path for path in tree.with_suffix(".yaml", ".yml") if path.count("/") <= _DEEPEST]
    stems = {path: posixpath.splitext(posixpath.basename(path))[0].lower() for path in paths}
    paths.sort(key=lambda path: (path.count("/"), stems[path] not in _PREFERRED, path))
    for path in paths[:_MOST_CONFIGURATIONS]:
        try:
            content = parse_yaml(tree.read(path), path, text=True)
        except InputError as error:
            if stems[path] in _PREFERRED:
                raise FormatError(str(error)) from error
            continue
        if isinstance(content, dict) and "names" in content:
            return _read_yaml(tree, path, content)
    return None


def _read_yaml(tree: Tree, path: str, content: dict[object, object]) -> Configuration:
    splits: dict[str, tuple[str, ...]] = {}
    for key, split in _KEYS.items():
        entry = content.get(key)
        entries = tuple(str(item) for item in (entry if isinstance(entry, list) else [entry]) if item is not None)
        if any(entries) and entries not in {("null",), ("~",)}:
            splits[split] = splits.get(split, ()) + entries
    base = _base(tree, path, content.get("path"))
    return Configuration(path, _names(path, content["names"]), base, splits)


def _base(tree: Tree, path: str, said: object) -> str:
    home = folder_of(path)
    if not isinstance(said, str) or said in {"", "null", "~"}:
        return home
    root = f"{tree.root.as_posix()}/"
    inner = f"{said.rstrip('/')}/"
    wanted = inner.removeprefix(root) if inner.startswith(root) else join(home, said)
    below = posixpath.normpath(wanted or ".")
    if below.startswith("..") or (below != "." and why_unsafe(wanted.replace("../", "")) is not None):
        raise FormatError(f"{path!r} sets path to {said!r}, which leaves the source: write '.' or remove the line.")
    return tree.folders.get(below.lower(), home) if below != "." else ""


def _names(path: str, said: object) -> tuple[str, ...] | None:
    if isinstance(said, list):
        by_index = dict(enumerate(said))
    elif isinstance(said, dict):
        try:
            by_index = {int(str(key)): name for key, name in said.items()}
        except ValueError as error:
            raise FormatError(f"{path!r} has a class index that is no number: write 'names' as 0: first.") from error
    else:
        raise FormatError(f"{path!r} gives {said!r} as names: write a list of class names.")
    if not by_index:
        return None
    if not all(0 <= index < MAX_CLASSES for index in by_index):
        raise FormatError(f"{path!r} has class indices outside 0 to {MAX_CLASSES - 1}: number the classes from 0.")
    if not all(isinstance(name, str) for name in by_index.values()):
        raise FormatError(f"{path!r} has a class name that is no text: write 'names' as a list of words.")
    return tuple(str(by_index.get(index, index)) for index in range(max(by_index) + 1))


def _from_darknet(tree: Tree) -> Configuration | None:
    for path in tree.with_suffix(".data"):
        pairs = [line.partition("=") for line in tree.read(path).decode("utf-8-sig", "replace").splitlines()]
        said = {key.strip(): value.strip() for key, equals, value in pairs if equals}
        if "names" not in said and "classes" not in said:
            continue
        config = Configuration(path, base=folder_of(path))
        target = _resolve(tree, said.get("names", ""), config)
        names = _class_list(tree, target) if target in tree.files else None
        splits: dict[str, tuple[str, ...]] = {split: (said[key],) for key, split in _KEYS.items() if said.get(key)}
        return Configuration(path, names, folder_of(path), splits)
    return None


def _from_lists(tree: Tree) -> Configuration:
    shallow = sorted((path for path in tree.files if path.count("/") <= _DEEPEST), key=lambda path: path.count("/"))
    names = None
    splits: dict[str, tuple[str, ...]] = {}
    for path in shallow:
        name = path.rpartition("/")[2].lower()
        if names is None and (name in CLASS_FILES or name.endswith(".names")):
            names = _class_list(tree, path)
        elif name in LISTS and LISTS[name] not in splits and _lists_images(tree, path):
            splits[LISTS[name]] = (path,)
    return Configuration("", names, "", splits)


def _class_list(tree: Tree, path: str | None) -> tuple[str, ...] | None:
    lines = tree.read(path or "").decode("utf-8-sig", "replace").splitlines()
    names = [line.strip() for line in lines]
    if names and _is_row(names[0]):
        return None
    while names and not names[-1]:
        names.pop()
    return tuple(name or str(index) for index, name in enumerate(names)) or None


def _is_row(line: str) -> bool:
    """``labels.txt`` beside ``labels.jpg`` is no class list."""
    parts = line.replace(",", ".").split()
    return len(parts) > 4 and all(part.replace(".", "", 1).isdecimal() for part in parts)  # noqa: PLR2004 - a box


def _lists_images(tree: Tree, path: str) -> bool:
    lines = tree.read(path).decode("utf-8-sig", "replace").split("\n")
    first = next((line.strip() for line in lines if line.strip()), "")
    return posixpath.splitext(first)[1].lower() in SUFFIXES
