import base64
import json
import math
import re
import runpy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.shared.report.explorer import decode_counts, explorer_block
from components.shared.report.page import Report

BROWSER = runpy.run_path(str(Path(__file__).with_name("browser.py")))
needs_chromium = pytest.mark.skipif(BROWSER["CHROMIUM"] is None, reason=BROWSER["WHY"])
IOUS = [0.5, 0.75, 0.95]
BINS = 20


def leb128(number: int) -> bytes:
    out = b""
    while number > 127:
        out += bytes([number % 128 + 128])
        number //= 128
    return out + bytes([number])


def encoded(counts: np.ndarray) -> str:
    """The encoding as the evaluation's docstring describes it, one number after the other."""
    text, last = b"", -1
    for position, value in enumerate(counts.ravel().tolist()):
        if value:
            text += leb128(position - last - 1) + leb128(2 * value if value > 0 else -2 * value - 1)
            last = position
    return base64.b64encode(text).decode()


def drawn(seed: int = 0, names: Sequence[str] = ("cat", "dog", "never")) -> tuple[dict[str, Any], np.ndarray]:
    """Data of an explorer, and right, wrong and missed counts ``(K, 3, I, B)`` by score from each bin up."""
    random = np.random.default_rng(seed)
    shape = (len(names), len(IOUS), BINS)
    made = random.integers(0, 300, (len(names), BINS))
    made[-1] = 0
    right = np.sort(random.integers(0, 3, shape) * made[:, None] // 4, axis=1)[:, ::-1]
    ignored = np.sort(random.integers(0, 2, shape) * made[:, None] // 9, axis=1)
    rows = [made[:, None], np.diff(right, axis=1, prepend=0), np.diff(ignored, axis=1, prepend=0)]
    truths = right[:, 0].sum(axis=1) + random.integers(0, 40, len(names))
    truths[-1] = 0
    data = {"classes": list(names), "truths": truths.tolist(), "ious": IOUS, "bins": BINS}
    above = [np.cumsum(part[..., ::-1], axis=-1)[..., ::-1] for part in (right, made[:, None] - right - ignored)]
    missed = truths[:, None, None] - above[0]
    return data | {"counts": encoded(np.concatenate(rows, axis=1))}, np.stack([*above, missed], axis=1)


def page(data: dict[str, Any], confidence: float = 0.3, iou: float = 0.5) -> str:
    report = Report("Explorer")
    report.explorer(data, confidence=confidence, iou=iou)
    return report.html()


def texts(right: int, wrong: int, missed: int) -> list[str]:
    shares = [
        right / (right + wrong) if right + wrong else math.nan,
        right / (right + missed) if right + missed else math.nan,
        2 * right / (2 * right + wrong + missed) if right + wrong + missed else math.nan,
    ]
    said = ["\N{EN DASH}" if math.isnan(one) else f"{one:.3f}" for one in shares]
    return [*said, *(f"{count:,}" for count in (right, wrong, missed))]


def test_counts_are_decoded_and_summed_from_each_confidence_up() -> None:
    data, expected = drawn()
    counts = decode_counts(data)
    for category in range(3):
        for iou in range(3):
            for position in (0, 7, 19):
                tally = counts.tally(category, iou, position)
                found = [tally.right, tally.wrong, tally.missed]
                assert found == expected[category, :, iou, position].tolist()
    total = counts.total(1, 4)
    assert [total.right, total.wrong, total.missed] == expected[:, :, 1, 4].sum(axis=0).tolist()


def test_the_page_says_the_numbers_of_its_start_without_a_script() -> None:
    data, expected = drawn()
    start = page(data, confidence=0.31, iou=0.8).split("<script")[0]
    assert re.search(r'data-out="confidence">0.300<', start)
    assert re.search(r'data-out="iou">0.75<', start)
    assert re.findall(r'data-total="\d">([^<]*)<', start) == texts(*expected[:, :, 1, 6].sum(axis=0).tolist())
    row = re.search(r'<tr data-class="1">(.*?)</tr>', start, re.DOTALL)[1]
    assert re.findall(r"<td[^>]*>([^<]*)</td>", row)[1:] == texts(*expected[1, :, 1, 6].tolist())
    assert "The sliders need JavaScript" in start
    assert start.count(" disabled>") == 3


def test_nothing_to_explore_is_a_whole_page() -> None:
    data = {"classes": [], "truths": [], "ious": IOUS, "bins": BINS, "counts": ""}
    assert "no classes" in page(data)


def test_names_cannot_end_the_data_in_the_page() -> None:
    data, _ = drawn(names=("</script><script>alert(1)</script>", "<!--<script>", "\u2028'\""))
    found = page(data)
    assert found.count("<script") == 3
    embedded = re.search(r'<script type="application/json">(.*?)</script>', found, re.DOTALL)[1]
    assert json.loads(embedded) == data


def test_of_thousands_of_classes_the_first_have_a_row_and_all_are_counted() -> None:
    names = [f"class {number}" for number in range(1001)]
    data, expected = drawn(names=names)
    block = explorer_block(data, confidence=0.0, iou=0.5)
    assert len(block.rows) == 1000
    assert block.left_out == 1
    assert list(block.total) == texts(*expected[:, :, 0, 0].sum(axis=0).tolist())


SETTINGS = [(0, 0, -1), (6, 0, -1), (11, 1, 0), (19, 2, 1), (3, 1, 2)]
DRIVER = """
const settings = SETTINGS;
const knob = (name) => document.querySelector(`[data-knob="${name}"]`);
const row = (one) => [...one.cells].map((cell) => cell.textContent);
const found = [];
for (const [position, iou, shown] of settings) {
  for (const [name, value] of Object.entries({ position, iou, shown })) {
    knob(name).value = value;
    knob(name).dispatchEvent(new Event("change"));
  }
  found.push({
    totals: [...document.querySelectorAll("[data-total]")].map((one) => one.textContent),
    rows: [...document.querySelectorAll("tr[data-class]")].map(row),
    confidence: document.querySelector("[data-out='confidence']").textContent,
    mark: document.querySelector(".mark").getAttribute("x1"),
    enabled: !knob("position").disabled,
  });
}
const missed = [...document.querySelectorAll(".explorer th button")].at(-1);
missed.click();
const sorted = [...document.querySelectorAll("tr[data-class]")].map((one) => row(one).at(-1));
knob("position").value = 0;
knob("position").dispatchEvent(new Event("change"));
const again = [...document.querySelectorAll("tr[data-class]")].map((one) => row(one).at(-1));
return { found, sorted, again };
"""


@needs_chromium
@pytest.mark.slow
def test_a_browser_finds_the_same_numbers_in_the_sandboxed_frame_of_kubeflow(tmp_path: Path) -> None:
    data, expected = drawn(names=('<b>"cat"</b>', "dog", "never"))
    seen = BROWSER["drive"](page(data), DRIVER.replace("SETTINGS", json.dumps(SETTINGS)), tmp_path)
    for (position, iou, shown), found in zip(SETTINGS, seen["found"], strict=True):
        counts = expected[:, :, iou, position]
        chosen = counts.sum(axis=0) if shown < 0 else counts[shown]
        assert found["totals"] == texts(*chosen.tolist())
        assert [row[2:] for row in found["rows"]] == [texts(*row) for row in counts.tolist()]
        assert found["confidence"] == f"{position / BINS:.3f}"
        assert float(found["mark"].rstrip("%")) == pytest.approx(position / BINS * 100)
        assert found["enabled"]
    for order in (seen["sorted"], seen["again"]):
        numbers = [int(text.replace(",", "")) for text in order]
        assert numbers == sorted(numbers, reverse=True)
