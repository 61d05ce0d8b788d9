"""The KFP shell of model_eval."""

from typing import NamedTuple

from kfp.dsl import HTML, ClassificationMetrics, Dataset, Input, Markdown, Metrics, Output, component

from components.artifacts import BentoArchive, Predictions, TrainedModel


@component(base_image="steps-python", packages_to_install=[], install_kfp_package=False)
def model_eval(
    test: Input[Dataset],
    archive: Input[BentoArchive],
    start: Input[TrainedModel],
    store: str,
    predictions: Output[Predictions],
    metrics: Output[Metrics],
    confusion: Output[ClassificationMetrics],
    report: Output[HTML],
    overview: Output[Markdown],
    min_map50: float = 0.5,
    min_map50_95: float = 0.0,
    class_gates: dict[str, float] = {},  # noqa: B006 - KFP reads the default from here
    slice_gates: dict[str, float] = {},  # noqa: B006 - same
    champion_margin: float = 0.05,
    seed: int = 0,
    device: str = "auto",
) -> NamedTuple("Outputs", [("passed", bool), ("reasons", str), ("map50", float), ("map50_95", float)]):  # type: ignore[valid-type] # kfp reads it so
    """Measure the packed model on the test split.

    Args:
        test: Images no training has seen.
        archive: The packed model; the training's own files are not touched.
        start: What the training started from, to compare with.
        store: Where the images and the published models lie.
        predictions: Every prediction and ground truth with its outcome, and COCO JSON.
        metrics: COCO metrics and the operating point.
        confusion: Confusion matrix with background.
        report: The Model Quality Report, for a person.
        overview: The same in short.
        min_map50: The gate: mAP50 the model needs.
        min_map50_95: The gate: mAP50-95 the model needs; 0: none.
        class_gates: The gate: AP50 a class needs.
        slice_gates: The gate: recall a slice such as size:small needs.
        champion_margin: The gate: mAP50-95 the model may be worse than the champion; -1: not compared.
        seed: Seed of the intervals.
        device: auto, cpu, or the number of a GPU.

    Returns:
        passed: Whether the gate passed.
        reasons: Why, one sentence a line.
        map50: mAP at IoU 0.5 on the test split.
        map50_95: mAP over IoU 0.5 to 0.95.
    """
    from pathlib import Path

    from components.model_eval.evaluate import EvaluateOptions, Inputs, Outputs, confusion_for_kfp, evaluate
    from components.shared.run_record import leave_note
    from components.shared.step import run_step

    options = EvaluateOptions(
        min_map50=min_map50,
        min_map50_95=min_map50_95,
        class_gates=class_gates,
        slice_gates=slice_gates,
        champion_margin=champion_margin,
        seed=int(seed),
        device=device,
    )
    evaluation = run_step(
        "model_eval",
        store,
        evaluate,
        Inputs(test=Path(test.path), archive=Path(archive.path), store=store, start=Path(start.path)),
        Outputs(predictions=Path(predictions.path), report=Path(report.path), overview=Path(overview.path)),
        options,
    )
    predictions.metadata.update(digest=evaluation.digest)
    metrics.metadata.update(evaluation.metrics)
    confusion.log_confusion_matrix(*confusion_for_kfp(evaluation))
    scores = {name: evaluation.metrics[name] for name in ("map50", "map50_95")}
    leave_note(store, "model_eval", {"passed": evaluation.passed, "reasons": list(evaluation.reasons), **scores})
    return (evaluation.passed, "\n".join(evaluation.reasons), scores["map50"], scores["map50_95"])
