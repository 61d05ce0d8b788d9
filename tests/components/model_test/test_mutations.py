"""Each kind of difference, planted in an archive that agrees with itself again, is found and named by its check."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.model_test.claims import compare_claims
from components.model_test.evidence import Check, attempt
from components.model_test.inference_files import compare_files
from components.model_test.predictions import Findings, predict_something
from components.model_test.runtimes import compare_runtime
from components.model_test.samples import Sample
from components.model_test.tensors import compare_weights
from components.shared.archive import OpenArchive, verify
from components.shared.detection.inference import load_inference
from components.shared.detection.manifest import load_manifest
from components.shared.errors import ArchiveError

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("prove")]
Change = Callable[[Path], Any]
Resign = Callable[..., OpenArchive]

SWAPPED = ["square", "circle", "star"]
NOTED = r"the archive's content digest is \w+\.\.\. but \w+\.\.\. was noted when it was packed"


@pytest.fixture(scope="module")
def trained(model: Path, photographs: list[bytes]) -> Findings:
    return predict_something(model, [Sample.read("image 1", photographs[0])], load_inference(model))


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def flip_weight(source: Path) -> None:
    """The last bit of one weight, in a file that is written anew."""
    import torch  # noqa: PLC0415 - after the environment is prepared

    path = source / "model" / "weights" / "best.pt"
    checkpoint = torch.load(path, weights_only=False)
    checkpoint["ema"].state_dict()["model.0.conv.weight"].view(torch.int16)[0, 0, 0, 0] ^= 1
    torch.save(checkpoint, path)


def flip_initializer(runtime: str, name: str) -> Change:
    """The last bit of the first value of a tensor in an ONNX file."""

    def flip(source: Path) -> None:
        import onnx  # noqa: PLC0415 - slow to import

        path = source / "runtimes" / runtime / "model.onnx"
        network = onnx.load(str(path))
        (tensor,) = (each for each in network.graph.initializer if each.name == name)
        values = np.frombuffer(tensor.raw_data, dtype=np.uint8).copy()
        values[0] ^= 1
        tensor.raw_data = values.tobytes()
        onnx.save(network, str(path))

    return flip


def flip_bit(source: Path) -> None:
    """One bit of a TorchScript file's largest tensor."""
    import zipfile  # noqa: PLC0415 - here only

    path = source / "runtimes" / "torchscript" / "model.torchscript"
    with zipfile.ZipFile(path) as old:
        content = {name: old.read(name) for name in old.namelist()}
    largest = max(
        (name for name in content if "/constants/" in name or "/data/" in name), key=lambda n: len(content[n])
    )
    content[largest] = bytes([content[largest][0] ^ 1]) + content[largest][1:]
    with zipfile.ZipFile(path, "w") as new:
        for name, data in content.items():
            new.writestr(zipfile.ZipInfo(name), data)


def in_model(**changes: Any) -> Change:
    return lambda source: edit(source / "model" / "manifest.json", **changes)


def in_runtime(name: str, **changes: Any) -> Change:
    """In the description of the runtimes whose names match."""

    def change(source: Path) -> None:
        for path in (source / "runtimes").glob(f"{name}/runtime.json"):
            edit(path, **changes)

    return change


def in_input(name: str, **changes: Any) -> Change:
    def change(source: Path) -> None:
        for path in (source / "runtimes").glob(f"{name}/runtime.json"):
            edit(path, input=json.loads(path.read_text())["input"] | changes)

    return change


def both(first: Change, second: Change) -> Change:
    return lambda source: (first(source), second(source))


def in_inference(**changes: Any) -> Change:
    return lambda source: edit(source / "inference.json", **changes)


def in_text(name: str, pattern: str, replacement: str) -> Change:
    def change(source: Path) -> None:
        changed, count = re.subn(pattern, replacement, (source / name).read_text())
        assert count
        (source / name).write_text(changed)

    return change


def said(check: Check) -> str:
    return "\n".join(check.differences)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            both(in_model(classes=SWAPPED), in_runtime("*", classes=SWAPPED)),
            "class 0 is 'circle' trained but 'square' packed",
        ),
        (in_model(imgsz=96), "imgsz is 64 trained but 96 packed"),
        (lambda source: (source / "model" / "new.txt").write_text("x"), r"the file 'new\.txt' was added"),
        (lambda source: (source / "model" / "args.yaml").unlink(), r"the file 'args\.yaml' is missing"),
    ],
    ids=["classes", "input size", "file more", "file less"],
)
def test_a_change_of_the_model_folder_is_named_by_the_files(
    model: Path, resign: Resign, change: Change, says: str
) -> None:
    assert re.search(says, said(compare_files(model, resign(change).model)))


