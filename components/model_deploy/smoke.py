"""Ask the service for one prediction, as a client would, and look whose it is."""

import io
import json
import time

import urllib3
from PIL import Image

from components.shared.errors import ClusterError

PAUSE = 2.0  # seconds between two attempts
_TIMEOUT = urllib3.Timeout(connect=5, read=60)
_SHOWN = 200  # characters of a wrong answer


def predict_once(address: str, tag: str, *, within: float) -> int:
    """Have the service at ``address`` predict on a small picture.

    A Service hands a request to any pod that is ready; while the last one of the old version ends, its answer is not
    taken for the new one's.

    Args:
        address: ``http://host:port``.
        tag: ``name:version`` that must answer.
        within: seconds to go on trying.

    Returns:
        How many boxes it found.

    Raises:
        ClusterError: it did not answer in time, with an error, or for another model.
    """
    picture, until, seen = _picture(), time.monotonic() + within, ""
    with urllib3.PoolManager(retries=False, timeout=_TIMEOUT) as pool:
        while True:
            try:
                answer = pool.request("POST", f"{address}/predict", body=picture, headers={"Content-Type": "image/png"})
                seen, boxes = _judge(answer.status, answer.data, tag)
                if boxes is not None:
                    return boxes
            except urllib3.exceptions.HTTPError as error:
                seen = f"{type(error).__name__}: {' '.join(str(error).split())[:_SHOWN]}"
            if time.monotonic() >= until:
                raise ClusterError(f"{address}/predict gave no prediction of {tag!r}: {seen}.")
            time.sleep(PAUSE)


def _judge(status: int, data: bytes, tag: str) -> tuple[str, int | None]:
    """What is wrong with an answer, or the number of its boxes."""
    shown = data[:_SHOWN].decode(errors="replace")
    if status != 200:  # noqa: PLR2004 - HTTP
        return f"it answered {status} {shown!r}", None
    try:
        answer = json.loads(data)
        model, boxes = answer["model"], len(answer["boxes"])
    except (ValueError, KeyError, TypeError):
        return f"its answer is no prediction: {shown!r}", None
    return (f"it is {model!r} that answered", None) if model != tag else ("", boxes)


def _picture() -> bytes:
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((160, 120)).convert("RGB").save(buffer, "PNG")
    return buffer.getvalue()
