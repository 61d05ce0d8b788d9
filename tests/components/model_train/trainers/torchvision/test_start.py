"""What a torchvision training starts from: nothing, our own weights, other classes, and what it refuses."""

from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from components.model_train.trainers.base import Start
from components.model_train.trainers.torchvision import start as torchvision_start
from components.model_train.trainers.torchvision.start import official_weights, start_model
from components.shared.detection.torchvision_models import build_model
from components.shared.detection.torchvision_runtime import TorchvisionWeights, load_weights
from components.shared.errors import ConfigError, TrainingError

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("torchvision")]
RETINANET, RCNN = "retinanet_mobilenet_v3_small_fpn", "fasterrcnn_mobilenet_v3_large_320_fpn"
KNOWN = ("bar", "block", "ring")


def weights(folder: Path, architecture: str, classes: tuple[str, ...] = KNOWN) -> Path:
    torch.manual_seed(11)
    model = build_model(architecture, len(classes), 64)
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.add_(torch.randn_like(tensor) * 0.01)
    path = folder / f"{architecture}.pt"
    TorchvisionWeights(architecture, classes, 64, model.state_dict()).save(path)
    return path


def begin(start: Start, classes: tuple[str, ...], seed: int = 0) -> dict[str, Any]:
    return dict(start_model(start, classes, imgsz=64, seed=seed).model.state_dict())


def test_from_scratch_the_seed_decides_the_weights_and_the_callers_random_state_stays() -> None:
    before = torch.random.get_rng_state()
    first, again, other = (begin(Start("torchvision", RETINANET), ("a", "b"), seed) for seed in (1, 1, 2))
    assert all(first[name].equal(again[name]) for name in first)
    assert not all(first[name].equal(other[name]) for name in first)
    assert torch.random.get_rng_state().equal(before)


@pytest.mark.parametrize("architecture", [RETINANET, pytest.param(RCNN, marks=pytest.mark.slow)])
@pytest.mark.parametrize("said", ["", "architecture"])
def test_our_weights_for_the_same_classes_are_taken_as_they_are(tmp_path: Path, architecture: str, said: str) -> None:
    path = weights(tmp_path, architecture)
    found = begin(Start("torchvision", architecture if said else "", path), KNOWN)
    state = load_weights(path).state
    assert all(found[name].equal(tensor) for name, tensor in state.items() if "num_batches" not in name)


def class_rows(state: dict[str, Any], name: str, count: int) -> dict[int, Any]:
    """The values that belong to each class of a RetinaNet's class tensor."""
    tensor = state[f"head.classification_head.cls_logits.{name}"]
    grouped = tensor.reshape(-1, count, *tensor.shape[1:])
    return {index: grouped[:, index] for index in range(count)}


def test_a_retinanets_class_rows_follow_their_names(tmp_path: Path) -> None:
    path = weights(tmp_path, RETINANET)
    found = begin(Start("torchvision", RETINANET, path), ("star", "RING ", "bar", "moon"))
    fresh = begin(Start("torchvision", RETINANET), ("star", "RING ", "bar", "moon"))
    state = dict(load_weights(path).state)
    for name in ("weight", "bias"):
        new, old, scratch = class_rows(found, name, 4), class_rows(state, name, 3), class_rows(fresh, name, 4)
        assert new[1].equal(old[2])
        assert new[2].equal(old[0])
        assert new[0].equal(scratch[0])
        assert new[3].equal(scratch[3])
    assert found["backbone.body.0.0.weight"].equal(state["backbone.body.0.0.weight"])


def test_a_faster_rcnns_class_rows_and_boxes_follow_their_names_and_the_background_stays(tmp_path: Path) -> None:
    path = weights(tmp_path, RCNN)
    found = begin(Start("torchvision", RCNN, path), ("star", "ring"))
    state = dict(load_weights(path).state)
    for name in ("weight", "bias"):
        score, old_score = (each[f"roi_heads.box_predictor.cls_score.{name}"] for each in (found, state))
        boxes, old_boxes = (each[f"roi_heads.box_predictor.bbox_pred.{name}"] for each in (found, state))
        assert score[0].equal(old_score[0])
        assert score[2].equal(old_score[3])
        assert not score[1].equal(old_score[1])
        assert boxes[8:12].equal(old_boxes[12:16])
        assert boxes[0:4].equal(old_boxes[0:4])