def test_one_bit_of_a_weight_is_named_by_the_tensors(model: Path, resign: Resign) -> None:
    check = compare_weights(model, resign(flip_weight).model)
    assert re.fullmatch(r"the tensor 'model\.0\.conv\.weight' differs in 1 values, by \S+ at most", said(check))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (in_inference(confidence=0.5), NOTED),
        (in_inference(class_confidence={"circle": 0.9}), NOTED),
        (in_inference(iou=0.5), NOTED),
        (in_inference(max_det=5), NOTED),
        (in_inference(tile=64), NOTED),
        (in_inference(class_confidence={"cat": 0.9}), "a threshold for 'cat', which is no class of the model"),
        (in_inference(runtimes={"cpu": "torch"}), r"runtimes\.json says 'onnx' serves on 'cpu', but 'torch' does"),
        (
            in_text("requirements.txt", r"numpy==\S+", "numpy==1.0"),
            r"numpy==[\d.]+, but the requirements list 1\.0 for it",
        ),
        (
            in_text("components/shared/detection/postprocess.py", r"boxes = placement", "boxes = 1 + placement"),
            r"the code 'components/shared/detection/postprocess\.py' in the archive is not what",
        ),
        (
            lambda source: (source / "sitecustomize.py").write_text(""),
            r"the code 'sitecustomize\.py' .* is none of ours",
        ),
    ],
    ids=[
        "confidence",
        "confidence of a class",
        "overlap",
        "boxes",
        "tile",
        "confidence of no class",
        "served runtime",
        "library",
        "code",
        "more code",
    ],
)
def test_a_change_of_what_the_archive_says_is_named(
    model: Path, rich: Path, bento: OpenArchive, resign: Resign, change: Change, says: str
) -> None:
    noted = bento.manifest.content_digest
    assert re.search(says, said(compare_claims(load_manifest(model), rich, resign(change), recorded=noted)))


def test_a_library_of_another_version_than_it_was_proved_with_is_named(
    model: Path, rich: Path, bento: OpenArchive, resign: Resign
) -> None:
    pins = tuple("numpy==1.0" if pin.startswith("numpy==") else pin for pin in bento.manifest.requirements)
    changed = resign(in_text("requirements.txt", r"numpy==\S+", "numpy==1.0"), requirements=pins)
    check = compare_claims(load_manifest(model), rich, changed)
    assert re.search(r"requires numpy==1\.0, but it was proved with \d", said(check))


@pytest.mark.parametrize(
    ("runtime", "change", "says"),
    [
        (
            "onnx",
            flip_initializer("onnx", "model.0.conv.weight"),
            r"the tensor 'model\.0\.conv\.weight' of the runtime 'onnx' differs in 1 values",
        ),
        (
            "onnx-int8",
            flip_initializer("onnx-int8", "model.0.conv.weight_quantized"),
            r"the tensor 'model\.0\.conv\.weight' of the runtime 'onnx-int8' differs in 1 values .* half a step",
        ),
        ("torchscript", flip_bit, r"'model\.torchscript' of the runtime 'torchscript' is not what a conversion"),
        (
            "onnx",
            in_input("*", imgsz=96),
            r"runtime\.json of the runtime 'onnx' says input\.imgsz 96, the trained model has 64",
        ),
        ("onnx", in_input("*", scale=1 / 128), r"runtime\.json of the runtime 'onnx' says input\.scale 0\.0078125"),
    ],
    ids=["onnx bit", "int8 bit", "torchscript bit", "input size", "input scale"],
)
def test_a_change_of_a_runtime_is_named(
    model: Path, resign: Resign, trained: Findings, runtime: str, change: Change, says: str
) -> None:
    changed = resign(change)
    check = attempt(runtime, lambda: compare_runtime(runtime, model, changed, trained)[1])
    assert re.search(says, said(check))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (in_model(classes=SWAPPED), "archive's classes is .* but its runtime"),
        (in_runtime("onnx-int8", classes=SWAPPED), "archive's classes is .* but its runtime 'onnx-int8'"),
        (in_input("onnx-int8", imgsz=96), "archive's input is .* but its runtime 'onnx-int8'"),
        (in_inference(runtimes={"cpu": "openvino"}), "served with 'openvino' on 'cpu', which is not inside"),
    ],
    ids=["classes of the model", "classes of a runtime", "input of a runtime", "served runtime that is not there"],
)
def test_what_contradicts_itself_is_refused_although_every_digest_agrees(
    resign: Resign, change: Change, says: str
) -> None:
    with pytest.raises(ArchiveError, match=says):
        resign(change)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (in_inference(confidence=0.5), r"'src/inference.json' .* has other bytes"),
        (lambda source: (source / "inference.json").unlink(), "'src/inference.json' is missing"),
        (lambda source: (source / "requirements.txt").unlink(), "'src/requirements.txt' is missing"),
        (lambda source: (source / "more.txt").write_text(""), r"'src/more.txt' .* was added later"),
        (lambda source: (source / "service.py").write_text(""), r"'src/service.py' .* has other bytes"),
    ],
    ids=["thresholds", "no thresholds", "file less", "file more", "code"],
)
def test_an_archive_that_does_not_agree_with_itself_is_refused_at_once(
    resign: Resign, change: Change, says: str
) -> None:
    same = resign(lambda _: None)
    change(same.bento / "src")
    with pytest.raises(ArchiveError, match=says):
        verify(same.bento, same.manifest)
