"""Label Studio's exports in one shape: a task, the image files it names, and the one annotation of it that counts."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

Record = Mapping[str, object]

_OWN_COLUMNS = frozenset({
    "id", "annotator", "annotation_id", "created_at", "updated_at", "lead_time", "agreement", "project",
    "completed_by", "unique_id",
})  # fmt: skip
_LABEL_LISTS = ("rectanglelabels", "polygonlabels", "brushlabels", "ellipselabels", "keypointlabels", "labels")
_OLDEST = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True)
class Choice:
    """The annotation of a task that counts, and those it was preferred to; ``None``: nobody finished one."""

    chosen: Record | None
    others: tuple[Record, ...]


def tasks_of(content: object) -> Iterator[Record]:
    """The tasks of an exported document: JSON, JSON-MIN, or a file of a target storage (one annotation each)."""
    records = content if isinstance(content, list) else [content]
    brief: dict[str, dict[str, object]] = {}
    for position, record in enumerate(records):
        if not isinstance(record, dict):
            yield {"broken": record}
        elif isinstance(record.get("task"), dict) and isinstance(record.get("result"), list):
            task = record["task"]
            yield {**task, "annotations": [{key: value for key, value in record.items() if key != "task"}]}
        elif isinstance(record.get("data"), dict):
            yield record
        else:
            _add_brief(brief, record, position)
    yield from brief.values()


def _add_brief(brief: dict[str, dict[str, object]], record: Record, position: int) -> None:
    """Add a row of JSON-MIN, which is one annotation with the task's data beside it."""
    key = str(record.get("id", f"row {position}"))
    data = {name: value for name, value in record.items() if name not in _OWN_COLUMNS and not _is_result(value)}
    task = brief.setdefault(key, {"id": record.get("id"), "data": data, "annotations": []})
    annotations = task["annotations"]
    if record.get("annotation_id") is not None and isinstance(annotations, list):
        result = [item for value in record.values() if _is_result(value) for item in _results(value)]
        times = {name: record.get(name) for name in ("created_at", "updated_at")}
        annotations.append({"id": record["annotation_id"], "result": result, **times})


def _is_result(value: object) -> bool:
    return isinstance(value, list) and any(
        isinstance(item, dict) and ({"x", "points", "rle"} & item.keys() or set(_LABEL_LISTS) & item.keys())
        for item in value
    )


def _results(value: object) -> Iterator[Record]:
    for item in value if isinstance(value, list) else ():
        if isinstance(item, dict):
            kind = next((name for name in _LABEL_LISTS if name in item), "rectangle")
            sizes = {name: item.get(name) for name in ("original_width", "original_height", "image_rotation")}
            yield {"type": kind, "value": item, **sizes}


def choose(task: Record) -> Choice:
    """The annotation that counts: marked as ground truth, else the newest; cancelled ones never do."""
    given = task.get("annotations", task.get("completions"))
    found = [item for item in given if isinstance(item, dict)] if isinstance(given, list) else []
    finished = [item for item in found if item.get("was_cancelled") is not True]
    cancelled = [item for item in found if item.get("was_cancelled") is True and item.get("result")]
    ranked = sorted(finished, key=_rank, reverse=True)
    return Choice(ranked[0] if ranked else None, (*ranked[1:], *cancelled))


def choose_prediction(task: Record) -> Choice:
    """The newest of a task's predictions."""
    given = task.get("predictions")
    ranked = (
        sorted((item for item in given if isinstance(item, dict)), key=_rank, reverse=True)
        if isinstance(given, list)
        else []
    )
    return Choice(ranked[0] if ranked else None, tuple(ranked[1:]))


def _rank(annotation: Record) -> tuple[bool, datetime, float]:
    number = annotation.get("id")
    place = float(number) if isinstance(number, (int, float)) and not isinstance(number, bool) else -math.inf
    times = [_time(annotation.get(name)) for name in ("updated_at", "created_at")]
    return annotation.get("ground_truth") is True, next((time for time in times if time), _OLDEST), place


def _time(value: object) -> datetime | None:
    """A time as Label Studio writes it; without a zone it is UTC."""
    if not isinstance(value, str):
        return None
    try:
        time = datetime.fromisoformat(value)
    except ValueError:
        return None
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time
