"""Where in a cluster a training may run: the shapes of its parameters, as Kubernetes spells them."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field

ACCELERATOR_PATTERN = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?/[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$"
QUANTITY_PATTERN = r"^[0-9]+(\.[0-9]+)?(m|[kMGT]i?|Ki)?$"
DEPLOYMENT_PATTERN = r"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)?$"
GPU_TOLERATION = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}

_TOLERATION = ("key", "operator", "value", "effect", "tolerationSeconds")
_WORDS = {"operator": ("Exists", "Equal"), "effect": ("NoSchedule", "PreferNoSchedule", "NoExecute")}
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt")


def _tolerations(given: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [_toleration(one, f"tolerations[{number}]") for number, one in enumerate(given)]


def _toleration(given: Mapping[str, Any], place: str) -> dict[str, Any]:
    for name, value in given.items():
        if name not in _TOLERATION:
            raise ValueError(f"{place} has {name!r}: use {', '.join(_TOLERATION)}")
        if name in _WORDS and value not in _WORDS[name]:
            raise ValueError(f"{place} has {name}={value!r}: use one of {', '.join(_WORDS[name])}")
    if not given:
        raise ValueError(f"{place} is empty: it would tolerate nothing, leave it out")
    if not given.get("key") and given.get("operator") != "Exists":
        raise ValueError(f"{place} has no key: give one, or operator Exists to tolerate every taint")
    seconds = given.get("tolerationSeconds")
    return {**given, "tolerationSeconds": _whole(seconds, place)} if seconds is not None else dict(given)


def _affinity(given: dict[str, Any]) -> dict[str, Any]:
    """Check a node affinity; numbers that were read as text become numbers."""
    for name in given:
        if name not in (_REQUIRED, _PREFERRED):
            raise ValueError(f"affinity has {name!r}: it is a node affinity with {_REQUIRED} or {_PREFERRED}")
    checked = dict(given)
    if _REQUIRED in given:
        terms = _member(given[_REQUIRED], "nodeSelectorTerms", f"affinity.{_REQUIRED}")
        for term in terms:
            _term(term)
    if _PREFERRED in given:
        checked[_PREFERRED] = [_preference(one) for one in _listed(given[_PREFERRED], f"affinity.{_PREFERRED}")]
    return checked


def _preference(given: object) -> dict[str, Any]:
    if not isinstance(given, dict) or set(given) != {"weight", "preference"}:
        raise ValueError(f"affinity.{_PREFERRED} has {given!r}: each needs weight (1 to 100) and preference")
    weight = _whole(given["weight"], "affinity's weight")
    if not 1 <= weight <= 100:  # noqa: PLR2004 - Kubernetes' own bounds
        raise ValueError(f"affinity's weight is {weight}: use 1 to 100")
    _term(given["preference"])
    return {**given, "weight": weight}


def _term(given: object) -> None:
    expressions = _member(given, "matchExpressions", "affinity's term")
    for one in expressions:
        if not isinstance(one, dict) or not one.get("key") or one.get("operator") not in _OPERATORS:
            raise ValueError(f"affinity has {one!r}: it needs key and operator, one of {', '.join(_OPERATORS)}")


def _member(given: object, name: str, place: str) -> list[object]:
    if not isinstance(given, dict) or name not in given:
        raise ValueError(f"{place} is {given!r}: it needs {name}")
    return _listed(given[name], f"{place}.{name}")


def _listed(given: object, place: str) -> list[object]:
    if not isinstance(given, list):
        raise ValueError(f"{place} is {given!r}: it must be a list")  # noqa: TRY004 - pydantic asks for ValueError
    return given


def _whole(given: object, place: str) -> int:
    try:
        return int(str(given))
    except ValueError as error:
        raise ValueError(f"{place} has {given!r} where a whole number belongs") from error


Tolerations = Annotated[list[dict[str, Any]], AfterValidator(_tolerations)]
NodeAffinity = Annotated[dict[str, Any], AfterValidator(_affinity)]
NodeSelector = Annotated[dict[str, str], Field(max_length=20)]
