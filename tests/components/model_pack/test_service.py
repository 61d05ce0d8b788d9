"""The service as it runs from an unpacked bento: its answers, its refusals, and what it never does."""

import io
import json
import runpy
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from components.model_pack.serving.standalone import Settings
from components.shared.detection.detector import Detections, Detector
from components.shared.images import decode

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("service")]
TINY = runpy.run_path(str(Path(__file__).with_name("tiny_model.py")))
NOISE: bytes = TINY["encoded_image"](7)
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9"/></svg>'


@pytest.fixture
def client(service: Any) -> httpx.Client:
    return service.client


@pytest.fixture(scope="module")
def detector(service: Any) -> Detector:
    return Detector(service.opened.model, runtime="onnx", threads=1)


def upload(
    client: httpx.Client, *images: bytes, path: str = "/predict", kind: str = "image/png", **fields: Any
) -> httpx.Response:
    return client.post(path, files=[("image", ("name.png", data, kind)) for data in images], data=fields)


def encode(pixels: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, **options)
    return buffer.getvalue()


def corners(answer: dict[str, Any]) -> np.ndarray:
    boxes = [[box["x"], box["y"], box["x"] + box["width"], box["y"] + box["height"]] for box in answer["boxes"]]
    return np.array(boxes).reshape(-1, 4)


def found(detector: Detector, data: bytes, **options: Any) -> Detections:
    return detector.predict([decode(data)], **options)[0]


def error_of(reply: httpx.Response) -> str:
    body = reply.json()
    assert list(body) == ["error"]
    assert body["error"].endswith(".")
    assert "\n" not in body["error"]
    return body["error"]


def test_boxes_come_in_absolute_pixels_as_the_detector_finds_them(
    service: Any, detector: Detector, client: httpx.Client
) -> None:
    answer = upload(client, NOISE, conf="0.25").json()
    expected = found(detector, NOISE, conf=0.25, iou=0.7)
    assert answer["model"] == service.opened.manifest.tag
    assert (answer["width"], answer["height"]) == (80, 60)
    assert set(answer["boxes"][0]) == {"x", "y", "width", "height", "score", "class", "class_id"}
    assert [box["class"] for box in answer["boxes"]] == [detector.classes[label] for label in expected.labels]
    np.testing.assert_allclose(corners(answer), expected.boxes)


def test_without_a_threshold_each_class_has_its_own(detector: Detector, client: httpx.Client) -> None:
    for seed in range(3):
        data = TINY["encoded_image"](seed)
        expected = found(detector, data, conf=0.25)
        own = np.array([0.25, 0.25, 0.4])[expected.labels]
        answer = upload(client, data).json()
        assert [box["score"] for box in answer["boxes"]] == expected.scores[expected.scores > own].tolist()


def test_the_other_parameters_are_the_detectors(detector: Detector, client: httpx.Client) -> None:
    expected = found(detector, NOISE, conf=0.01, iou=0.3, max_det=100)
    answer = upload(client, NOISE, conf="0.01", iou="0.3").json()
    np.testing.assert_allclose(corners(answer), expected.boxes)
    stars = upload(client, NOISE, conf="0.01", iou="0.3", classes="star, circle").json()
    kept = np.isin(expected.labels, [0, 2])
    np.testing.assert_allclose(corners(stars), expected.boxes[kept])
    again = client.post("/predict?conf=0.01&iou=0.3&classes=star&classes=circle", files={"image": NOISE}).json()
    assert again == stars


def test_a_large_image_is_cut_into_tiles_when_asked(client: httpx.Client) -> None:
    large = TINY["encoded_image"](3, 300, 200)
    whole, tiled = upload(client, large, tile="0").json(), upload(client, large, tile="64").json()
    assert len(tiled["boxes"]) > len(whole["boxes"])
    assert upload(client, large).json() == whole


