"""Each kind of difference, planted in an archive that agrees with itself again, is found and named by its check."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.model_test.options import ProofOptions
from components.model_test.prove import compare_inside
from components.model_test.samples import Sample
from components.model_test.story import Story
from components.model_test.tensors import compare_weights
from components.shared.archive import load_archive_manifest, open_archive
from components.shared.errors import ArchiveError

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("prove")]


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def flip_weight(source: Path) -> None:
    """The last bit of one weight, in a file that is written anew."""
    import torch  # noqa: PLC0415 - after the environment is prepared

    path = source / "model" / "weights" / "best.pt"
    checkpoint = torch.load(path, weights_only=False)
    bits = checkpoint["ema"].state_dict()["model.0.conv.weight"].view(torch.int16)
    bits[0, 0, 0, 0] ^= 1
    torch.save(checkpoint, path)


def flip_initializer(runtime: str, name: str) -> Callable[[Path], None]:
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


def flip_byte(name: str, marker: bytes) -> Callable[[Path], None]:
    """One bit of a file's data, behind the first place that a marker is at."""

    def flip(source: Path) -> None:
        data = bytearray((source / name).read_bytes())
        data[data.index(marker) + len(marker) + 200] ^= 1
        (source / name).write_bytes(bytes(data))

    return flip


def edit_manifest(**changes: Any) -> Callable[[Path], None]:
    return lambda source: edit(source / "model" / "manifest.json", **changes)


def edit_runtime(**changes: Any) -> Callable[[Path], None]:
    return lambda source: edit(source / "runtimes" / "onnx" / "runtime.json", **changes)


def edit_input(**changes: Any) -> Callable[[Path], None]:
    def change(source: Path) -> None:
        path = source / "runtimes" / "onnx" / "runtime.json"
        edit(path, input=json.loads(path.read_text())["input"] | changes)

    return change


def edit_inference(**changes: Any) -> Callable[[Path], None]:
    return lambda source: edit(source / "inference.json", **changes)


def rename_library(source: Path) -> None:
    path = source / "requirements.txt"
    path.write_text("".join(f"numpy==1.0 {rest}\n" if (rest := "") == line else line for line in [path.read_text()]))
    text = path.read_text()
    version = text.split("numpy==", 1)[1].split()[0]
    path.write_text(text.replace(f"numpy=={version}", "numpy==1.0"))


def move_boxes(source: Path) -> None:
    """Decoding in the packed code, one pixel to the right."""
    path = source / "components" / "shared" / "detection" / "postprocess.py"
    changed = path.read_text().replace("boxes = placement.to_image(corners[kept])", "boxes = placement.to_image(corners[kept]) + 1")
    assert changed != path.read_text()
    path.write_text(changed)


