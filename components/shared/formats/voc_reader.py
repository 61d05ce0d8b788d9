"""Reads Pascal VOC XML files and pairs them with their images."""

import decimal
import logging
import math
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from xml.etree.ElementTree import Element

from components.shared.documents import parse_xml
from components.shared.errors import FormatError, InputError
from components.shared.formats.attributes import to_text
from components.shared.formats.base import DEFAULT_OPTIONS, Parsed, ReadOptions
from components.shared.formats.names import (
    IMAGE_FOLDERS,
    below_images,
    clean,
    folder_of,
    join,
    normal,
    split_of_folder,
    why_unsafe,
    without_suffix,
)
from components.shared.formats.rows import Box, Extras, Rows, declared, number, shorten
from components.shared.formats.tree import Tree, scan
from components.shared.ledger import Action, Entry, Rule

logger = logging.getLogger(__name__)

ANNOTATION_FOLDERS = ("annotations", "annotation", "xmls", "xml", "labels", "gt", "pred")
LABEL_MAP = "labelmap.txt"
_LISTS = {"train.txt": "train", "val.txt": "val", "test.txt": "test", "trainval.txt": "trainval"}
XML_LIMIT = 8 << 20  # bytes for one image, some 25,000 boxes; elements take twenty times as much in memory
_HEAD = 4096
_SAMPLE = 20
_TRUE = frozenset({"1", "true", "yes"})
_KEPT = ("pose", "occluded", "box_quality", "rotate_angle", "cm")
_SAYS_NOTHING = frozenset({"", "unspecified", "unknown", "-1", "-1.0"})
_YMIR_IMAGE = ("cks", "image_quality")  # elements that only YMIR writes
_YMIR_OBJECT = ("box_quality", "bndbox/rotate_angle", "rotate_angle", "cm", "tags")
_EXACT = decimal.Context(prec=60)
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def recognise(tree: Tree) -> bool:
    """Whether the first XML files below the folder are VOC annotations."""
    return any(_is_voc(Path(tree.files[path])) for path in tree.with_suffix(".xml")[:_SAMPLE])


def read(root: Path, _options: ReadOptions = DEFAULT_OPTIONS) -> Parsed:
    """Read every VOC XML below ``root``; images without one, in the folders that hold the others, have no objects.

    Raises:
        SourceError: the folder is missing or empty.
        FormatError: there is no VOC XML.
    """
    tree = scan(root)
    paths = [path for path in tree.with_suffix(".xml") if _is_voc(Path(tree.files[path]))]
    if not paths:
        raise FormatError(f"{str(root)!r} holds no Pascal VOC XML: it has {tree.contents()}.")
    reader = VocReader(tree, frozenset(map(without_suffix, paths)))
    for path in paths:
        try:
            reader.add(path, parse_xml(tree.read(path), path, limit=XML_LIMIT))
        except InputError as error:
            reader.reject(path, str(error))
    reader.add_unlabelled()
    return reader.parsed()


def _is_voc(path: Path) -> bool:
    """``<annotation>`` is the root of a VOC file; a file too broken to say so counts when it was meant to be one."""
    try:
        with path.open("rb") as handle:
            head = handle.read(_HEAD).replace(b"\0", b"")  # UTF-16 has one beside each letter
    except OSError:
        return False
    # Entities are refused later; a long list of them must not hide what follows.
    return (b"<annotation" in head and b"<annotations" not in head) or b"<!ENTITY" in head


