"""What the stub of a Kubernetes API is made of: its records, selectors and patches."""

import re
from copy import deepcopy
from dataclasses import dataclass
from typing import Any


@dataclass
class Request:
    """One request the stub has had."""

    method: str
    path: str
    query: dict[str, str]
    body: Any
    authorization: str


@dataclass
class PodLog:
    """What a container wrote: ``text`` so far, ``before`` of the instance before it, ``open`` while it still runs."""

    text: str = ""
    before: str | None = None
    open: bool = False


@dataclass
class Failure:
    """Requests of a kind that are answered with an error for a while."""

    method: str
    pattern: re.Pattern[str]
    status: int
    left: int
    message: str


class Refused(Exception):  # noqa: N818 - an HTTP answer, no error of the stub
    """Answer with this status instead."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def patched(old: Any, patch: Any) -> Any:
    """A JSON patch (a list) or a merge patch applied; a strategic one is taken for a merge patch."""
    if isinstance(patch, list):
        new = deepcopy(old)
        for step in patch:
            *parents, last = [part.replace("~1", "/") for part in step["path"].strip("/").split("/")]
            place = new
            for part in parents:
                place = place.setdefault(part, {})
            if step["op"] == "remove":
                place.pop(last)
            else:
                place[last] = step["value"]
        return new
    if not isinstance(patch, dict) or not isinstance(old, dict):
        return patch
    merged = {name: value for name, value in old.items() if name not in patch}
    return merged | {name: patched(old.get(name), value) for name, value in patch.items() if value is not None}


def has_labels(one: dict[str, Any], selector: str) -> bool:
    """Whether an object's labels meet a selector: ``a=b``, ``a!=b``, ``a``, ``!a``, ``a in (b, c)``."""
    labels = one["metadata"].get("labels") or {}
    for term in re.findall(r"[^,(]+(?:\([^)]*\))?", selector):
        among = re.fullmatch(r"\s*(\S+)\s+(in|notin)\s*\(([^)]*)\)\s*", term)
        if among:
            values = {value.strip() for value in among[3].split(",")}
            met = (labels.get(among[1]) in values) == (among[2] == "in")
        elif "!=" in term:
            name, value = term.split("!=")
            met = labels.get(name.strip()) != value.strip()
        elif "=" in term:
            name, value = re.split("==?", term, maxsplit=1)
            met = labels.get(name.strip()) == value.strip()
        else:
            met = (term.strip().lstrip("!") in labels) != term.strip().startswith("!")
        if not met:
            return False
    return True


def has_fields(one: dict[str, Any], selector: str) -> bool:
    """Whether an object's fields meet a selector: ``involvedObject.name=a,type!=Normal``."""
    for term in filter(None, selector.split(",")):
        path, value = re.split("!=|==?", term, maxsplit=1)
        place: Any = one
        for part in path.split("."):
            place = (place or {}).get(part)
        if (str(place or "") == value) == ("!=" in term):
            return False
    return True
