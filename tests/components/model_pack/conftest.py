"""One running service for the tests of its routes and of its page: starting it costs seconds."""

import runpy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from components.model_test.server import serve
from components.shared.archive import OpenArchive
from components.shared.detection.inference import Inference

HERE = Path(__file__).parent
WORKERS = 2


@dataclass(frozen=True)
class Service:
    """A bento served by two processes, and a client of it."""

    opened: OpenArchive
    client: httpx.Client


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("service")
    tiny = runpy.run_path(str(HERE / "tiny_model.py"))
    make = runpy.run_path(str(HERE / "onnx_bento.py"))["make_onnx_bento"]
    inference = Inference(confidence=0.25, class_confidence={"star": 0.4}, max_det=100)
    opened = make(tiny["make_tiny_model"](folder / "model"), folder, inference=inference)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DETECTOR_WORKERS", str(WORKERS))
        patch.setenv("DETECTOR_MAX_FILES", "4")
        patch.setenv("DETECTOR_MAX_BYTES", "20000000")
        patch.setenv("DETECTOR_MAX_REQUEST_BYTES", "30000000")
        with serve(opened.bento, opened.bento.parent) as running:
            yield Service(opened, running.client)