def test_weights_of_another_architecture_are_refused_with_both_names(tmp_path: Path) -> None:
    path = weights(tmp_path, RETINANET)
    with pytest.raises(ConfigError, match=f"{RETINANET}.*{RCNN}.*leave model empty"):
        begin(Start("torchvision", RCNN, path, origin="champion of cats"), KNOWN)


def test_what_are_no_weights_is_refused_by_its_origin(tmp_path: Path) -> None:
    (tmp_path / "best.pt").write_bytes(b"something else")
    with pytest.raises(ConfigError, match="'champion of cats'"):
        begin(Start("torchvision", RETINANET, tmp_path / "best.pt", origin="champion of cats"), KNOWN)
    with pytest.raises(ConfigError, match="abacus"):
        begin(Start("torchvision", "abacus"), KNOWN)


def test_weights_without_a_tensor_are_refused(tmp_path: Path) -> None:
    known = load_weights(weights(tmp_path, RETINANET))
    state = {name: tensor for name, tensor in known.state.items() if name != "backbone.body.0.0.weight"}
    TorchvisionWeights(RETINANET, KNOWN, 64, state).save(tmp_path / "less.pt")
    with pytest.raises(ConfigError, match=r"backbone\.body\.0\.0\.weight"):
        begin(Start("torchvision", RETINANET, tmp_path / "less.pt"), KNOWN)


class Offline:
    """torchvision's weights where nothing can be reached."""

    url = "https://download.pytorch.org/models/x.pth"
    meta: ClassVar[dict[str, Any]] = {"categories": ["__background__", "bar", "ring"]}

    def get_state_dict(self, **_: object) -> dict[str, Any]:
        raise OSError("Name or service not known")


class Online(Offline):
    """The same with a network."""

    def get_state_dict(self, **_: object) -> dict[str, Any]:
        torch.manual_seed(5)
        return dict(build_model(RCNN, 2, 64).state_dict())


def test_official_weights_that_cannot_be_downloaded_are_refused_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision import models  # noqa: PLC0415 - heavy

    monkeypatch.setattr(models, "get_model_weights", lambda _: type("Enum", (), {"DEFAULT": Offline()}))
    with pytest.raises(TrainingError, match=r"cannot be downloaded.*put a weights file at"):
        official_weights(RCNN, tmp_path)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ConfigError, match="has no weights"):
        official_weights(RETINANET, tmp_path)


def test_official_weights_become_a_file_like_ours_that_gives_what_it_knows_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision import models  # noqa: PLC0415 - heavy

    monkeypatch.setattr(models, "get_model_weights", lambda _: type("Enum", (), {"DEFAULT": Online()}))
    path = official_weights(RCNN, tmp_path)
    monkeypatch.setattr(models, "get_model_weights", lambda _: type("Enum", (), {"DEFAULT": Offline()}))
    assert official_weights(RCNN, tmp_path) == path
    assert load_weights(path).classes == ("bar", "ring")
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    found = begin(Start("torchvision", RCNN, path), ("ring", "moon"))
    state = load_weights(path).state
    score = "roi_heads.box_predictor.cls_score.weight"
    assert found[score][1].equal(state[score][2])


def test_every_model_of_torchvision_names_its_official_weights() -> None:
    from torchvision import models  # noqa: PLC0415 - heavy

    named = [name for name in torchvision_start.ARCHITECTURES if hasattr(models.detection, name)]
    assert len(named) == 6
    for name in named:
        categories = models.get_model_weights(name).DEFAULT.meta["categories"]
        assert categories[0] == "__background__"
        assert "person" in categories
