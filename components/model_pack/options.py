"""What the packing of a model is asked for."""

from dataclasses import dataclass

from components.shared.errors import ConfigError
from components.shared.runtimes import CONVERTIBLE_RUNTIMES, SERVE_AUTO, check_runtimes

__all__ = ["CONVERTIBLE_RUNTIMES", "SERVE_AUTO", "PackOptions"]

LEAST_TILE, MOST_TILE = 32, 16384  # pixels, as ``Tiling`` and ``Inference`` have them
MOST_OVERLAP = 0.9


@dataclass(frozen=True)
class PackOptions:
    """What the packing of a model is asked for.

    Attributes:
        runtimes: what to convert the model to.
        serve_runtime: what serves on a CPU: ``auto``, ``torch`` or one of ``runtimes``.
        max_drop: mAP50-95 a runtime may lose, in 0..1.
        images: how many validation images runtimes are measured on; 0 for all.
        tile: edge in pixels of the tiles larger images are cut into; 0: never.
        tile_overlap: share of its edge a tile has in common with the next.
        tile_merge: ``nms`` or ``wbf``.
        device: ``auto``, ``cpu`` or a GPU number.

    Raises:
        ConfigError: a value is out of its bounds.
    """

    runtimes: tuple[str, ...] = ("onnx",)
    serve_runtime: str = SERVE_AUTO
    max_drop: float = 0.01
    images: int = 64
    tile: int = 0
    tile_overlap: float = 0.2
    tile_merge: str = "nms"
    device: str = "cpu"

    def __post_init__(self) -> None:
        check_runtimes(self.runtimes, self.serve_runtime)
        if not 0 <= self.max_drop <= 1:
            raise ConfigError(f"max_drop is {self.max_drop!r}: give a number from 0 to 1.")
        if not 0 <= self.tile_overlap < MOST_OVERLAP:
            raise ConfigError(f"tile_overlap is {self.tile_overlap!r}: it must be 0 or more and below {MOST_OVERLAP}.")
        if self.tile and not LEAST_TILE <= self.tile <= MOST_TILE:
            raise ConfigError(f"tile is {self.tile!r}: give {LEAST_TILE} to {MOST_TILE} pixels, or 0 for no tiles.")
        if self.images < 0:
            raise ConfigError(f"runtime_images is {self.images!r}: give 0 or more.")
        if self.tile_merge not in {"nms", "wbf"}:
            raise ConfigError(f"tile_merge is {self.tile_merge!r}: use 'nms' or 'wbf'.")
