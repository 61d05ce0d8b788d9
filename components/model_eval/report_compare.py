"""The report on the model against others: the champion, and what the training started from."""

import math

import polars as pl

from components.model_eval.evaluation import ChampionComparison, Evaluation
from components.model_eval.examples import Examples
from components.model_eval.report_boxes import LEGEND
from components.model_eval.report_start import CROWDED, BeforeAfter, Tally
from components.model_eval.report_words import counted, interval, interval_note, listed, named, share, signed
from components.shared.report.charts import Chart, Estimate, Mark, interval_chart
from components.shared.report.page import Number, Report

_DIGITS = 12  # of a version that a person compares


def add_champion(report: Report, evaluation: Evaluation) -> None:
    """The section on the champion, if there is one."""
    champion = evaluation.champion
    if champion is None:
        if evaluation.champion_seen.sentence:
            report.section("Against the champion", evaluation.champion_seen.sentence)
        return
    margin = evaluation.options.champion_margin
    report.section("Against the champion", champion_sentence(champion, margin))
    if champion.same or not champion.classes:
        return
    report.numbers(
        [
            Number("mAP50-95, this model", share(champion.ours)),
            Number("mAP50-95, the champion", share(champion.theirs), f"{named(champion.tag)}"),
            Number("Difference", signed(champion.difference.value), interval_note(champion.difference)),
            Number("Classes compared", f"{len(champion.classes):,}"),
        ]
    )
    if champion.left_out:
        report.text(f"Only one of the two models has {listed(champion.left_out)}: left out of the comparison.")
    report.chart(difference_chart(champion, margin))
    rows = _class_rows(champion.per_class)
    report.table(
        ["class", "this model", "champion", "difference"],
        rows,
        caption="AP50-95 of each class, the largest losses first",
        folded=len(rows) > 20,  # noqa: PLR2004 - rows that fit a screen
    )


def champion_sentence(champion: ChampionComparison, margin: float) -> str:
    """How the comparison came out."""
    who = f"{named(champion.tag)} (version {champion.version[:_DIGITS]})"
    if champion.same:
        return f"The champion, {who}, is this very archive: there is nothing to compare."
    if not champion.classes:
        return f"The champion, {who}, has no class in common with this model and the test set, so nothing is compared."
    low, high = champion.difference.low, champion.difference.high
    if math.isnan(low):
        return f"The champion, {who}, was run on the same images; the difference has no interval to judge it by."
    lead = f"The champion, {who}, was run on the same images. "
    said = "it may be better or worse"
    if low > 0:
        said = "it is better"
    elif high < 0:
        said = "it is worse"
    sentence = f"{lead}This model's mAP50-95 is higher by {interval(low, high, 3)} (95 %): {said}."
    if margin < 0:
        return sentence
    verdict = "within" if low >= -margin else "beyond"
    return f"{sentence} The lower end is {verdict} the loss of {margin:g} that the gate allows."


def difference_chart(champion: ChampionComparison, margin: float) -> Chart:
    """The difference and its interval, against none and the margin."""
    found = champion.difference
    marks = [Mark(0.0, "equal")]
    if margin > 0:
        marks.append(Mark(-margin, f"allowed loss {margin:g}"))
    return interval_chart(
        "Difference to the champion, with its 95 % interval",
        [
            Estimate(
                "this model",
                found.value,
                found.low,
                found.high,
                f"{share(champion.ours)} against {share(champion.theirs)}",
            )
        ],
        x_label="difference of mAP50-95",
        name_label="model",
        marks=marks,
        bars=False,
    )


def add_start(report: Report, evaluation: Evaluation, examples: Examples) -> None:
    """The section on what the training started from, if that could be run."""
    start = evaluation.start
    if start is None:
        return
    compared = examples.compared
    report.section("Before and after the training", _start_sentence(evaluation, compared))
    rows: list[tuple[str, str, str, str]] = [
        _shares("mAP50", start.map50, evaluation.metrics["map50"]),
        _shares("mAP50-95", start.map50_95, evaluation.metrics["map50_95"]),
    ]
    if compared is None:
        report.table(["", "before", "after", "change"], rows, sortable=False)
        return
    before, after = compared.before.tally(), compared.after.tally()
    rows += _tallies(before, after)
    caption = f"On the same images; counts at confidence {evaluation.confidence:.2f}"
    report.table(["", "before", "after", "change"], rows, caption=caption, sortable=False)
    if compared.foreign:
        made = counted(compared.foreign, "prediction", "predictions")
        report.text(f"{made} of the start name classes that this test set does not know, and are left out.")
    report.gallery(
        compared.pictures,
        caption=f"Where most changed, images with more than {CROWDED} objects last",
        empty="Both find the same objects and have as many wrong boxes in each image.",
        wide=True,
    )


def _class_rows(per_class: pl.DataFrame) -> list[tuple[str, float | None, float | None, float | None]]:
    difference = (pl.col("ours") - pl.col("theirs")).alias("difference")
    ordered = per_class.with_columns(difference).sort("difference", nulls_last=True, maintain_order=True)
    return [
        (named(name), *numbers)
        for name, *numbers in ordered.select("category", "ours", "theirs", "difference").iter_rows()
    ]


def _start_sentence(evaluation: Evaluation, compared: BeforeAfter | None) -> str:
    start = evaluation.start
    if start is None:
        return ""
    gain = evaluation.metrics["map50_95"] - start.map50_95
    change = f"The training changed mAP50-95 by {signed(gain)}"
    if compared is None:
        return f"{change}."
    before, after = compared.before.tally(), compared.after.tally()
    objects = counted(after.found + after.missed, "object", "objects")
    return (
        f"{change}. Of {objects} the start weights find {before.found:,}, the trained ones {after.found:,}. "
        f"In the pictures, left: before, right: after · {LEGEND}."
    )


def _shares(name: str, before: float, after: float) -> tuple[str, str, str, str]:
    return name, share(before), share(after), signed(after - before)


def _tallies(before: Tally, after: Tally) -> list[tuple[str, str, str, str]]:
    pairs = [
        ("objects found", before.found, after.found),
        ("objects missed", before.missed, after.missed),
        ("wrong predictions", before.wrong, after.wrong),
    ]
    return [
        (name, f"{old:,}", f"{new:,}", f"{new - old:+,}".replace("-", "\N{MINUS SIGN}")) for name, old, new in pairs
    ]
