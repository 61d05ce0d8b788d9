"""What the soak sends to a service: requests that must be answered alike each time, and hostile ones."""

import http.client
import json
import pickle
import random
import socket
import struct
import time
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache

BOUNDARY = "soak-boundary"
FORM = f"multipart/form-data; boundary={BOUNDARY}"
TIMEOUT = 60.0
_CUT = 0  # the status of what was not answered
_TIMES = ("seconds", "milliseconds")


@dataclass(frozen=True)
class Answer:
    """A status, 0 where there was none, and the body."""

    status: int
    body: bytes = b""


@dataclass
class Peer:
    """One client: where the service is, the images it sends, and a connection that it keeps.

    Attributes:
        address: ``host:port``.
        images: encoded images.
        random: decides what is sent.
    """

    address: str
    images: Sequence[bytes]
    random: random.Random
    _kept: http.client.HTTPConnection | None = field(default=None, repr=False)

    def ask(self, method: str, path: str, body: bytes = b"", kind: str = "", *, keep: bool = True) -> Answer:
        """Send a proper request, over the kept connection or one of its own.

        A kept connection may have been closed as idle just now, so what fails over it is sent again over a new one.
        """
        kept, self._kept = (self._kept, None) if keep else (None, self._kept)
        headers = {"Content-Type": kind} if kind else {}
        for connection in (kept, http.client.HTTPConnection(self.address, timeout=TIMEOUT)):
            if connection is None:
                continue
            try:
                connection.request(method, path, body or None, headers)
                reply = connection.getresponse()
                answer = Answer(reply.status, reply.read())
            except (OSError, http.client.HTTPException):
                connection.close()
                if connection is not kept:
                    raise
                continue
            if keep:
                self._kept = connection
            else:
                connection.close()
            return answer
        raise AssertionError("the second connection answers or raises")

    def send_raw(self, *pieces: bytes, pause: float = 0.0, read: bool = True) -> Answer:
        """Send bytes as they are, with a pause after each, and read one answer or none."""
        host, _, port = self.address.partition(":")
        with socket.create_connection((host, int(port)), timeout=TIMEOUT) as connection:
            with suppress(OSError):  # the service may have answered and closed
                for piece in pieces:
                    connection.sendall(piece)
                    time.sleep(pause)
            if not read:
                return Answer(_CUT)
            with suppress(OSError, http.client.HTTPException):
                reply = http.client.HTTPResponse(connection)
                reply.begin()
                return Answer(reply.status, reply.read())
        return Answer(_CUT)

    def one_of(self) -> tuple[int, bytes]:
        """An image and its number."""
        index = self.random.randrange(len(self.images))
        return index, self.images[index]


@dataclass(frozen=True)
class Kind:
    """A kind of request.

    Attributes:
        send: sends one; the answer, and the key under which answers must be equal, empty where they need not.
        expected: statuses it may be answered with; 0 stands for a connection that was closed without an answer.
        weight: how often, compared with the others.
    """

    send: Callable[[Peer], tuple[Answer, str]]
    expected: frozenset[int]
    weight: float = 1.0


def form(files: Sequence[bytes], **fields: str) -> bytes:
    """A multipart form with the files in the field ``image``."""
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="{index}.jpg"\r\n'
        f"Content-Type: image/jpeg\r\n\r\n".encode()
        + content
        for index, content in enumerate(files)
    ]
    parts += [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}'.encode()
        for name, value in fields.items()
    ]
    return b"\r\n".join([*parts, f"--{BOUNDARY}--\r\n".encode()])


def png(width: int, height: int, depth: int = 1, colour: int = 0) -> bytes:
    """A black PNG, small as a file however large it claims to be."""
    row = 1 + (width * depth * (3 if colour else 1) + 7) // 8
    compressor = zlib.compressobj(9)
    pixels = b"".join(compressor.compress(bytes(row)) for _ in range(height)) + compressor.flush()
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", pixels), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


def same(answer: Answer) -> str:
    """What must be equal in answers to one request: all of the JSON but times."""
    return json.dumps(_without_times(json.loads(answer.body)), sort_keys=True)


def _without_times(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_times(inner) for key, inner in value.items() if not key.endswith(_TIMES)}
    return [_without_times(inner) for inner in value] if isinstance(value, list) else value


def _single(peer: Peer) -> tuple[Answer, str]:
    index, image = peer.one_of()
    return peer.ask("POST", "/predict", form([image]), FORM), f"single {index}"


def _raw(peer: Peer) -> tuple[Answer, str]:
    index, image = peer.one_of()
    return peer.ask("POST", "/predict", image, "image/jpeg"), f"single {index}"  # the same answer as the form's


def _several(peer: Peer) -> tuple[Answer, str]:
    return peer.ask("POST", "/predict", form(list(peer.images[:3]), conf="0.3"), FORM, keep=False), "several"


def _parameters(peer: Peer) -> tuple[Answer, str]:
    index, image = peer.one_of()
    return peer.ask("POST", "/predict?conf=0.1&iou=0.5", image, "image/jpeg"), f"parameters {index}"


