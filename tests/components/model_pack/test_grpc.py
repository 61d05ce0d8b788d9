"""The Open Inference Protocol over a real channel to a real server: its answers, its refusals, its bounds."""

import re
import runpy
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from components.model_pack.serving import grpc_inference_pb2 as messages
from components.model_pack.serving.grpc_server import Inference
from components.model_pack.serving.grpc_start import start_grpc
from components.model_pack.serving.lane import Lane
from components.model_pack.serving.limits import RefusedError
from components.model_pack.serving.metrics import Metrics
from components.model_pack.serving.predictor import Predictor
from components.shared.archive import ArchiveManifest
from components.shared.errors import ConfigError

TINY = runpy.run_path(str(Path(__file__).with_name("tiny_model.py")))
ROOT = Path(__file__).resolve().parents[3]
SERVICE = "inference.GRPCInferenceService"
NAMES = ("boxes", "scores", "labels", "class_names", "image_index", "sizes")
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("grpc")]


def source_of(folder: Path) -> Path:
    TINY["make_tiny_model"](folder / "model")
    digest = "0" * 64
    ArchiveManifest(
        name="shapes",
        tag="shapes:0000000000000000",
        model_digest=digest,
        content_digest=digest,
        source_files={},
        bento_files={},
        classes=TINY["CLASSES"],
        imgsz=TINY["IMGSZ"],
        requirements=(),
        licences=(),
    ).save(folder)
    return folder


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    source = source_of(tmp_path_factory.mktemp("grpc"))
    return Predictor(source, {"DETECTOR_DEVICE": "cpu", "DETECTOR_MAX_FILES": "3", "DETECTOR_MAX_PIXELS": "40000"})


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def channel(predictor: Predictor) -> Iterator[grpc.Channel]:
    port = free_port()
    stop = start_grpc(predictor, environment={"DETECTOR_GRPC_PORT": str(port), "DETECTOR_GRPC_HOST": "127.0.0.1"})
    assert stop is not None
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.max_send_message_length", -1)]) as opened:
        yield opened
    stop()


def call(channel: grpc.Channel, method: str, request: Any, answer: type[Any], service: str = SERVICE) -> Any:
    asked = channel.unary_unary(
        f"/{service}/{method}",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=answer.FromString,
    )
    return asked(request, timeout=60)


def infer(channel: grpc.Channel, request: messages.ModelInferRequest) -> messages.ModelInferResponse:
    return call(channel, "ModelInfer", request, messages.ModelInferResponse)


def request_of(*images: bytes, raw: bool = False, **parameters: Any) -> messages.ModelInferRequest:
    request = messages.ModelInferRequest(model_name="shapes", id="17")
    given = request.inputs.add(name="image", datatype="BYTES", shape=[len(images)])
    if raw:
        request.raw_input_contents.append(b"".join(struct.pack("<I", len(image)) + image for image in images))
    else:
        given.contents.bytes_contents.extend(images)
    for name, value in parameters.items():
        kind = {float: "double_param", int: "int64_param", str: "string_param", bool: "bool_param"}[type(value)]
        setattr(request.parameters[name], kind, value)
    return request


def array_request(pixels: Any, *, raw: bool = True, shape: list[int] | None = None) -> messages.ModelInferRequest:
    request = messages.ModelInferRequest(model_name="shapes")
    given = request.inputs.add(name="image", datatype="UINT8", shape=shape or list(pixels.shape))
    if raw:
        request.raw_input_contents.append(pixels.tobytes())
    else:
        given.contents.uint_contents.extend(pixels.ravel().tolist())
    return request


def read(answer: messages.ModelInferResponse) -> dict[str, Any]:
    """The outputs as arrays, however they were sent."""
    found = {}
    for index, output in enumerate(answer.outputs):
        if output.datatype == "BYTES":
            found[output.name] = _texts(answer, index)
            continue
        kind = {"FP32": np.float32, "INT64": np.int64}[output.datatype]
        if answer.raw_output_contents:
            values = np.frombuffer(answer.raw_output_contents[index], kind)
        else:
            values = np.array(list(output.contents.fp32_contents) or list(output.contents.int64_contents), kind)
        found[output.name] = values.reshape(output.shape)
    return found


def _texts(answer: messages.ModelInferResponse, index: int) -> list[bytes]:
    if not answer.raw_output_contents:
        return list(answer.outputs[index].contents.bytes_contents)
    raw, texts = answer.raw_output_contents[index], []
    while raw:
        (size,) = struct.unpack_from("<I", raw)
        texts.append(raw[4 : 4 + size])
        raw = raw[4 + size :]
    return texts


