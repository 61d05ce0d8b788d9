"""One training attempt in several processes of this node, one a GPU (or so many on the CPU), that learn in step.

``run_ranks`` is the side of the process that starts them; ``rank`` is theirs.
``python -m components.model_train.ranks.distributed FILE`` is one of them.
"""

import logging
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import components
from components.model_train.conduct import Keep, attempt
from components.model_train.plan import Outcome, Plan
from components.model_train.ranks.assignment import Assignment, read_outcome, trainer_of
from components.model_train.ranks.failure import Failure, read_failures, the_error
from components.model_train.ranks.meeting import announce, local_ranks, started_by_others
from components.model_train.ranks.processes import Departure, Endings, Request, run_processes, termination
from components.model_train.ranks.rank import follow_parent, work
from components.model_train.saving.farewell import last_words
from components.model_train.saving.preemption import Preemption
from components.model_train.story import Story
from components.model_train.trainers.base import LARGEST_BATCH, Hyperparameters
from components.shared.cpus import usable_cpus
from components.shared.detection.environment import SPIN
from components.shared.errors import ConfigError, PipelineError, PreemptedError, TrainingError
from components.shared.progress import Announce, StepProgress, read_progress
from components.shared.store import open_store

__all__ = ["check_ranks", "run_ranks"]

logger = logging.getLogger(__name__)

_PORT_TAKEN = ("eaddrinuse", "address already in use")
_WITH_PARENT = "--with-parent"


def run_ranks(plan: Plan, story: Story, notify: Announce, keep: Keep, *, trainer: str = "") -> Outcome:
    """Train one attempt in ``gpus`` processes and wait for them; refuses before it starts any.

    In a process that ``torchrun`` started, this one is rank 0 and the others are there already: they are told what to
    do (see ``worker``), and the attempt runs here.

    Rank 0 looks after the training as a single process would: checkpoints, progress (it writes the step's own progress
    file), SIGTERM. The others only watch for numbers that are none. SIGTERM may come to this process alone or to the
    whole process group. None outlives this process, even when that is killed with -9.

    Args:
        plan: its ``job`` is this attempt's: ``resume`` is the local folder to go on from, ``batch`` is over all ranks.
        story: how it went so far; brought up to date in place, also when this raises.
        notify: hears at the end what rank 0 told last.
        keep: puts the outcome where it outlasts this process; a signal to end waits for it.
        trainer: ``module:class`` of a ``Trainer``; empty: the one ``plan.job.start.framework`` names.

    Raises:
        ConfigError: the batch cannot be shared out evenly; or as the trainer raises it.
        PreemptedError: the training was told to end.
        OutOfMemoryError: on any rank.
        TrainingError: there are fewer GPUs, or a process failed; the message names its rank.
    """
    check_ranks(plan.job.parameters)
    folder = plan.job.work / "ranks"
    shutil.rmtree(folder, ignore_errors=True)
    assignment = Assignment(plan=plan, story=story, trainer=trainer, folder=folder)
    if started_by_others():
        announce(assignment)
        return attempt(plan, story, notify, trainer_of(assignment), keep)
    with termination() as request:  # without a gap from the first process to the result that is kept
        outcome = _result(assignment, *_train(assignment, request), notify)
        with _unhurried(plan, request):
            keep(outcome)
    return outcome


def _train(assignment: Assignment, request: Request) -> tuple[Endings, list[Failure]]:
    """How the processes ended and what they said, at the second try where the first one's port was taken."""
    endings = _run(assignment, request)
    failures = _failures(assignment, endings)
    if any(_says_port_taken(failure) for failure in failures) and not endings.told:
        logger.info("Another process took the port the ranks were to meet at: once more with another.")
        shutil.rmtree(assignment.folder, ignore_errors=True)
        endings = _run(assignment, request)
        failures = _failures(assignment, endings)
    return endings, failures


@contextmanager
def _unhurried(plan: Plan, request: Request) -> Iterator[None]:
    """Within the block a signal to end changes nothing, nor one noted before, for as long as there is time."""
    late = "Told to end before the result was kept: run the same again to go on from the last checkpoint."
    spent = 0.0 if request.at is None else time.monotonic() - request.at
    with Preemption(
        max(0.0, plan.care.grace_seconds - spent),
        told=lambda: None,
        saved=lambda: False,
        last_words=lambda: last_words(open_store(plan.store), plan.run_id, plan.step, late),
    ):
        if request.at is not None:
            signal.raise_signal(signal.SIGTERM)  # its time of grace runs here too
        yield


