"""Files, tensors and predictions: each comparison finds the difference planted for it and names it."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.model_test.evidence import Check, attempt, judge
from components.model_test.inference_files import compare_files
from components.model_test.predictions import (
    PROOF_CONF,
    Asked,
    compare_findings,
    predict,
    predict_something,
)
from components.model_test.samples import Sample
from components.model_test.service import read_answer
from components.model_test.tensors import compare_weights
from components.shared.detection.inference import Inference
from components.shared.errors import ArchiveError, InputError, ProofError

LOW = Asked(PROOF_CONF, Inference())


@pytest.fixture
def packed(model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(model, tmp_path / "packed"))


def change_tensor(weights: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    import torch  # noqa: PLC0415 - after the environment is prepared

    checkpoint = torch.load(weights, weights_only=False)
    with torch.no_grad():
        change(checkpoint["ema"].state_dict())
    torch.save(checkpoint, weights)


def nudge(state: dict[str, Any]) -> None:
    state["model.0.conv.weight"][0, 0, 0, 0] += 0.25


def test_equal_folders_have_no_differences(model: Path, packed: Path) -> None:
    files, weights = compare_files(model, packed), compare_weights(model, packed)
    assert files.passed
    assert files.numbers["files_compared"] == 6
    assert weights.passed
    assert weights.numbers["tensors_compared"] > 400


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda folder: (folder / "args.yaml").unlink(), "'args.yaml' is missing"),
        (lambda folder: (folder / "new.txt").write_text(""), "'new.txt' was added"),
        (lambda folder: (folder / "args.yaml").write_text("imgsz: 65\n"), "'args.yaml' has sha256"),
    ],
)
def test_a_file_that_differs_is_named(model: Path, packed: Path, change: Callable[[Path], Any], says: str) -> None:
    change(packed)
    (difference,) = compare_files(model, packed).differences
    assert says in difference


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"imgsz": 96}, "imgsz is 64 trained but 96 packed"),
        ({"classes": ["square", "circle", "star"]}, "class 0 is 'circle' trained but 'square' packed"),
        ({"classes": ["circle"]}, "there are 3 classes trained but 1 packed"),
        ({"weights": "weights/last.pt"}, "the weights file is 'weights/best.pt' trained but 'weights/last.pt' packed"),
    ],
)
def test_a_manifest_that_differs_is_told_field_by_field(
    model: Path, packed: Path, changes: dict[str, Any], says: str
) -> None:
    path = packed / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    assert says in compare_files(model, packed).differences


def test_one_changed_value_names_its_tensor_and_how_far_it_is(model: Path, packed: Path) -> None:
    change_tensor(packed / "weights" / "best.pt", nudge)
    (difference,) = compare_weights(model, packed).differences
    assert re.fullmatch(r"the tensor 'model\.0\.conv\.weight' differs in 1 values, by 0\.2[45]\d* at most", difference)


def test_a_tensor_of_another_kind_or_shape_is_named(model: Path, packed: Path) -> None:
    import torch  # noqa: PLC0415 - after the environment is prepared

    checkpoint = torch.load(packed / "weights" / "best.pt", weights_only=False)
    first, second = checkpoint["ema"].model[0], checkpoint["ema"].model[1]
    first.conv.weight.data = first.conv.weight.data.float()
    second.bn.bias.data = second.bn.bias.data[:-1]
    torch.save(checkpoint, packed / "weights" / "best.pt")
    kind, shape = compare_weights(model, packed).differences
    assert kind == "the tensor 'model.0.conv.weight' is torch.float16 trained but torch.float32 packed"
    assert shape.startswith("the tensor 'model.1.bn.bias' has shape (")


def test_a_flipped_bit_in_the_weights_is_an_error_or_a_difference(model: Path, packed: Path) -> None:
    path = packed / "weights" / "best.pt"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    assert not compare_files(model, packed).passed
    check = attempt("Weights", lambda: compare_weights(model, packed))
    assert not check.passed


def test_changed_weights_show_in_the_predictions(model: Path, packed: Path, tiny: dict[str, Any]) -> None:
    change_tensor(packed / "weights" / "best.pt", nudge)
    samples = [Sample.read("test image", tiny["encoded_image"](7))]
    check = compare_findings(predict(model, samples, LOW), predict(packed, samples, LOW))
    assert check.differences[0].startswith("test image: trained finds '")


def test_a_model_that_finds_nothing_is_compared_without_a_threshold(tmp_path: Path, tiny: dict[str, Any]) -> None:
    blind = tiny["make_tiny_model"](tmp_path / "blind", bias=-30.0)
    samples = [Sample.read("test image", tiny["encoded_image"](7))]
    assert predict(blind, samples, LOW).boxes == 0
    findings = predict_something(blind, samples, Inference())
    assert findings.conf == 0.0
    assert findings.boxes > 0


def test_an_image_that_cannot_be_decoded_is_named() -> None:
    with pytest.raises(InputError, match="image 2"):
        Sample.read("image 2", b"no image")


@pytest.mark.parametrize("answer", [{}, {"boxes": [{"x": 1}]}, {"boxes": "none"}])
def test_an_answer_without_boxes_is_no_proof(answer: dict[str, object]) -> None:
    with pytest.raises(ProofError, match="no readable boxes"):
        read_answer(answer)


def test_a_comparison_that_cannot_be_made_is_a_difference() -> None:
    def fail() -> Check:
        raise ArchiveError("the weights are gone")

    assert attempt("Weights", fail).differences == ("the weights are gone",)


def test_the_verdict_names_the_first_difference_and_counts_the_others() -> None:
    checks = [Check("Files", "", ("this differs", "that differs")), Check("Weights", "", ())]
    with pytest.raises(ProofError, match=r"'shapes:1' is not the trained one: this differs \(and 1 more"):
        judge("shapes:1", checks)
