"""KFP's own OpenAPI models as a check: what a request holds becomes a model, or a list of what no such model has."""

import json
import re
from datetime import datetime
from typing import Any

import kfp_server_api
import yaml
from kfp_server_api import models

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the quick one, where there is one
_CLIENT = kfp_server_api.ApiClient(kfp_server_api.Configuration())
_PLAIN: dict[str, tuple[type, ...]] = {"str": (str,), "int": (int,), "bool": (bool,), "float": (int, float)}
_KINDS = {"NUMBER_INTEGER": (int,), "NUMBER_DOUBLE": (int, float), "STRING": (str,), "BOOLEAN": (bool,)}
_KINDS |= {"LIST": (list,), "STRUCT": (dict,)}
_OPERATIONS = {
    "EQUALS": lambda value, wanted: value == wanted,
    "NOT_EQUALS": lambda value, wanted: value != wanted,
    "GREATER_THAN": lambda value, wanted: value > wanted,
    "GREATER_THAN_EQUALS": lambda value, wanted: value >= wanted,
    "LESS_THAN": lambda value, wanted: value < wanted,
    "LESS_THAN_EQUALS": lambda value, wanted: value <= wanted,
    "IS_SUBSTRING": lambda value, wanted: wanted in value,
    "IN": lambda value, wanted: value in wanted,
}


def as_json(model: Any) -> Any:
    """A model as the server sends it."""
    return _CLIENT.sanitize_for_serialization(model)


def as_model(data: Any, kind: str) -> Any:
    """What a client sent, as a model of ``kind``."""
    return _CLIENT._ApiClient__deserialize(data, kind)


def unknown(data: Any, kind: str, place: str = "body") -> list[str]:
    """What in ``data`` is not as KFP's OpenAPI has ``kind``."""
    if data is None or kind == "object":
        return []
    if kind.startswith(("list[", "dict(")):
        return _unknown_items(data, kind, place)
    if kind == "datetime" or kind in _PLAIN:
        fits = _is_time(data) if kind == "datetime" else type(data) in _PLAIN[kind]
        return [] if fits else [f"{place}={data!r} is no {kind}"]
    model = getattr(models, kind)
    if not model.openapi_types:
        allowed = [value for name, value in vars(model).items() if name.isupper()]
        return [] if data in allowed else [f"{place}={data!r} is none of {allowed}"]
    return _unknown_fields(data, model, place)


def _unknown_items(data: Any, kind: str, place: str) -> list[str]:
    if kind.startswith("list["):
        if not isinstance(data, list):
            return [f"{place} is no list"]
        return [word for at, item in enumerate(data) for word in unknown(item, kind[5:-1], f"{place}[{at}]")]
    inner = kind[5:-1].partition(", ")[2]
    if not isinstance(data, dict):
        return [f"{place} is no object"]
    return [word for name, item in data.items() for word in unknown(item, inner, f"{place}.{name}")]


def _unknown_fields(data: Any, model: Any, place: str) -> list[str]:
    if not isinstance(data, dict):
        return [f"{place} is no object"]
    kinds = {key: model.openapi_types[name] for name, key in model.attribute_map.items()}
    found = [f"{place}.{name} is no field of {model.__name__}" for name in data if name not in kinds]
    return found + [
        word for name, item in data.items() if name in kinds for word in unknown(item, kinds[name], f"{place}.{name}")
    ]


def wrong_arguments(spec: Any, given: dict[str, Any]) -> list[str]:
    """What the API server refuses in the parameters of a run: extra ones, missing ones and wrong kinds."""
    document = spec.get("pipeline_spec", spec)
    declared = document.get("root", {}).get("inputDefinitions", {}).get("parameters", {})
    words = [f"pipeline does not take {name!r}" for name in given if name not in declared]
    for name, one in declared.items():
        if name in given:
            value, kind = given[name], one["parameterType"]
            odd = isinstance(value, bool) and kind != "BOOLEAN"
            if odd or not isinstance(value, _KINDS[kind]):
                words.append(f"input parameter {name} requires type {kind}, got {value!r}")
        elif "defaultValue" not in one and not one.get("isOptional"):
            words.append(f"parameter {name} has neither default value nor user provided value")
    return words


def package_spec(text: str) -> Any:
    """A package as the API server keeps it."""
    documents = [each for each in yaml.load_all(text, Loader=LOADER) if each]
    if len(documents) == 1:
        return documents[0]
    return {"pipeline_spec": documents[0], "platform_spec": documents[1]}


class Selection:
    """A list request: filter, order and page."""

    LARGEST = 200

    def __init__(self, query: dict[str, str], keys: set[str]) -> None:
        self.query, self.keys = query, keys
        self.words: list[str] = []
        self.predicates = self._predicates(query.get("filter", ""))

    def _predicates(self, text: str) -> list[dict[str, Any]]:
        if not text:
            return []
        data = _snake(json.loads(text))
        self.words += unknown(data, "V2beta1Filter", "filter")
        found: list[dict[str, Any]] = data.get("predicates", [])
        self.words += [f"filter key {one.get('key')!r} is unknown" for one in found if one.get("key") not in self.keys]
        return found

    def page(self, items: list[Any]) -> tuple[list[Any], str]:
        """The items of the page that was asked for, and the token of the next."""
        chosen = [item for item in items if all(_fits(item, one) for one in self.predicates)]
        field, _, direction = (self.query.get("sort_by") or "created_at").partition(" ")
        chosen.sort(key=lambda item: str(getattr(item, field)), reverse=direction == "desc")
        start, size = int(self.query.get("page_token") or 0), int(self.query.get("page_size") or 20)
        end = start + min(size or 20, self.LARGEST)
        return chosen[start:end], str(end) if end < len(chosen) else ""


def _fits(item: Any, predicate: dict[str, Any]) -> bool:
    (name,) = (key for key in predicate if key.endswith(("_value", "_values")))
    wanted, value = predicate[name], getattr(item, predicate["key"])
    if name == "timestamp_value":
        wanted = as_model(wanted, "datetime")
    if name.endswith("_values"):
        wanted = wanted["values"]
    return value is not None and bool(_OPERATIONS[predicate["operation"]](value, wanted))


def _snake(data: Any) -> Any:
    if isinstance(data, list):
        return [_snake(item) for item in data]
    if isinstance(data, dict):
        return {re.sub("([A-Z])", r"_\1", name).lower(): _snake(item) for name, item in data.items()}
    return data


def _is_time(data: Any) -> bool:
    try:
        return datetime.fromisoformat(data).tzinfo is not None
    except (TypeError, ValueError):
        return False
