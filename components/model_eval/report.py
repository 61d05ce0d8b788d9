"""The Model Quality Report: what a person looks at before the model goes out."""

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from components.model_eval.evaluation import Demand, Evaluation
from components.model_eval.examples import Examples
from components.model_eval.report_classes import add_classes, add_confusion
from components.model_eval.report_compare import add_champion, add_start
from components.model_eval.report_confidence import add_calibration, add_curves, add_explorer, add_thresholds
from components.model_eval.report_errors import add_error_types, add_examples
from components.model_eval.report_runtimes import add_runtimes
from components.model_eval.report_slices import add_slices
from components.model_eval.report_words import counted, interval_note, listed, named, share
from components.shared.report.page import Level, Number, Report
from components.shared.report.tables import Linked

_SERVED = (("precision", "precision"), ("recall", "recall"), ("F1", "f1"))
SHORT = 3  # reasons that fit the verdict; more are listed below it
SENTENCE = 240  # characters of a reason: a name in it may be very long
_LISTED = 8  # the table of demands has all


def write_report(evaluation: Evaluation, examples: Examples, facts: Mapping[str, str], path: Path) -> None:
    """Write the report as one HTML file.

    Args:
        evaluation: the numbers.
        examples: pictures of what went wrong and right.
        facts: what the evaluation rests on: versions, digests, thresholds.
        path: the file.
    """
    build_report(evaluation, examples, facts).write(path)


def build_report(evaluation: Evaluation, examples: Examples, facts: Mapping[str, str]) -> Report:
    """The report of ``write_report``, not yet written."""
    subtitle = f"{named(facts.get('model', ''))} on {named(facts.get('dataset', ''))}"
    report = Report("Model Quality Report", subtitle=subtitle)
    _add_top(report, evaluation)
    add_champion(report, evaluation)
    add_start(report, evaluation, examples)
    add_classes(report, evaluation)
    add_error_types(report, evaluation)
    add_examples(report, evaluation, examples)
    add_slices(report, evaluation)
    add_curves(report, evaluation)
    add_explorer(report, evaluation)
    add_thresholds(report, evaluation)
    add_calibration(report, evaluation)
    add_confusion(report, evaluation)
    add_runtimes(report, evaluation)
    report.section("What it rests on")
    report.facts({**facts, **{name: text for name, text in parameters(evaluation).items() if name not in facts}})
    return report


def verdict(evaluation: Evaluation) -> str:
    """Whether the gate was met, in a sentence, and why, as long as that is short."""
    head = "The model passed the gate." if evaluation.passed else "The model did not pass the gate."
    failed = sum(1 for demand in evaluation.demands if not demand.passed)
    if len(evaluation.reasons) <= SHORT:
        return " ".join([head, *(named(reason, SENTENCE) for reason in evaluation.reasons)])
    if evaluation.demands:
        many = len(evaluation.demands)
        return f"{head} {'All' if not failed else f'{failed} of'} {many} demands are {'' if not failed else 'not '}met."
    return head


def class_differences(per_class: pl.DataFrame) -> list[str]:
    """Sentences on classes that only the data or only the model has; empty when they agree."""
    unknown = per_class.filter(~pl.col("known")).get_column("category").to_list()
    without = pl.col("known") & (pl.col("ground_truths") == 0)
    untested = per_class.filter(without).get_column("category").to_list()
    sentences = []
    if unknown:
        sentences.append(f"The model does not have {listed(unknown)}: their objects count as missed.")
    if untested:
        sentences.append(
            f"The test set has no object of {listed(untested)}: predictions of them are false positives, "
            "and they do not enter mAP."
        )
    return sentences


def parameters(evaluation: Evaluation) -> dict[str, str]:
    """What the numbers depend on beside the model and the data."""
    options = evaluation.options
    found = {
        "lowest score kept": f"{options.conf:g}",
        "overlap of predictions suppressed": f"IoU > {options.iou:g}",
        "most predictions an image": f"{options.max_det}",
        "a prediction is right": f"same class, IoU >= {options.report_iou:g}",
        "confidence of the report": f"{evaluation.confidence:g}",
        "intervals": f"95 %, images resampled, seed {options.seed}",
        "device": options.device,
    }
    return found | ({"digest of the predictions": evaluation.digest} if evaluation.digest else {})


def _add_top(report: Report, evaluation: Evaluation) -> None:
    report.verdict(verdict(evaluation), Level.GOOD if evaluation.passed else Level.BAD)
    if len(evaluation.reasons) > SHORT:
        report.points([named(reason, SENTENCE) for reason in evaluation.reasons[:_LISTED]])
    report.numbers(_numbers(evaluation))
    if evaluation.demands:
        rows = [_demand_row(demand) for demand in evaluation.demands]
        report.table(["demand", "asked for", "found", "met"], rows, caption="What the gate asks for")
    for sentence in (*_served(evaluation), *class_differences(evaluation.per_class)):
        report.text(sentence)


def _served(evaluation: Evaluation) -> list[str]:
    """What a user of the service sees, where classes have thresholds of their own."""
    metrics = evaluation.metrics
    if not evaluation.inference.class_confidence or "served_precision" not in metrics:
        return []
    values = ", ".join(f"{name} {share(metrics.get(f'served_{key}'))}" for name, key in _SERVED)
    return [f"As served, each class from its own confidence: {values} (means over the classes)."]


def _demand_row(demand: Demand) -> tuple[str, float, float | None, Linked]:
    met = Linked("met" if demand.passed else "not met", level=Level.GOOD if demand.passed else Level.BAD)
    return named(demand.name), demand.needed, demand.value, met


def _numbers(evaluation: Evaluation) -> list[Number]:
    metrics, intervals = evaluation.metrics, evaluation.diagnosis.intervals
    point = f"at confidence {evaluation.confidence:.2f}"
    return [
        Number("mAP50", _measured(metrics, "map50"), interval_note(intervals.map50), _level(evaluation, "map50")),
        Number(
            "mAP50-95",
            _measured(metrics, "map50_95"),
            interval_note(intervals.map50_95),
            _level(evaluation, "map50_95"),
        ),
        Number("Precision", share(metrics.get("precision")), point),
        Number("Recall", share(metrics.get("recall")), point),
        Number("Objects", f"{metrics['ground_truths']:,.0f}", _tested(metrics)),
        Number("Latency", _milliseconds(metrics), _late(metrics)),
    ]


def _measured(metrics: Mapping[str, float], name: str) -> str:
    """A metric that is 0 without ground truth, where it says nothing."""
    return share(metrics[name] if metrics["ground_truths"] else None)


def _level(evaluation: Evaluation, name: str) -> Level:
    """Good or bad when the gate asks for this number."""
    asked = [demand.passed for demand in evaluation.demands if demand.name == name]
    return Level.NEUTRAL if not asked else Level.GOOD if all(asked) else Level.BAD


def _milliseconds(metrics: Mapping[str, float], name: str = "latency_ms_p50") -> str:
    return f"{metrics[name]:.1f} ms" if name in metrics else share(None)


def _late(metrics: Mapping[str, float]) -> str:
    late = "latency_ms_p95"
    return f"median; 95 % within {_milliseconds(metrics, late)}" if late in metrics else "not measured"


def _tested(metrics: Mapping[str, float]) -> str:
    parts = [f"in {counted(metrics['images'], 'image', 'images')}"]
    if metrics["images_skipped"]:
        parts.append(f"{metrics['images_skipped']:,.0f} could not be read")
    if metrics["ground_truths_ignored"]:
        parts.append(f"{metrics['ground_truths_ignored']:,.0f} more ignored")
    return "; ".join(parts)
