import json
import re
import runpy
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from components.model_eval.bootstrap import Interval
from components.model_eval.evaluation import (
    ChampionComparison,
    ChampionSeen,
    ChampionState,
    Demand,
    EvaluateOptions,
    Evaluation,
    StartComparison,
)
from components.model_eval.examples import Examples, draw_examples
from components.model_eval.explorer import explorer_data
from components.model_eval.quality import evaluate_predictions
from components.model_eval.report import build_report, verdict, write_report
from components.model_eval.report_charts import confusion_chart
from components.shared.detection.inference import Inference
from components.shared.evaluation.outcomes import sort_detections, truth_table, usable_images, with_outcomes
from components.shared.runtime_table import RuntimeRow, RuntimeTable

SETS = runpy.run_path(str(Path(__file__).with_name("conftest.py")))
BROWSER = runpy.run_path(str(Path(__file__).parents[1] / "shared" / "report" / "browser.py"))
needs_chromium = pytest.mark.skipif(shutil.which("chromium") is None, reason=BROWSER["WHY"])
BOX = (10.0, 10.0, 60.0, 60.0)
FACTS = {"model": "shapes:0123456789abcdef", "dataset": "shapes", "dataset version": "ab" * 32}
HOSTILE = (
    "</script><script>alert(1)</script>",
    "a|b\nc",
    "x" * 500,
    "\u202eright to left",
    "\u05d7\u05ea\u05d5\u05dc",
    "\"&'<b>",
    " ",
)


@pytest.fixture(scope="module")
def case() -> Any:
    return SETS["random_case"](1)


@pytest.fixture(scope="module")
def judged(case: Any) -> Evaluation:
    return evaluate_predictions(case.dataset, case.detections, case.dataset.classes, EvaluateOptions())


@pytest.fixture(scope="module")
def whole(case: Any, judged: Evaluation) -> Evaluation:
    """An evaluation with everything in it."""
    start = StartComparison(0.1, 0.05, case.detections.filter(pl.col("score") > 0.6))
    demands = (Demand("map50", "", passed=True, value=0.8, needed=0.5), Demand("champion", "", False, None, -0.05))
    found = champion(case.dataset.classes)
    return replace(judged, champion=found, start=start, runtimes=runtimes(), demands=demands)


def champion(classes: Sequence[str], **changes: Any) -> ChampionComparison:
    table = pl.DataFrame({"category": list(classes), "ours": [0.5] * len(classes), "theirs": [0.4] * len(classes)})
    made = ChampionComparison(
        version="cd" * 32,
        tag="shapes:fedcba9876543210",
        classes=tuple(classes),
        left_out=("lathe",),
        ours=0.5,
        theirs=0.4,
        difference=Interval(0.1, -0.02, 0.2),
        per_class=table,
    )
    return replace(made, **changes)


def runtimes() -> RuntimeTable:
    rows = (
        RuntimeRow(runtime="torch", map50_95=0.5, map50=0.8, drop=0.0, latency_ms_p50=48.25, served=("cuda",)),
        RuntimeRow(runtime="onnx-int8", drop=0.2, refused="It loses 0.2, more than the max_drop of 0.01."),
    )
    return RuntimeTable(images=32, device="a CPU", threads=2, rows=rows)


def page(evaluation: Evaluation, examples: Examples | None = None) -> str:
    return build_report(evaluation, examples or Examples(), FACTS).html()