@pytest.mark.parametrize("kind", ["image/png", "image/whatever", "application/octet-stream", "IMAGE/PNG; a=b"])
def test_a_raw_body_is_the_image(client: httpx.Client, kind: str) -> None:
    raw = client.post("/predict?conf=0.3", content=NOISE, headers={"content-type": kind})
    assert raw.json() == upload(client, NOISE, conf="0.3").json()


def test_several_files_are_answered_in_their_order(service: Any, client: httpx.Client) -> None:
    images = [TINY["encoded_image"](seed, 80 + 10 * seed, 60) for seed in range(4)]
    answer = upload(client, *images, conf="0.2").json()
    assert answer["model"] == service.opened.manifest.tag
    assert answer["predictions"] == [upload(client, image, conf="0.2").json() for image in images]


def test_one_bad_file_of_several_is_named(client: httpx.Client) -> None:
    reply = upload(client, NOISE, b"no image", NOISE)
    assert reply.status_code == 400
    assert error_of(reply).startswith("Image 2 of 3: ")


def test_the_answers_are_of_the_published_schema(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    schemas = document["components"]["schemas"]
    single = upload(client, NOISE).json()
    assert set(single) == set(schemas["ImagePrediction"]["required"])
    assert set(single["boxes"][0]) == set(schemas["Box"]["required"])
    assert set(upload(client, NOISE, NOISE).json()) == set(schemas["Predictions"]["required"])
    assert client.get("/docs.json").json() == document


def test_every_documented_route_is_there_and_every_refusal_is_documented(client: httpx.Client) -> None:
    for path, operations in client.get("/openapi.json").json()["paths"].items():
        for method, operation in operations.items():
            reply = upload(client, NOISE, path=path) if method == "post" else client.get(path)
            assert reply.status_code == 200, path
            assert reply.headers["content-type"].split(";")[0] in operation["responses"]["200"]["content"]
            if method == "post":
                assert {"400", "413", "415", "422", "503", "504"} <= set(operation["responses"])


@pytest.mark.parametrize(
    ("accept", "kind", "form"),
    [
        ("*/*", "image/jpeg", "JPEG"),
        ("image/png", "image/png", "PNG"),
        ("image/jpeg;q=0.1, image/*", "image/png", "PNG"),
    ],
)
def test_the_drawn_image_comes_in_the_kind_asked_for(client: httpx.Client, accept: str, kind: str, form: str) -> None:
    reply = client.post("/predict/image?conf=0.3", files={"image": NOISE}, headers={"accept": accept})
    assert reply.headers["content-type"] == kind
    with Image.open(io.BytesIO(reply.content)) as drawn:
        assert (drawn.format, drawn.size) == (form, (480, 360))


def test_a_drawn_image_that_nobody_can_read_is_not_made(client: httpx.Client) -> None:
    reply = client.post("/predict/image", files={"image": NOISE}, headers={"accept": "text/html"})
    assert reply.status_code == 406
    assert "image/jpeg" in error_of(reply)


def test_the_model_tells_what_it_is_and_what_serves_it(service: Any, client: httpx.Client) -> None:
    told = client.get("/model").json()
    assert told["tag"] == service.opened.manifest.tag
    assert told["classes"] == ["circle", "square", "star"]
    assert told["inference"]["class_confidence"] == {"star": 0.4}
    assert told["runtimes"] == ["onnx"]
    assert (told["serving"]["runtime"], told["serving"]["device"], told["serving"]["workers"]) == ("onnx", "cpu", 2)
    assert not {"source_files", "bento_files"} & set(told)


@pytest.mark.parametrize("data", [b"no image", NOISE[:200], SVG, b"GIF89a", b"\xff\xd8\xff\xe0" + bytes(50), b"%!PS"])
def test_what_is_no_image_is_refused_in_a_sentence(client: httpx.Client, data: bytes) -> None:
    reply = upload(client, data)
    assert reply.status_code == 400
    assert "not an image that can be decoded" in error_of(reply)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "LA", "I;16"])
