"""The whole proof, with a real server: it holds for an honest archive and fails, with a report, for any other."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from components.model_test.options import ProofOptions
from components.model_test.predictions import PROOF_CONF, Asked, predict
from components.model_test.prove import prove, run
from components.model_test.samples import all_samples
from components.model_test.server import serve
from components.model_test.service import check_service
from components.shared.archive import OpenArchive, open_archive
from components.shared.detection.manifest import load_manifest
from components.shared.errors import ArchiveError, ProofError

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("prove")]
Resign = Callable[..., OpenArchive]


def servers() -> set[int]:
    """Process ids of the servers this process started and that still run."""
    children = psutil.Process().children(recursive=True)
    return {
        child.pid for child in children if child.status() != psutil.STATUS_ZOMBIE and "bentoml" in str(child.cmdline())
    }


@pytest.fixture
def no_server_is_left() -> Iterator[None]:
    """Nothing the test started outlives it; another test file's shared server may run before and after."""
    before = servers()
    yield
    assert servers() <= before


def embedded(page: str) -> dict[str, Any]:
    """The JSON in a report."""
    (text,) = re.findall(r'<script type="application/json" id="proof">(.*?)</script>', page, flags=re.DOTALL)
    found: dict[str, Any] = json.loads(text)
    return found


@pytest.mark.usefixtures("no_server_is_left")
def test_an_honest_archive_is_proved(model: Path, rich: Path, val: Path, tmp_path: Path) -> None:
    heard: list[float] = []
    noted = json.loads((rich / "manifest.json").read_text())["content_digest"]
    options = ProofOptions(images=3, load_seconds=1.0, max_latency_ms=60_000, recorded=noted)
    proof = run(
        model,
        rich,
        val,
        (val.parent / "store").as_uri(),
        options,
        tmp_path / "r.html",
        notify=lambda share, _: heard.append(share),
    )
    numbers = proof.numbers
    assert proof.digest == noted
    assert numbers["files_compared"] == 6
    assert numbers["tensors_compared"] > 400
    assert numbers["images_compared"] == 7
    assert numbers["boxes_compared"] > 100
    assert numbers["http_boxes_compared"] > numbers["boxes_compared"]
    assert numbers["max_score_difference"] < 1e-4
    assert numbers["onnx_agreement"] == 1
    assert numbers["onnx_max_score_difference"] < 1e-4
    assert numbers["load_failures"] == 0
    assert numbers["load_requests"] > numbers["load_clients"] > 1
    assert 0 < numbers["latency_p50_ms"] <= numbers["latency_p95_ms"]
    assert len(numbers) < 48
    assert heard == sorted(heard)
    page = (tmp_path / "r.html").read_text()
    assert "The packed model is the trained one" in page
    assert page.count("data:image/jpeg") == 14
    document = json.loads(proof.document)
    assert embedded(page) == document
    assert document["passed"] is True
    assert [row["runtime"] for row in document["runtimes"]] == ["onnx", "onnx-int8", "torchscript"]


def in_code(name: str, before: str, after: str) -> Callable[[Path], None]:
    def change(source: Path) -> None:
        path = source / "components" / name
        changed = path.read_text().replace(before, after)
        assert changed != path.read_text()
        path.write_text(changed)

    return change


@pytest.mark.usefixtures("no_server_is_left")
@pytest.mark.parametrize(
    ("change", "check", "says"),
    [
        (
            in_code(
                "shared/detection/postprocess.py",
                "boxes = placement.to_image(corners[kept])",
                "boxes = 1 + corners[kept]",
            ),
            "Service, one image a request",
            r"test image: trained finds '.*the service '",
        ),
        (
            in_code(
                "model_pack/serving/predictor.py",
                "np.array(self.inference.confidences(self.classes)",
                "0.9 + 0 * np.array(self.inference.confidences(self.classes)",
            ),
            "Service, its own thresholds",
            r"trained finds '.*, the service ",
        ),
        (
            in_code(
                "shared/archive.py",
                "return ArchiveManifest.model_validate_json(path.read_bytes())",
                "return ArchiveManifest.model_validate_json(path.read_bytes()).model_copy(update={'imgsz': 65})",
            ),
            "Service, what it says of itself",
            "/model says imgsz 65, the manifest 64",
        ),
    ],
    ids=["boxes", "thresholds", "description"],
)
def test_a_service_that_answers_something_else_is_named(
    bento: OpenArchive,
    model: Path,
    resign: Resign,
    tmp_path: Path,
    change: Callable[[Path], None],
    check: str,
    says: str,
) -> None:
    changed = resign(change)
    how = bento.manifest.inference
    samples = all_samples((model / "test_image.png").read_bytes(), [], load_manifest(model), how)[:2]
    found = predict(bento.model, samples, Asked(PROOF_CONF, how), runtime="onnx")
    with serve(changed.bento, tmp_path) as server:
        checks = {each.title: each for each in check_service(found, server, changed.manifest)}
    assert re.search(says, "\n".join(checks[check].differences))


def test_swapped_classes_everywhere_are_named_in_the_report(
    model: Path, resign: Resign, write_archive: Callable[[OpenArchive], Path], tmp_path: Path
) -> None:
    def swap(source: Path) -> None:
        for path in (source / "model" / "manifest.json", *source.glob("runtimes/*/runtime.json")):
            path.write_text(json.dumps(json.loads(path.read_text()) | {"classes": ["square", "circle", "star"]}))

    changed = write_archive(resign(swap))
    with pytest.raises(ProofError, match="class 0 is 'circle' trained but 'square' packed"):
        prove(model, changed, images=[], report=tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    assert embedded(page)["passed"] is False
    assert "class 0 is 'circle'" in embedded(page)["failure"]


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