def text(html: str) -> str:
    body = re.sub(r"<(script|style).*?</\1>", "", html.split("<body>")[1], flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", body))


def test_the_top_says_the_verdict_the_demands_and_numbers_with_their_intervals(whole: Evaluation) -> None:
    evaluation = replace(whole, passed=False, reasons=("One is not met.",))
    shown = text(page(evaluation))
    low, high = evaluation.diagnosis.intervals.map50.low, evaluation.diagnosis.intervals.map50.high
    assert "The model did not pass the gate. One is not met." in shown
    assert f"mAP50 {evaluation.metrics['map50']:.3f} Good 95 %: {low:.2f} to {high:.2f}" in shown
    assert re.search(r"map50 0\.500 0\.800 met champion \N{MINUS SIGN}0\.050 \N{EN DASH} not met", shown)


def test_many_reasons_are_a_list_below_a_verdict_that_counts_demands(whole: Evaluation) -> None:
    reasons = tuple(f"Reason {number}." for number in range(20))
    evaluation = replace(whole, passed=False, reasons=reasons)
    assert verdict(evaluation) == "The model did not pass the gate. 1 of 2 demands are not met."
    assert page(evaluation).count("<li>Reason") == 8


def test_every_part_of_the_report_is_there_with_a_text_for_its_charts(whole: Evaluation) -> None:
    html = page(whole)
    heads = re.findall(r'<h2 id="head\d+">([^<]*)', html)
    assert heads == [
        "Against the champion",
        "Before and after the training",
        "How good each class is",
        "What goes wrong",
        "Missed objects",
        "False alarms",
        "Right predictions",
        "Where it is weak",
        "Which confidence to use",
        "Try other thresholds",
        "How far scores can be believed",
        "What is taken for what",
        "Speed",
        "What it rests on",
    ]
    assert html.count("<svg") - html.count('aria-hidden="true"') - html.count('class="plane') == html.count("<desc")


def test_the_champion_is_judged_by_the_lower_end_of_the_interval(whole: Evaluation) -> None:
    inside = replace(whole, options=EvaluateOptions(champion_margin=0.05))
    beyond = replace(whole, options=EvaluateOptions(champion_margin=0.01))
    assert "The lower end is within the loss of 0.05 that the gate allows." in text(page(inside))
    assert "The lower end is beyond the loss of 0.01 that the gate allows." in text(page(beyond))
    assert "Only one of the two models has &#39;lathe&#39;" in text(page(inside))


@pytest.mark.parametrize(
    ("comparison", "said"),
    [
        ({"same": True}, "is this very archive"),
        ({"classes": ()}, "has no class in common"),
        ({"difference": Interval(0.1, float("nan"), float("nan"))}, "the difference has no interval"),
        ({"difference": Interval(0.1, 0.05, 0.2)}, "it is better"),
        ({"difference": Interval(-0.1, -0.2, -0.05)}, "it is worse"),
    ],
)
def test_a_champion_that_cannot_be_judged_is_said(whole: Evaluation, comparison: dict[str, Any], said: str) -> None:
    changed = replace(champion(["class 0"]), **comparison)
    assert said in text(page(replace(whole, champion=changed)))


def test_why_there_is_no_comparison_is_said(whole: Evaluation) -> None:
    seen = ChampionSeen(ChampionState.NONE, sentence="There is no champion yet.")
    assert "There is no champion yet." in text(page(replace(whole, champion=None, champion_seen=seen)))
    assert "Against the champion" not in text(page(replace(whole, champion=None)))


def test_a_refused_runtime_says_why(whole: Evaluation) -> None:
    shown = text(page(whole))
    assert "measured on 32 validation images on a CPU with 2 threads" in shown
    assert "Not in the archive: It loses 0.2, more than the max_drop of 0.01." in shown
    assert "How other runtimes compare is not known." in text(page(replace(whole, runtimes=None)))


def test_thresholds_show_what_serves_each_class(whole: Evaluation) -> None:
    how = Inference(confidence=0.4, class_confidence={"class 1": 0.625})
    metrics = whole.metrics | {"served_precision": 0.5, "served_recall": 0.25, "served_f1": 0.125}
    shown = text(page(replace(whole, inference=how, confidence=0.4, metrics=metrics)))
    assert re.search(r"class 0 \d+ 0\.400", shown)
    assert re.search(r"class 1 \d+ 0\.625", shown)
    assert "each class from its own confidence: precision 0.500, recall 0.250, F1 0.125" in shown


def test_before_and_after_are_counted_at_one_confidence(case: Any, judged: Evaluation, painted_images: Any) -> None:
    start = StartComparison(0.1, 0.05, case.detections.clear())
    evaluation = replace(judged, start=start)
    examples = draw_examples(evaluation, painted_images, case.dataset.images)
    shown = text(page(evaluation, examples))
    found, missed = (f"{evaluation.metrics[name]:.0f}" for name in ("true_positives", "false_negatives"))
    assert f"objects found 0 {found} +{found}" in shown
    assert f"objects missed {evaluation.metrics['ground_truths']:.0f} {missed}" in shown
    assert "the start weights find 0, the trained ones" in shown
    assert f"mAP50 0.100 {evaluation.metrics['map50']:.3f}" in shown


def hostile_case(shapes: Any, truth: Any, found: Any, detections: Any) -> tuple[Any, pl.DataFrame]:
    boxes = [(10.0 + 40 * place, 10.0, 30.0, 30.0) for place in range(len(HOSTILE))]
    truths = [truth(0, name, box) for name, box in zip(HOSTILE, boxes, strict=True)]
    made = [found(0, name, 0.9, box) for name, box in zip(HOSTILE, [*boxes[1:], boxes[0]], strict=True)]
    return shapes(truths, HOSTILE, 2), detections(made)


def test_hostile_class_names_stay_text(
    shapes: Any, truth: Any, found: Any, detections: Any, painted_images: Any, tmp_path: Path
) -> None:
    dataset, made = hostile_case(shapes, truth, found, detections)
    evaluation = evaluate_predictions(dataset, made, HOSTILE, EvaluateOptions())
    start = StartComparison(0.0, 0.0, made.head(2))
    evaluation = replace(evaluation, champion=champion(HOSTILE, tag=HOSTILE[0]), start=start)
    examples = draw_examples(evaluation, painted_images, dataset.images)
    write_report(evaluation, examples, dict.fromkeys(("model", "dataset"), HOSTILE[0]), tmp_path / "report.html")
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert html.count("<script") == 3
    assert "x" * 100 not in re.sub(r'<script type="application/json">.*?</script>', "", html, flags=re.DOTALL)
    outside = html.replace("\u2068", "").replace("\u2069", "")
    assert html.count("\u2068") == html.count("\u2069") > 0
    assert len(outside) < len(html)


@pytest.mark.parametrize("kind", ["no predictions", "no truths", "nothing", "one class", "one image"])
def test_little_or_nothing_to_show_is_a_whole_report(
    kind: str, shapes: Any, truth: Any, found: Any, detections: Any, painted_images: Any
) -> None:
    truths = [] if kind in {"no truths", "nothing"} else [truth(0, "cat", BOX)]
    made = (
        [] if kind in {"no predictions", "nothing"} else [found(0, "cat", 0.9, BOX), found(0, "cat", 0.8, (0, 0, 9, 9))]
    )
    names = ["cat"] if kind == "one class" else ["cat", "dog"]
    dataset = shapes(truths, names, 1 if kind == "one image" else 3)
    evaluation = evaluate_predictions(dataset, detections(made), names, EvaluateOptions())
    evaluation = replace(evaluation, start=StartComparison(0.0, 0.0, detections(made)))
    shown = text(page(evaluation, draw_examples(evaluation, painted_images, dataset.images)))
    assert "nan" not in re.sub(r"\w*nan\w+|\w+nan\w*", "", shown.lower())
    if kind == "no predictions":
        assert "Nothing was predicted." in shown
        assert "scores cannot be judged" in shown
    if not truths:
        assert "There is no object to miss." in shown
        assert "no error has a cost" in shown


@pytest.mark.slow
def test_hundreds_of_classes_fit_the_page(shapes: Any, truth: Any, found: Any, detections: Any) -> None:
    random = np.random.default_rng(0)
    names = [f"class {number:03}" for number in range(500)]
    truths, made = [], []
    for number in range(4000):
        image, name = number % 50, names[number % 500]
        box = tuple(random.uniform(5, 100, 4).tolist())
        truths.append(truth(image, name, box))
        made.append(found(image, names[random.integers(500)], 0.9, box))
    dataset = shapes(truths, names, 50)
    evaluation = evaluate_predictions(dataset, detections(made), names, EvaluateOptions())
    html = page(evaluation)
    assert len(html) < 3_000_000
    assert "the 40 classes confused most" in confusion_chart(evaluation).title
    assert html.count("<tr data-class=") == 500


DRIVER = """
const knob = (name) => document.querySelector(`[data-knob="${name}"]`);
const found = [];
for (const [position, iou] of SETTINGS) {
  knob("position").value = position;
  knob("iou").value = iou;
  knob("iou").dispatchEvent(new Event("change"));
  found.push([...document.querySelectorAll("tr[data-class]")].map((row) =>
    [...row.cells].slice(-3).map((cell) => Number(cell.textContent.replace(/,/g, "")))));
}
return { found, wide: document.documentElement.scrollWidth, room: innerWidth };
"""


@needs_chromium
@pytest.mark.slow
def test_the_sliders_count_as_a_new_evaluation_at_their_settings_would(
    whole: Evaluation, random_set: Any, tmp_path: Path
) -> None:
    case = random_set(8, images=30)
    images, truths = usable_images(case.dataset), truth_table(case.dataset, usable_images(case.dataset))
    data = explorer_data(sort_detections(case.detections), truths, case.dataset.classes)
    settings = [(20, 0), (100, 0), (60, 5), (150, 9)]
    html = page(replace(whole, diagnosis=replace(whole.diagnosis, explorer=data)))
    seen = BROWSER["drive"](html, DRIVER.replace("SETTINGS", json.dumps(settings)), tmp_path)
    for (position, level), rows in zip(settings, seen["found"], strict=True):
        made = case.detections.filter(pl.col("score") >= position / int(str(data["bins"])))
        found = with_outcomes(sort_detections(made), truths, images, threshold=round(0.5 + 0.05 * level, 2))
        made, there = (Counter(table.select("category", "outcome").iter_rows()) for table in found)
        for name, row in zip(case.dataset.classes, rows, strict=True):
            assert row == [made[name, "TP"], made[name, "FP"], there[name, "FN"]]
    assert seen["wide"] <= seen["room"]
