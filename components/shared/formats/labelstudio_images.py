"""Which images a Label Studio task is about, and the files of a source that they are."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import parse_qs, unquote, urlsplit

from components.shared.documents import parse_xml
from components.shared.errors import InputError
from components.shared.formats.names import normal
from components.shared.formats.tree import Tree
from components.shared.images import SUFFIXES

_REMOTE = ("s3", "https")
_PLACE = re.compile(r"[^.\[\]$]+")
_LABELS = re.compile(r"(Rectangle|Polygon|Ellipse|Brush|KeyPoint)?Labels")
_HEAD = 4096
_LIKELY = ("image", "img", "image_url", "url", "picture", "photo", "path")


@dataclass(frozen=True)
class Configuration:
    """What a labelling configuration (``<View>``) says: class names in order, and where tasks keep their images.

    Attributes:
        classes: values of the labels.
        images: name of an ``<Image>`` -> the place in a task's data, ``$image`` or ``$pages[0].url``.
    """

    classes: tuple[str, ...] = ()
    images: tuple[tuple[str, str], ...] = ()


def configuration(tree: Tree) -> Configuration:
    """What the labelling configurations beside the exports say together; one that cannot be parsed says nothing."""
    classes: list[str] = []
    images: list[tuple[str, str]] = []
    for path in tree.with_suffix(".xml"):
        with Path(tree.files[path]).open("rb") as handle:
            if b"<View" not in handle.read(_HEAD):
                continue
        try:
            root = parse_xml(tree.read(path), path)
        except InputError:
            continue
        for element in root.iter():
            if _LABELS.fullmatch(element.tag):
                given = [label.get("alias") or label.get("value") for label in element.iter("Label")]
                classes += [name for name in given if name]
            elif element.tag == "Image":
                images.append((element.get("name", ""), element.get("value") or element.get("valueList") or ""))
    return Configuration(tuple(dict.fromkeys(classes)), tuple(images))


def references(data: Mapping[str, object], settings: Configuration) -> dict[tuple[str, int], str]:
    """The images of a task: (name of the ``<Image>``, position in a list of them) -> reference."""
    found: dict[tuple[str, int], str] = {}
    for name, place in settings.images:
        found |= {(name, index): text for index, text in enumerate(_texts(_at(data, place)))}
    if not found:
        likely = sorted(data, key=lambda key: _LIKELY.index(key.lower()) if key.lower() in _LIKELY else len(_LIKELY))
        for key in likely:
            texts = list(_texts(data[key]))
            if texts and (key.lower() in _LIKELY or all(map(_names_image, texts))):
                return {("", index): text for index, text in enumerate(texts)}
    return found


def _at(data: object, place: str) -> object:
    for part in _PLACE.findall(place):
        if isinstance(data, Mapping):
            data = data.get(part)
        elif isinstance(data, list) and part.isdecimal() and len(part) < 9 and int(part) < len(data):  # noqa: PLR2004
            data = data[int(part)]
        else:
            return None
    return data


def _texts(value: object) -> Iterator[str]:
    for item in value if isinstance(value, list) else [value]:
        # A repeater's pages are objects: ``{"images": [{"url": "..."}]}``.
        inner = item.values() if isinstance(item, Mapping) else ()
        text = next((each for each in inner if isinstance(each, str) and _names_image(each)), item)
        if isinstance(text, str) and text:
            yield text


def _names_image(text: str) -> bool:
    return PurePosixPath(path_in(text)).suffix.lower() in SUFFIXES


def path_in(reference: str) -> str:
    """The path part of a reference, as it may lie below a source: without scheme, host, query and leading slash."""
    try:
        split = urlsplit(reference)
        local = parse_qs(split.query).get("d", [""])[0] if split.path.endswith("/local-files/") else ""
    except ValueError:
        return ""
    if local:
        return normal(local.replace("\\", "/")).strip("/")
    # A plain path may hold the signs that separate an address's parts.
    plain = split.scheme not in {"http", "https", "s3", "gs", "azure-blob", "file"}
    return normal((reference if plain else unquote(split.path)).replace("\\", "/")).strip("/")


def remote(reference: str) -> str | None:
    """The address of an image that lies elsewhere; ``None`` when the reference is none."""
    scheme, separator, _ = reference.partition("://")
    return reference if separator and scheme.lower() in _REMOTE else None
