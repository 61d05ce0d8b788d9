"""Convert a staged model to the runtimes that were asked for, and say of each why it could not be."""

import importlib
import logging
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from components.model_pack.options import PackOptions
from components.model_pack.samples import Samples
from components.shared.archive import MODEL
from components.shared.detection.contract import RuntimeSpec
from components.shared.detection.devices import resolve_device
from components.shared.detection.frameworks import Pixels
from components.shared.detection.manifest import ModelManifest
from components.shared.errors import ArchiveError, ConfigError, in_one_line

__all__ = ["CALIBRATING", "RUNTIMES", "TENSORRT", "Conversions", "check_device", "convert_model"]

RUNTIMES = "runtimes"  # the converted models' folder, beside the model folder
TENSORRT = "tensorrt"
CALIBRATING = 32  # images; ranges hardly widen with more, and each is kept with all its activations
_EXPORTS = "components.shared.detection"
Export = Callable[..., RuntimeSpec]
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Conversions:
    """What came of the conversions.

    Attributes:
        made: the description of each converted model, by runtime, in the order asked for.
        refused: why there is none, by runtime.
    """

    made: dict[str, RuntimeSpec]
    refused: dict[str, str]


def check_device(options: PackOptions) -> None:
    """Refuse TensorRT where it cannot be built, before anything is done.

    Raises:
        ConfigError: there is no GPU, or the device is not here.
    """
    if TENSORRT in options.runtimes and resolve_device(options.device.split(",")[0]).type != "cuda":
        raise ConfigError(
            f"The runtime {TENSORRT!r} is built on the GPU it runs on, and the device {options.device!r} has none:"
            " leave it out of runtimes, or pack on a node with a GPU."
        )


def convert_model(source: Path, trained: ModelManifest, options: PackOptions, samples: Samples) -> Conversions:
    """Convert the model in ``source / "model"`` into ``source / "runtimes" / <runtime>``.

    What cannot be converted is refused with its reason, unless it is what shall serve.

    Args:
        source: the staged source folder of the bento.
        trained: the model's manifest.
        options: which runtimes.
        samples: images to calibrate eight-bit runtimes with.

    Raises:
        ArchiveError: ``serve_runtime`` names a runtime the model cannot be converted to.
        ConfigError: likewise, for a missing library.
    """
    made: dict[str, RuntimeSpec] = {}
    refused: dict[str, str] = {}
    for runtime in options.runtimes:
        folder = source / RUNTIMES / runtime
        try:
            export = _export_of(trained.framework)
            weights = source / MODEL / trained.weights
            images = _calibrating(samples) if runtime.endswith("-int8") else ()
            made[runtime] = export(weights, folder, runtime, imgsz=trained.imgsz, images=images)
        except (ArchiveError, ConfigError) as error:
            if runtime == options.serve_runtime:
                raise
            shutil.rmtree(folder, ignore_errors=True)
            refused[runtime] = in_one_line(error) + "."
            logger.warning("The runtime %r is left out: %s", runtime, error)
    return Conversions(made, refused)


def _export_of(framework: str) -> Export:
    """The ``export`` of a framework's module.

    Raises:
        ArchiveError: it has none.
    """
    name = f"{_EXPORTS}.{framework}_export"
    try:
        export: Export = importlib.import_module(name).export
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise ArchiveError(
            f"A model of the framework {framework!r} cannot be converted: leave runtimes empty."
        ) from error
    return export


def _calibrating(samples: Samples) -> Iterable[Pixels]:
    return (pixels for _, pixels in samples.pixels(CALIBRATING))
