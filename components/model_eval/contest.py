"""Make a packed model ready to predict as it is served."""

from components.model_eval.predict import Contestant
from components.shared.archive import OpenArchive
from components.shared.detection.detector import Detector
from components.shared.detection.devices import resolve_device


def single_device(device: str) -> str:
    """The one device an evaluation predicts on, as torch writes it: ``cpu`` or ``cuda:1``.

    Args:
        device: ``auto``, ``cpu`` or GPU numbers; of several (``0,1``), which a training may have named, the first.

    Raises:
        ConfigError: it is not here.
    """
    return str(resolve_device(device.split(",", maxsplit=1)[0].strip()))


def open_contestant(archive: OpenArchive, device: str) -> Contestant:
    """The packed model as it is served on this device: with its runtime, its overlaps and its tiles.

    Raises:
        ArchiveError: it cannot be loaded.
        ConfigError: a library that its runtime needs is not here.
    """
    inference = archive.manifest.inference
    runtime = inference.runtime_for(device.partition(":")[0])
    return Contestant(Detector(archive.model, device=device, runtime=runtime), inference, runtime)
