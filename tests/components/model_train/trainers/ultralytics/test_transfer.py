"""What weights learned goes to where it belongs: by tensor, and in the class head by class name."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from components.model_train.trainers.base import Start
from components.model_train.trainers.class_names import match_classes
from components.model_train.trainers.ultralytics.start import begin, read_weights
from components.shared.detection.environment import limit_threads, prepare_environment
from components.shared.errors import ConfigError

prepare_environment(1)
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("transfer")]
DATA = Path(__file__).parents[6] / "shared" / "data"
REAL = DATA / "weights" / "yolo11n-coco-dequant.pt"
KNOWN = ("cat", "dog", "bird", "Fish")
TINY_RTDETR: dict[str, Any] = {
    "nc": 80,
    "yaml_file": "rtdetr-l.yaml",
    "backbone": [[-1, 1, "HGStem", [8, 16]], [-1, 1, "HGBlock", [8, 16, 3]], [-1, 1, "HGBlock", [8, 32, 3]]],
    "head": [[[1, 2], 1, "RTDETRDecoder", ["nc", 32, 20, 2, 4, 2, 64]]],
}
FAMILIES = ("yolo11n.yaml", "yolov8n.yaml", "yolov5n.yaml", "yolo26n.yaml", "yolov10n.yaml", "rtdetr-l.yaml")
WANTED = {
    "reordered": ("Fish", "bird", "dog", "cat"),
    "a subset": ("bird", "cat"),
    "a superset": ("emu", "dog", "cat", "fox", "bird", "Fish", "owl"),
    "renamed": ("cat", "hound", "bird", "Fish"),
    "in other case": ("CAT", " Dog", "bird ", "fish"),
    "others": ("emu", "fox", "owl", "ant"),
}
PAIRS = [
    pytest.param(family, wanted, marks=[] if family == FAMILIES[0] or wanted == "a superset" else pytest.mark.slow)
    for family in FAMILIES
    for wanted in WANTED
]
MakeWeights = Callable[..., Path]


def narrow(name: str) -> dict[str, Any]:
    """A model of the library, so narrow that it is built in no time."""
    from ultralytics.nn.tasks import yaml_model_load  # noqa: PLC0415 - after the environment is prepared

    if "rtdetr" in name:
        return copy.deepcopy(TINY_RTDETR)
    content: dict[str, Any] = yaml_model_load(name)
    if "scales" in content:
        content["scales"] = {"n": [0.33, 0.125, 256], "s": [0.33, 0.25, 256]}
    return content


def network_of(name: str, classes: tuple[str, ...] = KNOWN) -> Any:
    import torch  # noqa: PLC0415 - after the environment is prepared
    from ultralytics.nn.tasks import DetectionModel, RTDETRDetectionModel  # noqa: PLC0415 - same

    limit_threads(1)
    torch.manual_seed(3)
    kind = RTDETRDetectionModel if "rtdetr" in name else DetectionModel
    network = kind(narrow(name), nc=len(classes), verbose=False)
    network.names, network.args, network.task = dict(enumerate(classes)), {}, "detect"
    return network


def save(network: Any, path: Path) -> Path:
    import torch  # noqa: PLC0415 - after the environment is prepared

    torch.save({"epoch": -1, "model": network, "ema": None, "train_args": {"task": network.task}}, path)
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> MakeWeights:
    """Random weights of a family that know the classes ``KNOWN``."""
    folder = tmp_path_factory.mktemp("weights")

    def make(name: str = "yolo11n.yaml") -> Path:
        path = folder / f"{Path(name).stem}-of-ours.pt"
        return path if path.is_file() else save(network_of(name), path)

    return make


@pytest.fixture
def real() -> Path:
    if not REAL.is_file():
        pytest.skip("the public weights are not beside the repository")
    return REAL


def start_from(path: Path, architecture: str = "", origin: str = "") -> Start:
    return Start("ultralytics", architecture, path, origin)


def class_tensors(network: Any) -> dict[str, Any]:
    """The tensors of a head that have one row a class."""
    last = {f".{place}." for place in range(3)}
    found = {
        name: tensor
        for name, tensor in network.state_dict().items()
        if ("cv3." in name and name.rsplit(".", 2)[1] == "2" and any(part in name for part in last))
        or "score_head" in name
        or "class_embed" in name
    }
    assert found
    assert all(len(tensor) == len(network.names) for tensor in found.values())
    return found


@pytest.mark.parametrize(("family", "wanted"), PAIRS)
def test_each_row_of_the_class_head_comes_from_the_class_of_its_name(
    weights: MakeWeights, family: str, wanted: str
) -> None:
    source, classes = network_of(family), WANTED[wanted]
    model, note = (beginning := begin(start_from(weights(family)), classes)).model, beginning.note
    old, new = class_tensors(source), class_tensors(model.model)
    rows = match_classes(KNOWN, classes)
    assert old.keys() == new.keys()
    for name, tensor in new.items():
        for index, row in enumerate(rows):
            same = row is not None and bool((tensor[index] == old[name][row]).all())
            anything = any(bool((tensor[index] == other).all()) for other in old[name])
            constant = name.endswith("bias") and anything  # a random network's biases are all one number
            assert same if row is not None else (constant or not anything)
    others = {name: tensor for name, tensor in source.state_dict().items() if name not in old}
    state = model.model.state_dict()
    assert all(bool((state[name] == tensor).all()) for name, tensor in others.items())
    found = tuple(name for name, row in zip(classes, rows, strict=True) if row is not None)
    tensors = len(state) if found else len(state) - len(new)
    assert note is not None
    assert str(note) == f"{tensors} of {len(state)} tensors, {len(found)} of {len(classes)} classes by name"
    assert (note.found, model.model.names) == (found, dict(enumerate(classes)))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_library_takes_over_every_tensor_when_it_builds_its_own(weights: MakeWeights, family: str) -> None:
    """As its trainer's ``get_model`` does."""
    model = begin(start_from(weights(family)), ("dog", "emu")).model.model
    again = type(model)(model.yaml, nc=2, verbose=False)
    again.names = {0: "dog", 1: "emu"}
    again.load(model, verbose=False)
    mine, its = model.state_dict(), again.state_dict()
    assert mine.keys() == its.keys()
    assert all(bool((mine[name] == tensor).all()) for name, tensor in its.items())


