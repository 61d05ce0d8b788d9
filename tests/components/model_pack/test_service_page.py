"""The page of the service in a real browser: an image goes to the server, and its boxes can be looked through."""

import io
import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

HERE = Path(__file__).parent
TINY = runpy.run_path(str(HERE / "tiny_model.py"))
BROWSER = runpy.run_path(str(HERE / "browser.py"))
pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("service"),
    pytest.mark.skipif(not BROWSER["CHROMIUM"], reason="there is no Chromium here"),
]
STATUS = "document.getElementById('status').textContent"
ROWS = "[...document.querySelectorAll('#rows tr')].map((row) => row.cells[0].textContent)"
PROBLEM = "document.getElementById('problem').hidden ? '' : document.getElementById('problem').textContent"


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with BROWSER["browser"](tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture
def page(tab: Any, service: Any) -> Any:
    tab.events.clear()
    tab.open(str(service.client.base_url))
    tab.wait("document.getElementById('model').children.length > 0")
    return tab


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "blocks.png"
    path.write_bytes(TINY["encoded_image"](7))
    return path


def middle(page: Any, selector: str) -> list[float]:
    script = f"(() => {{ const r = document.querySelector({selector!r}).getBoundingClientRect(); "
    return page.run(script + "return [r.x + r.width / 2, r.y + r.height / 2]; })()")


def dropped(page: Any, image: Path) -> None:
    page.drop(image, *middle(page, "#drop"))
    page.wait(f"/found/.test({STATUS})")


def test_a_dropped_image_is_answered_by_the_service(page: Any, service: Any, image: Path) -> None:
    dropped(page, image)
    answer = service.client.post("/predict", files={"image": image.read_bytes()}).json()
    assert page.run(ROWS) == [box["class"] for box in answer["boxes"]]
    assert page.run(STATUS).startswith(f"{len(answer['boxes'])} object")
    assert page.run("document.querySelectorAll('#boxes g').length") == len(answer["boxes"])
    corners = page.run(
        "[...document.querySelectorAll('#boxes g:last-child rect.halo')].map((r) => +r.getAttribute('x'))"
    )
    assert corners == [pytest.approx(answer["boxes"][0]["x"])]
    assert [url for url in page.requests if url.endswith("/predict")]


def test_the_boxes_lie_where_the_image_shows_them(page: Any, image: Path) -> None:
    dropped(page, image)
    edges = "(e) => { const r = e.getBoundingClientRect(); return [r.x, r.y, r.width, r.height].map(Math.round); }"
    places = page.run(f"['picture', 'boxes'].map((id) => ({edges})(document.getElementById(id)))")
    assert places[0] == places[1]
    assert places[0][2] > 300


def test_the_slider_and_the_classes_filter_without_asking_again(page: Any, image: Path) -> None:
    dropped(page, image)
    own, asked = len(page.run(ROWS)), len(page.requests)
    page.run("document.getElementById('confidence').focus()")
    page.press("Home", 36)
    assert not page.run("document.getElementById('own').checked")
    assert len(page.run(ROWS)) > own
    page.press("End", 35)
    assert page.run(ROWS) == []
    page.press("Home", 36)
    page.run("document.querySelector('#classes input').focus()")
    page.press(" ", 32, " ")
    assert "circle" not in page.run(ROWS)
    assert page.run(ROWS)
    assert len(page.requests) == asked


def test_the_file_can_be_chosen_by_keyboard_and_rows_point_at_boxes(page: Any, image: Path) -> None:
    page.press("Tab", 9)
    assert page.run("document.activeElement.id") == "file"
    page.choose(image, "#file")
    page.wait(f"/found/.test({STATUS})")
    page.run("document.querySelector('#rows tr').focus()")
    assert page.run("document.querySelectorAll('#boxes .picked').length") == 1


def test_an_image_is_pasted(page: Any) -> None:
    page.run(
        "new Promise((done) => { const canvas = document.createElement('canvas');"
        "canvas.width = 80; canvas.height = 60; canvas.toBlob((blob) => { const data = new DataTransfer();"
        "data.items.add(new File([blob], 'pasted.png', {type: 'image/png'}));"
        "document.dispatchEvent(new ClipboardEvent('paste', {clipboardData: data})); done(); }); })"
    )
    page.wait(f"/ound/.test({STATUS})")
    assert "80 \u00d7 60" in page.run("document.getElementById('caption').textContent")


@pytest.mark.parametrize("content", [b"no image", b"", b"<svg xmlns='http://www.w3.org/2000/svg'/>"])
def test_what_is_no_image_is_answered_with_a_sentence(page: Any, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "image.jpg"
    path.write_bytes(content)
    page.drop(path, *middle(page, "#drop"))
    assert page.wait(PROBLEM).endswith(".")
    assert page.run("document.getElementById('figure').hidden")


def test_a_format_the_browser_cannot_show_still_has_its_boxes(page: Any, tmp_path: Path) -> None:
    path, buffer = tmp_path / "blocks.tif", io.BytesIO()
    Image.open(io.BytesIO(TINY["encoded_image"](7))).save(buffer, "TIFF")
    path.write_bytes(buffer.getvalue())
    dropped(page, path)
    assert "cannot show" in page.run("document.getElementById('caption').textContent")
    assert page.run("document.querySelectorAll('#boxes g').length") == len(page.run(ROWS)) > 0


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [360, 1280])
def test_it_fits_and_can_be_read_in_light_and_dark(
    page: Any, service: Any, image: Path, dark: bool, width: int
) -> None:
    page.open(str(service.client.base_url), width=width, dark=dark)
    page.wait("document.getElementById('model').children.length > 0")
    dropped(page, image)
    assert page.run("document.documentElement.scrollWidth <= innerWidth")
    ink, ground = (page.run(f"getComputedStyle(document.body)['{name}']") for name in ("color", "backgroundColor"))
    assert (brightness(ink) > brightness(ground)) == dark
    assert abs(brightness(ink) - brightness(ground)) > 150


def brightness(colour: str) -> float:
    return sum(map(float, re.findall(r"[\d.]+", colour)[:3])) / 3


def test_nothing_else_is_asked_and_nothing_complains(page: Any, service: Any, image: Path) -> None:
    dropped(page, image)
    page.run("1")
    host = str(service.client.base_url).rstrip("/")
    assert all(url.startswith((host, f"blob:{host}", "data:,")) for url in page.requests)
    assert page.complaints == []
    policy = service.client.get("/").headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy


def test_the_interface_is_readable_without_asking_elsewhere(page: Any, service: Any) -> None:
    host = str(service.client.base_url).rstrip("/")
    page.open(f"{host}/docs")
    page.wait("document.body.innerText.includes('/predict/image')")
    assert all(url.startswith((host, "data:")) for url in page.requests)