def refused(channel: grpc.Channel, request: messages.ModelInferRequest) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as error:
        infer(channel, request)
    return error.value.code(), error.value.details()  # type: ignore[attr-defined]


@pytest.mark.parametrize("raw", [False, True])
def test_boxes_are_those_of_the_predictor(channel: grpc.Channel, predictor: Predictor, raw: bool) -> None:
    images = [TINY["encoded_image"](seed, width, 60) for seed, width in ((7, 80), (8, 50))]
    answer = infer(channel, request_of(*images, raw=raw))
    found = read(answer)
    expected = [predictor.predict(predictor.read(image)) for image in images]
    corners = np.concatenate([each.found.boxes for each in expected])
    assert tuple(found) == NAMES
    assert bool(answer.raw_output_contents) == raw
    np.testing.assert_array_equal(found["boxes"][:, :2], corners[:, :2].astype(np.float32))
    np.testing.assert_array_equal(found["boxes"][:, 2:], (corners[:, 2:] - corners[:, :2]).astype(np.float32))
    np.testing.assert_array_equal(
        found["scores"], np.concatenate([each.found.scores for each in expected]).astype(np.float32)
    )
    assert found["labels"].tolist() == [label for each in expected for label in each.found.labels]
    assert found["class_names"] == [TINY["CLASSES"][label].encode() for label in found["labels"]]
    assert found["image_index"].tolist() == [0] * len(expected[0].found.labels) + [1] * len(expected[1].found.labels)
    assert found["sizes"].tolist() == [[80, 60], [50, 60]]
    assert (answer.id, answer.model_name, answer.model_version) == ("17", "shapes", "0" * 16)
    assert len(corners) > 0


@pytest.mark.parametrize("raw", [False, True])
def test_pixels_are_taken_as_an_array_too(channel: grpc.Channel, predictor: Predictor, raw: bool) -> None:
    encoded = TINY["encoded_image"](7)
    pixels = predictor.read(encoded)
    one = read(infer(channel, array_request(pixels, raw=raw)))
    two = read(infer(channel, array_request(np.stack([pixels, pixels]), raw=raw)))
    expected = read(infer(channel, request_of(encoded)))
    np.testing.assert_array_equal(one["boxes"], expected["boxes"])
    np.testing.assert_array_equal(two["boxes"], np.concatenate([expected["boxes"]] * 2))


def test_parameters_mean_what_they_mean_over_rest(channel: grpc.Channel) -> None:
    data = TINY["encoded_image"](7)
    many = read(infer(channel, request_of(data, conf=0.001, iou="0.9", tile=0)))
    few = read(infer(channel, request_of(data, conf=0.5)))
    stars = read(infer(channel, request_of(data, conf=0.001, iou=0.9, classes="star, circle")))
    assert len(few["scores"]) < len(many["scores"])
    assert few["scores"].min() >= 0.5
    assert set(stars["class_names"]) <= {b"star", b"circle"}
    assert 0 < len(stars["scores"]) < len(many["scores"])


def test_nothing_found_is_an_answer_of_no_rows(channel: grpc.Channel) -> None:
    found = read(infer(channel, request_of(TINY["encoded_image"](7), conf=1.0)))
    assert found["boxes"].shape == (0, 4)
    assert found["class_names"] == []
    assert found["sizes"].tolist() == [[80, 60]]


def test_outputs_can_be_chosen_and_come_in_the_order_asked(channel: grpc.Channel) -> None:
    request = request_of(TINY["encoded_image"](7))
    for name in ("scores", "boxes"):
        request.outputs.add(name=name)
    assert [output.name for output in infer(channel, request).outputs] == ["scores", "boxes"]


INVALID = grpc.StatusCode.INVALID_ARGUMENT
TOO_MUCH = grpc.StatusCode.RESOURCE_EXHAUSTED


def _changed(**fields: Any) -> messages.ModelInferRequest:
    request = request_of(TINY["encoded_image"](7))
    for name, value in fields.items():
        setattr(request.inputs[0] if hasattr(request.inputs[0], name) else request, name, value)
    return request


def _twice() -> messages.ModelInferRequest:
    request = request_of(TINY["encoded_image"](7))
    request.raw_input_contents.append(b"")
    return request


