"""A training starts from what its user named, wherever that lies, or says why it cannot."""

import os
import runpy
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from components.model_pack.pack import pack
from components.model_publish.publish import publish
from components.model_train.start import find_start
from components.model_train.trainers.base import Hyperparameters, Start
from components.model_train.trainers.ultralytics.start import begin
from components.shared.aliases import move_alias
from components.shared.detection.environment import prepare_environment
from components.shared.detection.torchvision_models import build_model
from components.shared.detection.torchvision_runtime import TorchvisionWeights
from components.shared.errors import ArchiveError, ConfigError, CorruptionError, StoreError
from components.shared.files import sha256_file
from components.shared.store import Store, open_store

prepare_environment(1)
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("starts")]
TINY: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "model_pack" / "tiny_model.py"))
KNOWN: tuple[str, ...] = TINY["CLASSES"]
SMALL = "retinanet_mobilenet_v3_small_fpn"
FindStart = Callable[..., Start]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ultralytics weights file."""
    path = tmp_path_factory.mktemp("weights") / "mine.pt"
    TINY["write_weights"](path)
    return path


@pytest.fixture(scope="module")
def torchvision_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "theirs.pt"
    TorchvisionWeights(SMALL, ("cat", "dog"), 64, build_model(SMALL, 2, 64).state_dict()).save(path)
    return path


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(TINY["make_tiny_model"](tmp_path_factory.mktemp("trained") / "model"))


@pytest.fixture(scope="module")
def packed(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model folder, packed as the pipeline packs it."""
    archive = tmp_path_factory.mktemp("packed") / "archive"
    pack(model_folder, archive, name="shapes")
    return archive


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


@pytest.fixture
def find(store: Store, tmp_path: Path) -> FindStart:
    """``find_start`` of a training in a project whose model is called shapes."""

    def call(model: str = "", start_from: str = "", *, name: str = "shapes") -> Start:
        parameters = Hyperparameters(
            model=model,
            epochs=1,
            batch=4,
            imgsz=64,
            lr0=0.001,
            optimizer="AdamW",
            warmup_epochs=0.0,
            close_mosaic=0,
            freeze=0,
            device="cpu",
            seed=0,
            start_from=start_from,
        )
        return find_start(parameters, store, name, tmp_path / f"start-{uuid.uuid4().hex[:8]}")

    return call


@pytest.fixture
def published(store: Store, packed: Path, tmp_path: Path) -> str:
    """The version of a model that is published, and the champion."""
    (tmp_path / "predictions").mkdir()
    (tmp_path / "predictions" / "evaluation.json").write_text("{}")
    return publish(packed, tmp_path / "predictions", store.uri, passed=True, proof={"tensors_compared": 1.0}).version


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(ConfigError) as caught:
        call()
    text = str(caught.value)
    assert "\n" not in text
    assert text.endswith((".", "?"))
    return text


def test_a_model_yaml_of_the_library_starts_from_scratch(find: FindStart) -> None:
    assert find("yolo11n.yaml") == Start("ultralytics", "yolo11n.yaml")


def test_a_torchvision_model_starts_from_scratch(find: FindStart) -> None:
    assert find("fasterrcnn_resnet50_fpn_v2") == Start("torchvision", "fasterrcnn_resnet50_fpn_v2")


