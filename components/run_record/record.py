"""Write a run's record: the exit handler's work, which must not fail a run that was well."""

import logging
from collections.abc import Sequence

from components.shared.errors import PipelineError
from components.shared.run_record import assemble, write_outcome
from components.shared.step import run_name
from components.shared.store import open_store

logger = logging.getLogger(__name__)


def keep_record(store_uri: str, *, pipeline: str, name: str, steps: Sequence[str], told: str) -> bool:
    """Put together what the steps of this process's run have told, and keep it in the store.

    Args:
        store_uri: where the steps told it and where the record goes.
        pipeline: as KFP knows it.
        name: what the run is called.
        steps: the pipeline's steps in order.
        told: how the runner says that the steps ended; ``SUCCEEDED`` and ``COMPLETE`` are good ends.

    Returns:
        Whether the record was kept; why not is a sentence in the log.
    """
    try:
        store = open_store(store_uri)
        outcome = assemble(store, run_name(), planned=steps, told=told.upper())
        outcome = outcome.model_copy(update={"pipeline": pipeline, "name": name})
        write_outcome(store, outcome)
    except PipelineError as error:
        logger.warning("The run has no record: %s", error)
        return False
    except Exception:
        logger.exception("The run has no record: this is a defect of run_record, please report it.")
        return False
    logger.info("the run %s: %s%s", outcome.run_id, outcome.state, f" ({outcome.reason})" if outcome.reason else "")
    return True