def _raw(content: bytes) -> messages.ModelInferRequest:
    request = request_of(b"", raw=True)
    request.raw_input_contents[0] = content
    return request


def _output(name: str) -> messages.ModelInferRequest:
    request = request_of(TINY["encoded_image"](7))
    request.outputs.add(name=name)
    return request


REFUSALS = {
    "no input": (messages.ModelInferRequest(model_name="shapes"), INVALID, "send one named 'image'"),
    "other input": (_changed(name="picture"), INVALID, "send one named 'image'"),
    "other type": (_changed(datatype="FP32"), INVALID, "send BYTES"),
    "no image": (request_of(b"no image"), INVALID, "not an image that can be decoded"),
    "half an image": (request_of(TINY["encoded_image"](7)[:200]), INVALID, "not an image that can be decoded"),
    "empty": (request_of(), INVALID, "send at least one image"),
    "too many": (request_of(*[TINY["encoded_image"](7)] * 4), TOO_MUCH, "the limit is 3"),
    "too many raw": (_raw(bytes(4 * 1000)), TOO_MUCH, "the limit is 3"),
    "too large": (request_of(TINY["encoded_image"](7, 300, 200)), TOO_MUCH, "300 x 200 pixels; the limit is 40000"),
    "contents twice": (_twice(), INVALID, "contents twice"),
    "raw ends in a length": (_raw(b"\x01"), INVALID, "ends inside the length"),
    "raw is too short": (_raw(b"\xff\xff\xff\xffab"), INVALID, "4294967295 bytes, but only 2 follow"),
    "conf": (request_of(TINY["encoded_image"](7), conf=2.0), INVALID, "conf is 2.0: give a number from 0 to 1"),
    "conf a word": (request_of(TINY["encoded_image"](7), conf="often"), INVALID, "conf is 'often'"),
    "conf a truth": (request_of(TINY["encoded_image"](7), conf=True), INVALID, "conf is 'True'"),
    "iou no number": (request_of(TINY["encoded_image"](7), iou="nan"), INVALID, "iou is nan"),
    "tile": (request_of(TINY["encoded_image"](7), tile=-1), INVALID, "tile is '-1'"),
    "classes": (request_of(TINY["encoded_image"](7), classes="moon"), INVALID, "There is no class 'moon'"),
    "parameter": (request_of(TINY["encoded_image"](7), speed=3), INVALID, "There is no parameter 'speed'"),
    "output": (_output("masks"), INVALID, "There is no output 'masks'"),
    "shape": (array_request(np.zeros((4, 4), np.uint8)), INVALID, "send [height, width, 3]"),
    "negative": (array_request(np.zeros((4, 4, 3), np.uint8), shape=[-4, -4, 3]), INVALID, "send [height, width, 3]"),
    "size": (array_request(np.zeros((4, 4, 3), np.uint8), shape=[4, 5, 3]), INVALID, "but 48 values"),
    "claims": (array_request(np.zeros((4, 4, 3), np.uint8), shape=[1 << 31, 1 << 31, 3]), TOO_MUCH, "pixels"),
    "values": (array_request(np.full((4, 4, 3), 256), raw=False), INVALID, "the value 256"),
    "model": (_changed(model_name="other"), grpc.StatusCode.NOT_FOUND, "There is no model 'other'"),
    "version": (_changed(model_version="9"), grpc.StatusCode.NOT_FOUND, "There is no version '9'"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_cannot_be_served_is_refused_in_a_sentence(channel: grpc.Channel, case: str) -> None:
    request, code, words = REFUSALS[case]
    answered, details = refused(channel, request)
    assert (answered, words in details) == (code, True), details
    assert details.endswith(".")


def test_a_message_above_the_limit_is_refused_unread(channel: grpc.Channel, predictor: Predictor) -> None:
    code, _ = refused(channel, request_of(bytes(predictor.limits.max_request_bytes + 2_000_000)))
    assert code is TOO_MUCH


def test_bytes_that_are_no_message_do_no_harm(channel: grpc.Channel) -> None:
    send = channel.unary_unary(f"/{SERVICE}/ModelInfer", request_serializer=None, response_deserializer=None)
    for junk in (b"\xff" * 100, b"\x80\x04cos\nsystem\n", bytes(1000)):
        with pytest.raises(grpc.RpcError):
            send(junk, timeout=10)
    assert infer(channel, request_of(TINY["encoded_image"](7))).outputs


def test_the_server_and_the_model_tell_what_they_are(channel: grpc.Channel) -> None:
    assert call(channel, "ServerLive", messages.ServerLiveRequest(), messages.ServerLiveResponse).live
    assert call(channel, "ServerReady", messages.ServerReadyRequest(), messages.ServerReadyResponse).ready
    about = call(channel, "ServerMetadata", messages.ServerMetadataRequest(), messages.ServerMetadataResponse)
    assert (about.name, about.version) == ("shapes", "0" * 16)
    model = call(channel, "ModelMetadata", messages.ModelMetadataRequest(name="shapes"), messages.ModelMetadataResponse)
    assert [tensor.name for tensor in model.outputs] == list(NAMES)
    assert (model.inputs[0].name, model.inputs[0].datatype, list(model.inputs[0].shape)) == ("image", "BYTES", [-1])
    for name, version, ready in (
        ("shapes", "", True),
        ("shapes", "0" * 16, True),
        ("shapes", "1", False),
        ("", "", False),
    ):
        request = messages.ModelReadyRequest(name=name, version=version)
        assert call(channel, "ModelReady", request, messages.ModelReadyResponse).ready == ready


def test_an_orchestrator_finds_it_healthy(channel: grpc.Channel) -> None:
    send = channel.unary_unary("/grpc.health.v1.Health/Check", request_serializer=None, response_deserializer=None)
    assert send(b"", timeout=10) == b"\x08\x01"  # SERVING
    assert send(b"\x0a" + bytes([len(SERVICE)]) + SERVICE.encode(), timeout=10) == b"\x08\x01"
    with pytest.raises(grpc.RpcError) as error:
        send(b"\x0a\x05other", timeout=10)
    assert error.value.code() is grpc.StatusCode.NOT_FOUND  # type: ignore[attr-defined]


def test_when_too_many_wait_the_next_is_turned_away(predictor: Predictor) -> None:
    lane = Lane(threads=1, waiting=0)
    inference = Inference(predictor, lane, Metrics())
    with lane.admit(), pytest.raises(RefusedError, match="busy") as error:
        inference.infer(request_of(TINY["encoded_image"](7)))
    assert error.value.status == 503
    assert inference.infer(request_of(TINY["encoded_image"](7))).outputs


def test_workers_share_the_port(predictor: Predictor) -> None:
    environment = {"DETECTOR_GRPC_PORT": str(free_port()), "DETECTOR_GRPC_HOST": "127.0.0.1"}
    stops = [start_grpc(predictor, environment=environment) for _ in range(2)]
    for stop in stops:
        assert stop is not None
        stop()


def test_without_the_variable_there_is_no_grpc_and_it_is_not_even_imported() -> None:
    code = (
        "import sys; from components.model_pack.serving.grpc_start import start_grpc; "
        "assert start_grpc(None, environment={}) is None; "
        "assert not {'grpc', 'google.protobuf'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.parametrize("port", ["0", "http", "70000", "-1"])
def test_a_port_that_is_none_is_refused(predictor: Predictor, port: str) -> None:
    with pytest.raises(ConfigError, match="give a port from 1 to 65535"):
        start_grpc(predictor, environment={"DETECTOR_GRPC_PORT": port})


def test_an_address_that_cannot_be_had_is_refused(predictor: Predictor) -> None:
    environment = {"DETECTOR_GRPC_PORT": str(free_port()), "DETECTOR_GRPC_HOST": "192.0.2.1"}
    with pytest.raises(ConfigError, match="cannot listen"):
        start_grpc(predictor, environment=environment)


def test_the_module_is_what_the_published_protocol_file_says() -> None:
    folder = ROOT / "components/model_pack/serving"
    text = re.sub(r"//.*", "", (folder / "grpc_inference.proto").read_text(encoding="utf-8"))
    messages_said = set(re.findall(r"message (\w+)", text))
    fields_said = sorted((name, int(number)) for name, number in re.findall(r"(\w+) = (\d+);", text))
    fields: list[tuple[str, int]] = []
    found = set()
    pending = list(messages.DESCRIPTOR.message_types_by_name.values())
    while pending:
        described = pending.pop()
        pending += [each for each in described.nested_types if not each.GetOptions().map_entry]
        found.add(described.name)
        fields += [(field.name, field.number) for field in described.fields]
    calls = messages.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods_by_name
    assert (found, sorted(fields)) == (messages_said, fields_said)
    assert set(calls) == set(re.findall(r"rpc (\w+)", text))
