"""Read a request: encoded images from a form or a raw body, and its parameters; it never fetches a URL."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from components.model_pack.serving.limits import Limits, RefusedError

FIELD = "image"
PARAMETERS = ("conf", "iou", "classes", "tile")
_MAX_FIELDS: Final = 64
_MAX_FIELD_BYTES: Final = 1 << 16
_SHOWN = 80
_DIGITS = 9


@dataclass(frozen=True)
class Upload:
    """What a request brought.

    Attributes:
        images: encoded images, in their order.
        fields: values of each parameter.
    """

    images: tuple[bytes, ...]
    fields: Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Wanted:
    """How to predict; ``None`` is the model's own."""

    conf: float | None = None
    iou: float | None = None
    classes: tuple[str, ...] | None = None
    tile: int | None = None


class _MemoryParser(MultiPartParser):
    spool_max_size = 1 << 62  # the request is bounded already, and no image touches the disk


async def read_upload(request: Request, limits: Limits, count: Callable[[int], None]) -> Upload:
    """The request's images and parameters; the body is read no further than the limits allow.

    Args:
        request: a POST.
        limits: bounds of it.
        count: told of each chunk's size; it may refuse.

    Raises:
        RefusedError: 400, 413, 415, 422 or 503, with one sentence.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    is_form = kind == "multipart/form-data"
    if not is_form and not kind.startswith("image/") and kind != "application/octet-stream":
        message = (
            f"The content type is {_short(kind)}: send multipart/form-data with the file field 'image', or an image."
        )
        raise RefusedError(415, "type", message)
    most = limits.max_request_bytes if is_form else limits.max_bytes
    chunks = _bounded(request, most, count)
    try:
        if is_form:
            return await _read_form(request, chunks, limits)
        body = b"".join([chunk async for chunk in chunks])
    except ClientDisconnect as error:
        raise RefusedError(400, "cut", "The upload ended before it was complete.") from error
    if not body:
        raise RefusedError(400, "empty", "The body is empty: send an encoded image.")
    return Upload((body,), _query(request))


def read_wanted(fields: Mapping[str, Sequence[str]], classes: Sequence[str]) -> Wanted:
    """The parameters as numbers and names; ``classes`` are names separated by commas, or given one at a time.

    Raises:
        RefusedError: 422, a value is no number or a parameter is unknown or given twice.
    """
    for name in fields:
        if name not in PARAMETERS:
            raise RefusedError(422, "parameter", f"There is no parameter {_short(name)}: use {', '.join(PARAMETERS)}.")
    asked = {name: _only(name, fields.get(name, ())) for name in ("conf", "iou", "tile")}
    names = [name for value in fields.get("classes", ()) for name in _split(value, classes)]
    return Wanted(
        conf=_number("conf", asked["conf"]),
        iou=_number("iou", asked["iou"]),
        classes=tuple(names) or None,
        tile=_whole("tile", asked["tile"]),
    )


async def _bounded(request: Request, most: int, count: Callable[[int], None]) -> AsyncGenerator[bytes, None]:
    """The body's chunks; refused as soon as it grows past the limit, whatever its header said."""
    too_large = RefusedError(413, "bytes", f"The upload is larger than the limit of {most} bytes.")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > most:
        raise too_large
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > most:
            raise too_large
        count(len(chunk))
        yield chunk


async def _read_form(request: Request, chunks: AsyncGenerator[bytes, None], limits: Limits) -> Upload:
    parser = _MemoryParser(
        request.headers,
        chunks,
        max_files=limits.max_files,
        max_fields=_MAX_FIELDS,
        max_part_size=_MAX_FIELD_BYTES,
    )
    try:
        form = await parser.parse()
    except (RefusedError, ClientDisconnect):
        raise
    except MultiPartException as error:
        if error.message.startswith("Too many files"):
            raise RefusedError(413, "files", f"The form has more than {limits.max_files} files.") from error
        raise RefusedError(400, "form", f"The form cannot be read: {_sentence(error.message)}") from error
    except Exception as error:  # whatever the parser stumbles over, the form is the sender's
        raise RefusedError(400, "form", "The form cannot be read: it is not multipart/form-data.") from error
    try:
        images = [await file.read() for file in _files(form)]
    finally:
        await form.close()
    fields = {name: _texts(form, name) for name in form if name != FIELD}
    return Upload(tuple(images), {**_query(request), **fields})


def _files(form: FormData) -> list[UploadFile]:
    """The files of the field ``image``."""
    files = form.getlist(FIELD)
    if not files or not all(isinstance(file, UploadFile) for file in files):
        message = f"The form needs one file or more in the field {FIELD!r} (a URL or a path is not fetched)."
        raise RefusedError(400, "form", message)
    return [file for file in files if isinstance(file, UploadFile)]


def _texts(form: FormData, name: str) -> list[str]:
    values = form.getlist(name)
    if not all(isinstance(value, str) for value in values):
        raise RefusedError(400, "form", f"The field {_short(name)} is a file: send images in the field {FIELD!r}.")
    return [value for value in values if isinstance(value, str)]


def _query(request: Request) -> dict[str, list[str]]:
    return {name: request.query_params.getlist(name) for name in request.query_params}


def _only(name: str, values: Sequence[str]) -> str:
    if len(values) > 1:
        raise RefusedError(422, name, f"{name} is given {len(values)} times: give it once.")
    return values[0].strip() if values else ""


def _split(value: str, classes: Sequence[str]) -> list[str]:
    """The names in a value: the whole of it where a class has that name, commas and all."""
    if value in classes:
        return [value]
    return [name for part in value.split(",") if (name := part.strip())]


def _number(name: str, text: str) -> float | None:
    try:
        return float(text) if text else None
    except ValueError as error:
        raise RefusedError(422, name, f"{name} is {_short(text)}: give a number from 0 to 1.") from error


def _whole(name: str, text: str) -> int | None:
    if text and not (text.isdecimal() and text.isascii() and len(text) < _DIGITS):
        raise RefusedError(422, name, f"{name} is {_short(text)}: give a whole number of pixels, or 0 for no tiles.")
    return int(text) if text else None


def _short(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")


def _sentence(text: str) -> str:
    return f"{text[:1].lower()}{text[1:].rstrip('.')}."
