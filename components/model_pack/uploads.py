"""What the service lets in: a multipart upload with a file in it, of bounded size; never a URL to fetch."""

from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_UPLOAD = 50_000_000
_ENVELOPE = 1_000_000  # multipart boundaries and the other fields
_MAX_FIELDS = 10


class UploadGuard:
    """ASGI middleware before ``POST /predict``: the framework below it would fetch a URL given in place of a file."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on as it came, or answer 400, 413 or 415 with one sentence."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        body = b""
        refusal = _refuse_header(request)
        if refusal is None:
            body, refusal = await _read_bounded(request)
        if refusal is None:
            refusal = await _refuse_form(scope, body)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        await self._app(scope, _replay(body, receive), send)


def _refuse_header(request: Request) -> JSONResponse | None:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        return _answer(415, f"The content type is {kind!r}: send the image as a file field of multipart/form-data.")
    length = request.headers.get("content-length", "0")
    if length.isdigit() and int(length) > MAX_UPLOAD + _ENVELOPE:
        return _answer(413, f"The upload has {length} bytes; the limit for an image is {MAX_UPLOAD}.")
    return None


async def _read_bounded(request: Request) -> tuple[bytes, JSONResponse | None]:
    """The body, or the refusal as soon as it grows past the limit, whatever its header said."""
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_UPLOAD + _ENVELOPE:
            return b"", _answer(413, f"The upload is larger than the limit of {MAX_UPLOAD} bytes for an image.")
        chunks.append(chunk)
    return b"".join(chunks), None


async def _refuse_form(scope: Scope, body: bytes) -> JSONResponse | None:
    """The refusal when the form cannot be read or its ``image`` is not exactly one file."""
    request = Request(dict(scope), _replay(body, None))
    try:
        async with request.form(max_files=1, max_fields=_MAX_FIELDS) as form:
            images = form.getlist("image")
            if len(images) == 1 and isinstance(images[0], UploadFile):
                return None
    except Exception as error:  # noqa: BLE001 - whatever the parser says, the form is the sender's
        return _answer(400, f"The form cannot be read: {getattr(error, 'detail', error)}")
    return _answer(400, "The field 'image' must be exactly one file (a URL or a path is not fetched).")


def _answer(status: int, message: str) -> JSONResponse:
    return JSONResponse({"error": message}, status_code=status)


def _replay(body: bytes, receive: Receive | None) -> Receive:
    """A receive channel that gives the body once, then whatever the client sends next."""
    pending = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        if pending:
            return pending.pop()
        return await receive() if receive else {"type": "http.disconnect"}

    return replayed