def test_a_yaml_of_ones_own_is_known_by_its_content(
    find: FindStart, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ultralytics.utils import ROOT  # noqa: PLC0415 - after the environment is prepared

    shutil.copy(ROOT / "cfg" / "models" / "11" / "yolo11.yaml", tmp_path / "mine11n.yaml")
    monkeypatch.chdir(tmp_path)
    expected = Start("ultralytics", str(tmp_path / "mine11n.yaml"), sha256=sha256_file(tmp_path / "mine11n.yaml"))
    assert find("mine11n.yaml") == find(str(tmp_path / "mine11n.yaml")) == expected


@pytest.mark.parametrize("parameter", ["model", "start_from"])
def test_a_weights_file_brings_its_classes(
    find: FindStart, weights: Path, torchvision_weights: Path, parameter: str
) -> None:
    ours, theirs = find(**{parameter: str(weights)}), find(**{parameter: torchvision_weights.as_uri()})
    assert ours == Start("ultralytics", "", weights, "mine.pt", sha256_file(weights), KNOWN)
    assert theirs == Start(
        "torchvision", SMALL, torchvision_weights, "theirs.pt", sha256_file(torchvision_weights), ("cat", "dog")
    )


def test_weights_and_their_own_architecture_belong_together(
    find: FindStart, weights: Path, torchvision_weights: Path, tmp_path: Path
) -> None:
    assert find(SMALL, str(torchvision_weights)).architecture == SMALL
    own = tmp_path / "yolo11n-narrow.yaml"
    write_narrow_yaml(own)
    one = find(str(own), str(weights))
    assert (one.architecture, one.weights, one.classes) == (str(own), weights, KNOWN)
    own.write_text(own.read_text() + "\n# another\n")
    assert len({one.sha256, find(str(own), str(weights)).sha256, sha256_file(weights)}) == 3


def write_narrow_yaml(path: Path) -> None:
    """The architecture of the tiny weights."""
    import yaml  # noqa: PLC0415 - here alone
    from ultralytics.utils import ROOT, YAML  # noqa: PLC0415 - after the environment is prepared

    content = YAML.load(ROOT / "cfg/models/11/yolo11.yaml") | {"scales": {"n": [0.33, 0.0625, 256]}}
    content.pop("yaml_file", None)
    path.write_text(yaml.safe_dump(content))


@pytest.mark.parametrize(
    ("model", "kind", "message"),
    [
        ("yolo11n.yaml", "ours", "tensors fit, and the weights are those of a DetectionModel without a name"),
        ("rtdetr-l.yaml", "ours", "do not belong together"),
        ("yolo11n.yaml", "theirs", f"those of a torchvision '{SMALL}', of which no tensor is used"),
        (SMALL, "ours", "those of an ultralytics model, of which no tensor is used"),
        ("retinanet_resnet50_fpn", "theirs", f"those of a torchvision '{SMALL}'"),
    ],
)
def test_weights_of_another_kind_are_refused_before_anything_starts(
    find: FindStart, weights: Path, torchvision_weights: Path, model: str, kind: str, message: str
) -> None:
    text = refusal(lambda: find(model, str({"ours": weights, "theirs": torchvision_weights}[kind])))
    assert text.startswith(f"model={model!r} and the weights ")
    assert message in text
    assert "Leave model empty" in text


@pytest.mark.parametrize(
    ("model", "start_from", "message"),
    [
        ("", "", "Neither model nor start_from says what to train: give model=yolo11n.yaml"),
        ("yolo11q.yaml", "", "There is no model 'yolo11q.yaml'. Near it: yolo11"),
        ("yolo11n-seg.yaml", "", "is made for the task 'segment'"),
        ("fasterrcnn_resnet50", "", "did you mean 'fasterrcnn_resnet50_fpn"),
        ("yolo", "", "give a model YAML, weights or fasterrcnn"),
        ("", "missing.pt", "There are no weights at 'missing.pt', and no official weights of a detector"),
        ("", "yolo11n-seg.pt", "no official weights of a detector"),
        ("", "yolo11q.pt", "Near it: yolo11"),
        ("", "/no/such/best.pt", "There is nothing to start from at '/no/such/best.pt'"),
        ("", "champoin", "There is nothing to start from at 'champoin': give champion, 6 or more digits"),
        ("", "abc", "There is nothing to start from at 'abc'"),
        ("", "https://host/best.pt", "'https://host/best.pt' is not fetched: give s3://bucket/key"),
        ("", "https://me:secret@host/best.pt", "'https://host/best.pt' is not fetched"),
        ("", "s3://B/best.pt", "is no bucket name"),
        ("yolo11n.pt", "yolo11s.pt", "are both weights: give one of them"),
    ],
)
def test_what_cannot_be_found_is_refused_with_a_way_out(
    find: FindStart, model: str, start_from: str, message: str
) -> None:
    text = refusal(lambda: find(model, start_from))
    assert message in text
    assert "secret" not in text


def test_what_is_no_model_is_refused(find: FindStart, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "notes.txt").write_text("hello")
    assert "holds no model: give weights" in refusal(lambda: find("", str(tmp_path / "folder")))
    assert "is no weights file" in refusal(lambda: find("", str(tmp_path / "notes.txt")))


class Bomb:
    """Unpickling it leaves a file behind."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch '{self.mark}'",)


@pytest.fixture
def mark(tmp_path: Path) -> Iterator[Path]:
    """A path that must not exist when the test ends."""
    path = tmp_path / "executed"
    yield path
    assert not path.exists()


@pytest.mark.parametrize("model", ["", "yolo11n.yaml", SMALL])
def test_weights_that_hold_code_are_refused_and_the_code_is_not_run(
    find: FindStart, tmp_path: Path, mark: Path, model: str
) -> None:
    import torch  # noqa: PLC0415 - after the environment is prepared

    bombs = {"model": Bomb(mark)}, {"format": 1, "architecture": SMALL, "state": Bomb(mark)}
    for content in bombs:
        torch.save(content, tmp_path / "bomb.pt")
        assert "outside the supported" in refusal(lambda: find(model, str(tmp_path / "bomb.pt")))


def test_cut_weights_are_refused(find: FindStart, tmp_path: Path, weights: Path, torchvision_weights: Path) -> None:
    for whole in (weights, torchvision_weights):
        (tmp_path / "cut.pt").write_bytes(whole.read_bytes()[:30_000])
        assert "truncated or corrupted" in refusal(lambda: find("", str(tmp_path / "cut.pt")))


def test_a_model_folder_gives_its_served_weights(find: FindStart, model_folder: Path, tmp_path: Path) -> None:
    start = find("", str(model_folder))
    assert start.weights == model_folder / "weights" / "best.pt"
    assert (start.framework, start.classes, start.origin) == ("ultralytics", KNOWN, "the model in model")
    changed = tmp_path / "changed"
    shutil.copytree(model_folder, changed)
    (changed / "weights" / "best.pt").write_bytes(b"other")
    with pytest.raises(ArchiveError, match="has other bytes than the manifest says"):
        find("", str(changed))


@pytest.mark.slow
def test_a_packed_model_gives_its_served_weights_with_or_without_its_manifest(
    find: FindStart, packed: Path, model_folder: Path, tmp_path: Path
) -> None:
    shutil.copy(packed / "model.bento", tmp_path / "alone.bento")
    starts = [find("", str(path)) for path in (packed, packed / "model.bento", tmp_path / "alone.bento")]
    assert {start.sha256 for start in starts} == {sha256_file(model_folder / "weights" / "best.pt")}
    assert {start.classes for start in starts} == {KNOWN}
    assert len({start.origin for start in starts}) == 1
    assert starts[0].origin.startswith("shapes:")
    (tmp_path / "cut.bento").write_bytes((packed / "model.bento").read_bytes()[:5000])
    with pytest.raises(ArchiveError, match="not a complete xz tar"):
        find("", str(tmp_path / "cut.bento"))


@pytest.mark.slow
def test_a_published_model_is_found_as_champion_version_and_piece(
    find: FindStart, published: str, model_folder: Path
) -> None:
    short = published[:12]
    named = {
        "champion": f"champion {short} of shapes",
        "shapes@champion": f"champion {short} of shapes",
        published: f"version {short} of shapes",
        published[:6]: f"version {short} of shapes",
        f"shapes@{published[:8]}": f"version {short} of shapes",
    }
    for reference, origin in named.items():
        start = find("", reference)
        assert start.weights
        assert start.sha256 == sha256_file(start.weights) == sha256_file(model_folder / "weights" / "best.pt")
        assert (start.framework, start.classes, start.origin) == ("ultralytics", KNOWN, origin)
    assert find("", "shapes@champion", name="other").origin == f"champion {short} of shapes"
    text = refusal(lambda: find("", published[:6], name="other"))
    assert text.startswith("There is no published model 'other' in ")


@pytest.mark.slow
def test_the_champion_is_trained_on_even_where_model_says_what_to_begin_with(find: FindStart, published: str) -> None:
    assert find("yolo11s.pt", "champion").origin == f"champion {published[:12]} of shapes"
    assert "do not belong together" in refusal(lambda: find("yolo11s.yaml", "champion"))


@pytest.mark.slow
@pytest.mark.usefixtures("published")
def test_a_champion_that_knows_more_classes_than_the_data_gives_those_it_shares(find: FindStart) -> None:
    wanted = (KNOWN[-1], "something new")
    assert len(KNOWN) > len(wanted)
    made = begin(find(start_from="champion"), wanted)
    assert made.note is not None
    assert (made.note.found, made.note.classes) == (wanted[:1], 2)
    assert made.model.model.names == dict(enumerate(wanted))


@pytest.mark.slow
@pytest.mark.usefixtures("published")
def test_an_archive_that_was_changed_in_the_store_is_refused(find: FindStart, store: Store) -> None:
    (bento,) = (entry.key for entry in store.list("models/shapes/versions/") if entry.key.endswith(".bento"))
    store.write(bento, b"other")
    with pytest.raises(CorruptionError, match="has other bytes than were published"):
        find("", "champion")


def test_the_first_of_a_series_of_retrainings_starts_from_model(find: FindStart, weights: Path) -> None:
    scratch, taken = find("yolo11n.yaml", "champion"), find(str(weights), "shapes@champion")
    assert scratch == Start("ultralytics", "yolo11n.yaml", origin=scratch.origin)
    assert scratch.origin == "yolo11n.yaml from scratch, as shapes has no champion yet"
    assert (taken.weights, taken.origin) == (weights, "mine.pt, as shapes has no champion yet")
    assert find(SMALL, "champion").framework == "torchvision"


def test_without_a_champion_and_without_a_model_there_is_nothing_to_start_from(find: FindStart) -> None:
    text = refusal(lambda: find("", "champion"))
    assert text.startswith("start_from='champion': the model 'shapes' has no champion in ")
    assert "Give model beside it" in text
    assert "no published model 'other'" in refusal(lambda: find("yolo11n.yaml", "other@champion"))


def test_the_bare_name_of_a_published_model_is_answered_with_what_was_meant(find: FindStart, store: Store) -> None:
    store.write(f"models/cats/versions/{'a' * 64}/model.json", b"{}")
    assert refusal(lambda: find("", "cats")).endswith("did you mean 'cats@champion'?")


def test_a_torchvision_model_starts_from_what_it_learned_on_coco(
    find: FindStart, torchvision_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = "components.model_train.trainers.torchvision.start.official_weights"
    monkeypatch.setattr(place, {SMALL: torchvision_weights}.__getitem__)
    start = find(SMALL, "coco")
    assert (start.weights, start.origin, start.classes) == (torchvision_weights, f"official {SMALL}", ("cat", "dog"))
    assert "There is nothing to start from at 'coco'" in refusal(lambda: find("yolo11n.yaml", "coco"))


def test_a_piece_that_fits_several_versions_is_refused(find: FindStart, store: Store) -> None:
    for last in "12":
        store.write(f"models/shapes/versions/{'ab' * 31}0{last}/model.json", b"{}")
    assert "fits 2 versions of the model 'shapes'" in refusal(lambda: find("", "ababab"))
    move_alias(store, "models/shapes", "champion", "f" * 64)
    assert "is not in" in refusal(lambda: find("", "champion"))


@pytest.mark.slow
@pytest.mark.parametrize("store_uri", ["s3"], indirect=True)
def test_weights_and_packed_models_come_from_a_bucket(
    find: FindStart, store_uri: str, weights: Path, packed: Path, torchvision_weights: Path, tmp_path: Path
) -> None:
    bucket = open_store(store_uri)
    write_narrow_yaml(tmp_path / "yolo11n-narrow.yaml")
    files = {"a/best.pt": weights, "b.pt": torchvision_weights, "c.bento": packed / "model.bento"}
    for key, path in (files | {"yolo11n-narrow.yaml": tmp_path / "yolo11n-narrow.yaml"}).items():
        bucket.upload(path, key)
    ours, theirs = find("", f"{store_uri}/a/best.pt"), find("", f"{store_uri}/b.pt")
    assert (ours.origin, ours.sha256, ours.classes) == (f"{store_uri}/a/best.pt", sha256_file(weights), KNOWN)
    assert (theirs.framework, theirs.sha256) == ("torchvision", sha256_file(torchvision_weights))
    assert find("", f"{store_uri}/c.bento").classes == KNOWN
    assert find(f"{store_uri}/yolo11n-narrow.yaml", f"{store_uri}/a/best.pt").architecture.endswith("n-narrow.yaml")
    assert "There is no object" in refusal(lambda: find("", f"{store_uri}/a/none.pt"))
    assert "There is no object" in refusal(lambda: find("", f"{store_uri}/a"))
    with pytest.raises(StoreError, match="The bucket 'no-such-bucket' does not exist"):
        find("", "s3://no-such-bucket/best.pt")


def test_a_packed_model_without_weights_among_its_files_is_refused(
    find: FindStart, model_folder: Path, tmp_path: Path
) -> None:
    """A manifest may name any path: ``../../etc/passwd`` is no weights file of a model."""
    from components.shared.detection.manifest import load_manifest  # noqa: PLC0415 - here alone

    folder = tmp_path / "model"
    shutil.copytree(model_folder, folder)
    load_manifest(folder).model_copy(update={"weights": "../outside.pt"}).save(folder)
    (tmp_path / "outside.pt").write_bytes(b"secret")
    with pytest.raises(ArchiveError, match="are not among the files"):
        find("", str(folder))