def test_the_real_head_keeps_the_hidden_width_it_learned_with(real: Path) -> None:
    import torch  # noqa: PLC0415 - after the environment is prepared

    source = begin(start_from(real), read_weights(real).classes).model.model
    model = begin(start_from(real), ("dog", "Person", "zebra", "unicorn")).model.model
    for old, new in zip(source.model[-1].cv3, model.model[-1].cv3, strict=True):
        assert torch.equal(new[-1].weight[:3], old[-1].weight[[16, 0, 22]])
        assert torch.equal(new[-1].bias[:3], old[-1].bias[[16, 0, 22]])
        assert torch.equal(new[0][1].conv.weight, old[0][1].conv.weight)


@pytest.mark.slow
def test_a_class_that_both_know_is_found_before_any_training(real: Path) -> None:
    pictures = DATA / "coco128_yolo" / "images" / "train2017"
    if not pictures.is_dir():
        pytest.skip("the public images are not beside the repository")
    limit_threads(1)
    classes = read_weights(real).classes
    before = begin(start_from(real), classes).model
    after = begin(start_from(real), ("dog", "PERSON", "zebra")).model
    seen = set()
    for path in sorted(pictures.glob("*.jpg"))[:40]:
        image = np.asarray(Image.open(path).convert("RGB"))[:, :, ::-1].copy()
        options: dict[str, Any] = {"imgsz": 320, "conf": 0.4, "device": "cpu", "verbose": False}
        (old,) = before.predict(image, classes=[16, 0, 22], **options)
        (new,) = after.predict(image, **options)
        told = [classes.index(after.names[int(index)].lower()) for index in new.boxes.cls]
        assert told == old.boxes.cls.int().tolist()
        assert np.allclose(new.boxes.data[:, :5], old.boxes.data[:, :5], atol=1e-3)
        seen.update(told)
    assert seen == {16, 0, 22}


@pytest.mark.slow
def test_what_begins_at_random_depends_on_the_seed_alone(weights: MakeWeights) -> None:
    import torch  # noqa: PLC0415 - after the environment is prepared

    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    states = [begin(start_from(weights()), ("emu", "cat"), seed=seed).model.model.state_dict() for seed in (1, 1, 2)]
    assert torch.equal(torch.rand(1), expected), "the training's own random numbers go on as before"
    same, other = ([name for name in states[0] if not torch.equal(states[0][name], each[name])] for each in states[1:])
    assert same == []
    assert other
    assert all("cv3" in name for name in other)


def test_of_names_alike_the_one_that_is_the_same_letter_for_letter_is_taken() -> None:
    assert match_classes(("Cat", "cat", "CAT"), ("cat", "CAT", "cAt", "dog")) == (1, 2, 0, None)
    assert match_classes((), ("cat",)) == (None,)


@pytest.mark.parametrize("architecture", ["yolo11n.yaml", "yolo26n.yaml"])
def test_weights_go_into_an_architecture_that_shares_their_backbone(real: Path, architecture: str) -> None:
    note = begin(start_from(real, architecture), ("dog", "person")).note
    assert note is not None
    assert note.found == ("dog", "person")
    assert note.architecture == "yolo11n"


