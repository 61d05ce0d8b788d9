import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from components.data_load.sample import ANNOTATIONS, PLANTED, scenes, write_sample
from components.data_load.sample_paint import SEEN, Pose, paint
from components.data_load.sample_scene import LARGEST, MOST_COVERED, compose
from components.data_load.tools import DRAWINGS, TOOLS
from components.shared.errors import ConfigError
from components.shared.files import digest_of_digests, sha256_tree
from components.shared.images import probe
from components.shared.ledger import Action, Rule

pytestmark = pytest.mark.xdist_group("workbench")
REPO = Path(__file__).resolve().parents[3]
IMAGES, EDGE = 48, 128
WRITE = "import sys; from pathlib import Path; from components.data_load.sample import write_sample; write_sample(Path(sys.argv[1]), images=20, edge=96, seed=3)"  # noqa: E501


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("workbench")
    write_sample(folder, images=IMAGES, edge=EDGE)
    return folder


@pytest.fixture(scope="module")
def document(sample: Path) -> dict[str, Any]:
    return json.loads((sample / ANNOTATIONS).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def shown() -> list[tuple[str, ...]]:
    """The tools of each of 160 images."""
    return [tuple(scene.tools) for scene in scenes(images=160, edge=96, seed=2)]


def annotations_of(document: dict[str, Any], name: str) -> list[dict[str, Any]]:
    number = next(image["id"] for image in document["images"] if image["file_name"] == name)
    return [annotation for annotation in document["annotations"] if annotation["image_id"] == number]


def planted(rule: Rule) -> str:
    return next(defect.image for defect in PLANTED if defect.rule is rule)


def ledger_of(document: dict[str, Any], edge: int) -> set[tuple[str, Rule, Action]]:
    """What is wrong with the boxes, found from the document alone."""
    names = {image["id"]: image["file_name"] for image in document["images"]}
    known = {category["id"] for category in document["categories"]}
    found, seen = set(), set()
    for annotation in document["annotations"]:
        name, (x, y, width, height) = names[annotation["image_id"]], annotation["bbox"]
        key = (name, annotation["category_id"], x, y, width, height)
        if annotation["category_id"] not in known:
            found.add((name, Rule.UNKNOWN_CATEGORY, Action.REJECTED))
        elif width <= 0 or height <= 0:
            found.add((name, Rule.ZERO_AREA, Action.REJECTED))
        elif x >= edge or y >= edge or x + width <= 0 or y + height <= 0:
            found.add((name, Rule.OUTSIDE, Action.REJECTED))
        elif key in seen:
            found.add((name, Rule.DUPLICATE_ANNOTATION, Action.REJECTED))
        elif x < 0 or y < 0 or x + width > edge or y + height > edge:
            found.add((name, Rule.CLIPPED, Action.FIXED))
        seen.add(key)
    return found


def digest(folder: Path) -> str:
    return digest_of_digests(sha256_tree(folder))


@pytest.mark.slow
def test_equal_arguments_give_equal_bytes_in_another_process(tmp_path: Path) -> None:
    write_sample(tmp_path / "here", images=20, edge=96, seed=3)
    environment = {**os.environ, "PYTHONHASHSEED": "12345"}
    subprocess.run([sys.executable, "-c", WRITE, str(tmp_path / "there")], check=True, cwd=REPO, env=environment)
    assert digest(tmp_path / "there") == digest(tmp_path / "here")


def test_another_seed_gives_other_images(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_sample(tmp_path / str(seed), images=20, edge=96, seed=seed)
    assert digest(tmp_path / "0") != digest(tmp_path / "1")


def test_a_larger_sample_starts_with_the_smaller_one(sample: Path, tmp_path: Path) -> None:
    write_sample(tmp_path, images=20, edge=EDGE)
    for path in (tmp_path / "images").iterdir():
        same = sample / "images" / path.name
        assert hashlib.sha256(path.read_bytes()).digest() == hashlib.sha256(same.read_bytes()).digest()


def test_each_box_is_the_bounds_of_the_pixels_that_show_the_tool() -> None:
    for scene in scenes(images=24, edge=EDGE, seed=1):
        for number, (left, top, width, height) in enumerate(scene.boxes(), start=1):
            rows, columns = np.nonzero(scene.owner == number)
            assert (columns.min(), rows.min()) == (left, top)
            assert (columns.max() + 1, rows.max() + 1) == (left + width, top + height)


def test_the_boxes_written_are_the_boxes_painted(document: dict[str, Any]) -> None:
    damaged = {defect.image for defect in PLANTED}
    drawn = scenes(images=IMAGES, edge=EDGE, seed=0)
    for image, scene in zip(document["images"], drawn, strict=True):
        if image["file_name"] in damaged:
            continue
        written = annotations_of(document, image["file_name"])
        assert [tuple(annotation["bbox"]) for annotation in written] == scene.boxes()
        assert [TOOLS[annotation["category_id"] - 1] for annotation in written] == list(scene.tools)


@pytest.mark.parametrize("tool", TOOLS)
def test_a_box_holds_the_tool_and_not_its_shadow(tool: str) -> None:
    scene = compose(np.random.default_rng(5), [tool], 256)
    sprite = paint(DRAWINGS[tool](np.random.default_rng(5)), Pose(100.0))
    rows, columns = np.nonzero(sprite.alpha >= SEEN)
    assert max(np.ptp(rows), np.ptp(columns)) == pytest.approx(100, abs=12)
    assert max(scene.boxes()[0][2:]) <= 256 * LARGEST * 1.2


@pytest.mark.slow
def test_screwdrivers_are_four_times_as_frequent_as_the_other_tools(shown: list[tuple[str, ...]]) -> None:
    counts = Counter(tool for tools in shown for tool in tools)
    others = [counts[tool] for tool in TOOLS if tool != "screwdriver"]
    assert counts["screwdriver"] / np.mean(others) == pytest.approx(4, rel=0.1)
    assert max(others) - min(others) <= 4


@pytest.mark.slow
def test_a_few_images_show_no_tool_and_none_shows_more_than_five(shown: list[tuple[str, ...]]) -> None:
    counts = Counter(len(tools) for tools in shown)
    assert 5 <= counts[0] <= 15
    assert max(counts) <= 5


def test_even_the_smallest_sample_has_an_image_without_tools(tmp_path: Path) -> None:
    write_sample(tmp_path, images=20, edge=96, seed=7)
    document = json.loads((tmp_path / ANNOTATIONS).read_text(encoding="utf-8"))
    assert len({annotation["image_id"] for annotation in document["annotations"]}) < 20


def test_no_box_covers_more_than_a_fifth_of_another_when_laid() -> None:
    for scene in scenes(images=24, edge=EDGE, seed=4):
        boxes = scene.boxes()
        for index, (left, top, width, height) in enumerate(boxes):
            for other in boxes[:index]:
                across = min(left + width, other[0] + other[2]) - max(left, other[0])
                down = min(top + height, other[1] + other[3]) - max(top, other[1])
                smaller = min(width * height, other[2] * other[3])
                # What is covered makes the visible box smaller than the one the limit was checked on.
                assert min(across, down) <= 0 or across * down <= 1.5 * MOST_COVERED * smaller


@pytest.mark.parametrize(
    ("images", "edge", "seed"),
    [(20, 96, 1), pytest.param(48, 128, 0, marks=pytest.mark.slow), pytest.param(30, 200, 9, marks=pytest.mark.slow)],
)
def test_the_planted_defects_are_the_only_ones(tmp_path: Path, images: int, edge: int, seed: int) -> None:
    write_sample(tmp_path, images=images, edge=edge, seed=seed)
    document = json.loads((tmp_path / ANNOTATIONS).read_text(encoding="utf-8"))
    declared = {(defect.image, defect.rule, defect.action) for defect in PLANTED}
    unreadable = {
        (path.name, Rule.UNREADABLE_IMAGE, Action.REJECTED)
        for path in (tmp_path / "images").iterdir()
        if probe(path.read_bytes()).problem
    }
    assert ledger_of(document, edge) | unreadable == declared


def test_clipping_the_negative_corner_gives_back_the_exact_box(document: dict[str, Any]) -> None:
    name = planted(Rule.CLIPPED)
    index = next(image["id"] for image in document["images"] if image["file_name"] == name) - 1
    left, top, width, height = annotations_of(document, name)[0]["bbox"]
    scene = list(scenes(images=index + 1, edge=EDGE, seed=0))[index]
    assert left < 0
    assert scene.boxes()[0] == (0.0, top, width + left, height)


def test_the_truncated_jpeg_does_not_decode(sample: Path) -> None:
    with Image.open(sample / "images" / planted(Rule.UNREADABLE_IMAGE)) as image, pytest.raises(OSError, match="trunc"):
        image.load()


def test_every_other_image_decodes_to_the_size_declared(sample: Path, document: dict[str, Any]) -> None:
    for image in document["images"]:
        if image["file_name"] != planted(Rule.UNREADABLE_IMAGE):
            seen = probe((sample / "images" / image["file_name"]).read_bytes())
            assert (seen.width, seen.height, seen.problem) == (image["width"], image["height"], None)


def test_categories_are_numbered_alphabetically(document: dict[str, Any]) -> None:
    names = [category["name"] for category in document["categories"]]
    assert names == sorted(names)
    assert [category["id"] for category in document["categories"]] == [1, 2, 3, 4, 5]


def test_annotation_ids_are_unique(document: dict[str, Any]) -> None:
    numbers = [annotation["id"] for annotation in document["annotations"]]
    assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize(
    ("parameters", "named"),
    [({"images": 19}, "images"), ({"images": 100_001}, "images"), ({"edge": 95}, "edge"), ({"edge": 4097}, "edge"),
     ({"seed": -1}, "seed")],
)  # fmt: skip
def test_a_parameter_out_of_range_is_refused_before_anything_is_written(
    tmp_path: Path, parameters: dict[str, int], named: str
) -> None:
    with pytest.raises(ConfigError, match=named):
        write_sample(tmp_path / "none", **parameters)
    assert not (tmp_path / "none").exists()


def test_the_listener_hears_of_every_image_and_of_the_end(tmp_path: Path) -> None:
    heard: list[float] = []
    write_sample(tmp_path, images=20, edge=96, notify=lambda share, _: heard.append(share))
    assert len(heard) == 20
    assert heard[-1] == 1.0


@pytest.mark.slow
def test_a_large_image_shows_a_large_tool() -> None:
    scene = compose(np.random.default_rng(0), ["wheelbarrow"], 2048)
    assert scene.pixels.shape == (2048, 2048, 3)
    assert max(scene.boxes()[0][2:]) > 400
