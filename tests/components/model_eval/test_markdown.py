import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from components.model_eval.evaluation import ChampionSeen, ChampionState, Demand, EvaluateOptions, StartComparison
from components.model_eval.markdown import SHOWN_CLASSES, overview, write_overview
from components.model_eval.quality import evaluate_predictions

BOX = (10.0, 10.0, 60.0, 60.0)
FACTS = {"model": "shapes:0123456789abcdef", "dataset": "shapes"}
HOSTILE = ("a|b", "<img src=x onerror=alert(1)>", "line\nbreak", "# head", "x" * 500, "[a](http://x.y)", "`c`")


def rows(text: str, title: str) -> list[list[str]]:
    """Cells of the table below a heading, without its rule."""
    lines = text.split(f"## {title}", 1)[1].split("\n## ", maxsplit=1)[0].splitlines()
    table = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in (table[0], *table[2:])]


def test_the_overview_says_verdict_demands_numbers_and_classes(random_set: Any) -> None:
    case = random_set(1)
    evaluation = evaluate_predictions(case.dataset, case.detections, case.dataset.classes, EvaluateOptions())
    demands = (Demand("map50", "", True, 0.75, 0.5), Demand("slice size:small", "", False, None, 0.25))
    seen = ChampionSeen(ChampionState.NONE, sentence="There is no champion yet.")
    start = StartComparison(0.125, 0.0625, case.detections.clear())
    evaluation = replace(evaluation, passed=False, demands=demands, champion_seen=seen, start=start, reasons=("Why.",))

    text = overview(evaluation, FACTS)

    assert "**\N{BALLOT X} The model did not pass the gate. Why.**" in text
    assert rows(text, "What the gate asks for")[1:] == [
        ["slice size:small", "0.250", "\N{EN DASH}", "**no**"],
        ["map50", "0.500", "0.750", "yes"],
    ]
    numbers = {name: (value, note) for name, value, note in rows(text, "Numbers")[1:]}
    interval = evaluation.diagnosis.intervals.map50
    said = f"95 %: {interval.low:.2f} to {interval.high:.2f}"
    assert numbers["mAP50"] == (f"{evaluation.metrics['map50']:.3f}", said)
    assert numbers["mAP50 before training"][0] == "0.125"
    assert "There is no champion yet." in text
    assert len(rows(text, "Classes")) == 1 + len(case.dataset.classes)
    assert rows(text, "What it rests on")[1:] == [["model", "shapes:0123456789abcdef"], ["dataset", "shapes"]]


def test_hostile_names_break_neither_the_table_nor_the_page(
    shapes: Any, truth: Any, found: Any, detections: Any, tmp_path: Path
) -> None:
    dataset = shapes([truth(0, name, BOX) for name in HOSTILE], HOSTILE, 1)
    made = detections([found(0, HOSTILE[0], 0.9, BOX)])
    evaluation = evaluate_predictions(dataset, made, HOSTILE, EvaluateOptions())
    evaluation = replace(evaluation, reasons=HOSTILE)
    write_overview(evaluation, dict.fromkeys(("model", "dataset"), HOSTILE[1]), tmp_path / "overview.md")
    text = (tmp_path / "overview.md").read_text(encoding="utf-8")
    assert "<" not in text
    assert {len(row) for row in rows(text, "Classes")} == {8}
    assert len(rows(text, "Classes")) == 1 + len(HOSTILE)
    assert "x" * 100 not in text.split("## Classes")[1]
    assert "](" not in text.replace("\\](", "")


def test_of_many_classes_the_weakest_are_shown(shapes: Any, truth: Any, found: Any, detections: Any) -> None:
    names = [f"class {number:02}" for number in range(30)]
    truths = [truth(number, name, BOX) for number, name in enumerate(names)]
    made = detections([found(number, name, 0.9, BOX) for number, name in enumerate(names[:-1])])
    evaluation = evaluate_predictions(shapes(truths, names, 30), made, names, EvaluateOptions())
    text = overview(evaluation, FACTS)
    title = f"Classes, the weakest {SHOWN_CLASSES} of 30"
    assert rows(text, title)[1][0] == "class 29"
    assert len(rows(text, title)) == 1 + SHOWN_CLASSES


def test_nothing_to_measure_is_said(shapes: Any, detections: Any) -> None:
    evaluation = evaluate_predictions(shapes([], ["cat"], 1), detections([]), ["cat"], EvaluateOptions())
    text = overview(evaluation, {})
    assert "did not pass" in text
    assert "nan" not in text
    assert "## Classes" not in text
