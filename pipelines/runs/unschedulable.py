"""What the scheduler says when no machine takes a pod, with the missing resource named."""

import re
from collections.abc import Callable

from pipelines.runs.why import Reason, in_brief, tame

_TOTAL = re.compile(r"(\d+)/(\d+) nodes are available")
_GPU = ("gpu", "nvidia.com", "amd.com", "habana.ai")


def why_unschedulable(message: str) -> Reason:
    """The reason behind a FailedScheduling message.

    Example:
        >>> why_unschedulable("0/5 nodes are available: 3 Insufficient nvidia.com/gpu, 2 node(s) had untolerated "
        ...                   "taint {spot: true}.").text
        'No machine takes the pod: 3 of 5 have too little nvidia.com/gpu free; 2 of 5 are tainted spot: true.'
    """
    whole = tame(message)
    total = _TOTAL.search(whole)
    said = whole[total.end() :].lstrip(": ") if total else whole
    said = re.split(r"\.?\s*preemption:", said)[0].rstrip(". ")
    parts = [_explained(part, total[2] if total else "") for part in _split(said)]
    known = [part for part in parts if part is not None]
    if not known:
        if total and total[2] == "0":
            return Reason("Unschedulable", "The cluster has no machine.", "Add machines to it.")
        text = f"No machine takes the pod: {in_brief(whole) or 'the scheduler does not say why'}."
        return Reason("Unschedulable", text, "kubectl describe node shows what the machines have.")
    known.sort(key=lambda part: part[2])
    text = f"No machine takes the pod: {'; '.join(part[0] for part in known)}."
    return Reason("Unschedulable", text, known[0][1])


def _split(said: str) -> list[str]:
    """The parts of the list; a comma within braces or before a small letter belongs to its part."""
    return re.split(r",\s*(?=\d+ )", said) if said else []


def _explained(part: str, total: str) -> tuple[str, str, int] | None:
    """A part in words, what helps, and how much it says (lower: more)."""
    counted = re.match(r"(\d+) (.+)", part)
    if counted is None:
        return None
    of = f"{counted[1]} of {total}" if total else counted[1]
    for pattern, words, remedy, rank in _PARTS:
        found = re.match(pattern, counted[2], re.IGNORECASE)
        if found:
            return f"{of} {words(found)}", remedy(found), rank
    return f"{of}: {counted[2]}", "kubectl describe node shows what the machines have.", 9


def _more_of(found: re.Match[str]) -> str:
    resource = found[1].rstrip(".")
    if any(word in resource for word in _GPU):
        return "Wait for a free GPU, add GPU machines, or rerun with --set gpus=1, or gpus=0 to train on CPUs."
    if resource == "ephemeral-storage":
        return "Use machines with more disk."
    return f"Ask for less {resource}, wait until other pods end, or add larger machines."


def _tolerate(found: re.Match[str]) -> str:
    key = found[1].split(":")[0].split("=")[0].strip()
    if key.startswith("node.kubernetes.io/") or key == "node-role.kubernetes.io/control-plane":
        return "Those machines are not for runs or out of order: add others."
    toleration = f'[{{"key": "{key}", "operator": "Exists"}}]'
    return f"If the run may go there: --set 'tolerations={toleration}'."


def _same(text: str) -> Callable[[re.Match[str]], str]:
    return lambda _found: text


_PARTS: tuple[tuple[str, Callable[[re.Match[str]], str], Callable[[re.Match[str]], str], int], ...] = (
    (r"Insufficient (\S+)", lambda found: f"have too little {found[1]} free", _more_of, 1),
    (r"Too many pods", _same("have as many pods as they may"), _same("Wait until other pods end, or add machines."), 2),
    (
        r"node\(s\) (?:didn't|did not) match Pod's node affinity(?:/selector)?",
        _same("do not have the labels that are asked for"),
        _same("Compare node_selector and affinity with 'kubectl get nodes --show-labels'."),
        3,
    ),
    (
        r"node\(s\) didn't match pod (?:anti-)?affinity|node\(s\) (?:didn't|did not) (?:satisfy|match) .*affinity",
        _same("are ruled out by an affinity between pods"),
        _same("Look at the affinity of the run."),
        4,
    ),
    (
        r"node\(s\) had (?:untolerated )?taints? \{([^}]*)\}",
        lambda found: f"are tainted {found[1].rstrip(': ')}",
        _tolerate,
        5,
    ),
    (
        r"node\(s\) had volume node affinity conflict",
        _same("cannot reach the volume's zone"),
        _same("The volume lies in a zone without a machine that fits: kubectl get pv."),
        4,
    ),
    (
        r"pod has unbound immediate PersistentVolumeClaims|node\(s\) didn't find available persistent volumes",
        _same("have no volume for its claim"),
        _same("kubectl get pvc shows the claim; it needs a storage class that makes volumes."),
        4,
    ),
    (r"node\(s\) were unschedulable", _same("are closed for new pods"), _same("kubectl uncordon opens them."), 6),
)