def test_images_of_any_colour_mode_are_read(client: httpx.Client, mode: str) -> None:
    buffer = io.BytesIO()
    picture = Image.new("RGB", (30, 20), (200, 30, 90))
    (picture.convert("I").convert("I;16") if mode == "I;16" else picture.convert(mode)).save(buffer, "PNG")
    answer = upload(client, buffer.getvalue())
    assert (answer.status_code, answer.json()["width"]) == (200, 30)


@pytest.mark.parametrize("form", ["JPEG", "WEBP", "BMP", "TIFF", "GIF"])
def test_images_of_any_usual_format_are_read(client: httpx.Client, form: str) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    assert upload(client, encode(pixels, format=form)).json()["height"] == 20


def test_inked_and_moving_images_are_read(client: httpx.Client) -> None:
    inked, moving = io.BytesIO(), io.BytesIO()
    Image.new("CMYK", (30, 20), (10, 200, 30, 0)).save(inked, "JPEG")
    frames = [Image.new("P", (30, 20), colour) for colour in range(5)]
    frames[0].save(moving, "GIF", save_all=True, append_images=frames[1:])
    assert upload(client, inked.getvalue()).status_code == 200
    assert upload(client, moving.getvalue()).status_code == 200


def test_a_turned_photograph_is_seen_upright(client: httpx.Client) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(np.zeros((40, 90, 3), np.uint8), format="JPEG", exif=exif)
    answer = upload(client, data, kind="image/jpeg").json()
    assert (answer["width"], answer["height"]) == (40, 90)


def test_an_image_of_too_many_pixels_is_refused(client: httpx.Client) -> None:
    reply = upload(client, encode(np.zeros((10_001, 10_000), np.uint8), format="PNG", compress_level=1))
    assert reply.status_code == 413
    assert "10000 x 10001" in error_of(reply)


def test_a_bomb_is_refused(client: httpx.Client) -> None:
    reply = upload(client, encode(np.zeros((9_000, 9_000, 3), np.uint8), format="PNG", compress_level=9))
    assert reply.status_code in {400, 413}
    error_of(reply)


def test_an_upload_that_is_too_large_is_refused_while_it_comes(client: httpx.Client) -> None:
    def endless() -> Iterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
        for _ in range(40):
            yield bytes(1_000_000)

    headers = {"content-type": "multipart/form-data; boundary=b"}
    try:
        reply = client.post("/predict", content=endless(), headers=headers)
    except (httpx.WriteError, httpx.RemoteProtocolError):
        return  # the server closed the connection before all of it was sent
    assert reply.status_code == 413, reply.text


@pytest.mark.parametrize(("size", "kind"), [(20_000_001, "image/png"), (30_000_001, "multipart/form-data; boundary=b")])
def test_a_declared_size_that_is_too_large_is_refused_at_once(client: httpx.Client, size: int, kind: str) -> None:
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: {size}\r\n\r\n"
    with socket.create_connection((client.base_url.host, client.base_url.port), timeout=30) as connection:
        connection.sendall(head.encode())
        assert b" 413 " in connection.recv(200)


def test_an_image_of_too_many_bytes_and_too_many_images_are_refused(client: httpx.Client) -> None:
    reply = upload(client, bytes(20_000_001))
    assert (reply.status_code, "20000001 bytes" in error_of(reply)) == (413, True)
    many = upload(client, *[NOISE] * 5)
    assert (many.status_code, error_of(many)) == (413, "The form has more than 4 files.")


@pytest.mark.parametrize("value", ["http://127.0.0.1:9/a.png", "/etc/passwd", "file:///etc/passwd"])
def test_a_place_instead_of_a_file_is_refused(client: httpx.Client, value: str) -> None:
    form = client.post("/predict", files={"other": ("", b"")}, data={"image": value})
    assert form.status_code == 400
    assert "not fetched" in error_of(form)


