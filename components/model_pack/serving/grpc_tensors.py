"""The tensors of the Open Inference Protocol: images out of a request, boxes into an answer."""

import math
import struct
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from components.model_pack.serving import grpc_inference_pb2 as messages
from components.model_pack.serving.limits import Limits, RefusedError
from components.model_pack.serving.predictor import Pixels, Prediction, Predictor
from components.model_pack.serving.upload import Wanted, read_wanted

IMAGE = "image"
INPUTS: dict[str, tuple[str, tuple[int, ...]]] = {IMAGE: ("BYTES", (-1,))}
OUTPUTS: dict[str, tuple[str, tuple[int, ...]]] = {
    "boxes": ("FP32", (-1, 4)),
    "scores": ("FP32", (-1,)),
    "labels": ("INT64", (-1,)),
    "class_names": ("BYTES", (-1,)),
    "image_index": ("INT64", (-1,)),
    "sizes": ("INT64", (-1, 2)),
}
_LENGTH = struct.Struct("<I")
_CHANNELS = 3
_ONE_IMAGE, _SEVERAL = 3, 4  # axes

Input = messages.ModelInferRequest.InferInputTensor
Reader = Callable[[], Pixels]
Output = messages.ModelInferResponse.InferOutputTensor


def wanted_of(request: messages.ModelInferRequest, classes: Sequence[str]) -> Wanted:
    """The request's parameters, read as REST reads its own; raises ``RefusedError`` 422."""
    given = {
        name: [str(getattr(parameter, parameter.WhichOneof("parameter_choice") or "string_param"))]
        for name, parameter in request.parameters.items()
    }
    return read_wanted(given, classes)


def outputs_of(request: messages.ModelInferRequest) -> tuple[str, ...]:
    """The outputs asked for, all where none is named; raises ``RefusedError`` 422."""
    for output in request.outputs:
        if output.name not in OUTPUTS:
            raise RefusedError(422, "outputs", f"There is no output {output.name!r}: use {', '.join(OUTPUTS)}.")
        if output.parameters:
            raise RefusedError(422, "outputs", f"The output {output.name!r} takes no parameters: leave them out.")
    return tuple(dict.fromkeys(output.name for output in request.outputs)) or tuple(OUTPUTS)


def readers_of(request: messages.ModelInferRequest, predictor: Predictor) -> list[Reader]:
    """For each image of the input ``image`` a function that decodes it, so that one is in memory at a time.

    Raises:
        RefusedError: 400 when it is not as the protocol or this model wants it, 413 when it is too large; the functions
            raise it as well.
    """
    given = _only_input(request)
    raw = request.raw_input_contents[0] if request.raw_input_contents else None
    if given.datatype == "UINT8":
        return [partial(_identity, pixels) for pixels in _arrays(given, raw, predictor.limits)]
    if given.datatype != "BYTES":
        raise _invalid(f"The input 'image' has the datatype {given.datatype!r}: send BYTES (encoded images) or UINT8.")
    encoded = list(given.contents.bytes_contents) if raw is None else _split(raw, predictor.limits)
    _check_count(len(encoded), predictor.limits)
    if list(given.shape) != [len(encoded)]:
        raise _invalid(f"The input 'image' has the shape {list(given.shape)!r} but {len(encoded)} elements.")
    return [partial(predictor.read, data) for data in encoded]


def answer(found: Sequence[Prediction], wanted: Sequence[str], *, raw: bool) -> messages.ModelInferResponse:
    """The outputs ``wanted``, in that order, of a request's images; ``raw`` puts the values beside the descriptions."""
    made = messages.ModelInferResponse()
    columns = _columns(found)
    for name in wanted:
        output = made.outputs.add(name=name, datatype=OUTPUTS[name][0], shape=columns[name].shape)
        if raw:
            made.raw_output_contents.append(_packed(columns[name]))
        else:
            _fill(output, columns[name])
    return made


