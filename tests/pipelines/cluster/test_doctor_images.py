"""Images are looked up in a registry on a real socket, as a node would find them."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from pipelines.doctor.images import Reference, check_images, parse_reference

DIGEST = f"sha256:{'a' * 64}"


class Registry(BaseHTTPRequestHandler):
    """A registry with one image; ``facts`` say how it behaves."""

    facts: dict[str, Any]

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        facts = self.facts
        facts["asked"].append((self.path, self.headers.get("Authorization", "")))
        if facts.get("token") and self.headers.get("Authorization") != f"Bearer {facts['token']}":
            self.send_response(401)
            self.send_header("WWW-Authenticate", facts["challenge"])
        else:
            self.send_response(facts.get("status", 200))
            self.send_header("Docker-Content-Digest", facts.get("digest", DIGEST))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        self.facts["asked"].append((self.path, ""))
        body = json.dumps(self.facts.get("grant", {})).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def registry() -> Iterator[tuple[str, dict[str, Any]]]:
    facts: dict[str, Any] = {"asked": []}
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Registry,), {"facts": facts}))
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"127.0.0.1:{server.server_port}", facts
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("image", "reference"),
    [
        ("nginx", Reference("docker.io", "library/nginx", "", "")),
        ("team/steps:0.1", Reference("docker.io", "team/steps", "0.1", "")),
        (f"localhost:5000/a/b:1@{DIGEST}", Reference("localhost:5000", "a/b", "1", DIGEST)),
        (f"ghcr.io/a/b@{DIGEST}", Reference("ghcr.io", "a/b", "", DIGEST)),
        ("ghcr.io/A/b", None),
        ("a/b@sha256:12", None),
        ("", None),
        ("a/../b", None),
        ("a b", None),
    ],
)
def test_a_name_is_read_as_docker_reads_it(image: str, reference: Reference | None) -> None:
    assert parse_reference(image) == reference


@pytest.mark.parametrize(
    ("facts", "state", "words"),
    [
        ({}, "ok", "can be pulled"),
        ({"status": 404}, "problem", "is not there"),
        ({"status": 403}, "warning", "is not public"),
        ({"status": 500}, "warning", "status 500"),
        ({"digest": f"sha256:{'b' * 64}"}, "problem", "the registry has sha256:bbbb"),
    ],
)
def test_a_registry_is_asked_for_the_digest(registry: Any, facts: Any, state: str, words: str) -> None:
    host, behaviour = registry
    behaviour.update(facts)
    image = f"{host}/team/steps@{DIGEST}"
    (found,) = check_images([image, image])
    assert (found.state, words in found.text) == (state, True), found
    assert behaviour["asked"] == [(f"/v2/team/steps/manifests/{DIGEST}", "")]


def test_a_registry_that_wants_a_token_gets_an_anonymous_one(registry: Any) -> None:
    host, facts = registry
    facts |= {"token": "t", "grant": {"token": "t"}}
    facts["challenge"] = f'Bearer realm="http://{host}/token",service="here",scope="x"'
    (found,) = check_images([f"{host}/team/steps@{DIGEST}"])
    assert found.state == "ok"
    assert facts["asked"][1][0] == "/token?service=here&scope=repository%3Ateam%2Fsteps%3Apull"


@pytest.mark.parametrize(
    ("challenge", "grant"),
    [
        ("Basic realm=x", {}),
        ("Bearer", {}),
        ('Bearer realm="file:///etc/passwd"', {}),
        ('Bearer realm="http://{host}/token"', []),
        ('Bearer realm="http://{host}/token"', {"token": None}),
        ('Bearer realm="::::"', {}),
    ],
)
def test_a_registry_that_gives_no_token_is_a_warning(registry: Any, challenge: str, grant: Any) -> None:
    host, facts = registry
    facts |= {"token": "t", "grant": grant, "challenge": challenge.replace("{host}", host)}
    (found,) = check_images([f"{host}/team/steps@{DIGEST}"])
    assert found.state == "warning"


def test_an_image_without_a_digest_and_a_registry_out_of_reach_are_warnings() -> None:
    loose, far, wrong = check_images(["team/steps:0.1", f"127.0.0.1:9/team/steps@{DIGEST}", "no image"])
    assert (loose.state, "has no digest" in loose.text) == ("warning", True)
    assert (far.state, "cannot be reached from here" in far.text) == ("warning", True)
    assert (wrong.state, "is no name of an image" in wrong.text) == ("problem", True)
