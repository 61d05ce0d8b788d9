"""Which nodes could hold a training: what it asks of a node, and why a node is none for it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from kubernetes.utils.quantity import parse_quantity

from pipelines.config import TrainingConfig
from pipelines.doctor.findings import Finding, ok, problem, warning

_KEPT_AWAY = frozenset({"NoSchedule", "NoExecute"})
_SHOWN = 4  # nodes that are named


@dataclass(frozen=True)
class Needs:
    """What the pod of a training asks for.

    Attributes:
        gpus: how many; 0: it trains on CPUs.
        accelerator: the resource that counts them.
        selector: labels a node must have.
        tolerations: as in a pod.
        affinity: a pod's ``nodeAffinity``; only what is required counts.
        cpu: cores.
        memory: bytes.
    """

    gpus: int
    accelerator: str = "nvidia.com/gpu"
    selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: Sequence[Mapping[str, Any]] = ()
    affinity: Mapping[str, Any] = field(default_factory=dict)
    cpu: Decimal = Decimal(0)
    memory: Decimal = Decimal(0)


def needs_of(config: TrainingConfig) -> Needs:
    """What the pod of a training with these parameters asks for."""
    return Needs(
        gpus=config.gpus,
        accelerator=config.accelerator,
        selector=config.node_selector,
        tolerations=config.tolerations,
        affinity=config.affinity,
        cpu=Decimal(parse_quantity(config.train_cpu)),
        memory=Decimal(parse_quantity(config.train_memory)),
    )


def check_nodes(nodes: Sequence[Any], needs: Needs) -> Iterator[Finding]:
    """Whether a node can hold the training; ``nodes`` are Kubernetes' ``V1Node``."""
    having = [node for node in nodes if _amount(node, needs.accelerator)]
    total = sum(int(_amount(node, needs.accelerator)) for node in having)
    seen = f"{total} {needs.accelerator} on {len(having)} of {len(nodes)} nodes"
    against = {node.metadata.name: why_not(node, needs) for node in (having if needs.gpus else nodes)}
    fitting = [name for name, reason in against.items() if not reason]
    if fitting:
        said = seen if needs.gpus else f"it trains on CPUs; {seen}"
        yield ok("nodes", f"the training fits {_names(fitting)} ({said})")
        return
    if needs.gpus and not having:
        fix = "Add a GPU node pool (it may scale from 0) and the device plugin, or train with --set gpus=0."
        yield warning("nodes", f"no node has {needs.accelerator} now, and the training asks for {needs.gpus}", fix)
        return
    reasons = "; ".join(f"{name} {reason}" for name, reason in list(against.items())[:_SHOWN])
    fix = "Set node_selector, tolerations, gpus, train_cpu and train_memory to what a node has, or add such nodes."
    yield problem("nodes", f"no node can hold the training: {reasons or 'there is none'}", fix)


def check_steps(nodes: Sequence[Any], steps: Mapping[str, Needs]) -> Iterator[Finding]:
    """Whether each other step has a node that can hold it; nothing when all have."""
    lost: dict[str, list[str]] = {}
    for step, needs in steps.items():
        against = {node.metadata.name: why_not(node, needs) for node in nodes}
        if nodes and all(against.values()):
            reasons = "; ".join(f"{name} {reason}" for name, reason in list(against.items())[:_SHOWN])
            lost.setdefault(reasons, []).append(step)
    for reasons, names in lost.items():
        fix = "Add a node without such taints that is large enough; only the training tolerates what parameters say."
        yield problem("nodes for steps", f"no node can hold {', '.join(names)}: {reasons}", fix)


def why_not(node: Any, needs: Needs) -> str:  # noqa: ANN401 - kubernetes ships no types
    """Why the scheduler would never put the training on this node; empty when it could."""
    labels = node.metadata.labels or {}
    if node.spec.unschedulable:
        return "is cordoned"
    if not _is_ready(node):
        return "is not ready"
    missing = next((f"{name}={value}" for name, value in needs.selector.items() if labels.get(name) != value), "")
    if missing:
        return f"lacks the label {missing}"
    if not meets_affinity(labels, node.metadata.name, needs.affinity):
        return "does not meet the affinity"
    for taint in node.spec.taints or []:
        if taint.effect in _KEPT_AWAY and not any(tolerates(one, taint) for one in needs.tolerations):
            value = f"={taint.value}" if taint.value else ""
            return f"has the taint {taint.key}{value}:{taint.effect}, which is not tolerated"
    return _too_small(node, needs)


def tolerates(toleration: Mapping[str, Any], taint: Any) -> bool:  # noqa: ANN401 - same
    """Whether a toleration covers a taint, as Kubernetes matches them."""
    key, operator = toleration.get("key") or "", toleration.get("operator") or "Equal"
    if toleration.get("effect") and toleration["effect"] != taint.effect:
        return False
    if not key:
        return bool(operator == "Exists")
    if key != taint.key:
        return False
    return bool(operator == "Exists" or (toleration.get("value") or "") == (taint.value or ""))


def meets_affinity(labels: Mapping[str, str], name: str, affinity: Mapping[str, Any]) -> bool:
    """Whether labels meet the required terms of a ``nodeAffinity``; one term is enough, all its parts count."""
    found = affinity.get("nodeAffinity", affinity)
    required = found.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    terms = required.get("nodeSelectorTerms") or []
    fields = {"metadata.name": name}
    return not terms or any(
        all(_matches(labels, part) for part in term.get("matchExpressions") or [])
        and all(_matches(fields, part) for part in term.get("matchFields") or [])
        for term in terms
    )


def _matches(labels: Mapping[str, str], part: Mapping[str, Any]) -> bool:
    value, values = labels.get(str(part.get("key"))), part.get("values") or []
    bound = int(values[0]) if values and str(values[0]).isdigit() else 0
    number = int(value) if value is not None and value.isdigit() else None
    met = {
        "In": value in values,
        "NotIn": value not in values,
        "Exists": value is not None,
        "DoesNotExist": value is None,
        "Gt": number is not None and number > bound,
        "Lt": number is not None and number < bound,
    }
    return met.get(str(part.get("operator")), False)


def _too_small(node: Any, needs: Needs) -> str:  # noqa: ANN401 - kubernetes ships no types
    for resource, wanted in ((needs.accelerator, Decimal(needs.gpus)), ("cpu", needs.cpu), ("memory", needs.memory)):
        has = _amount(node, resource)
        if has < wanted:
            return f"has {shown(has, resource)} {resource} of the {shown(wanted, resource)} it takes"
    return ""


def shown(amount: Decimal, resource: str) -> str:
    """An amount of a resource for people."""
    return f"{amount / 2**30:.1f} GiB" if "memory" in resource or "storage" in resource else f"{amount.normalize():f}"


def _amount(node: Any, resource: str) -> Decimal:  # noqa: ANN401 - kubernetes ships no types
    return Decimal(parse_quantity((node.status.allocatable or {}).get(resource, "0")))


def _is_ready(node: Any) -> bool:  # noqa: ANN401 - same
    conditions = {one.type: one.status for one in node.status.conditions or []}
    return bool(conditions.get("Ready", "True") == "True")


def _names(names: Sequence[str]) -> str:
    rest = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
