"""How a packed model predicts unless it is asked otherwise: what is evaluated, proved and served alike."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from components.shared.errors import ArchiveError
from components.shared.files import write_atomically

if TYPE_CHECKING:
    from components.shared.detection.tiling import Tiling

INFERENCE = "inference.json"
TORCH = "torch"  # the weights themselves, run by the library that trained them

Merge = Literal["nms", "wbf"]


class Inference(BaseModel):
    """What ``inference.json`` beside the model says.

    Attributes:
        confidence: lowest score of a box whose class is not in ``class_confidence``.
        class_confidence: lowest score of a class's boxes, by class name.
        iou: two boxes of one class that overlap more than this are one object.
        max_det: most boxes an image has.
        tile: larger images are cut into tiles of this edge in pixels; 0: never.
        tile_overlap: share of its edge a tile has in common with the next.
        tile_merge: how boxes of neighbouring tiles become one: suppression or weighted fusion.
        runtimes: the runtime that predicts on each kind of device, ``cpu`` and ``cuda``; ``torch`` is the weights.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    confidence: float = Field(default=0.25, ge=0, le=1)
    class_confidence: dict[str, float] = Field(default_factory=dict)
    iou: float = Field(default=0.7, ge=0, le=1)
    max_det: int = Field(default=300, ge=1)
    tile: int = Field(default=0, ge=0, le=16384)
    tile_overlap: float = Field(default=0.2, ge=0, lt=0.9)
    tile_merge: Merge = "nms"
    runtimes: dict[str, str] = Field(default_factory=lambda: {"cpu": TORCH, "cuda": TORCH})

    @property
    def tiling(self) -> "Tiling | None":
        """How large images are cut; ``None``: they are predicted whole.

        Raises:
            ConfigError: the tiles make no sense.
        """
        from components.shared.detection.tiling import Tiling  # noqa: PLC0415 - brings numpy and OpenCV along

        return Tiling(self.tile, self.tile_overlap, self.tile_merge) if self.tile else None

    def runtime_for(self, device: str) -> str:
        """The runtime for a kind of device: ``cpu`` or ``cuda``."""
        return self.runtimes.get(device, TORCH)

    def confidences(self, classes: tuple[str, ...]) -> tuple[float, ...]:
        """Lowest score of each class, in the order of the labels."""
        return tuple(self.class_confidence.get(name, self.confidence) for name in classes)

    def save(self, folder: Path) -> None:
        """Write ``inference.json`` into the folder, atomically."""
        with write_atomically(folder / INFERENCE) as temporary:
            temporary.write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")


def load_inference(folder: Path) -> Inference:
    """What ``inference.json`` in ``folder`` says; the defaults where an archive of an earlier release has none.

    Raises:
        ArchiveError: it is not one of ours.
    """
    path = folder / INFERENCE
    try:
        return Inference.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return Inference()
    except ValidationError as error:
        raise ArchiveError(f"{str(path)!r} does not say how to predict: {error.errors()[0]['msg']}.") from error