@pytest.mark.parametrize(
    "kind",
    [
        "application/json",
        "application/x-www-form-urlencoded",
        "application/vnd.bentoml+pickle",
        "application/vnd.bentoml.multiform",
        "text/plain",
        "",
    ],
)
@pytest.mark.parametrize("path", ["/predict", "/predict/image"])
def test_bodies_that_could_be_anything_are_refused(client: httpx.Client, kind: str, path: str) -> None:
    reply = client.post(path, content=b"\x80\x04cos\nsystem\n.", headers={"content-type": kind})
    assert reply.status_code == 415
    assert repr(kind) in error_of(reply)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"garbage",
        b"--b\r\n\r\n\r\n--b--\r\n",
        b"--b--\r\n",
        b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\ncut',
        b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n",
    ],
)
@pytest.mark.parametrize("kind", ["multipart/form-data", "multipart/form-data; boundary=b"])
def test_a_form_that_cannot_be_read_is_refused(client: httpx.Client, body: bytes, kind: str) -> None:
    reply = client.post("/predict", content=body, headers={"content-type": kind})
    assert reply.status_code == 400
    error_of(reply)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("conf", "2", "2.0"),
        ("conf", "often", "'often'"),
        ("conf", "nan", "nan"),
        ("iou", "-1", "-1.0"),
        ("tile", "7", "7"),
        ("tile", "1e3", "'1e3'"),
        ("tile", "-64", "'-64'"),
        ("classes", "star,dog", "'dog': use 'circle', 'square', 'star'"),
        ("confidence", "0.5", "'confidence': use conf, iou, classes, tile"),
    ],
)
def test_a_bad_parameter_is_refused_by_its_value(client: httpx.Client, name: str, value: str, said: str) -> None:
    for reply in (
        upload(client, NOISE, **{name: value}),
        client.post("/predict", params={name: value}, content=NOISE, headers={"content-type": "image/png"}),
    ):
        assert reply.status_code == 422
        assert said in error_of(reply)


def test_more_tiles_than_a_worker_can_bear_are_refused(client: httpx.Client) -> None:
    reply = upload(client, encode(np.zeros((3000, 3000, 3), np.uint8), format="JPEG"), tile="32")
    assert reply.status_code == 422
    assert "tile is 32" in error_of(reply)


@pytest.mark.parametrize(("method", "path", "code"), [("GET", "/predict", 405), ("POST", "/x", 404), ("PUT", "/", 405)])
def test_paths_and_methods_that_are_none_are_refused_in_a_sentence(
    client: httpx.Client, method: str, path: str, code: int
) -> None:
    reply = client.request(method, path)
    assert reply.status_code == code
    error_of(reply)


def test_slow_and_cut_uploads_block_nobody(client: httpx.Client) -> None:
    address = (client.base_url.host, client.base_url.port)
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 1000000\r\n\r\n"
    held = []
    for _ in range(30):
        held.append(socket.create_connection(address))
        held[-1].sendall(head + NOISE[:100])
    started = time.monotonic()
    assert upload(client, NOISE).status_code == 200
    assert time.monotonic() - started < 20
    for one in held:
        one.close()
    assert upload(client, NOISE).status_code == 200


def test_a_crowd_is_served_or_asked_to_come_again(client: httpx.Client) -> None:
    replies: list[httpx.Response] = []
    lock = threading.Lock()

    def ask(_: int) -> None:
        with httpx.Client(base_url=client.base_url, timeout=60, trust_env=False) as own:
            reply = upload(own, NOISE)
        with lock:
            replies.append(reply)

    with ThreadPoolExecutor(24) as pool:
        list(pool.map(ask, range(96)))
    assert {reply.status_code for reply in replies} <= {200, 503}
    assert sum(reply.status_code == 200 for reply in replies) > 40
    for reply in replies:
        if reply.status_code == 503:
            assert reply.headers["retry-after"] == "1"
            error_of(reply)


