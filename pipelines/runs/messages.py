"""Why a step failed or was stopped, read off what Argo, a registry or the step itself says about it."""

import re
from collections.abc import Callable, Iterable

from pipelines.runs.why import Reason, in_brief, tame

MORE_MEMORY = "Give it more memory (of the training: --set train_memory=32Gi), or lower batch or imgsz."
RAISE_LIMIT = "Raise the time limit of the step or of the run, or train for fewer epochs; a retry goes on where it was."


def why_message(message: str) -> Reason | None:
    """What a message of Argo about a node or a Workflow says; ``None`` for one that says nothing by itself."""
    text = tame(message)
    for pattern, make in _MESSAGES:
        found = re.search(pattern, text, re.IGNORECASE)
        if found:
            return make(found, text)
    return None


def why_said(sentence: str, code: str = "Failed") -> Reason:
    """The reason behind a step's own last sentence, which is kept as it is."""
    text = tame(sentence)
    for pattern, known, remedy in _SAID:
        if re.search(pattern, text, re.IGNORECASE):
            return Reason(known, text, remedy, unexpected=known in {"Preempted", "Killed"})
    return Reason(code, text, "")


def why_logged(lines: Iterable[str]) -> Reason | None:
    """What the end of a log says: our own sentence, or the last line that names an error."""
    last = [tame(line) for line in lines if line.strip()]
    if any(re.search(_SHM, line, re.IGNORECASE) for line in last):
        return shared_memory()
    said = [found[1] for line in last if (found := re.match(r"[0-9-]+ [0-9:,]+ (?:ERROR|CRITICAL) +(.+)", line))]
    if said:
        return why_said(said[-1])
    raised = [line for line in last if re.match(r"[A-Za-z_.]*(?:Error|Exception|Interrupt)\b", line)]
    return why_said(raised[-1]) if raised else None


def shared_memory() -> Reason:
    """A worker that ran into the end of /dev/shm."""
    return Reason(
        "SharedMemory",
        "A process died of a bus error: the shared memory (/dev/shm) of the pod is too small for its data workers.",
        "Give the training more memory (--set train_memory=32Gi): /dev/shm is part of it; or lower batch or imgsz.",
    )


def cannot_pull(image: str, reason: str, message: str) -> Reason:
    """An image that the machine cannot get."""
    text = f"The image {image!r} cannot be pulled ({reason}{f': {message}' if message else ''})."
    lowered = message.lower()
    if any(word in lowered for word in ("unauthorized", "denied", "authentication", "forbidden")):
        remedy = "The registry wants credentials: add an image pull secret to the service account of the step."
    elif any(word in lowered for word in ("not found", "manifest unknown", "does not exist")) or "Invalid" in reason:
        remedy = "There is no such image: push it with scripts/build-images and submit again."
    else:
        remedy = "Check that the machines reach the registry and that the image was pushed (scripts/build-images)."
    return Reason("ImagePullBackOff", text, remedy)


def missing_object(message: str) -> Reason | None:
    """The secret or ConfigMap that a message says is not there; ``None``: it says nothing of the kind."""
    found = re.search(
        r"(?:couldn't find key (\S+) in )?(secret|configmap)s? \"?(?:[\w.-]+/)?([\w.-]+)\"?", message, re.IGNORECASE
    )
    if found is None or not re.search(r"not found|couldn't find", message, re.IGNORECASE):
        return None
    key, kind, name = found.groups()
    code = "MissingSecret" if kind.lower() == "secret" else "MissingConfigMap"
    what = f"The {kind.lower()} {name!r} has no key {key!r}" if key else f"There is no {kind.lower()} {name!r}"
    return Reason(
        code, f"{what} in the run's namespace.", f"Create it (see manifests/base): kubectl get {kind} {name}."
    )


def _quota(found: re.Match[str], text: str) -> Reason:
    wanted = re.search(r"requested: (.+?), used: (.+?), limited: (.+)", text)
    what = f" (asked for {wanted[1]}; in use {wanted[2]}; limit {wanted[3].rstrip('.')})" if wanted else ""
    remedy = "Wait until other runs end, ask for less, or let the namespace's ResourceQuota be raised."
    return Reason("Quota", f"The namespace's quota {found[1]!r} is used up{what}.", remedy)


