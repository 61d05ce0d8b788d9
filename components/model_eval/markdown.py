"""The evaluation in a page of Markdown, for places that show no HTML."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import polars as pl

from components.model_eval.evaluation import Evaluation
from components.model_eval.report import SENTENCE, SHORT, class_differences, verdict
from components.model_eval.report_classes import class_table
from components.model_eval.report_compare import champion_sentence
from components.model_eval.report_errors import error_sentence
from components.model_eval.report_words import interval, interval_note, named, share, signed
from components.shared.files import write_atomically
from components.shared.report.markdown import markdown_table, plain

SHOWN_CLASSES = 20
SHOWN_DEMANDS = 30
SHOWN_REASONS = 8
_LONGEST = 900  # characters of a sentence
_NAME = 60


def write_overview(evaluation: Evaluation, facts: Mapping[str, str], path: Path) -> None:
    """Write the Markdown overview: verdict, demands, key numbers, champion, start, classes and what it rests on.

    Args:
        evaluation: the numbers.
        facts: what the evaluation rests on, as in ``write_report``.
        path: the file.
    """
    with write_atomically(path) as temporary:
        temporary.write_text(overview(evaluation, facts), encoding="utf-8")


def overview(evaluation: Evaluation, facts: Mapping[str, str]) -> str:
    """The Markdown text; names that come from outside are escaped."""
    title = f"# {plain(facts.get('model', 'Model'), _NAME)} on {plain(facts.get('dataset', 'the test set'), _NAME)}"
    sections = [
        title,
        _verdict(evaluation),
        _demands(evaluation),
        _numbers(evaluation),
        _champion(evaluation),
        _classes(evaluation),
        _facts(facts),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _verdict(evaluation: Evaluation) -> str:
    sentences = [verdict(evaluation), *class_differences(evaluation.per_class), error_sentence(evaluation)]
    mark = "\N{CHECK MARK}" if evaluation.passed else "\N{BALLOT X}"
    head, *rest = (plain(sentence, _LONGEST) for sentence in sentences)
    listed = [f"- {plain(named(reason, SENTENCE), _LONGEST)}" for reason in evaluation.reasons[:SHOWN_REASONS]]
    points = ["\n".join(listed)] if len(evaluation.reasons) > SHORT else []
    return "\n\n".join([f"**{mark} {head}**", *points, *rest])


def _demands(evaluation: Evaluation) -> str:
    if not evaluation.demands:
        return ""
    failed_first = sorted(evaluation.demands, key=lambda demand: demand.passed)
    rows = [
        [plain(one.name, _NAME), share(one.needed), share(one.value), "yes" if one.passed else "**no**"]
        for one in failed_first[:SHOWN_DEMANDS]
    ]
    left = len(evaluation.demands) - len(rows)
    more = f"\n\n{left:,} more are met or in the report." if left else ""
    return f"{_section('What the gate asks for', ['demand', 'asked for', 'found', 'met'], rows)}{more}"


def _numbers(evaluation: Evaluation) -> str:
    metrics, intervals = evaluation.metrics, evaluation.diagnosis.intervals
    point = f"at confidence {evaluation.confidence:.2f}"
    rows = [
        ["mAP50", share(metrics["map50"]), interval_note(intervals.map50)],
        ["mAP50-95", share(metrics["map50_95"]), interval_note(intervals.map50_95)],
        ["precision", share(metrics.get("precision")), point],
        ["recall", share(metrics.get("recall")), point],
        ["F1", share(metrics.get("f1")), point],
        ["objects", f"{metrics['ground_truths']:,.0f}", f"in {metrics['images']:,.0f} images"],
    ]
    if "latency_ms_p50" in metrics:
        rows.append(
            ["latency", f"{metrics['latency_ms_p50']:.1f} ms", f"95 % within {metrics['latency_ms_p95']:.1f} ms"]
        )
    if evaluation.start is not None:
        start = evaluation.start
        rows += [
            ["mAP50 before training", share(start.map50), f"{signed(metrics['map50'] - start.map50)} since"],
            [
                "mAP50-95 before training",
                share(start.map50_95),
                f"{signed(metrics['map50_95'] - start.map50_95)} since",
            ],
        ]
    return _section("Numbers", ["", "value", ""], rows, left=(0, 2))


def _champion(evaluation: Evaluation) -> str:
    if evaluation.champion is None:
        sentence = evaluation.champion_seen.sentence
    else:
        sentence = champion_sentence(evaluation.champion, evaluation.options.champion_margin)
    return f"## Against the champion\n\n{plain(sentence, _LONGEST)}" if sentence else ""


def _classes(evaluation: Evaluation) -> str:
    """The classes with ground truth, the weakest first."""
    table = class_table(evaluation).filter(pl.col("ap50").is_not_null())
    if table.is_empty():
        return ""
    shown = table.sort("ap50", "category").head(SHOWN_CLASSES)
    rows = [
        [
            plain(row["category"], _NAME),
            f"{row['ground_truths']:,}",
            share(row["ap50"]),
            interval(row["ap50_low"], row["ap50_high"]),
            *(share(row[name]) for name in ("ap50_95", "precision", "recall", "f1")),
        ]
        for row in shown.to_dicts()
    ]
    title = f"Classes, the weakest {SHOWN_CLASSES} of {table.height}" if table.height > SHOWN_CLASSES else "Classes"
    return _section(title, ["class", "objects", "AP50", "95 %", "AP50-95", "precision", "recall", "F1"], rows)


def _facts(facts: Mapping[str, str]) -> str:
    rows = [[plain(name), plain(value)] for name, value in facts.items()]
    return _section("What it rests on", ["", ""], rows, left=(0, 1)) if rows else ""


def _section(title: str, header: list[str], rows: Iterable[list[str]], left: tuple[int, ...] = (0,)) -> str:
    return f"## {title}\n\n{markdown_table(header, rows, left)}"
