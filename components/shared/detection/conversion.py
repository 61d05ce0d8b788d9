"""Write a traced network for the engines: ONNX, OpenVINO, TorchScript (the same bytes each time) or TensorRT."""

import itertools
import re
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from components.shared.detection.contract import InputContract, OutputContract, RuntimeSpec, describe_files
from components.shared.detection.engines import engine_requirements
from components.shared.detection.engines.libraries import import_library
from components.shared.detection.frameworks import Pixels
from components.shared.detection.tensorrt_build import build_plan
from components.shared.errors import ArchiveError, ConfigError

# No eight-bit OpenVINO: it reads an eight-bit ONNX file with errors up to 0.9 in the scores, and no faster.
CONVERTIBLE = ("torchscript", "onnx", "onnx-int8", "openvino", "openvino-bf16", "tensorrt")
OPSET = 18  # later ones lack CUDA kernels in ONNX Runtime, and its quantisation refuses them from 21 on
INPUT = "images"
_ONNX = "model.onnx"
_COUNTER = re.compile(rb"[./]___torch_mangle_[0-9]+")
_TRACES = (".debug_pkl", "/serialization_id")


@dataclass(frozen=True)
class Conversion:
    """What is converted to what.

    Attributes:
        runtime: the runtime's name.
        input: what the network takes.
        output: what it gives.
        classes: class names.
        fragile: prefixes of the ONNX nodes that stay in full precision.
    """

    runtime: str
    input: InputContract
    output: OutputContract
    classes: tuple[str, ...]
    fragile: tuple[str, ...] = ()


def convert(
    conversion: Conversion, folder: Path, images: Iterable[Pixels], *, write: Callable[[Path], None]
) -> RuntimeSpec:
    """Fill a folder with a runtime's files and their description.

    Args:
        conversion: what is asked for.
        folder: where the files go; what a runtime of before left there is replaced.
        images: RGB images to calibrate eight-bit runtimes with.
        write: writes the network to a path that ends in ``.onnx`` or ``.torchscript``.

    Raises:
        ArchiveError: there is no such conversion.
        ConfigError: a library is missing or there are no images to calibrate with.
    """
    runtime = conversion.runtime
    if runtime not in CONVERTIBLE:
        raise ArchiveError(f"A model cannot be converted to the runtime {runtime!r}: use {' or '.join(CONVERTIBLE)}.")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".conversion-") as name:
        made = _make(conversion, Path(name), images, write)
        for path in made:
            path.replace(folder / path.name)
    spec = RuntimeSpec(
        runtime=runtime,
        model=made[0].name,
        files={name: digest for name, digest in describe_files(folder).items() if name in {path.name for path in made}},
        input=conversion.input,
        output=conversion.output,
        classes=conversion.classes,
        requirements=engine_requirements(runtime),
        precision="bf16" if runtime.endswith("-bf16") else "f32",
    )
    spec.save(folder)
    return spec


def write_onnx(
    module: Any,  # noqa: ANN401 - torch is untyped here
    example: Any,  # noqa: ANN401 - same
    path: Path,
    *,
    outputs: Sequence[str],
    batched: bool = True,
    fixed_size: bool = False,
) -> None:
    """Trace a network into an ONNX file with a free number of images where ``batched``, and free edges by default."""
    import_library("onnx")
    import torch  # noqa: PLC0415 - shared modules load without torch

    images = {0: "batch"} if batched else {}
    edges = {} if fixed_size else {2: "height", 3: "width"}
    found = {name: {0: "batch" if batched else "boxes"} for name in outputs}
    with torch.no_grad():
        torch.onnx.export(
            module,
            (example,),
            str(path),
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=list(outputs),
            dynamic_axes={INPUT: images | edges, **found},
            dynamo=False,
        )


def write_torchscript(module: Any, example: Any, path: Path) -> None:  # noqa: ANN401 - same
    """Trace a network into a TorchScript file."""
    import torch  # noqa: PLC0415 - shared modules load without torch

    with torch.no_grad():
        traced = torch.jit.trace(module.eval(), example, strict=False, check_trace=False)
    written = BytesIO()
    torch.jit.save(torch.jit.freeze(traced), written)
    path.write_bytes(_without_traces(written.getvalue()))


def _without_traces(script: bytes) -> bytes:
    """A TorchScript archive without what differs from one process to the next: source paths and counters in names."""
    target = BytesIO()
    with zipfile.ZipFile(BytesIO(script)) as old, zipfile.ZipFile(target, "w") as new:
        for name in sorted(old.namelist()):
            if not name.endswith(_TRACES):
                content = old.read(name)
                kept = _COUNTER.sub(b"", content) if name.endswith((".py", "/data.pkl")) else content
                new.writestr(zipfile.ZipInfo(_COUNTER.sub(b"", name.encode()).decode()), kept)
    return target.getvalue()


def _make(conversion: Conversion, folder: Path, images: Iterable[Pixels], write: Callable[[Path], None]) -> list[Path]:
    """The runtime's files in a folder of their own, the model first."""
    if conversion.runtime == "torchscript":
        script = folder / "model.torchscript"
        write(script)
        return [script]
    if conversion.runtime == "tensorrt":
        import_library("tensorrt")  # before the model is traced for nothing
    model = folder / _ONNX
    write(model)
    if conversion.runtime.endswith("-int8"):
        from components.shared.detection.quantisation import quantise  # noqa: PLC0415 - needs onnx and its runtime

        pictures = iter(images)  # one in memory at a time
        first = next(pictures, None)
        if first is None:
            raise ConfigError(f"The runtime {conversion.runtime!r} needs images to calibrate with: give some.")
        shown = itertools.chain([first], pictures)
        model = quantise(model, shown, contract=conversion.input, fragile=conversion.fragile)
    if conversion.runtime == "tensorrt":
        return [build_plan(model, conversion.input)]
    return _to_openvino(model) if conversion.runtime.startswith("openvino") else [model]


def _to_openvino(model: Path) -> list[Path]:
    """The ONNX model as OpenVINO's own files; ``convert_model`` would tell a server that it was used."""
    openvino = import_library("openvino")
    read = openvino.Core().read_model(str(model))
    for index, operation in enumerate(read.get_ordered_ops()):  # the library counts on from one model to the next
        operation.set_friendly_name(f"{operation.get_type_name()}_{index}")
    target = model.with_suffix(".xml")
    openvino.save_model(read, str(target), compress_to_fp16=False)
    return [target, target.with_suffix(".bin")]
