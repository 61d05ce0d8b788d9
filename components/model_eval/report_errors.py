"""The report on what goes wrong: kinds of error and what each costs, with pictures of the worst."""

from collections.abc import Sequence

from components.model_eval.error_types import ErrorType
from components.model_eval.evaluation import Evaluation
from components.model_eval.examples import FALSE_KINDS, Examples
from components.model_eval.report_boxes import LEGEND
from components.model_eval.report_words import counted
from components.shared.report.charts import Chart, bar_chart
from components.shared.report.page import Picture, Report

NAMES = {kind.value: name for kind, name in FALSE_KINDS.items()} | {ErrorType.MISSED.value: "missed"}
MEANINGS = {
    ErrorType.CLASS.value: "The place is right, the object is of another class.",
    ErrorType.LOCATION.value: "The class is right, the box overlaps the object too little.",
    ErrorType.BOTH.value: "Near an object of another class, and too loosely.",
    ErrorType.DUPLICATE.value: "A second box for an object that a better one has found.",
    ErrorType.BACKGROUND.value: "No object is there.",
    ErrorType.MISSED.value: "An object that no prediction is near enough to be mended for.",
}


def add_error_types(report: Report, evaluation: Evaluation) -> None:
    """The section on kinds of error."""
    report.section("What goes wrong", error_sentence(evaluation))
    summary = evaluation.diagnosis.errors.summary
    report.chart(error_chart(evaluation))
    rows = [
        (NAMES[kind], MEANINGS[kind], count, cost)
        for kind, count, cost in summary.sort("cost", descending=True, nulls_last=True, maintain_order=True).iter_rows()
    ]
    report.table(["kind of error", "what it is", "how many", "mAP50 it costs"], rows)


def error_sentence(evaluation: Evaluation) -> str:
    """Which kind of error costs most."""
    errors = evaluation.diagnosis.errors
    if errors.map50 is None:
        return "Without an object in the test set no error has a cost."
    worst = errors.summary.sort("cost", descending=True, nulls_last=True).row(0, named=True)
    judged = f"Counts at confidence {evaluation.confidence:.2f}; costs over all confidences, each kind mended alone."
    if not worst["cost"]:
        return f"No kind of error costs any mAP50. {judged}"
    many = counted(worst["count"], "error", "errors")
    return (
        f"'{NAMES[worst['type']]}' costs most: mAP50 would be {worst['cost']:.3f} higher without it ({many}). {judged}"
    )


def error_chart(evaluation: Evaluation) -> Chart:
    """What mending each kind of error would add to mAP50, the dearest first."""
    summary = evaluation.diagnosis.errors.summary.sort("cost", descending=True, nulls_last=True, maintain_order=True)
    known = summary.filter(summary.get_column("cost").is_not_null())
    return bar_chart(
        "mAP50 each kind of error costs",
        [NAMES[kind] for kind in known.get_column("type")],
        {"mAP50": known.get_column("cost").to_list()},
        x_label="kind of error",
        y_label="mAP50 gained by mending it alone",
        horizontal=True,
    )


def add_examples(report: Report, evaluation: Evaluation, examples: Examples) -> None:
    """The sections with pictures."""
    metrics = evaluation.metrics
    legend = f"Left: ground truth, right: predictions at confidence {evaluation.confidence:.2f} · {LEGEND}"

    def add(
        title: str, count: str, shown: Sequence[Picture], caption: str, empty: str, filters: tuple[str, ...] = ()
    ) -> None:
        report.section(title, f"{count}. {legend if shown else ''}")
        report.gallery(shown, caption=caption if shown else "", empty=empty, filters=filters, wide=True)

    missed, wrong, right = (int(metrics[name]) for name in ("false_negatives", "false_positives", "true_positives"))
    add(
        "Missed objects",
        counted(missed, "object was missed", "objects were missed"),
        examples.missed,
        "Those without any prediction, then the largest",
        "No object was missed." if metrics["ground_truths"] else "There is no object to miss.",
        ("class", "why"),
    )
    add(
        "False alarms",
        counted(wrong, "prediction is wrong", "predictions are wrong"),
        examples.false,
        "The highest scores",
        "No prediction is wrong." if metrics["detections"] else "Nothing was predicted.",
        ("class", "error"),
    )
    add(
        "Right predictions",
        counted(right, "prediction is right", "predictions are right"),
        examples.right,
        "The highest scores",
        "No prediction is right.",
    )