class VocReader:
    """Collects the rows of a VOC source, file by file; layouts that say more than VOC override the ``_..._of``."""

    def __init__(self, tree: Tree, annotated: frozenset[str]) -> None:
        self.tree = tree
        self.rows = Rows()
        self.rows.ledger.extend(tree.ledger)
        self._annotated = annotated
        self._keys = {"\0".join(_cut(path)) for path in annotated}
        self._has_lists = any(_is_image_set(path) for path in tree.with_suffix(".txt"))
        self._splits = _splits(tree)
        self._by_stem: dict[str, list[str]] = {}
        self._stems: dict[str, list[str]] = {}
        for image in tree.images:
            stem = without_suffix(image)
            self._by_stem.setdefault(stem, []).append(image)
            self._stems.setdefault(stem.rpartition("/")[2], []).append(image)
        self._folders: dict[str, list[str]] = {}
        self._owner: dict[tuple[int, str | None], str] = {}
        self._broken: set[str] = set()

    def add(self, path: str, root: Element) -> None:
        """Add one annotation file."""
        given = (root.findtext("filename") or "").strip()
        said = normal(given.replace("\\", "/"))
        image = self._find(path, said)
        problem = why_unsafe(given) if given else None
        if image is None and problem:
            self.rows.reject(path, Rule.UNSAFE_NAME, f"{path}: filename {shorten(given)!r}: {problem}")
            return
        image_id = self._add_image(path, image, said, root)
        inclusive = _is_ymir(root)
        for position, item in enumerate(root.iterfind("object"), start=1):
            problem = self._add_object(image_id, item, path, position, inclusive=inclusive)
            if problem:
                detail = f"{path}: object {position}: {problem}"
                before = " ".join(" ".join(item.itertext()).split())
                self.rows.reject(image or path, Rule.MALFORMED, detail, annotation=f"object {position}", before=before)

    def reject(self, path: str, problem: str) -> None:
        """Record a file that cannot be parsed; its image must not pass for one without objects."""
        image = self._find(path, "")
        if image is not None:
            self._broken.add(image)
        self.rows.reject(image or path, Rule.MALFORMED, problem)

    def add_unlabelled(self) -> None:
        """Add the images that have no annotation file, where others have one."""
        used = {folder_of(image) for image in self.rows.image_ids if image in self.tree.files}
        known = self._broken.union(self.rows.image_ids)
        lonely = [path for path in self.tree.images if path not in known and folder_of(path) in used]
        for image in lonely:
            self.rows.add_image(
                image, short=self._short(image), path=self.tree.files[image], split=self._split(image, image)
            )
        if lonely:
            logger.warning("%d images have no annotation file and count as images without objects.", len(lonely))

    def parsed(self) -> Parsed:
        """All rows as tables, classes in alphabetical order."""
        return self.rows.parsed(tuple(sorted(self.rows.categories().union(_label_map(self.tree)))))

    def _kind_of(self, _path: str) -> str | None:
        """The kind of a file's annotations, where its folder says it."""
        return None

    def _home_of(self, path: str) -> str:
        """The folder that an annotation file's image would lie in."""
        return folder_of(path)

    def _category_of(self, name: str) -> str | None:
        """The class that a name means."""
        return name or None

    def _add_image(self, path: str, image: str | None, said: str, root: Element) -> int:
        image_name = said or without_suffix(path).rpartition("/")[2]
        image_id = self.rows.add_image(
            image or join(self._home_of(path), image_name),
            short=self._short(image) if image else image_name,
            path=self.tree.files[image] if image else None,
            size=(declared(root.findtext("size/width")), declared(root.findtext("size/height"))),
            split=self._split(image, path),
            source_id=path,
            tags=tags_of(root),
        )
        first = self._owner.setdefault((image_id, self._kind_of(path)), path)
        if first != path:
            detail = f"{path} annotates the same image as {first}; its objects were added to it"
            self.rows.record(Entry(clean(image or path), Rule.DUPLICATE_IMAGE_ID, Action.FIXED, detail=clean(detail)))
        return image_id

    def _add_object(self, image_id: int, item: Element, path: str, position: int, *, inclusive: bool) -> str | None:
        """Add one ``<object>``, or say why it is none."""
        bounds = item.find("bndbox")
        if bounds is None:
            return "it has no bndbox"
        texts = [(bounds.findtext(corner) or "").strip() for corner in _CORNERS]
        box = _box(texts, inclusive=inclusive)
        if box is None:
            return f"its bndbox {shorten(texts)} is not four numbers"
        said = (item.findtext("confidence") or "").strip()
        score = number(said) if said else None
        if said and score is None:
            return f"its confidence {said!r} is no number"
        score = None if score is None or score <= -1 else score  # YMIR writes -1 for ground truth
        kind = self._kind_of(path)
        attributes = _attributes(item, bounds)
        if kind == "ground_truth" and score is not None:
            attributes["confidence"], score = score, None
        extras = Extras(
            difficult=_flag(item, "difficult"),
            truncated=_flag(item, "truncated"),
            score=score,
            source_id=f"{path}:object {position}",
            attributes=to_text(attributes),
            kind=kind,
        )
        self.rows.add_box(image_id, self._category_of(clean((item.findtext("name") or "").strip())), box, extras)
        return None

    def _split(self, image: str | None, path: str) -> str | None:
        if not self._has_lists:
            folders = (image or path).split("/")[:-1]
            return next((split for folder in reversed(folders) if (split := split_of_folder(folder))), None)
        for place in (path, image or ""):
            base, rest = _cut(without_suffix(place))
            whole, short = f"{base}\0{rest}", f"{base}\0{rest.rpartition('/')[2]}"
            if whole in self._splits:
                return self._splits[whole]
            # Some lists leave folders out; the name alone is another image's when that has an annotation.
            if short in self._splits and short not in self._keys:
                return self._splits[short]
        return None

    def _short(self, image: str) -> str:
        """The image's path below its image folder, and below its split's folder where folders say the split."""
        inside = below_images(image)
        if inside is None and self._has_lists:
            return image
        path = image if inside is None else inside[1]
        first, slash, rest = path.partition("/")
        return rest if slash and not self._has_lists and split_of_folder(first) else path

    def _find(self, xml: str, said: str) -> str | None:
        """The image of an annotation file: of the same name in a folder for images, else the one it names."""
        folder, _, stem = without_suffix(xml).rpartition("/")
        name = said.rpartition("/")[2]
        found = self._beside(without_suffix(xml))
        if found:
            named = [image for image in found if image.rpartition("/")[2] == name]
            return (named or found)[0]
        # ``a.jpg.xml`` is how some tools name the annotations of ``a.jpg``.
        wanted = [stem]
        if join(folder, without_suffix(name)) not in self._annotated:
            wanted += [path for path in (said, name) if path]
        for base in self._near(folder):
            for path in wanted:
                if join(base, path) in self.tree.files:
                    return join(base, path)
                if path != stem and (found := self._by_stem.get(join(base, without_suffix(path)), [])):
                    return found[0]
        same = self._stems.get(stem, [])
        return same[0] if len(same) == 1 and same[0] not in self._claimed else None

    @cached_property
    def _claimed(self) -> frozenset[str]:
        """The images that have an annotation file in the folder for it."""
        return frozenset(image for path in self._annotated for image in self._beside(path))

    def _beside(self, path: str) -> list[str]:
        """The images of the name of an annotation file, given without its suffix, in the first folder that has one."""
        folder, _, stem = path.rpartition("/")
        return next((found for base in self._near(folder) if (found := self._by_stem.get(join(base, stem)))), [])

    def _near(self, folder: str) -> list[str]:
        near = self._folders.get(folder)
        if near is None:
            near = self._folders[folder] = list(dict.fromkeys(_folders_near(self.tree, folder)))
        return near