def numbers(client: httpx.Client) -> dict[str, float]:
    text = client.get("/metrics").text
    samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
    return {f"{one.name}{json.dumps(one.labels, sort_keys=True)}": one.value for one in samples}


def test_the_metrics_add_up_over_the_processes(client: httpx.Client) -> None:
    before = numbers(client)
    for _ in range(8):
        with httpx.Client(base_url=client.base_url, trust_env=False) as other:  # a connection is one process's
            boxes = upload(other, NOISE).json()["boxes"]
    assert upload(client, b"no image").status_code == 400
    assert upload(client, NOISE, conf="7").status_code == 422
    after = numbers(client)

    def grown(name: str, **labels: str) -> float:
        key = f"{name}{json.dumps(labels, sort_keys=True)}"
        return after.get(key, 0) - before.get(key, 0)

    circles = sum(box["class"] == "circle" for box in boxes)
    assert grown("detector_request_seconds_count", endpoint="/predict", code="200") == 8
    assert grown("detector_boxes_total", **{"class": "circle"}) == 8 * circles
    assert grown("detector_confidence_count") == 8 * len(boxes)
    assert grown("detector_image_megapixels_count") == 8
    assert grown("detector_phase_seconds_count", endpoint="/predict", phase="predict") == 8
    assert grown("detector_phase_seconds_count", endpoint="/predict", phase="decode") == 9
    assert grown("detector_rejected_total", reason="image") == 1
    assert grown("detector_rejected_total", reason="conf") == 1


def test_made_up_paths_do_not_make_the_metrics_grow(client: httpx.Client) -> None:
    client.get("/made/up/first")
    before = set(numbers(client))
    for number in range(20):
        client.get(f"/made/up/{number}")
    assert set(numbers(client)) == before


def test_probes_answer(client: httpx.Client) -> None:
    for path in ("/livez", "/readyz", "/healthz"):
        assert client.get(path).status_code == 200


def test_without_the_supervisor_the_answers_are_the_same(standalone: Any, client: httpx.Client) -> None:
    own = standalone.client
    assert upload(own, NOISE, conf="0.1").json() == upload(client, NOISE, conf="0.1").json()
    assert own.get("/openapi.json").json() == client.get("/openapi.json").json()
    for path in ("/livez", "/readyz", "/healthz", "/metrics", "/", "/docs"):
        assert own.get(path).status_code == 200


def test_a_process_of_the_cpu_runtime_has_no_torch_and_no_polars_in_it(standalone: Any) -> None:
    loaded = Path(f"/proc/{standalone.process.pid}/maps").read_text()
    assert "onnxruntime" in loaded
    assert not any(f"/{name}/" in loaded for name in ("torch", "polars", "ultralytics"))
    status = Path(f"/proc/{standalone.process.pid}/status").read_text()
    (kilobytes,) = (int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    assert kilobytes < 250_000


def test_a_full_queue_asks_to_come_again(standalone: Any) -> None:
    image = encode(np.zeros((6000, 6000), np.uint8), format="PNG", compress_level=1)  # quick to send, slow to decode

    def ask(_: int) -> httpx.Response:
        return upload(standalone.client, image)

    with ThreadPoolExecutor(12) as pool:
        replies = list(pool.map(ask, range(12)))
    refused = [reply for reply in replies if reply.status_code == 503]
    assert refused
    assert {reply.status_code for reply in replies} == {200, 503}
    assert refused[0].headers["retry-after"] == "1"
    error_of(refused[0])


def test_an_answers_second_packet_does_not_wait_for_the_client() -> None:
    shared = Settings("unused:app", host="127.0.0.1", port=0).bind_socket()
    shared.listen()
    with shared, socket.create_connection(shared.getsockname()) as client, shared.accept()[0] as accepted:
        assert client.getpeername() == shared.getsockname()
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
