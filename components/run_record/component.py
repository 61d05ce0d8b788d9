"""The KFP shell of run_record."""

from kfp.dsl import PipelineTaskFinalStatus, component


@component(base_image="steps-python", packages_to_install=[], install_kfp_package=False)
def run_record(
    store: str,
    pipeline: str,
    run: str,
    steps: str,
    status: PipelineTaskFinalStatus,
) -> None:
    """Keep the run's record in the store, however the run ended; never a reason for it to fail.

    Args:
        store: Where the record is kept.
        pipeline: The pipeline's name.
        run: What the run is called.
        steps: The pipeline's steps in order, with commas between them.
        status: How the steps ended, as the runner says it.
    """
    from components.run_record.record import keep_record
    from components.shared.step import start_logging

    start_logging("run_record")
    keep_record(store, pipeline=pipeline, name=run, steps=steps.split(","), told=str(status.state or ""))
