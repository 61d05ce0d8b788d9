"""The torch device that a word for one means."""

from typing import Any

from components.shared.errors import ConfigError


def resolve_device(device: str) -> Any:  # noqa: ANN401 - torch is untyped here
    """The ``torch.device`` of ``cpu``, ``cuda``, ``cuda:N``, ``N`` or ``auto`` (a GPU where there is one).

    Raises:
        ConfigError: there is no such device here.
    """
    import torch  # noqa: PLC0415 - shared modules load without torch

    if device in {"", "auto"}:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(f"cuda:{device}" if device.isdigit() else device)
    except RuntimeError as error:
        raise ConfigError(f"There is no device {device!r}: use 'cpu', 'cuda', 'cuda:1' or 'auto'.") from error
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"The device {device!r} is not here ({torch.cuda.device_count()} GPUs): use 'cpu' or 'auto'.")
    return chosen
