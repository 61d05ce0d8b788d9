"""The KFP shell of sweep_select."""

from kfp.dsl import HTML, Input, Metrics, Output, component

from components import artifacts
from components.artifacts import TrainedModel


@component(base_image="steps-python", packages_to_install=[], install_kfp_package=False)
def sweep_select(
    models: Input[artifacts.TrainedModels],
    starts: Input[artifacts.TrainedModels],
    settings: list[dict[str, str]],
    store: str,
    model: Output[TrainedModel],
    start: Output[TrainedModel],
    metrics: Output[Metrics],
    report: Output[HTML],
) -> None:
    """Choose the model of a sweep with the best validation mAP50-95.

    Args:
        models: The trained models, one a setting.
        starts: What each of them started from.
        settings: The parameters that differ, one mapping a training.
        store: Where the progress is kept.
        model: The chosen model, byte for byte.
        start: What it started from.
        metrics: Its validation metrics, and its margin over the next.
        report: The settings side by side, for a person.
    """
    from pathlib import Path

    from components.shared.step import run_step
    from components.sweep_select.candidates import Trained
    from components.sweep_select.select import select_model

    selection = run_step(
        "sweep_select",
        store,
        select_model,
        [Trained(Path(each.path), each.metadata) for each in models],
        settings,
        Path(model.path),
        Path(report.path),
        starts=[Trained(Path(each.path), each.metadata) for each in starts],
        start_dir=Path(start.path),
    )
    manifest = selection.manifest
    model.metadata.update(digest=manifest.digest, framework=manifest.framework, winner=selection.winner.name)
    if selection.start:
        start.metadata.update(digest=selection.start.digest, framework=selection.start.framework)
    metrics.metadata.update(selection.metrics)
