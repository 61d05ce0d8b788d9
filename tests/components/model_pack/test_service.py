"""The service as it runs from an unpacked bento: its answers, its refusals, and what it never does."""

import io
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from components.model_pack.pack import pack
from components.model_test.server import Server, serve
from components.shared.archive import OpenArchive, open_archive
from components.shared.detection.detector import Detector
from components.shared.images import decode

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("service")]
TINY = runpy.run_path(str(Path(__file__).with_name("tiny_model.py")))


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> OpenArchive:
    folder = tmp_path_factory.mktemp("service")
    pack(TINY["make_tiny_model"](folder / "model"), folder / "archive", name="shapes")
    return open_archive(folder / "archive", folder / "work")


@pytest.fixture(scope="module")
def server(opened: OpenArchive) -> Iterator[Server]:
    with serve(opened.bento, opened.bento.parent) as running:
        yield running


@pytest.fixture
def client(server: Server) -> httpx.Client:
    return server.client


def upload(client: httpx.Client, data: bytes, kind: str = "image/png", **fields: str) -> httpx.Response:
    return client.post("/predict", files={"image": ("name.png", data, kind)}, data=fields)


def encode(pixels: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, **options)
    return buffer.getvalue()


def test_boxes_come_in_absolute_pixels_as_the_detector_finds_them(opened: OpenArchive, client: httpx.Client) -> None:
    data = TINY["encoded_image"](7)
    answer = upload(client, data).json()
    detector = Detector(opened.model)
    (found,) = detector.predict([decode(data)], conf=0.25)
    assert answer["model"] == opened.manifest.tag
    assert (answer["width"], answer["height"]) == (80, 60)
    assert set(answer["boxes"][0]) == {"x", "y", "width", "height", "score", "class", "class_id"}
    assert [box["class"] for box in answer["boxes"]] == [detector.classes[label] for label in found.labels]
    corners = [[box["x"], box["y"], box["x"] + box["width"], box["y"] + box["height"]] for box in answer["boxes"]]
    np.testing.assert_allclose(corners, found.boxes, rtol=1e-4)


def test_a_threshold_can_be_given(client: httpx.Client) -> None:
    data = TINY["encoded_image"](7)
    few, many = upload(client, data, conf="0.5").json(), upload(client, data, conf="0.001", iou="0.9").json()
    assert len(few["boxes"]) < len(many["boxes"])
    assert all(box["score"] >= 0.5 for box in few["boxes"])


def test_a_turned_photograph_is_seen_upright(client: httpx.Client) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(np.zeros((40, 90, 3), np.uint8), format="JPEG", exif=exif)
    answer = upload(client, data, "image/jpeg").json()
    assert (answer["width"], answer["height"]) == (40, 90)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1"])
def test_images_of_any_colour_mode_are_read(client: httpx.Client, mode: str) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (30, 20), (200, 30, 90)).convert(mode).save(buffer, "PNG")
    assert upload(client, buffer.getvalue()).status_code == 200


def test_the_model_tells_what_it_is(opened: OpenArchive, client: httpx.Client) -> None:
    told = client.get("/model").json()
    assert told["tag"] == opened.manifest.tag
    assert told["classes"] == list(opened.manifest.classes)
    assert "source_files" not in told


@pytest.mark.parametrize("data", [b"", b"no image", TINY["encoded_image"](7)[:200]])
def test_what_is_no_image_is_refused_in_a_sentence(client: httpx.Client, data: bytes) -> None:
    reply = upload(client, data)
    assert reply.status_code == 400
    assert "not an image that can be decoded" in reply.text


def test_an_image_of_too_many_pixels_is_refused(client: httpx.Client) -> None:
    reply = upload(client, encode(np.zeros((10_001, 10_000), np.uint8), format="PNG", compress_level=1))
    assert reply.status_code == 413
    assert "10000 x 10001" in reply.text


def test_an_upload_that_is_too_large_is_refused_while_it_comes(client: httpx.Client) -> None:
    def endless() -> Iterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
        for _ in range(60):
            yield bytes(1_000_000)

    headers = {"content-type": "multipart/form-data; boundary=b"}
    try:
        reply = client.post("/predict", content=endless(), headers=headers)
    except httpx.WriteError:
        return  # the server closed the connection before all of it was sent
    assert reply.status_code == 413


def test_a_declared_size_that_is_too_large_is_refused_at_once(client: httpx.Client) -> None:
    reply = upload(client, bytes(51_500_000))
    assert reply.status_code == 413


@pytest.mark.parametrize("value", ["http://127.0.0.1:9/a.png", "/etc/passwd", "file:///etc/passwd"])
def test_a_place_instead_of_a_file_is_refused(client: httpx.Client, value: str) -> None:
    form = client.post("/predict", files={"other": ("", b"")}, data={"image": value})
    assert form.status_code == 400
    assert "exactly one file" in form.text
    for kind in ("application/json", "application/x-www-form-urlencoded", "application/vnd.bentoml+pickle"):
        assert client.post("/predict", content=value, headers={"content-type": kind}).status_code == 415


@pytest.mark.parametrize("fields", [{"conf": "2"}, {"conf": "often"}, {"iou": "-1"}])
def test_a_threshold_out_of_range_is_refused(client: httpx.Client, fields: dict[str, str]) -> None:
    assert upload(client, TINY["encoded_image"](7), **fields).status_code == 400


def test_probes_and_metrics_answer(client: httpx.Client) -> None:
    for path in ("/livez", "/readyz", "/metrics", "/docs.json"):
        assert client.get(path).status_code == 200
