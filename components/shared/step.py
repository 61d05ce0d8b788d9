"""What surrounds the work of every step: logging, progress, and one sentence when it fails."""

import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from components.shared.errors import PipelineError, PreemptedError
from components.shared.progress import Reporter
from components.shared.store import Store, open_store

RUN_ID = "PIPELINE_RUN_ID"  # which run this step belongs to; in a cluster from the pod's label
UNNAMED = "unnamed"  # the run of whoever does not say which
POD, NODE = "PIPELINE_POD", "PIPELINE_NODE"  # in a cluster: where this step runs, for its log
LOG_DIRECTORY = "PIPELINE_LOG_DIR"  # where a local run wants each step's output
DEBUG = "PIPELINE_DEBUG"  # set: tracebacks of expected errors too

Result = TypeVar("Result")
logger = logging.getLogger(__name__)


def run_step(
    step: str,
    store: str,
    work: Callable[..., Result],
    *arguments: object,
    **named: object,
) -> Result:
    """Call ``work(*arguments, notify=..., **named)`` as the body of a step and return what it returns.

    A ``PipelineError`` ends the process with its exit code and its sentence as the last line; anything else is a
    defect and ends it with a traceback and exit code 1.
    """
    start_logging(step)
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))  # so that clean-up runs
    if pod := os.environ.get(POD):
        logger.info("%s in pod %s on node %s", step, pod, os.environ.get(NODE, "?"))
    reporter = Reporter(_progress_store(store), run_name(), step)
    reporter.start()
    try:
        result = work(*arguments, notify=reporter.notify, **named)
    except PipelineError as error:
        reporter.finish(str(error), preempted=isinstance(error, PreemptedError))
        level = logging.INFO if os.environ.get(DEBUG) else logging.DEBUG
        logger.log(level, "%s", traceback.format_exc())
        logger.error("%s", error)  # noqa: TRY400 - the sentence, not the traceback
        sys.stdout.flush()
        sys.exit(error.exit_code)
    except Exception as error:
        reporter.finish(f"Unexpected {type(error).__name__}: {error}")
        logger.exception("This is a defect of %s; please report it.", step)
        sys.exit(1)
    reporter.finish()
    return result


def run_name() -> str:
    """The run this process belongs to; ``UNNAMED`` when nobody said, or the pod has no such label."""
    return os.environ.get(RUN_ID) or UNNAMED


def _progress_store(uri: str) -> Store | None:
    try:
        return open_store(uri)
    except PipelineError:
        return None  # the step itself says what is wrong with the store


def start_logging(step: str) -> None:
    """Send what this process says to standard error, or to the step's file where a local run wants it."""
    directory = os.environ.get(LOG_DIRECTORY)
    if directory:
        path = Path(directory) / f"{step}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        sys.stdout.flush()
        sys.stderr.flush()
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        os.close(descriptor)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)-7s %(message)s", stream=sys.stderr, force=True
    )
