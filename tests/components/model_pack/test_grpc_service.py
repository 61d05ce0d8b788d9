"""gRPC beside REST in the packed service as it really runs: several processes on one port, the same boxes."""

import runpy
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest

from components.model_pack.pack import pack
from components.model_pack.serving import grpc_inference_pb2 as messages
from components.shared.archive import open_archive

ROOT = Path(__file__).resolve().parents[3]
TINY = runpy.run_path(str(Path(__file__).with_name("tiny_model.py")))
SERVER = runpy.run_path(str(ROOT / "scripts" / "bench" / "serving_server.py"))
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("grpc")]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, int]]:
    folder = tmp_path_factory.mktemp("served")
    pack(TINY["make_tiny_model"](folder / "model"), folder / "archive", name="shapes")
    opened = open_archive(folder / "archive", folder / "work")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {"DETECTOR_GRPC_PORT": str(port), "DETECTOR_GRPC_HOST": "127.0.0.1", "DETECTOR_WORKERS": "2"}
    with SERVER["serving"](opened.bento, folder, settings) as running:
        yield running, port


def infer(port: int, image: bytes) -> messages.ModelInferResponse:
    request = messages.ModelInferRequest(model_name="shapes")
    given = request.inputs.add(name="image", datatype="BYTES", shape=[1])
    given.contents.bytes_contents.append(image)
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            request_serializer=messages.ModelInferRequest.SerializeToString,
            response_deserializer=messages.ModelInferResponse.FromString,
        )
        return call(request, timeout=60)


def test_grpc_and_rest_give_the_same_boxes(served: tuple[Any, int]) -> None:
    running, port = served
    for seed in range(4):  # each over a connection of its own, so that both processes answer some
        image = TINY["encoded_image"](seed)
        reply = httpx.post(f"http://{running.address}/predict", content=image, headers={"content-type": "image/png"})
        boxes = reply.json()["boxes"]
        found = {output.name: output.contents for output in infer(port, image).outputs}
        rest = np.array([[box[edge] for edge in ("x", "y", "width", "height")] for box in boxes], np.float32)
        np.testing.assert_array_equal(np.reshape(found["boxes"].fp32_contents, (-1, 4)), rest)
        np.testing.assert_array_equal(
            np.array(found["scores"].fp32_contents), np.array([box["score"] for box in boxes], np.float32)
        )
        assert list(found["labels"].int64_contents) == [box["class_id"] for box in boxes]
        assert [name.decode() for name in found["class_names"].bytes_contents] == [box["class"] for box in boxes]
        assert boxes


def test_it_is_counted_with_the_rest(served: tuple[Any, int]) -> None:
    running, port = served
    infer(port, TINY["encoded_image"](7))
    told = httpx.get(f"http://{running.address}/metrics").text
    assert 'detector_request_seconds_count{code="200",endpoint="ModelInfer"}' in told
