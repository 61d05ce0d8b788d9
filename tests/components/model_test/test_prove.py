"""The whole proof, with a real server: it holds for an honest archive and fails, with a report, for any other."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from components.model_test.prove import prove
from components.model_test.server import serve
from components.shared.archive import open_archive
from components.shared.errors import ArchiveError, ProofError

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("prove")]


def servers() -> list[list[str]]:
    """Commands of the servers this process started and that still run."""
    children = psutil.Process().children(recursive=True)
    return [
        child.cmdline()
        for child in children
        if child.status() != psutil.STATUS_ZOMBIE and "bentoml" in str(child.cmdline())
    ]


def test_an_honest_archive_is_proved(model: Path, archive: Path, tmp_path: Path, tiny: dict[str, Any]) -> None:
    heard: list[float] = []
    images = [tiny["encoded_image"](1), tiny["encoded_image"](2, 33, 90)]
    proof = prove(
        model, archive, images=images, report=tmp_path / "r.html", notify=lambda share, _: heard.append(share)
    )
    numbers = proof.numbers
    assert proof.tag.startswith("shapes:")
    assert numbers["files_compared"] == 6
    assert numbers["tensors_compared"] > 400
    assert numbers["images_compared"] == 4
    assert numbers["boxes_compared"] > 100
    assert numbers["http_boxes_compared"] > numbers["boxes_compared"]
    assert numbers["max_score_difference"] < 1e-4
    assert numbers["http_max_box_difference"] < 1e-2
    assert 0 < numbers["latency_p50_ms"] <= numbers["latency_p95_ms"]
    assert heard == sorted(heard)
    assert servers() == []
    page = (tmp_path / "r.html").read_text()
    assert "The packed model is the trained one" in page
    assert page.count("data:image/jpeg") == 2


def shift_boxes(source: Path) -> None:
    service = source / "service.py"
    changed = service.read_text().replace("x=left,", "x=left + 0.5,")
    assert changed != service.read_text()
    service.write_text(changed)


def test_a_service_that_answers_something_else_is_caught_over_http(
    model: Path, resign: Callable[..., Path], tmp_path: Path
) -> None:
    changed = resign(shift_boxes)
    with pytest.raises(ProofError, match=r"test image: trained finds '.*the service '"):
        prove(model, changed, images=[], report=tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    assert "is not the trained one" in page
    assert "differences" in page
    assert servers() == []


def test_other_weights_are_named_even_when_every_digest_agrees(
    model: Path, resign: Callable[..., Path], tmp_path: Path, tiny: dict[str, Any]
) -> None:
    changed = resign(lambda source: tiny["write_weights"](source / "model" / "weights" / "best.pt", seed=1))
    with pytest.raises(ProofError, match=r"the file 'weights/best\.pt' has sha256.* more differences"):
        prove(model, changed, images=[], report=tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    assert "the file &#39;weights/best.pt&#39; has sha256" in page
    assert "the tensor &#39;model.0.conv.weight&#39; differs" in page


def swap_classes(source: Path) -> None:
    path = source / "model" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"classes": ["square", "circle", "star"]}))


def test_swapped_classes_are_named_and_the_service_is_not_even_started(
    model: Path, resign: Callable[..., Path], tmp_path: Path
) -> None:
    changed = resign(swap_classes)
    with pytest.raises(ProofError, match="class 0 is 'circle' trained but 'square' packed"):
        prove(model, changed, images=[], report=tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    assert "not started" in page


def test_a_broken_archive_is_reported_too(model: Path, archive: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "manifest.json").write_bytes((archive / "manifest.json").read_bytes())
    (broken / "model.bento").write_bytes((archive / "model.bento").read_bytes()[:1000])
    with pytest.raises(ArchiveError, match="not a complete xz tar"):
        prove(model, broken, images=[], report=tmp_path / "r.html")
    assert "not a complete xz tar" in (tmp_path / "r.html").read_text()


def test_a_service_that_cannot_start_fails_soon_with_the_end_of_its_log(archive: Path, tmp_path: Path) -> None:
    opened = open_archive(archive, tmp_path)
    (opened.model / "weights" / "best.pt").write_bytes(b"")
    with pytest.raises(ProofError, match="cannot be loaded"), serve(opened.bento, tmp_path, timeout=60):
        pytest.fail("it became ready")


def test_a_service_that_is_too_slow_is_given_up(archive: Path, tmp_path: Path) -> None:
    opened = open_archive(archive, tmp_path)
    with pytest.raises(ProofError, match="not ready after"), serve(opened.bento, tmp_path, timeout=0.3):
        pytest.fail("it became ready")
