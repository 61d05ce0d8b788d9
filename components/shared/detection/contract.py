"""What a converted model takes and gives, so that every runtime is fed and read by the same code."""

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from components.shared.errors import ArchiveError
from components.shared.files import sha256_tree, write_atomically

SPEC = "runtime.json"

RuntimeName = Literal["torch", "torchscript", "onnx", "onnx-int8", "openvino", "openvino-bf16", "tensorrt"]
Layout = Literal["yolo", "end2end", "detr", "boxes"]
Fit = Literal["letterbox", "longest", "stretch", "none"]
Precision = Literal["f32", "bf16", "auto"]


class InputContract(BaseModel):
    """The tensor a model takes: float32 ``(1, 3, height, width)``, RGB, each value multiplied by ``scale``.

    Attributes:
        imgsz: longest edge in pixels.
        stride: both edges are whole multiples of it, where ``fit`` is ``letterbox``.
        fit: ``letterbox`` keeps the aspect ratio and pads; ``longest`` keeps it and does not pad; ``stretch`` scales
            to a square of ``imgsz``; ``none`` takes the image as it is.
        square: a letterboxed image is padded to ``imgsz`` on both edges, else to the smallest rectangle of strides.
        pad: value of the padding, before it is scaled.
        scale: what a pixel of 0..255 is multiplied with.
        channels: order of the colours.
        order: order of the axes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    imgsz: int = Field(ge=1, le=1 << 15)
    stride: int = Field(default=32, ge=1, le=1 << 10)
    fit: Fit = "letterbox"
    square: bool = False
    pad: int = Field(default=114, ge=0, le=255)
    scale: float = Field(default=1 / 255, gt=0, le=1)
    channels: Literal["RGB"] = "RGB"
    order: Literal["NCHW"] = "NCHW"

    @model_validator(mode="after")
    def _edges_are_whole_strides(self) -> Self:
        if self.fit == "letterbox" and self.imgsz % self.stride:
            raise ValueError(f"imgsz {self.imgsz} is no multiple of the stride {self.stride}")
        return self


class OutputContract(BaseModel):
    """What a model gives for one image, in float32 and in the pixels of its input unless said otherwise.

    Attributes:
        layout: ``yolo`` is ``(1, 4 + classes, places)``: centre, width, height and a score a class; overlaps are still
            to be suppressed. ``end2end`` is ``(1, N, 6)``: left, top, right, bottom, score, label; nothing is left to
            suppress. ``detr`` is ``(1, N, 6)``: centre, width and height as shares of the input, score, label; nothing
            is left to suppress. ``boxes`` is three arrays, ``(N, 4)`` corners, ``(N,)`` scores and ``(N,)`` labels,
            whose overlaps are still to be suppressed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    layout: Layout


class RuntimeSpec(BaseModel):
    """What ``runtime.json`` in a folder ``runtimes/<runtime>`` says.

    Attributes:
        runtime: which engine runs the files.
        model: the file the engine is given.
        files: sha256 by name of every file in the folder but this one.
        input: what the model takes.
        output: what it gives.
        classes: class names; the index is the label.
        requirements: distributions that predicting with it needs.
        precision: arithmetic of OpenVINO on the CPU; ``auto`` takes what the CPU is fastest at, so that results depend
            on the machine.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    runtime: RuntimeName
    model: str
    files: dict[str, str]
    input: InputContract
    output: OutputContract
    classes: tuple[str, ...] = Field(min_length=1)
    requirements: tuple[str, ...]
    precision: Precision = "f32"

    @model_validator(mode="after")
    def _model_is_one_of_the_files(self) -> Self:
        if self.model not in self.files:
            raise ValueError(f"the model {self.model!r} is not among the files")
        return self

    def save(self, folder: Path) -> None:
        """Write ``runtime.json`` into the folder, atomically."""
        with write_atomically(folder / SPEC) as temporary:
            temporary.write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")


def describe_files(folder: Path) -> dict[str, str]:
    """sha256 by name of every file below a runtime's folder, without ``runtime.json``."""
    found = sha256_tree(folder)
    found.pop(SPEC, None)
    return found


def load_spec(folder: Path) -> RuntimeSpec:
    """The description of the runtime in ``folder``.

    Raises:
        ArchiveError: it is missing or not one of ours.
    """
    path = folder / SPEC
    try:
        return RuntimeSpec.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise ArchiveError(f"{str(folder)!r} holds no runtime ({SPEC} is missing).") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or SPEC
        raise ArchiveError(f"{str(path)!r} describes no runtime: {place}: {first['msg']}.") from error


def verify_runtime(folder: Path, spec: RuntimeSpec) -> None:
    """Compare every file of a runtime's folder with its description.

    Raises:
        ArchiveError: a file is missing, was added or has other bytes; the message names the first one.
    """
    found = describe_files(folder)
    for name in sorted(set(found) | set(spec.files)):
        if name not in found:
            raise ArchiveError(f"{name!r} is missing from the runtime {str(folder)!r}.")
        if found[name] != spec.files.get(name):
            raise ArchiveError(f"{name!r} in {str(folder)!r} is not the file that {SPEC} describes.")
