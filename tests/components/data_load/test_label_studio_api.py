import json
import shutil
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from components.data_load import label_studio_api
from components.data_load.gather import gather
from components.data_load.options import LoadOptions
from components.shared.errors import ConfigError, PipelineError, SourceError, UnsafeInputError

DATA = Path(__file__).resolve().parents[4] / "shared" / "data" / "label_studio"
PERSONAL = "eyJhbGciOiJIUzI1NiJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCJ9.c2lnbmF0dXJl"


class Studio:
    """A Label Studio as its API looks from outside: one project, whose images need the token, too."""

    def __init__(self, site: Any, token: str) -> None:
        self.site = site
        self.token = token
        self.access = 0
        site.routes["/api/token/refresh"] = self.refresh

    def guarded(self, path: str, body: bytes) -> None:
        self.site.routes[path] = lambda handler: self.give(handler, body)

    def project(self, number: int, tasks: object, config: str = "") -> None:
        self.guarded(f"/api/projects/{number}", json.dumps({"id": number, "label_config": config}).encode())
        self.guarded(f"/api/projects/{number}/export", json.dumps(tasks).encode())

    def refresh(self, handler: BaseHTTPRequestHandler) -> None:
        sent = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        if handler.command == "POST" and sent == {"refresh": self.token}:
            self.access += 1
            self.site.answer(handler, json.dumps({"access": f"access-{self.access}"}).encode())
        else:
            self.site.answer(handler, b'{"detail": "Token is invalid"}', 401)

    def give(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        personal = self.token.count(".") == 2
        wanted = f"Bearer access-{self.access}" if personal else f"Token {self.token}"
        good = handler.headers.get("Authorization") == wanted
        self.site.answer(handler, body if good else b'{"detail": "no"}', 200 if good else 401)

    def source(self, number: int) -> str:
        return f"labelstudio+http://127.0.0.1:{self.site.port}/{number}"


@pytest.fixture(params=["0123456789abcdef", PERSONAL], ids=["legacy token", "personal access token"])
def studio(request: pytest.FixtureRequest, site: Any, monkeypatch: pytest.MonkeyPatch) -> Studio:
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", request.param)
    monkeypatch.delenv("LABEL_STUDIO_URL", raising=False)
    return Studio(site, request.param)


def real(name: str) -> Path:
    if not DATA.is_dir():
        pytest.skip("the public data set 'label_studio' is not beside the repository")
    return DATA / name


def load(source: str, work: Path) -> Any:
    return gather(LoadOptions(source=source, allow_private_addresses=True), work).parsed


def test_a_real_export_comes_through_the_api_as_from_a_folder(studio: Studio, tmp_path: Path) -> None:
    folder = real("export_yolo")
    image = real("import_yolo/images/img_1.jpg").read_bytes()
    studio.project(7, json.loads((folder / "data.json").read_bytes()), (folder / "label_config.xml").read_text())
    for name in ("/image1", "/image2"):
        studio.guarded(name, image)
    parsed = load(studio.source(7), tmp_path / "work")
    beside = tmp_path / "beside"
    beside.mkdir()
    for name in ("data.json", "label_config.xml"):
        shutil.copy(folder / name, beside / name)
    for name in ("image1", "image2"):
        (beside / name).write_bytes(image)
    expected = gather(LoadOptions(source=str(beside)), tmp_path / "other").parsed
    assert parsed.classes == expected.classes
    assert parsed.images.get_column("path").null_count() == 0
    boxes = ["category", "x", "y", "width", "height", "kind"]
    assert parsed.annotations.select(boxes).equals(expected.annotations.select(boxes))
    assert parsed.annotations.height > 0
    export = next(path for path, _ in studio.site.requests if "export" in path)
    assert export == "/api/projects/7/export?exportType=JSON"


def task(image: str) -> dict[str, object]:
    value = {"x": 10, "y": 10, "width": 50, "height": 50, "rotation": 0, "rectanglelabels": ["cat"]}
    result = {"type": "rectanglelabels", "value": value, "original_width": 40, "original_height": 24}
    result |= {"from_name": "label", "to_name": "image", "id": "r", "image_rotation": 0}
    return {"id": 1, "data": {"image": image}, "annotations": [{"id": 1, "result": [result]}]}


def test_uploads_and_local_files_are_fetched_and_other_addresses_kept(studio: Studio, tmp_path: Path) -> None:
    upload, local = "/data/upload/1/0a1b2c3d-a%20b.jpg", "/data/local-files/?d=site/c.jpg"
    elsewhere = ["s3://bucket/x/d.jpg", "https://images.test/e.jpg", "/data/upload/1/gone.jpg"]
    tasks = [task(name) | {"id": n} for n, name in enumerate([upload, local, *elsewhere])]
    studio.project(3, tasks)
    studio.guarded(upload, b"upload")
    studio.guarded("/data/local-files/", b"local")
    images = load(studio.source(3), tmp_path / "work").images
    on_disk = {Path(path).read_bytes() for path in images.get_column("path").drop_nulls()}
    assert on_disk == {b"upload", b"local"}
    assert set(images.get_column("uri").drop_nulls()) >= {"s3://bucket/x/d.jpg", "https://images.test/e.jpg"}
    assert images.height == 5


def test_the_token_is_never_sent_to_another_server_nor_shown(studio: Studio, tmp_path: Path) -> None:
    outside = f"http://localhost:{studio.site.port}/outside.jpg"  # another origin: another host's name
    studio.site.file("/outside.jpg", b"outside")
    studio.project(3, [task(outside)])
    load(studio.source(3), tmp_path / "work")
    asked = [headers for path, headers in studio.site.requests if path == "/outside.jpg"]
    assert [("Authorization" in headers) for headers in asked] == [False]
    studio.token = "changed"  # the server does not know our token any more
    with pytest.raises(SourceError) as caught:
        load(studio.source(3), tmp_path / "again")
    assert "0123456789abcdef" not in str(caught.value)
    assert PERSONAL not in str(caught.value)


def test_a_personal_token_is_refreshed_before_its_access_ends(
    site: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", PERSONAL)
    monkeypatch.setattr(label_studio_api, "_ACCESS_SECONDS", 0.0)
    monkeypatch.setattr(label_studio_api, "PARALLEL", 1)
    studio = Studio(site, PERSONAL)
    studio.project(3, [task(f"/data/upload/{n}.jpg") for n in range(3)])
    for n in range(3):
        studio.guarded(f"/data/upload/{n}.jpg", b"x")
    load(studio.source(3), tmp_path / "work")
    assert studio.access == 5  # the project, its export and three images


def test_what_is_wrong_with_a_project_is_one_sentence(studio: Studio, tmp_path: Path) -> None:
    studio.project(4, {"detail": "not a list"})
    expected: dict[str, type[PipelineError]] = {
        studio.source(5): SourceError,
        studio.source(4): PipelineError,
        f"labelstudio+http://127.0.0.1:{studio.site.port}/sub/5": SourceError,
        "labelstudio+http://127.0.0.1:1/5": SourceError,
        "labelstudio:///5": ConfigError,
    }
    for number, (source, error) in enumerate(expected.items()):
        with pytest.raises(error) as caught:
            load(source, tmp_path / str(number))
        assert str(caught.value).endswith(".")
    with pytest.raises(SourceError, match="not encrypted"):
        gather(LoadOptions(source=studio.source(4)), tmp_path / "plain")
    with pytest.raises(UnsafeInputError, match="loopback"):
        gather(LoadOptions(source=f"labelstudio://127.0.0.1:{studio.site.port}/4"), tmp_path / "private")


def test_a_missing_token_is_asked_for(site: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LABEL_STUDIO_API_KEY", raising=False)
    with pytest.raises(ConfigError, match="LABEL_STUDIO_API_KEY"):
        load(f"labelstudio+http://127.0.0.1:{site.port}/3", tmp_path / "work")


def test_the_server_may_come_from_the_environment(
    studio: Studio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABEL_STUDIO_URL", studio.site.url("/"))
    studio.project(3, [task("s3://bucket/a.jpg")])
    assert load("labelstudio:///3", tmp_path / "work").images.height == 1


def test_images_larger_together_than_allowed_stop_the_load(studio: Studio, tmp_path: Path) -> None:
    studio.project(3, [task(f"/data/upload/{n}.jpg") for n in range(4)])
    for n in range(4):
        studio.guarded(f"/data/upload/{n}.jpg", bytes(4000))
    with pytest.raises(SourceError, match="max_download_gb"):
        gather(
            LoadOptions(source=studio.source(3), allow_private_addresses=True, max_download_gb=1e-5), tmp_path / "work"
        )


def test_a_hostile_export_writes_nothing_outside_the_work_folder(studio: Studio, tmp_path: Path) -> None:
    names = ["/../../escaped.jpg", "/data/local-files/?d=../../escaped.jpg", "/data/%2e%2e/%2e%2e/%2e%2e/escaped.jpg"]
    studio.project(3, [task(name) | {"id": n} for n, name in enumerate(names)])
    for path in ("/escaped.jpg", "/../../escaped.jpg", "/data/local-files/", names[2]):
        studio.guarded(path, b"x")
    load(studio.source(3), tmp_path / "a" / "b" / "work")
    assert not list(tmp_path.rglob("escaped.jpg"))
    assert not list(tmp_path.parent.glob("escaped.jpg"))
