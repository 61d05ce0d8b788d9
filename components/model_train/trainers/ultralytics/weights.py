"""Weights files as the training library leaves them for serving, and files that a full disk does not lose."""

import copy
import io
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.shared.files import write_atomically

logger = logging.getLogger(__name__)
PLACES = ("data", "project", "save_dir", "device")  # arguments that say where a training ran


def without_places(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The library's arguments without paths and devices of this machine."""
    from ultralytics.utils import DEFAULT_CFG_DICT  # noqa: PLC0415 - after the environment is prepared

    known = {name: value for name, value in arguments.items() if name in DEFAULT_CFG_DICT}
    return known | {name: DEFAULT_CFG_DICT.get(name) for name in PLACES if name in known}


# Of a detection head; its class has the empty ones.
_PREDICTED = frozenset({"anchors", "shape", "shapes", "strides", "valid_mask"})


def half_copy(model: Any, state: Mapping[str, Any] | None = None) -> Any:  # noqa: ANN401 - ultralytics ships no types
    """A copy of a model for serving: half precision, on the CPU, every number finite.

    Args:
        model: a torch module; it stays as it is.
        state: other weights for the copy, half precision, by name.
    """
    import torch  # noqa: PLC0415 - heavy

    criterion, model.criterion = getattr(model, "criterion", None), None  # nothing to serve, and much to copy
    try:
        served = copy.deepcopy(model).half().to("cpu", memory_format=torch.contiguous_format)
    finally:
        model.criterion = criterion
    if state is not None:
        served.load_state_dict(state)
    for module in served.modules():
        for name in _PREDICTED & vars(module).keys():  # left there by the last image that was predicted
            delattr(module, name)
        if vars(module).get("_end2end") is False:  # the same as without it, and there once a validation has been
            del module._end2end  # noqa: SLF001 - the library has no other name for it
    for parameter in served.parameters():
        parameter.requires_grad = False
    for tensor in served.state_dict().values():
        if tensor.is_floating_point():
            torch.nan_to_num_(tensor)  # what half precision cannot hold
    return served


def weights_bytes(served: Any, arguments: Mapping[str, Any], metrics: Mapping[str, float]) -> bytes:  # noqa: ANN401
    """The bytes of a weights file, without optimiser and without a time or place.

    Args:
        served: a model as ``half_copy`` gives it.
        arguments: what it was trained with.
        metrics: what was measured of it.
    """
    import torch  # noqa: PLC0415 - heavy
    from ultralytics import __version__ as version  # noqa: PLC0415 - after the environment is prepared

    clean = without_places(arguments)
    served.args = clean
    emptied = dict.fromkeys(("best_fitness", "stopper", "ema", "updates", "optimizer", "scaler", "modelopt"))
    content = {"epoch": -1, "model": served, **emptied, "train_args": clean, "train_metrics": dict(metrics)}
    about = {"version": version, "license": "AGPL-3.0 (https://ultralytics.com/license)"}
    buffer = io.BytesIO()
    torch.save({**content, **about}, buffer)
    return buffer.getvalue()


class KeptFiles:
    """Writes files whole; what the disk does not take stays in memory and is tried again."""

    def __init__(self) -> None:
        self._waiting: dict[Path, bytes] = {}
        self._warned = False

    def put(self, path: Path, content: bytes) -> None:
        """Write a file, now or as soon as it can be."""
        self._waiting[path] = content
        self.flush()

    def flush(self) -> OSError | None:
        """Try again; gives what still stands in the way."""
        problem = None
        for path in list(self._waiting):
            try:
                with write_atomically(path, durable=False) as temporary:  # a machine that fell takes this folder along
                    temporary.write_bytes(self._waiting[path])
            except OSError as error:
                problem = error
            else:
                del self._waiting[path]
        if problem and not self._warned:
            self._warned = True
            logger.warning(
                "%s cannot be written (%s): the training goes on and tries again after each epoch.",
                ", ".join(path.name for path in self._waiting),
                problem.strerror,
            )
        return problem
