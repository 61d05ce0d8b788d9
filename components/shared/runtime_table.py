"""How the runtimes in an archive compare with the weights they were made from: ``runtimes.json`` beside the archive.

It holds times, so it is no part of the archive's content; the evaluation copies it into its report.
"""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from components.shared.errors import ArchiveError
from components.shared.files import write_atomically

RUNTIMES = "runtimes.json"


class RuntimeRow(BaseModel):
    """One runtime, measured on validation images against the weights (whose own row has differences of 0).

    Attributes:
        runtime: its name; ``torch`` is the weights themselves.
        map50_95: mAP over IoU 0.5 to 0.95 on the images; ``None`` without ground truth.
        map50: mAP at IoU 0.5; likewise.
        drop: how much ``map50_95`` is below the weights'; negative where it is above.
        max_box_difference: largest difference of a corner between boxes both find, in pixels.
        max_score_difference: largest difference of the scores of such boxes.
        boxes_apart: boxes only one of the two finds, at the serving confidence.
        latency_ms_p50: median milliseconds an image, decoded image to boxes.
        latency_ms_p95: 95th percentile.
        megabytes: size of its files.
        served: the kinds of device it is served on, such as ``cpu``.
        refused: why it is not in the archive; empty when it is.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    runtime: str
    map50_95: float | None = None
    map50: float | None = None
    drop: float | None = None
    max_box_difference: float | None = None
    max_score_difference: float | None = None
    boxes_apart: int | None = None
    latency_ms_p50: float | None = None
    latency_ms_p95: float | None = None
    megabytes: float | None = None
    served: tuple[str, ...] = ()
    refused: str = ""


class RuntimeTable(BaseModel):
    """What ``runtimes.json`` says.

    Attributes:
        images: how many validation images were looked at.
        device: what they were looked at on.
        threads: CPU threads of one prediction.
        rows: the weights first, then each runtime that was asked for.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    images: int = Field(ge=0)
    device: str
    threads: int
    rows: tuple[RuntimeRow, ...]

    def save(self, folder: Path) -> None:
        """Write ``runtimes.json`` into the archive's folder, atomically."""
        with write_atomically(folder / RUNTIMES) as temporary:
            temporary.write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")


def load_runtime_table(folder: Path) -> RuntimeTable | None:
    """The table beside an archive; ``None`` where there is none, as of archives fetched from the registry.

    Raises:
        ArchiveError: it cannot be read.
    """
    path = folder / RUNTIMES
    try:
        return RuntimeTable.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise ArchiveError(f"{str(path)!r} is no table of runtimes: {error.errors()[0]['msg']}.") from error