def _security(found: re.Match[str], text: str) -> Reason:
    del text
    return Reason(
        "PodSecurity", f"The namespace's Pod Security level {found[1]} refuses the pod.", "See manifests/base."
    )


def _plain(
    code: str, sentence: str, remedy: str, *, unexpected: bool = False
) -> Callable[[re.Match[str], str], Reason]:
    return lambda _found, _text: Reason(code, sentence, remedy, unexpected=unexpected)


_SHM = r"bus error|shared memory \(shm\)|No space left on device: '?/dev/shm|/torch_\d+"
_MESSAGES: tuple[tuple[str, Callable[[re.Match[str], str], Reason]], ...] = (
    (r"exceeded quota: ([\w.-]+)", _quota),
    (r'violates PodSecurity "?([\w:.-]+)"?', _security),
    (r"OOMKilled", _plain("OOMKilled", "The container was killed: it used more memory than it may (OOMKilled).",
     MORE_MEMORY)),
    (r"(?:secret|configmap)s? \"?[\w./-]+\"? not found|couldn't find key",
     lambda _found, text: missing_object(text) or Reason("MissingSecret", text, "")),
    (r"ImagePullBackOff|ErrImagePull|back-?off pulling image",
     lambda _found, text: cannot_pull(_quoted(text), "ImagePullBackOff", in_brief(text))),
    (r"low on resource",
     lambda _found, text: Reason("Evicted", f"{in_brief(text)}.", "Retry the run.", unexpected=True)),
    (r"Max duration limit exceeded", _plain("DeadlineExceeded", "The time for all attempts is used up.", RAISE_LIMIT)),
    (r"deadline|active on the node longer", _plain("DeadlineExceeded", "It took longer than it may.", RAISE_LIMIT)),
    (r"Stopped with strategy|workflow shutdown", _plain("Terminated", "It was stopped by a person.", "")),
    (r"pod deleted|pod .*disappeared|node .*(?:lost|not ready)", _plain("Stopped", "The pod was deleted while it ran.",
     "Retry the run: a training goes on from its checkpoint.", unexpected=True)),
    (r"exit code 135", lambda _found, _text: shared_memory()),
    (r"exit code 137", _plain("OOMKilled", "The container was killed, by the usual reason for lack of memory.",
     MORE_MEMORY)),
    (r"exit code 75", _plain("Preempted", "It was told to end and saved what it had learned.",
     "Retry the run: it goes on from the checkpoint.", unexpected=True)),
    (r"exit code 143", _plain("Stopped", "The pod was told to end from outside (SIGTERM).",
     "Retry the run: a training goes on from its checkpoint.", unexpected=True)),
)  # fmt: skip
_SAID: tuple[tuple[str, str, str], ...] = (
    (r"loss .*(no number|\bnan\b|\binf\b)|diverged", "NaNLoss",
     "Lower lr0, raise warmup_epochs, or look at the data in the report of data_prep."),
    (_SHM, "SharedMemory", shared_memory().remedy),
    (r"CUDA (error: )?out of memory|memory does not hold batch|does not fit the memory", "GPUMemory",
     "Lower batch or imgsz (batch=-1 finds what fits), or choose a smaller model or a larger GPU."),
    (r"told to end|what .* learned is saved|preempted", "Preempted", "Retry the run: it goes on from the checkpoint."),
    (r"(killed|ended) before it could say why", "Killed", MORE_MEMORY),
    (r"no space left on device", "DiskFull", "Use machines with more disk, or less data at once."),
    (r"CUDA (driver|error)|no CUDA|NVIDIA driver", "GPUBroken",
     "Retry on another machine; nvidia-smi tells of this one."),
)  # fmt: skip


def _quoted(text: str) -> str:
    found = re.search(r'"([^"]+)"', text)
    return found[1] if found else "?"
