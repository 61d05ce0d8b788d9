"""The runtimes a model can be converted to, as parameters name them; nothing here loads a library."""

import difflib
from collections.abc import Sequence

from components.shared.detection.inference import TORCH
from components.shared.errors import ConfigError

CONVERTIBLE_RUNTIMES = ("onnx", "onnx-int8", "openvino", "openvino-bf16", "torchscript", "tensorrt")
SERVE_AUTO = "auto"


def check_runtimes(runtimes: Sequence[str], serve_runtime: str) -> None:
    """Refuse names that are no runtimes, and a serving runtime that is not among those asked for.

    Raises:
        ConfigError: names the value and the near one.
    """
    for name in runtimes:
        if name not in CONVERTIBLE_RUNTIMES:
            near = difflib.get_close_matches(name, CONVERTIBLE_RUNTIMES, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"use {', '.join(CONVERTIBLE_RUNTIMES)}."
            raise ConfigError(f"runtimes has {name!r}, which a model cannot be converted to: {hint}")
    if len(set(runtimes)) < len(runtimes):
        raise ConfigError(f"runtimes is {list(runtimes)!r}: name each one once.")
    known = (SERVE_AUTO, TORCH, *runtimes)
    if serve_runtime not in known:
        raise ConfigError(f"serve_runtime is {serve_runtime!r}: use {', '.join(known)}, or add it to runtimes.")