def _cut(path: str) -> tuple[str, str]:
    """Cut a path at its annotation or image folder: (what is above, what is below)."""
    parts = path.split("/")
    for i, part in enumerate(parts[:-1]):
        if part.lower() in ANNOTATION_FOLDERS or part.lower() in IMAGE_FOLDERS:
            return "/".join(parts[:i]), "/".join(parts[i + 1 :])
    return "", path


def _folders_near(tree: Tree, folder: str) -> Iterator[str]:
    """Image folders to look in: the annotation folder's name replaced, then the folder itself and its parent."""
    parts = folder.split("/")
    for i, part in enumerate(parts):
        if part.lower() in ANNOTATION_FOLDERS:
            for images in IMAGE_FOLDERS:
                known = tree.folders.get("/".join([*parts[:i], images, *parts[i + 1 :]]).lower())
                if known is not None:
                    yield known
            yield "/".join([*parts[:i], *parts[i + 1 :]])
    yield folder
    for images in IMAGE_FOLDERS:
        for base in (folder, folder_of(folder)):
            known = tree.folders.get(join(base, images).lower())
            if known is not None:
                yield known
    yield folder_of(folder)


def _is_image_set(path: str) -> bool:
    return folder_of(path).lower().endswith("imagesets/main")


def _splits(tree: Tree) -> dict[str, str | None]:
    """``<folder above Annotations> NUL <image stem>`` -> split, from ``ImageSets/Main``."""
    claims: dict[str, set[str]] = {}
    for path in tree.with_suffix(".txt"):
        folder, _, name = path.rpartition("/")
        if name.lower() not in _LISTS or not _is_image_set(path):
            continue
        base = folder[: -len("imagesets/main")].rstrip("/")
        for line in tree.read(path).decode("utf-8-sig", "replace").splitlines():
            for stem in {normal(line), normal(line.strip())} - {""}:
                claims.setdefault(f"{base}\0{stem}", set()).add(_LISTS[name.lower()])
    return {key: _one_split(said) for key, said in claims.items()}