SWAPPED = ["square", "circle", "star"]
INSIDE = {
    "one bit of a weight": (flip_weight, {}, r"Weights: the tensor 'model\.0\.conv\.weight' differs in 1 values"),
    "one bit of an ONNX weight": (
        flip_initializer("onnx", "model.0.conv.weight"),
        {},
        r"Runtime onnx: the tensor 'model\.0\.conv\.weight' of the runtime 'onnx' differs in 1 values",
    ),
    "one bit of an eight-bit weight": (
        flip_initializer("onnx-int8", "model.0.conv.weight_quantized"),
        {},
        r"Runtime onnx-int8: the tensor 'model\.0\.conv\.weight' of the runtime 'onnx-int8' differs in 1 values .*rounding",
    ),
    "one bit of a TorchScript weight": (
        flip_byte("runtimes/torchscript/model.torchscript", b"/data/0"),
        {},
        r"Runtime torchscript: the file 'model\.torchscript' of the runtime 'torchscript' is not what a conversion",
    ),
    "swapped classes": (edit_manifest(classes=SWAPPED), {}, r"Files: class 0 is 'circle' trained but 'square' packed"),
    "swapped classes of a runtime": (
        edit_runtime(classes=SWAPPED),
        {},
        r"Runtime onnx: .*[Cc]lass 0 ",
    ),
    "another input size": (edit_manifest(imgsz=96), {}, r"Files: imgsz is 64 trained but 96 packed"),
    "another input size of a runtime": (
        edit_input(imgsz=96),
        {},
        r"Runtime onnx: runtime\.json of the runtime 'onnx' says input\.imgsz 96, the trained model has 64",
    ),
    "another scale of a runtime's input": (
        edit_input(scale=1 / 128),
        {},
        r"Runtime onnx: runtime\.json of the runtime 'onnx' says input\.scale 0\.0078125",
    ),
    "another confidence": (edit_inference(confidence=0.5), {}, r"Archive: the archive's content digest is .* was noted"),
    "another confidence of a class": (
        edit_inference(class_confidence={"circle": 0.9}),
        {},
        r"Archive: the archive's content digest is .* was noted",
    ),
    "a confidence of no class": (
        edit_inference(class_confidence={"cat": 0.9}),
        {},
        r"Archive: class_confidence has a threshold for 'cat', which is no class of the model",
    ),
    "another overlap": (edit_inference(iou=0.5), {}, r"Archive: the archive's content digest is .* was noted"),
    "fewer boxes": (edit_inference(max_det=5), {}, r"Archive: the archive's content digest is .* was noted"),
    "another tile": (edit_inference(tile=64), {}, r"Archive: the archive's content digest is .* was noted"),
    "another runtime to serve": (
        edit_inference(runtimes={"cpu": "torch", "cuda": "torch"}),
        {},
        r"Archive: runtimes\.json says 'onnx' serves on 'cpu', but 'torch' does",
    ),
    "a file more in the model": (
        lambda source: (source / "model" / "new.txt").write_text("new"),
        {},
        r"Files: the file 'new\.txt' was added to the packed model",
    ),
    "a file less in the model": (
        lambda source: (source / "model" / "args.yaml").unlink(),
        {},
        r"Files: the file 'args\.yaml' is missing from the packed model",
    ),
    "code of the service": (
        move_boxes,
        {},
        r"Archive: the code 'components/shared/detection/postprocess\.py' in the archive is not what",
    ),
    "code nobody knows": (
        lambda source: (source / "sitecustomize.py").write_text("pass\n"),
        {},
        r"Archive: the code 'sitecustomize\.py' in the archive is none of ours",
    ),
    "a library's version": (
        rename_library,
        {},
        r"Archive: the manifest requires numpy==[\d.]+, but the requirements list 1\.0 for it",
    ),
}


@pytest.fixture(scope="session")
def intended(rich: Path) -> ProofOptions:
    """What is noted when the archive is packed."""
    return ProofOptions(recorded=load_archive_manifest(rich).content_digest)


@pytest.fixture
def inside(model: Path, photographs: list[bytes], intended: ProofOptions, tmp_path: Path) -> Callable[[Path], Story]:
    """Everything but the service, of an archive."""

    def compared(archive: Path) -> Story:
        story = Story(intended)
        opened = open_archive(archive, tmp_path / "proof")
        samples = [Sample.read("image 1", photographs[0])]
        compare_inside(story, model, archive, opened, samples)
        return story

    return compared


def told(story: Story) -> str:
    return "\n".join(f"{check.title}: {text}" for check in story.checks for text in check.differences)


def test_nothing_is_found_where_nothing_was_changed(
    rich: Path, resign: Callable[..., Path], inside: Callable[[Path], Story]
) -> None:
    story = inside(resign(rich, lambda _: None))
    assert told(story) == ""
    assert [result.name for result in story.runtimes] == ["onnx", "onnx-int8", "torchscript"]
    assert [result.converted.compared for result in story.runtimes][0] == "bit for bit"


@pytest.mark.parametrize(("change", "claims", "says"), INSIDE.values(), ids=INSIDE)
def test_a_planted_difference_is_named(
    rich: Path,
    resign: Callable[..., Path],
    inside: Callable[[Path], Story],
    change: Callable[[Path], None],
    claims: dict[str, Any],
    says: str,
) -> None:
    story = inside(resign(rich, change, **claims))
    assert __import__("re").search(says, told(story))
