"""An archive becomes a container image on the image ``serving``, answers over HTTP, and comes out of it unchanged."""

import io
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from image_pods import container, isolated, run_command
from object_store import free_ports
from PIL import Image, ImageDraw
from proved import Proved, Tell

from components.shared.errors import PipelineError
from components.shared.files import sha256_tree
from pipelines.extract import extract
from pipelines.images.container import Build, containerize, start_command

TAG = "localhost/detection-pipeline/proved:proof"
_SECONDS = 180
_SIZE = (200, 120)


@dataclass(frozen=True)
class Serving:
    """A pod that serves: its image, what it starts, its variables and what is mounted where."""

    image: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    mounts: Mapping[Path, str]


def prove_service(archive: Path, base: str, work: Path, tell: Tell) -> bool:
    """Build, start, ask and take apart an image of the packed model; whether all went well."""
    began = time.monotonic()
    try:
        manifest = containerize(archive, Build(base, TAG, "buildah"))
        _told(tell, "containerize", began, f"{manifest.tag} is an image", good=True)
        pod = Serving(TAG, tuple(start_command(manifest)), {}, {})
        return answers(pod, manifest.tag, tell) and _comes_out(archive, work, tell)
    except PipelineError as error:
        _told(tell, "service", began, str(error), good=False)
        return False
    finally:
        subprocess.run(["buildah", "rmi", TAG], check=False, capture_output=True)  # noqa: S607 - as everywhere here


def answers(pod: Serving, tag: str, tell: Tell) -> bool:
    """Start a service, send it a picture, end it; whether it answered with the model ``tag``."""
    began = time.monotonic()
    (port,) = free_ports(1)
    words = [*pod.command[: pod.command.index("--port")], "--port", str(port)]
    with container(pod.image) as name:
        served = subprocess.Popen(
            run_command(name, tuple(words), {"DETECTOR_WORKERS": "1", **pod.environment}, pod.mounts),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=isolated(),
        )
        try:
            answer = _ask(f"http://127.0.0.1:{port}", served)
            good = answer.get("model") == tag and (answer.get("width"), answer.get("height")) == _SIZE
            boxes = len(answer.get("boxes", []))
            said = f"{boxes} boxes of an image of {_SIZE[0]} by {_SIZE[1]}" if good else str(answer)
            _told(tell, "POST /predict", began, said[:600], good=good)
        finally:
            served.terminate()
            served.wait(timeout=60)
    return good


def _ask(address: str, served: subprocess.Popen[str]) -> Mapping[str, Any]:
    deadline = time.monotonic() + _SECONDS
    while time.monotonic() < deadline:
        if served.poll() is not None:
            return {"error": f"the service ended: {served.communicate()[0][-600:]}"}
        try:
            if httpx.get(f"{address}/readyz", timeout=5).is_success:
                found: dict[str, Any] = httpx.post(
                    f"{address}/predict?conf=0.001", files={"image": ("photo.jpg", _photo(), "image/jpeg")}, timeout=60
                ).json()
                return found
        except httpx.TransportError:
            time.sleep(0.5)
    return {"error": f"the service was not ready within {_SECONDS} s"}


def _photo() -> bytes:
    image = Image.new("RGB", _SIZE, "grey")
    ImageDraw.Draw(image).rectangle((40, 30, 90, 80), fill="red")
    buffer = io.BytesIO()
    image.save(buffer, "JPEG")
    return buffer.getvalue()


def _comes_out(archive: Path, work: Path, tell: Tell) -> bool:
    began = time.monotonic()
    extract(str(archive), work / "from-archive")
    extract(f"containers-storage:{TAG}", work / "from-image")
    good = sha256_tree(work / "from-archive") == sha256_tree(work / "from-image")
    said = "the same files as from the archive" if good else "other files than from the archive"
    _told(tell, "extract", began, said, good=good)
    return good


def _told(tell: Tell, step: str, began: float, result: str, *, good: bool) -> None:
    tell(Proved(step, "serving", time.monotonic() - began, result, good))