def test_weights_go_into_an_architecture_of_ones_own_with_another_head(real: Path, tmp_path: Path) -> None:
    from ultralytics.utils import ROOT  # noqa: PLC0415 - after the environment is prepared

    text = (ROOT / "cfg" / "models" / "11" / "yolo11.yaml").read_text()
    own = tmp_path / "o'brien's yolo11n-two.yaml"
    own.write_text(text.replace("[[16, 19, 22], 1, Detect, [nc]]", "[[16, 19], 1, Detect, [nc]]"))
    model = (beginning := begin(start_from(real, str(own)), ("dog", "person"))).model
    assert beginning.note is not None
    assert beginning.note.found == ("dog", "person")
    assert beginning.note.tensors < 499
    assert model.model.yaml["scale"] == "n"
    assert str(tmp_path) not in str(model.model.yaml)


@pytest.mark.parametrize(
    ("architecture", "fit"),
    [("yolo11s.yaml", "118 of 499"), ("yolov8n.yaml", r"\d+ of 391"), ("rtdetr-l.yaml", "3 of 941")],
)
def test_weights_of_another_architecture_are_refused_with_what_they_are(
    real: Path, architecture: str, fit: str
) -> None:
    with pytest.raises(
        ConfigError,
        match=f"^model='{architecture}' and the weights 'official yolo11n.pt' do not belong together: {fit} tensors "
        "fit, and the weights are those of yolo11n. Leave model empty to train what the weights are, or start_from "
        "to train from scratch.$",
    ):
        begin(start_from(real, architecture, "official yolo11n.pt"), ("dog", "person"))


def test_weights_of_an_rt_detr_are_refused_for_a_yolo(weights: MakeWeights) -> None:
    with pytest.raises(ConfigError, match=r"0 of 499 tensors fit, and the weights are those of rtdetr-l\."):
        begin(start_from(weights("rtdetr-l.yaml"), "yolo11n.yaml"), ("dog",))


@pytest.mark.parametrize(("name", "task"), [("yolo11n-seg.yaml", "segment"), ("yolo11n-cls.yaml", "classify")])
def test_weights_for_another_task_are_refused(tmp_path: Path, name: str, task: str) -> None:
    from ultralytics.nn import tasks  # noqa: PLC0415 - after the environment is prepared

    kind = tasks.SegmentationModel if task == "segment" else tasks.ClassificationModel
    network = kind(narrow(name), nc=2, verbose=False)
    network.names, network.args, network.task = {0: "a", 1: "b"}, {}, task
    path = save(network, tmp_path / "other.pt")
    with pytest.raises(ConfigError, match=f"'first try' is made for the task '{task}'"):
        begin(start_from(path, origin="first try"), ("a",))


def test_weights_fused_for_inference_are_refused(tmp_path: Path) -> None:
    path = save(network_of("yolo11n.yaml").eval().fuse(verbose=False), tmp_path / "fused.pt")
    with pytest.raises(ConfigError, match=r"fused\.pt' was fused for inference"):
        read_weights(path)


def test_weights_that_look_at_grey_images_are_refused(tmp_path: Path) -> None:
    from ultralytics.nn.tasks import DetectionModel  # noqa: PLC0415 - after the environment is prepared

    network = DetectionModel(narrow("yolo11n.yaml"), ch=1, nc=2, verbose=False)
    network.names, network.args, network.task = {0: "a", 1: "b"}, {}, "detect"
    with pytest.raises(ConfigError, match="looks at images of 1 channels"):
        read_weights(save(network, tmp_path / "grey.pt"))


@pytest.mark.parametrize(
    ("lie", "message"),
    [
        ({"yaml": {}}, "cannot be loaded as a detection model"),
        ({"yaml": {"backbone": [], "head": [[0, 1, "Detect", [9]]]}}, "cannot be loaded as a detection model"),
        ({"names": {}}, "names 0 classes and tells 4 apart"),
        ({"names": None}, "cannot be loaded as a detection model"),
    ],
)
def test_weights_that_lie_about_themselves_are_refused_in_a_sentence(
    tmp_path: Path, lie: dict[str, Any], message: str
) -> None:
    network = network_of("yolo11n.yaml")
    for name, value in lie.items():
        setattr(network, name, value)
    path = save(network, tmp_path / "liar.pt")
    with pytest.raises(ConfigError, match=message) as caught:
        begin(start_from(path), ("a", "cat"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["yolov5n.pt", "yolov3.pt", "o'brien.pt"])
def test_weights_are_read_whatever_their_file_is_called(
    weights: MakeWeights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The library would download others in place of some."""

    def refuse(url: str, **_: object) -> None:
        raise AssertionError(f"the network was asked for {url}")

    monkeypatch.setattr("ultralytics.utils.downloads.safe_download", refuse)
    (tmp_path / name).write_bytes(weights().read_bytes())
    assert read_weights(tmp_path / name).classes == KNOWN


def test_an_rt_detr_is_one_from_scratch_and_from_weights(weights: MakeWeights) -> None:
    scratch = begin(Start("ultralytics", "rtdetr-resnet50.yaml"), ("a",)).model
    taken = begin(start_from(weights("rtdetr-l.yaml")), ("a",)).model
    kinds = {(type(each).__name__, type(each.model).__name__) for each in (scratch, taken)}
    assert kinds == {("RTDETR", "RTDETRDetectionModel")}