def _columns(found: Sequence[Prediction]) -> dict[str, npt.NDArray[Any]]:
    """All boxes of all images one below the other."""
    corners = np.concatenate([each.found.boxes for each in found]).astype(np.float64)
    boxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
    labels = np.concatenate([each.found.labels for each in found])
    names = np.array([name.encode() for name in found[0].classes], dtype=object)
    counts = [len(each.found.labels) for each in found]
    return {
        "boxes": boxes.astype("<f4"),
        "scores": np.concatenate([each.found.scores for each in found]).astype("<f4"),
        "labels": labels.astype("<i8"),
        "class_names": names[labels],
        "image_index": np.repeat(np.arange(len(found)), counts).astype("<i8"),
        "sizes": np.array([(each.width, each.height) for each in found], dtype="<i8"),
    }


def _packed(values: npt.NDArray[Any]) -> bytes:
    if values.dtype == object:
        return b"".join(_LENGTH.pack(len(element)) + element for element in values)
    return values.tobytes()


def _fill(output: Output, values: npt.NDArray[Any]) -> None:
    flat = values.ravel().tolist()
    if values.dtype == object:
        output.contents.bytes_contents.extend(flat)
    elif values.dtype.kind == "f":
        output.contents.fp32_contents.extend(flat)
    else:
        output.contents.int64_contents.extend(flat)


def _only_input(request: messages.ModelInferRequest) -> Input:
    names = [given.name for given in request.inputs]
    if names != [IMAGE]:
        raise _invalid(f"The inputs are {names!r}: send one named 'image'.")
    given = request.inputs[0]
    if given.parameters:
        raise _invalid("The input 'image' takes no parameters: give conf, iou, classes and tile with the request.")
    if request.raw_input_contents and (len(request.raw_input_contents) > 1 or given.HasField("contents")):
        raise _invalid("The input 'image' has its contents twice: send raw_input_contents or contents.")
    return given


def _split(raw: bytes, limits: Limits) -> list[bytes]:
    """The elements of raw BYTES: each comes after its length."""
    elements, start = [], 0
    while start < len(raw):
        if start + _LENGTH.size > len(raw):
            raise _invalid("raw_input_contents ends inside the length of an element.")
        (size,) = _LENGTH.unpack_from(raw, start)
        start += _LENGTH.size
        if start + size > len(raw):
            raise _invalid(f"raw_input_contents has an element of {size} bytes, but only {len(raw) - start} follow.")
        elements.append(raw[start : start + size])
        _check_count(len(elements), limits, least=0)
        start += size
    return elements


def _arrays(given: Input, raw: bytes | None, limits: Limits) -> list[Pixels]:
    shape = list(given.shape)
    if len(shape) not in {_ONE_IMAGE, _SEVERAL} or shape[-1] != _CHANNELS or min(shape) < 1:
        raise _invalid(f"The input 'image' has the shape {shape!r}: send [height, width, 3] or [n, height, width, 3].")
    _check_count(shape[0] if len(shape) == _SEVERAL else 1, limits)
    height, width = shape[-3:-1]
    if height * width > limits.max_pixels:
        message = f"The image has {width} x {height} pixels; the limit is {limits.max_pixels} pixels."
        raise RefusedError(413, "pixels", message)
    size = len(given.contents.uint_contents) if raw is None else len(raw)
    if size != math.prod(shape):
        raise _invalid(f"The input 'image' has the shape {shape!r} but {size} values.")
    pixels = np.frombuffer(raw, dtype=np.uint8) if raw is not None else _bytes_of(given)
    return list(pixels.reshape(-1, height, width, _CHANNELS))


def _bytes_of(given: Input) -> Pixels:
    values = np.fromiter(given.contents.uint_contents, dtype=np.uint32, count=len(given.contents.uint_contents))
    if values.max(initial=0) > np.iinfo(np.uint8).max:
        raise _invalid(f"The input 'image' has the value {values.max()} but is UINT8: send 0 to 255.")
    return values.astype(np.uint8)


def _check_count(images: int, limits: Limits, *, least: int = 1) -> None:
    if images < least:
        raise _invalid("The input 'image' is empty: send at least one image.")
    if images > limits.max_files:
        raise RefusedError(413, "files", f"The request has {images} or more images; the limit is {limits.max_files}.")


def _identity(pixels: Pixels) -> Pixels:
    return pixels


def _invalid(message: str) -> RefusedError:
    return RefusedError(400, "tensors", message)
