"""What a compiled package asks of the namespace it runs in, read from its own documents."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import yaml
from kubernetes.utils.quantity import parse_quantity

from pipelines.doctor.nodes import Needs
from pipelines.packages import Package

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # a package is large


@dataclass(frozen=True)
class PackageNeeds:
    """What the pods of a package need.

    Attributes:
        images: image by the name of a step.
        secrets: the keys that are read from each secret, by its name; optional ones are left out.
        may_be_root: the steps that do not say that they are not root.
        steps: what each step's pod asks of a node, for those that no parameter decides.
    """

    images: Mapping[str, str]
    secrets: Mapping[str, tuple[str, ...]]
    may_be_root: tuple[str, ...]
    steps: Mapping[str, Needs] = field(default_factory=dict)


def needs_of_package(package: Package) -> PackageNeeds:
    """What the pods of ``package`` need of their namespace."""
    spec, *platforms = [
        document for document in yaml.load_all(package.text, Loader=_LOADER) if isinstance(document, dict)
    ]
    executors = spec["deploymentSpec"]["executors"]
    settings: dict[str, Any] = {}
    for platform in platforms:
        kubernetes = platform.get("platforms", {}).get("kubernetes", {})
        settings |= kubernetes.get("deploymentSpec", {}).get("executors", {})
    images = {_step(label): executor["container"]["image"] for label, executor in executors.items()}
    rooted = [_step(label) for label in executors if not _says_no_root(settings.get(label, {}))]
    steps = {_step(label): _size(executor["container"].get("resources", {})) for label, executor in executors.items()}
    fixed = {step: needs for step, needs in steps.items() if needs}
    return PackageNeeds(images, _secrets(settings), tuple(rooted), fixed)


def _secrets(settings: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    found: dict[str, set[str]] = {}
    for executor in settings.values():
        for secret in executor.get("secretAsEnv", []):
            parameter = secret.get("secretNameParameter", {})
            name = secret.get("secretName") or parameter.get("runtimeValue", {}).get("constant", "")
            if name and not secret.get("optional"):
                found.setdefault(name, set()).update(one["secretKey"] for one in secret.get("keyToEnv", []))
    return {name: tuple(sorted(keys)) for name, keys in sorted(found.items())}


def _size(resources: Mapping[str, Any]) -> Needs | None:
    cpu, memory = (str(resources.get(name) or "0") for name in ("resourceCpuRequest", "resourceMemoryRequest"))
    if "{{" in cpu + memory:
        return None
    return Needs(gpus=0, cpu=Decimal(parse_quantity(cpu)), memory=Decimal(parse_quantity(memory)))


def _says_no_root(executor: Mapping[str, Any]) -> bool:
    return bool(executor.get("securityContext", {}).get("runAsNonRoot"))


def _step(label: str) -> str:
    return label.removeprefix("exec-").replace("-", "_")
