"""Whether an image holds the libraries that a packed model was packed with, at the same versions."""

import re
from collections.abc import Mapping

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from components.shared.errors import PipelineError
from pipelines.images.sbom import Inventory, take_inventory
from pipelines.images.tool import Tool

_SHOWN = 5
_PINNED = re.compile(r"^[A-Za-z0-9][^\n\\#]*==[^\n\\#]*", re.MULTILINE)


def compare_libraries(tool: Tool, tag: str, requirements: str) -> str:
    """What is missing or differs in an image, as the end of a sentence; empty where nothing is.

    Args:
        tool: where the image is.
        tag: its name.
        requirements: the archive's ``requirements.txt``.
    """
    wanted = allowed_versions(requirements)
    if not wanted:
        return ""
    try:
        return differing(take_inventory(tool, tag), wanted)
    except PipelineError:
        return "has no python3 that could say what it holds"


def allowed_versions(requirements: str) -> dict[str, tuple[str, ...]]:
    """Versions by canonical name; more than one where a version of Python chooses, which the image has, not we."""
    found: dict[str, tuple[str, ...]] = {}
    for text in _PINNED.findall(requirements):
        try:
            one = Requirement(text.strip())
        except InvalidRequirement:
            continue
        version = next(iter(one.specifier)).version.partition("+")[0]
        name = canonicalize_name(one.name)
        if name in found or one.marker is None or one.marker.evaluate({"sys_platform": "linux"}):
            found[name] = (*found.get(name, ()), version)
        elif "python" in str(one.marker):
            found[name] = (version,)
    return found


def differing(inventory: Inventory, wanted: Mapping[str, tuple[str, ...]]) -> str:
    """What of these an inventory has not, as the end of a sentence; empty where it has all."""
    held: dict[str, str] = {}
    for each in reversed(inventory.python):
        held[canonicalize_name(each.name)] = each.version.partition("+")[0]
    missing = [f"{name}=={versions[0]}" for name, versions in wanted.items() if name not in held]
    others = [
        f"{name} {held[name]} in place of {versions[0]}"
        for name, versions in wanted.items()
        if held.get(name, versions[0]) not in versions
    ]
    said = [f"lacks {_some(missing)}"] if missing else []
    said += [f"has {_some(others)}"] if others else []
    return " and ".join(said)


def _some(names: list[str]) -> str:
    rest = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
