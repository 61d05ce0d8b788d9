import html
import re
import runpy
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from components.shared.report.charts import (
    Chart,
    Estimate,
    Mark,
    Series,
    bar_chart,
    interval_chart,
    line_chart,
    matrix_chart,
)
from components.shared.report.draw import Picture, picture
from components.shared.report.page import MAX_BYTES, Level, Number, Report

HOSTILE = """</title></script><script>alert(1)</script><img src=x onerror=alert(1)>"' {{ 7*7 }} \x00 \ud800"""


BROWSER = runpy.run_path(str(Path(__file__).with_name("browser.py")))
needs_chromium = pytest.mark.skipif(BROWSER["CHROMIUM"] is None, reason=BROWSER["WHY"])


class Page(HTMLParser):
    """Elements, their attributes and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def count(self, tag: str) -> int:
        return sum(1 for name, _ in self.tags if name == tag)


def grey(caption: str = "grey", tags: tuple[str, ...] = ()) -> Picture:
    return picture(np.full((30, 40, 3), 128, np.uint8), caption=caption, tags=tags)


def noisy(seed: int) -> Picture:
    noise = np.random.default_rng(seed).integers(0, 256, (480, 480, 3), dtype=np.uint8)
    return picture(noise, caption=f"noise {seed}", quality=95)


def lines() -> Chart:
    return line_chart("Loss", [Series("training", [1, 2, 3], [3.0, 2.0, 1.5])], x_label="epoch", y_label="loss")


def full(text: str) -> Report:
    report = Report(text, subtitle=text)
    report.verdict(text, Level.GOOD)
    report.numbers([Number(text, text, text, Level.BAD)])
    report.section(text, text)
    report.text(text)
    report.points([text, text])
    report.chart(bar_chart(text, [text, "b"], {text: [1, 2], "other": [2, 1]}, x_label=text, y_label=text))
    report.charts([matrix_chart(text, [text, "b"], [[1, 2], [3, 4]], x_label=text, y_label=text)])
    report.table([text, "n"], [[text, 1.5], ["b", None]], caption=text)
    report.table([text], [[text]], caption=text, folded=True)
    report.gallery([grey(text, (text, "b")), grey(text, ("b",))], caption=text)
    report.gallery([], empty=text)
    report.gallery([grey(text)], columns=3)
    report.gallery([grey(text, (text, "b")), grey(text, ("c", text))], filters=(text, "kind"), wide=True)
    report.gallery([grey(text, (f"{text}{i}",)) for i in range(20)], filters=(text,))
    rows = [Estimate(text, 0.5, 0.2, 0.7, text), Estimate("b", 0.1)]
    report.chart(interval_chart(text, rows, x_label=text, name_label=text, marks=[Mark(0.3, text)]))
    report.explorer({"classes": [text], "truths": [1], "ious": [0.5], "bins": 2, "counts": ""}, confidence=0, iou=0.5)
    report.facts({text: text})
    return report


def test_hostile_text_adds_no_element_and_no_attribute_anywhere() -> None:
    harmless, hostile = Page(full("x" * len(HOSTILE)).html()), Page(full(HOSTILE).html())
    shape = [(tag, sorted(attributes)) for tag, attributes in harmless.tags if tag not in {"th", "td", "dd"}]
    assert [(tag, sorted(attributes)) for tag, attributes in hostile.tags if tag not in {"th", "td", "dd"}] == shape
    assert [tag for tag, _ in hostile.tags] == [tag for tag, _ in harmless.tags]
    assert "7*7" in full(HOSTILE).html()


def test_the_policy_allows_exactly_the_script_of_the_page_and_no_request() -> None:
    page = full("fine").html()
    policy = next(
        attributes["content"] or ""
        for tag, attributes in Page(page).tags
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert re.search(r"script-src 'sha256-[\w+/=]{44}' 'sha256-[\w+/=]{44}'$", policy)
    assert page.count("<script>") == 2
    plain = Report("plain").html()
    assert plain.count("<script") == 1
    assert len(re.findall(r"'sha256-[\w+/=]{44}'", plain)) == 1


def test_a_page_names_no_external_address() -> None:
    page = full("fine").html()
    assert not re.search(r"https?:|url\(|@import|src=\"(?!data:image/)|href=\"(?!#)", page)


def test_the_largest_gallery_loses_its_last_pictures_when_the_page_is_too_large(tmp_path: Path) -> None:
    report = Report("Large")
    report.gallery([grey(f"small {i}") for i in range(3)], caption="Few")
    pictures = [noisy(seed) for seed in range(22)]
    report.gallery(pictures, caption="Many")
    assert sum(len(one.data_uri) for one in pictures) > MAX_BYTES
    report.write(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    shown = page.count('class="picture"')
    assert (tmp_path / "report.html").stat().st_size <= MAX_BYTES
    assert MAX_BYTES - len(page) < 2 * len(pictures[0].data_uri)
    assert "small 2" in page
    assert "noise 0" in page
    assert f"{3 + 22 - shown} more pictures were left out" in page


def test_writing_leaves_only_the_report_behind(tmp_path: Path) -> None:
    full(HOSTILE).write(tmp_path / "report.html")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    (tmp_path / "report.html").read_text(encoding="utf-8")


def test_every_chart_has_a_name_a_description_and_its_data() -> None:
    report = Report("Charts")
    report.chart(lines())
    page = report.html()
    name, description = re.search(r'aria-labelledby="(\w+)" aria-describedby="(\w+)"', page).groups()
    assert f'<title id="{name}">Loss</title>' in page
    assert f'<desc id="{description}">Line chart of loss over epoch' in page
    assert re.search(r'<details class="data">.*<th[^>]*>epoch</th><th[^>]*>training</th>', page, re.DOTALL)


def test_numbers_of_a_column_share_their_decimals_and_missing_ones_are_a_dash() -> None:
    report = Report("Table")
    rows = [["a", 0.5, 1234567, np.float32(2.5)], ["b", -0.98765, None, float("nan")], ["c", None, np.int64(-3), 1e-9]]
    report.table(["name", "share", "count", "tiny"], rows)
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", report.html())
    assert cells == ["0.500", "1,234,567", "2.500", "\u22120.988", "\u2013", "\u2013", "\u2013", "\u22123", "1e\u22129"]


def test_a_number_sorts_by_its_value_and_not_by_how_it_is_shown() -> None:
    report = Report("Table")
    report.table(["n"], [[1234.5678], [0.1]])
    assert 'data-v="1234.5678">1,235<' in report.html()


def test_a_long_table_is_cut_visibly() -> None:
    report = Report("Long")
    report.table(["n"], [[i] for i in range(1500)])
    page = report.html()
    assert "The first 1,000 of 1,500 rows." in page
    assert page.count("<tr>") == 1001


def test_filters_appear_only_when_pictures_differ_in_their_tags() -> None:
    one, two = Report("One"), Report("Two")
    one.gallery([grey(tags=("missed",)), grey(tags=("missed",))])
    two.gallery([grey(tags=("missed", "small")), grey(tags=("false",))])
    assert "data-tag=" not in one.html().split("<script>")[0]
    assert [html.unescape(tag) for tag in re.findall(r'data-tag="([^"]+)"', two.html())] == ["missed", "small", "false"]


def test_tags_are_filtered_by_place_and_many_of_them_are_a_list() -> None:
    report = Report("Filters")
    report.gallery([grey(tags=("cat", "missed")), grey(tags=("missed", "wrong"))], filters=("class", "error"))
    report.gallery([grey(tags=(f"class {i}", "same")) for i in range(15)], filters=("class", "error"))
    page = report.html().split("<script>")[0]
    assert re.findall(r'data-place="(\d*)"', page) == ["0", "1", "0"]
    assert re.findall(r'data-tag="([^"]+)"', page) == ["cat", "missed", "missed", "wrong"]
    assert page.count("<select") == 1
    assert page.count("<option") == 16


FILTERING = """
const shown = () => [...document.querySelectorAll(".pictures > li")].map((one) => !one.hidden);
const chip = (place, tag) => document.querySelector(`[data-place="${place}"] [data-tag="${tag}"]`).click();
const none = () => !document.querySelector(".none").hidden;
const found = [];
for (const [place, tag] of [[0, "cat"], [1, "wrong"], [0, "dog"], [1, ""], [0, ""]]) {
  chip(place, tag);
  found.push([shown(), none()]);
}
return found;
"""


@needs_chromium
@pytest.mark.slow
def test_filters_of_a_gallery_work_together_in_a_browser(tmp_path: Path) -> None:
    report = Report("Filters")
    tags = [("cat", "missed"), ("cat", "wrong"), ("dog", "missed")]
    report.gallery([grey(tags=pair) for pair in tags], filters=("class", "error"))
    seen = BROWSER["drive"](report.html(), FILTERING, tmp_path)
    assert seen == [
        [[True, True, False], False],
        [[False, True, False], False],
        [[False, False, False], True],
        [[False, False, True], False],
        [[True, True, True], False],
    ]


def test_an_empty_report_is_a_whole_page() -> None:
    page = Page(Report("Nothing").html())
    assert page.count("h1") == 1
    assert page.count("dialog") == page.count("nav") == 0


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_colours_of_series_contrast_with_the_card_in_both_themes(theme: str) -> None:
    style = Report("Colours").html()
    blocks = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", blocks[theme == "dark"]))
    assert all(contrast(colours[f"s{i}"], colours["card"]) >= 3 for i in range(1, 9))
    assert all(
        contrast(colours[name], colours["card"]) >= 4.5 for name in ("ink", "soft", "link", "good", "warn", "bad")
    )
    assert all(contrast(colours[name], colours["page"]) >= 4.5 for name in ("ink", "soft"))


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two colours (WCAG 2.2)."""
    dark, light = sorted(map(luminance, (one, other)))
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
