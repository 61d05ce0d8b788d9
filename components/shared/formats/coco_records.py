"""Turns the records of a COCO file into rows, or says why one is none."""

import json
import math
from collections.abc import Mapping

from components.shared.formats.names import clean
from components.shared.formats.rows import Box, Extras, Rows, shorten

Ids = dict[object, int]

OWN_COLUMNS = frozenset({
    "id", "image_id", "category_id", "bbox", "iscrowd", "score", "confidence", "difficult", "truncated",
})  # fmt: skip
_YES = (1, "1")
_LONGEST_ID = 18
_LARGEST_ID = 1e18

_strict = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


def is_id(value: object) -> bool:
    """Whether a value can be an id: text, or a number that floats and integers agree on."""
    if isinstance(value, (int, float)):
        return not isinstance(value, bool) and abs(value) < _LARGEST_ID  # NaN is not less than anything
    return isinstance(value, str)


def find_id(known: Mapping[object, object], value: object) -> object | None:
    """The key that an id means: some tools write a number here and its text there."""
    if type(value) is int and value in known:
        return value  # as nearly all are
    if not is_id(value):
        return None
    if value in known:
        return value
    if isinstance(value, str):
        other: object = int(value) if value.isdecimal() and len(value) <= _LONGEST_ID else None
    elif isinstance(value, (int, float)):
        other = str(int(value)) if value == int(value) else None
    else:
        other = None
    return other if other in known else None


def add_annotation(
    record: object, ids: Ids, categories: Mapping[object, str], rows: Rows, *, kind: str | None = None
) -> str | None:
    """Add one annotation, or say why it is none; ``"image"``: its image is not in ``ids``.

    Args:
        record: the parsed element of ``annotations`` or of a results file.
        ids: image id in the file -> image id in ``rows``.
        categories: category id in the file -> name.
        rows: receives it.
        kind: ``prediction`` in a results file, whose records must have a score.
    """
    if not isinstance(record, dict):
        return "it is no object"
    image = find_id(ids, record.get("image_id"))
    if image is None:
        return "image"
    box = _box(record.get("bbox"))
    if box is None:
        return "bbox is not a list of four numbers"
    score = record.get("score", record.get("confidence"))
    if (kind and score is None) or isinstance(score, bool) or not isinstance(score, (int, float, type(None))):
        return "its score is no number"
    number = record.get("id")
    category = find_id(categories, record.get("category_id"))
    extras = Extras(
        crowd=record.get("iscrowd") in _YES,
        difficult=record.get("difficult") in _YES,
        truncated=record.get("truncated") in _YES,
        score=None if score is None else _float(score),
        source_id=None if number is None else clean(shorten(str(number))),
        attributes=_attributes(record, box, known=category is not None),
        kind=kind,
    )
    rows.add_box(ids[image], None if category is None else categories[category], box, extras)
    return None


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _box(value: object) -> Box | None:
    if type(value) is not list or len(value) != 4:  # noqa: PLR2004 - left, top, width, height
        return None
    x, y, width, height = value
    if type(x) is type(y) is type(width) is type(height) is float:
        return x, y, width, height
    if not all(type(item) in {float, int} for item in value):
        return None
    return _float(x), _float(y), _float(width), _float(height)


def _attributes(record: dict[str, object], box: Box, *, known: bool) -> str | None:
    kept = {key: value for key, value in record.items() if key not in OWN_COLUMNS}
    if kept.get("segmentation") in ([], None):
        kept.pop("segmentation", None)
    if kept.get("area") == box[2] * box[3]:
        del kept["area"]
    if not known:
        kept["category_id"] = record.get("category_id")
    if not kept:
        return None
    try:
        return _strict.encode(kept)
    except ValueError:
        return _strict.encode(_finite(kept))


def _finite(value: object) -> object:
    """The value with NaN and infinities, which JSON does not know, written as null."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
