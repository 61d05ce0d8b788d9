"""Compare the weights of the trained model with the packed ones, tensor by tensor and exactly."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.model_test.evidence import Check
from components.shared.detection.frameworks import find_framework
from components.shared.detection.manifest import load_manifest


def compare_weights(trained: Path, packed: Path) -> Check:
    """Every tensor of the served weights of both model folders: names, shapes, kinds of number and values.

    Raises:
        ArchiveError: weights cannot be loaded in the safe mode.
    """
    before, after = _state(trained), _state(packed)
    differences = [_difference(name, before.get(name), after.get(name)) for name in _names(before, after)]
    values = sum(tensor.numel() for tensor in before.values())
    return Check(
        "Weights",
        f"{len(before)} tensors with {values:,} values",
        tuple(difference for difference in differences if difference),
        {"tensors_compared": len(before), "values_compared": values},
    )


def _state(model: Path) -> dict[str, Any]:
    manifest = load_manifest(model)
    return find_framework(manifest.framework).load_state(model / manifest.weights)


def _names(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    return list(before) + [name for name in after if name not in before]


def _difference(name: str, before: Any, after: Any) -> str:  # noqa: ANN401 - torch is untyped here
    import torch  # noqa: PLC0415 - the step module loads without it

    if after is None:
        return f"the tensor {name!r} is missing from the packed weights"
    if before is None:
        return f"the tensor {name!r} was added to the packed weights"
    if before.shape != after.shape:
        return f"the tensor {name!r} has shape {tuple(before.shape)} trained but {tuple(after.shape)} packed"
    if before.dtype != after.dtype:
        return f"the tensor {name!r} is {before.dtype} trained but {after.dtype} packed"
    if _same_bits(before, after):
        return ""
    apart = (before.double() - after.double()).abs().nan_to_num(nan=torch.inf)
    return f"the tensor {name!r} differs in {int((apart != 0).sum())} values, by {float(apart.max()):.6g} at most"


def _same_bits(before: Any, after: Any) -> bool:  # noqa: ANN401 - torch is untyped here
    import torch  # noqa: PLC0415 - the step module loads without it

    flat = [tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8) for tensor in (before, after)]
    return bool(torch.equal(flat[0], flat[1]))
