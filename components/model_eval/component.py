"""The KFP shell of model_eval."""

from typing import NamedTuple

from kfp.dsl import HTML, ClassificationMetrics, Dataset, Input, Metrics, Output, component

from components.artifacts import BentoArchive, Predictions


@component(base_image="steps-python", packages_to_install=[], install_kfp_package=False)
def model_eval(
    test: Input[Dataset],
    archive: Input[BentoArchive],
    store: str,
    predictions: Output[Predictions],
    metrics: Output[Metrics],
    confusion: Output[ClassificationMetrics],
    report: Output[HTML],
    min_map50: float = 0.5,
    device: str = "auto",
) -> NamedTuple("Outputs", [("passed", bool), ("map50", float), ("map50_95", float)]):  # type: ignore[valid-type] # kfp reads it so
    """Measure the packed model on the test split.

    Args:
        test: Images no training has seen.
        archive: The packed model; the training's own files are not touched.
        store: Where the images lie.
        predictions: Every prediction and ground truth with its outcome, and COCO JSON.
        metrics: COCO metrics and the operating point.
        confusion: Confusion matrix with background.
        report: The Model Quality Report, for a person.
        min_map50: The gate: mAP50 the model needs.
        device: auto, cpu, or the number of a GPU.

    Returns:
        passed: Whether the gate passed.
        map50: mAP at IoU 0.5 on the test split.
        map50_95: mAP over IoU 0.5 to 0.95.
    """
    from pathlib import Path

    from components.model_eval.evaluate import EvaluateOptions, confusion_for_kfp, evaluate
    from components.shared.step import run_step

    options = EvaluateOptions(min_map50=min_map50, device=device)
    evaluation = run_step(
        "model_eval",
        store,
        evaluate,
        Path(test.path),
        Path(archive.path),
        store,
        Path(predictions.path),
        Path(report.path),
        options,
    )
    predictions.metadata.update(digest=evaluation.digest)
    metrics.metadata.update(evaluation.metrics)
    confusion.log_confusion_matrix(*confusion_for_kfp(evaluation))
    return (evaluation.passed, evaluation.metrics["map50"], evaluation.metrics["map50_95"])
