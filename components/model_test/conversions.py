"""Convert the trained weights once more and compare the files with the packed ones: a bit that differs is found."""

import importlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from components.shared.detection.contract import SPEC, RuntimeSpec, load_spec
from components.shared.detection.manifest import ModelManifest, load_manifest

Tensors = Mapping[str, npt.NDArray[Any]]
_EIGHT_BIT = "-int8"
_UNREPEATABLE = frozenset({"tensorrt"})  # its builder measures the GPU it runs on
_STEP = 0.5 + 1e-3  # of a quantised weight: how far rounding moves it, and what the arithmetic adds
_SHOWN = 3  # tensors named


@dataclass(frozen=True)
class Converted:
    """How a runtime's files compare with a new conversion of the trained weights.

    Attributes:
        compared: what was compared, in words; empty when nothing could be.
        differences: one sentence each.
        tensors: weights that were compared.
    """

    compared: str
    differences: tuple[str, ...] = ()
    tensors: int = 0


def compare_conversion(trained: Path, packed: Path) -> Converted:
    """Convert the model folder ``trained`` to the runtime in the folder ``packed`` and compare the two.

    Files in full precision must be the same byte for byte. An eight-bit file depends on the images it was calibrated
    with, so its weights are compared: each must be what rounding makes of the trained one.

    Raises:
        ArchiveError: the trained weights cannot be converted, or the packed runtime has no description.
        ConfigError: a library is missing.
    """
    spec, manifest = load_spec(packed), load_manifest(trained)
    if spec.runtime in _UNREPEATABLE:
        return Converted("")
    with tempfile.TemporaryDirectory(prefix="conversion-") as work:
        anew = _convert(trained, manifest, spec.runtime.removesuffix(_EIGHT_BIT), Path(work) / "anew")
        made = load_spec(anew)
        contract = _contract_differences(spec, made)
        if spec.runtime.endswith(_EIGHT_BIT):
            count, found = _compare_rounded(anew / made.model, packed / spec.model, spec.runtime)
            return Converted(f"{count} tensors, rounded", (*contract, *found), count)
        files = _file_differences(spec, made)
        if not files:
            return Converted("bit for bit", tuple(contract), len(made.files))
        named = _tensor_differences(spec, anew / made.model, packed / spec.model)
        return Converted("bit for bit", (*contract, *named, *files), len(made.files))


def _convert(trained: Path, manifest: ModelManifest, runtime: str, folder: Path) -> Path:
    module = importlib.import_module(f"components.shared.detection.{manifest.framework}_export")
    export: Callable[..., RuntimeSpec] = module.export
    export(trained / manifest.weights, folder, runtime, imgsz=manifest.imgsz)
    return folder


def _contract_differences(packed: RuntimeSpec, anew: RuntimeSpec) -> list[str]:
    """What the packed description says otherwise than a new one."""
    where = f"{SPEC} of the runtime {packed.runtime!r}"
    pairs = [(f"input.{name}", *_both(packed.input, anew.input, name)) for name in type(anew.input).model_fields]
    pairs += [
        ("output.layout", packed.output.layout, anew.output.layout),
        ("precision", packed.precision, anew.precision),
    ]
    pairs += [("number of classes", len(packed.classes), len(anew.classes))]
    names = zip(packed.classes, anew.classes, strict=False)
    pairs += [(f"class {index}", said, real) for index, (said, real) in enumerate(names)]
    return [
        f"{where} says {what} {said!r}, the trained model has {real!r}" for what, said, real in pairs if said != real
    ]


def _both(one: object, other: object, name: str) -> tuple[object, object]:
    return getattr(one, name), getattr(other, name)


def _file_differences(packed: RuntimeSpec, anew: RuntimeSpec) -> list[str]:
    names = sorted(packed.files | anew.files)
    return [
        f"the file {name!r} of the runtime {packed.runtime!r} is not what a conversion of the trained weights gives"
        for name in names
        if packed.files.get(name) != anew.files.get(name)
    ]


def _tensor_differences(spec: RuntimeSpec, anew: Path, packed: Path) -> list[str]:
    """Which weights of an ONNX file differ; other kinds of file are not looked into."""
    if packed.suffix != ".onnx":
        return []
    before, after = _initializers(anew), _initializers(packed)
    found = [_difference(spec.runtime, name, before.get(name), after.get(name)) for name in before | after]
    return _few([text for text in found if text], spec.runtime)


def _difference(runtime: str, name: str, before: npt.NDArray[Any] | None, after: npt.NDArray[Any] | None) -> str:
    what = f"the tensor {name!r} of the runtime {runtime!r}"
    if before is None or after is None:
        return f"{what} is {'new' if before is None else 'missing'}"
    if before.shape != after.shape or before.dtype != after.dtype:
        return f"{what} is {after.dtype} {after.shape}, the trained model gives {before.dtype} {before.shape}"
    apart = before.tobytes() != after.tobytes()
    if not apart:
        return ""
    gaps = np.abs(before.astype(np.float64) - after.astype(np.float64))
    return f"{what} differs in {int((before != after).sum())} values, by {float(np.nanmax(gaps)):.6g} at most"


def _compare_rounded(anew: Path, packed: Path, runtime: str) -> tuple[int, list[str]]:
    """How many weights of a quantised ONNX file were compared with the full ones, and those that differ."""
    full, small = _initializers(anew), _initializers(packed)
    count, found = 0, []
    for name, steps in _quantised(packed, small, full):
        count += 1
        apart = int((~(steps <= _STEP)).sum())
        if apart:
            furthest = float(np.nanmax(steps))
            found.append(
                f"the tensor {name!r} of the runtime {runtime!r} differs in {apart} values from the trained weights, "
                f"by {furthest:.3g} steps of its scale at most; rounding explains half a step"
            )
    for name in full.keys() & small.keys():
        count += 1
        found += [text for text in (_difference(runtime, name, full[name], small[name]),) if text]
    return count, _few(found, runtime)


def _quantised(path: Path, small: Tensors, full: Tensors) -> Iterator[tuple[str, npt.NDArray[np.float64]]]:
    """Each quantised weight's name and how far its values are from the full ones, in steps of its scale."""
    for node in _load(path).graph.node:
        name = node.input[0] if node.input else ""
        origin = name.removesuffix("_quantized")
        if node.op_type != "DequantizeLinear" or name not in small or origin not in full:
            continue
        axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 1)
        weight, scale, zero = (small[each].astype(np.float64) for each in node.input)
        shape = [1] * weight.ndim
        if scale.ndim:
            shape[axis] = -1
        steps = np.abs(weight - zero.reshape(shape) - full[origin] / scale.reshape(shape))
        yield origin, steps


def _initializers(path: Path) -> dict[str, npt.NDArray[Any]]:
    from onnx import numpy_helper  # noqa: PLC0415 - only where there is something to compare

    return {each.name: numpy_helper.to_array(each) for each in _load(path).graph.initializer}


def _load(path: Path) -> Any:  # noqa: ANN401 - onnx is untyped here
    import onnx  # noqa: PLC0415 - only where there is something to compare

    return onnx.load(str(path), load_external_data=False)


def _few(found: list[str], runtime: str) -> list[str]:
    more = len(found) - _SHOWN
    return found if more <= 0 else [*found[:_SHOWN], f"{more} more tensors of the runtime {runtime!r} differ"]
