"""Ready-made settings of a training: what a parameter left to the preset becomes."""

from collections.abc import Mapping
from types import MappingProxyType

from components.shared.detection.torchvision_models import ARCHITECTURES
from components.shared.errors import ConfigError

TORCHVISION_MODELS = ARCHITECTURES

UNSET: Mapping[str, object] = MappingProxyType(
    {
        "model": "",
        "epochs": 0,
        "batch": 0,
        "imgsz": 0,
        "lr0": 0.0,
        "optimizer": "preset",
        "warmup_epochs": -1.0,
        "close_mosaic": -1,
        "patience": -1,
    }
)
"""The value of each such parameter that means: what the preset says."""

PRESETS: Mapping[str, Mapping[str, object]] = MappingProxyType(
    {
        "quick": {  # a first look within minutes on a laptop
            "model": "yolo11n.yaml",
            "epochs": 25,
            "batch": 16,
            "imgsz": 128,
            "lr0": 0.002,
            "optimizer": "AdamW",
            "warmup_epochs": 1.0,
            "close_mosaic": 5,
            "patience": 100,
        },
        "balanced": {  # a good detector within an hour or two on one GPU
            "model": "yolo11s.pt",
            "epochs": 100,
            "batch": 16,
            "imgsz": 640,
            "lr0": 0.001,
            "optimizer": "AdamW",
            "warmup_epochs": 3.0,
            "close_mosaic": 10,
            "patience": 30,
        },
        "best": {  # the most accurate one, in a night
            "model": "yolo11m.pt",
            "epochs": 300,
            "batch": -1,
            "imgsz": 640,
            "lr0": 0.01,
            "optimizer": "SGD",
            "warmup_epochs": 3.0,
            "close_mosaic": 15,
            "patience": 50,
        },
    }
)

TORCHVISION: Mapping[str, Mapping[str, object]] = MappingProxyType(
    {
        "quick": {"epochs": 40, "batch": 4, "lr0": 0.001},
        "balanced": {"batch": 8, "lr0": 0.0002},
        "best": {"batch": 8, "lr0": 0.0002, "optimizer": "AdamW"},
    }
)
"""Where torchvision's models want something else."""


def is_torchvision(model: str) -> bool:
    """Whether a model's name is one of torchvision's, not of ultralytics'."""
    return model in TORCHVISION_MODELS


def with_preset(preset: str, values: Mapping[str, object]) -> dict[str, object]:
    """``values`` with everything that is left to the preset filled in; other names pass through.

    Raises:
        ConfigError: there is no such preset.
    """
    if preset not in PRESETS:
        raise ConfigError(f"preset={preset!r} is unknown: use {', '.join(PRESETS)}.")
    model = values.get("model") or PRESETS[preset]["model"]
    chosen = {**PRESETS[preset], **(TORCHVISION[preset] if is_torchvision(str(model)) else {})}
    return {name: chosen[name] if name in UNSET and value == UNSET[name] else value for name, value in values.items()}