def check_ranks(parameters: Hyperparameters) -> None:
    """Refuse a training that cannot be shared out over ``gpus`` processes.

    Raises:
        ConfigError: the batch is no multiple of ``gpus``.
        TrainingError: there are fewer GPUs.
    """
    batch, gpus = parameters.batch, parameters.gpus
    if batch != LARGEST_BATCH and batch % gpus:
        below, above = batch // gpus * gpus, -(-batch // gpus) * gpus
        near = f"batch={above}" if below == 0 else f"batch={below} or batch={above}"
        raise ConfigError(f"batch={batch} cannot be shared out evenly over gpus={gpus}: use {near}.")
    if parameters.device == "cpu" or gpus == 1:
        return
    import torch  # noqa: PLC0415 - heavy, and a training in one process does not need the answer

    first = int(parameters.device) if parameters.device.isdigit() else 0
    found = int(torch.cuda.device_count())
    here = local_ranks() if started_by_others() else gpus
    if first + here > found:
        begin = f", beginning at GPU {first}," if first else ""
        raise TrainingError(
            f"gpus={gpus}{begin} needs {first + here} GPUs and {found} are visible here: ask for fewer, request more"
            " for the step, or train in so many processes on the CPU with device=cpu."
        )


def _run(assignment: Assignment, request: Request) -> Endings:
    file = assignment.save()
    command = [sys.executable, "-m", "components.model_train.ranks.distributed", str(file), _WITH_PARENT]
    ranks, port = assignment.plan.job.parameters.gpus, _free_port()
    environments = [_environment(rank, ranks, port) for rank in range(ranks)]
    logger.info("train in %d processes", ranks)
    return run_processes(command, environments, assignment.plan.care.grace_seconds, request)


def _environment(rank: int, ranks: int, port: int) -> dict[str, str]:
    """What torch's ``env://`` rendezvous reads, and an even share of this node's CPUs."""
    root = str(Path(components.__file__).resolve().parent.parent)
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH", "")])]
    environment = dict(os.environ)
    if sys.platform == "linux":
        environment.setdefault("GLOO_SOCKET_IFNAME", "lo")  # the ranks of one node need no network
    environment.setdefault("GOMP_SPINCOUNT", SPIN)
    return environment | {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(ranks),
        "LOCAL_WORLD_SIZE": str(ranks),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": str(max(1, usable_cpus() // ranks)),
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONUNBUFFERED": "1",
    }


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
    return port


def _says_port_taken(failure: Failure) -> bool:
    text = failure.message.lower()
    return failure.rank == 0 and any(sign in text for sign in _PORT_TAKEN)


def _failures(assignment: Assignment, endings: Endings) -> list[Failure]:
    """What ranks said; a rank 0 that had to end in the middle of a long call said it in the progress alone."""
    failures = read_failures(assignment.folder, len(endings.ranks))
    silent = not any(failure.rank == 0 for failure in failures)
    if silent and endings.ranks[0].code == PreemptedError.exit_code:
        plan = assignment.plan
        last = read_progress(open_store(plan.store), plan.run_id, plan.step)
        if last is not None and last.state == "preempted" and last.error:
            failures.insert(0, Failure(rank=0, kind=PreemptedError.__name__, message=last.error))
    return failures


def _result(assignment: Assignment, endings: Endings, failures: Sequence[Failure], notify: Announce) -> Outcome:
    _hand_over_progress(assignment.progress, notify)
    with suppress(OSError, ValueError):
        told = Story.model_validate_json(assignment.story_file.read_bytes())
        for name in Story.model_fields:
            setattr(assignment.story, name, getattr(told, name))
    outcome = read_outcome(assignment)
    if outcome is None:
        raise the_error(failures, endings.ranks, told=endings.told)
    for ending in endings.ranks:
        if ending.code:
            logger.warning("Rank %d ended with %d after the training was done.", ending.rank, ending.code)
    return outcome


def _hand_over_progress(path: Path, notify: Announce) -> None:
    """Rank 0 told the progress file; whoever goes on telling must know what stands there."""
    try:
        last = StepProgress.model_validate_json(path.read_bytes())
    except (OSError, ValueError):
        return
    notify(last.share, last.message, metrics=last.metrics, eta=last.eta)
    for warning in last.warnings:
        notify(last.share, last.message, eta=last.eta, warning=warning)


def main(arguments: Sequence[str]) -> int:
    """One process of the group: the exit code of its error, or 0."""
    if len(arguments) not in (1, 2) or arguments[1:] not in ([], [_WITH_PARENT]):
        logger.error("Give the file that says what to train, and nothing else.")
        return ConfigError.exit_code
    if arguments[1:]:
        follow_parent()
    try:
        return work(Path(arguments[0]))
    except PipelineError as error:
        logger.error("%s", error)  # noqa: TRY400 - the sentence, not the traceback
        return error.exit_code


if __name__ == "__main__":
    departure = Departure()
    departure.code = main(sys.argv[1:])
    sys.exit(departure.code)
