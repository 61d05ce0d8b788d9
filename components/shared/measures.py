"""What a training measures in an epoch, in a few words: short names, and how each kind of number is written."""

import math
from collections.abc import Mapping

SCORES = {"precision": "P", "recall": "R", "map50": "mAP50", "map50_95": "mAP50-95"}
SPLITS = ("train", "val")
_GB = 1e9
_LARGE = 1e4  # from here on three digits say enough
_MINUTE, _HOUR = 60, 3600


def loss_name(name: str) -> str:
    """``train/box_loss`` and ``val/loss_box_reg`` without what says it is a loss: ``box``, ``box_reg``."""
    return name.partition("/")[2].removesuffix("_loss").removeprefix("loss_") or name


def is_loss(name: str, split: str) -> bool:
    """Whether a value is one of the losses of ``train`` or ``val``."""
    return name.startswith(f"{split}/")


def brief(values: Mapping[str, float]) -> str:
    """An epoch's values on one line, the parts that exist, in groups divided by ``|``.

    Args:
        values: as ``Epoch.values`` names them; ``gpu_memory`` in bytes.

    Example:
        >>> brief({"train/box_loss": 1.2344, "map50": 0.5, "lr": 0.0018, "gpu_memory": 3.2e9})
        'train box 1.234 | mAP50 0.500 | lr 0.0018 | GPU 3.2 GB'
    """
    groups = [_losses(values, split) for split in SPLITS]
    groups.append(" ".join(f"{label} {number(values[name])}" for name, label in SCORES.items() if name in values))
    groups += [
        f"lr {number(values['lr'], '.3g')}" if "lr" in values else "",
        f"{_rate(values['images_per_second'])} images/s" if "images_per_second" in values else "",
        f"GPU {number(values['gpu_memory'] / _GB, '.1f')} GB" if values.get("gpu_memory") else "",
    ]
    return " | ".join(group for group in groups if group)


def number(value: float, how: str = ".3f") -> str:
    """A number in the given format; ``NaN`` and ``inf`` by their names."""
    if math.isnan(value):
        return "NaN"
    return format(value, how if abs(value) < _LARGE else ".3g")


def span(seconds: float) -> str:
    """A time to wait: ``38 s``, ``3 min 05 s``, ``2 h 10 min``."""
    whole = round(max(seconds, 0.0)) if math.isfinite(seconds) else 0
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE:02d} s"
    return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE:02d} min"


def _losses(values: Mapping[str, float], split: str) -> str:
    names = [name for name in values if is_loss(name, split)]
    return " ".join([split, *(f"{loss_name(name)} {number(values[name])}" for name in names)]) if names else ""


def _rate(value: float) -> str:
    return number(value, ".0f" if abs(value) >= 10 else ".2g")  # noqa: PLR2004 - below it a tenth matters