def _drawn(peer: Peer) -> tuple[Answer, str]:
    return peer.ask("POST", "/predict/image", form([peer.one_of()[1]]), FORM), ""


def _told(peer: Peer) -> tuple[Answer, str]:
    return peer.ask("GET", peer.random.choice(["/model", "/metrics", "/", "/readyz", "/livez"])), ""


def _slow(peer: Peer) -> tuple[Answer, str]:
    index, image = peer.one_of()
    step = len(image) // 8 + 1
    head = _head("image/jpeg", len(image))
    pieces = [image[start : start + step] for start in range(0, len(image), step)]
    return peer.send_raw(head, *pieces, pause=0.3), f"single {index}"


def _head(kind: str, length: object, path: str = "/predict") -> bytes:
    lines = (f"POST {path} HTTP/1.1", "Host: soak", f"Content-Type: {kind}", f"Content-Length: {length}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def _posted(body: bytes, kind: str, path: str = "/predict") -> Callable[[Peer], tuple[Answer, str]]:
    return lambda peer: (peer.ask("POST", path, body, kind, keep=False), "")


def _thrown(*pieces: bytes, pause: float = 0.0, read: bool = True) -> Callable[[Peer], tuple[Answer, str]]:
    return lambda peer: (peer.send_raw(*pieces, pause=pause, read=read), "")


def _cut_short(peer: Peer) -> tuple[Answer, str]:
    image = peer.one_of()[1]
    return peer.send_raw(_head("image/jpeg", len(image)), image[: len(image) // 2], read=False), ""


def _impatient(peer: Peer) -> tuple[Answer, str]:
    image = peer.one_of()[1]
    return peer.send_raw(_head("image/jpeg", len(image)), image, read=False), ""


def _broken(peer: Peer) -> tuple[Answer, str]:
    image = peer.one_of()[1]
    share = peer.random.uniform(0.01, 0.8)
    return peer.ask("POST", "/predict", image[: int(len(image) * share)], "image/jpeg"), ""


def _bad_parameter(peer: Peer) -> tuple[Answer, str]:
    query = peer.random.choice(
        ["conf=2", "conf=often", "iou=nan", "tile=-1", "classes=no+such", "speed=1", "conf=1&conf=0"]
    )
    return peer.ask("POST", f"/predict?{query}", peer.one_of()[1], "image/jpeg"), ""


@cache
def kinds() -> dict[str, Kind]:
    """Every kind by its name."""
    ok, wrong = frozenset({200}), frozenset({400})
    large, cut = frozenset({413}), frozenset({_CUT})
    unsupported, invalid = frozenset({415}), frozenset({422})
    url = form([]).replace(b"--" + BOUNDARY.encode() + b"--", b"") + form([], image="http://127.0.0.1:9/a.jpg")
    many = form([b"x"], **{f"field{index}": "1" for index in range(500)})
    bomb = png(20_000, 20_000)
    wide = png(9_000, 9_000, depth=8, colour=2)
    return {
        "one image": Kind(_single, ok, 8),
        "raw body": Kind(_raw, ok, 8),
        "several images": Kind(_several, ok, 2),
        "parameters": Kind(_parameters, ok, 3),
        "drawn image": Kind(_drawn, ok, 1),
        "what it is": Kind(_told, ok, 3),
        "slow upload": Kind(_slow, ok, 0.5),
        "empty body": Kind(_posted(b"", "image/jpeg"), wrong),
        "no image": Kind(_posted(bytes(range(256)) * 40, "image/png"), wrong),
        "truncated JPEG": Kind(_broken, wrong, 2),
        "declared 10 GB": Kind(_thrown(_head("image/jpeg", 10 << 30), b"\xff\xd8" * 99), large),
        "bomb of 400 megapixels": Kind(_posted(bomb, "image/png"), large),
        "bomb of 81 megapixels": Kind(_posted(wide, "image/png"), frozenset({400, 413})),
        "wrong content type": Kind(_posted(b"{}", "application/json"), unsupported),
        "pickle": Kind(_posted(pickle.dumps(range(9)), "application/vnd.bentoml+pickle"), unsupported),
        "bad parameter": Kind(_bad_parameter, invalid, 2),
        "URL for a file": Kind(_posted(url, FORM), wrong),
        "500 fields": Kind(_posted(many, FORM), frozenset({400, 422})),
        "no such path": Kind(_posted(b"x", "image/jpeg", "/admin/../../etc/passwd"), frozenset({404, 405})),
        "connection cut": Kind(_cut_short, cut, 2),
        "answer not awaited": Kind(_impatient, cut),
        "no HTTP": Kind(_thrown(b"\x16\x03\x01 GET nothing\r\n\r\n"), frozenset({_CUT, 400})),
        "endless header": Kind(
            _thrown(b"GET / HTTP/1.1\r\nX: " + b"a" * 200_000 + b"\r\n\r\n"), frozenset({_CUT, 400, 431})
        ),
    }