def _one_split(said: set[str]) -> str | None:
    """The split an image is in; ``trainval`` goes with train and with val but says neither alone."""
    plain = said - {"trainval"}
    if len(plain) != 1 or (plain == {"test"} and "trainval" in said):
        return None
    return next(iter(plain))


def _label_map(tree: Tree) -> list[str]:
    """Class names of a ``labelmap.txt`` (``name:colour:parts:actions``), as CVAT and our own writer leave it."""
    names = []
    for path in tree.by_name.get(LABEL_MAP, []):
        for line in tree.read(path).decode("utf-8-sig", "replace").split("\n"):
            name, *rest = line.rstrip("\r").rsplit(":", 3)
            if name.strip() and not name.startswith("# label") and rest and name.strip() != "background":
                names.append(name.strip())
    return names


def _is_ymir(root: Element) -> bool:
    """Whether YMIR wrote this, whose corners are the first and the last pixel inside the box."""
    if any(root.find(name) is not None for name in _YMIR_IMAGE):
        return True
    return any(item.find(name) is not None for item in root.iterfind("object") for name in _YMIR_OBJECT)


def tags_of(root: Element) -> dict[str, str]:
    """The image's own tags: YMIR's ``cks``, and its ``image_quality``."""
    tags = _texts(root.find("cks"))
    quality = (root.findtext("image_quality") or "").strip()
    return tags if quality in _SAYS_NOTHING else {**tags, "image_quality": clean(quality)}


def _texts(element: Element | None) -> dict[str, str]:
    return {} if element is None else {clean(item.tag): clean((item.text or "").strip()) for item in element}


def _box(texts: list[str], *, inclusive: bool) -> Box | None:
    """Left, top, width and height between two corners, the difference taken in decimal so that it is exact."""
    corners = [number(text) for text in texts]
    left, top, right, bottom = corners
    if left is None or top is None or right is None or bottom is None:
        return None
    last = int(inclusive)
    if not all(map(math.isfinite, (left, top, right, bottom))) or not any("." in text or "," in text for text in texts):
        return left, top, right - left + last, bottom - top + last
    exact = [decimal.Decimal(text.replace(",", ".")) for text in texts]
    width, height = (_EXACT.add(_EXACT.subtract(exact[i + 2], exact[i]), last) for i in (0, 1))
    return left, top, float(width), float(height)


def _flag(item: Element, name: str) -> bool:
    return (item.findtext(name) or "").strip().lower() in _TRUE


def _attributes(item: Element, bounds: Element) -> dict[str, object]:
    kept: dict[str, object] = {}
    for name in _KEPT:
        text = clean((item.findtext(name) or bounds.findtext(name) or "").strip())
        if text.lower() not in _SAYS_NOTHING and not (name == "occluded" and text.lower() not in _TRUE):
            kept[name] = text
    if number(str(kept.get("rotate_angle", ""))) == 0:
        del kept["rotate_angle"]
    tags = _texts(item.find("tags"))
    return {**kept, "tags": tags} if tags else kept
