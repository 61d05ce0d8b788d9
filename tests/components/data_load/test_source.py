import io
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest

from components.data_load.gather import gather
from components.data_load.options import LoadOptions, SampleOptions
from components.data_load.source import Fetched, fetch
from components.shared.errors import ConfigError, SourceError, UnsafeInputError
from components.shared.store_s3 import S3Store

SAMPLE = SampleOptions(images=20, edge=96, seed=1)
COCO = {
    "images": [{"id": 1, "file_name": "a.jpg", "width": 40, "height": 24}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}],
    "categories": [{"id": 1, "name": "cat"}],
}


def bring(source: str | Path, work: Path, **options: Any) -> Fetched:
    notify = options.pop("notify", lambda *_: None)
    return fetch(str(source), work, LoadOptions(source=str(source), sample=SAMPLE, **options), notify)


def coco_zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("annotations/instances.json", json.dumps(COCO))
        archive.writestr("images/a.jpg", b"a")
    return buffer.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "cats").mkdir()
    (tmp_path / "cats" / "a.txt").write_text("meow")
    return tmp_path / "cats"


def test_a_folder_is_used_where_it_is(folder: Path, tmp_path: Path) -> None:
    assert bring(folder, tmp_path / "work") == Fetched(folder)
    assert not (tmp_path / "work").exists()


def test_a_file_uri_means_the_path(folder: Path, tmp_path: Path) -> None:
    assert bring(folder.as_uri(), tmp_path / "work").root == folder


@pytest.mark.parametrize("kind", ["zip", "tar", "gztar"])
def test_an_archive_is_unpacked_below_the_work_folder_and_itself_left_alone(
    folder: Path, tmp_path: Path, kind: str
) -> None:
    archive = Path(shutil.make_archive(str(tmp_path / "packed"), kind, folder))
    before = archive.read_bytes()
    heard: list[str] = []
    root = bring(archive, tmp_path / "work", notify=lambda _, text: heard.append(text)).root
    assert root.is_relative_to(tmp_path / "work")
    assert [path.read_text() for path in root.rglob("a.txt")] == ["meow"]
    assert archive.read_bytes() == before
    assert heard == [f"unpacking {archive.name}"]


def test_the_sample_is_drawn_with_its_options(tmp_path: Path) -> None:
    root = bring("sample://workbench", tmp_path).root
    assert len(list(root.rglob("*.jpg"))) == 20


def test_a_sample_smaller_than_it_can_be_is_refused(tmp_path: Path) -> None:
    small = LoadOptions(source="sample://workbench", sample=SampleOptions(images=3))
    with pytest.raises(ConfigError, match="20"):
        fetch(small.source, tmp_path, small)


@pytest.mark.parametrize(
    "source", ["sample://kitchen", "http://example.org/cats.zip", "/no/such/folder", "s3://No/x", "gopher://x/y"]
)
def test_what_cannot_be_fetched_is_named_in_one_sentence(tmp_path: Path, source: str) -> None:
    with pytest.raises(SourceError) as caught:
        bring(source, tmp_path / "work")
    assert repr(source) in str(caught.value)
    assert not (tmp_path / "work").exists()


def test_an_archive_of_the_web_is_downloaded_and_unpacked(site: Any, tmp_path: Path) -> None:
    url = site.file("/get?id=1".partition("?")[0], coco_zip()) + "?id=1"
    gathered = gather(LoadOptions(source=url, allow_private_addresses=True), tmp_path / "work")
    assert gathered.formats == "coco"
    assert Path(gathered.parsed.images.item(0, "path")).read_bytes() == b"a"
    assert not list((tmp_path / "work").rglob("*.zip"))  # not kept twice


def test_an_archive_on_a_private_address_needs_the_parameter(secure_site: Any, tmp_path: Path) -> None:
    url = secure_site.file("/cats.zip", coco_zip())
    with pytest.raises(UnsafeInputError, match="loopback"):
        gather(LoadOptions(source=url), tmp_path / "work")
    assert secure_site.requests == []


@pytest.mark.usefixtures("loopback_is_public")
def test_an_https_archive_is_loaded_with_its_certificate_checked(secure_site: Any, tmp_path: Path) -> None:
    url = secure_site.file("/cats.zip", coco_zip())
    assert gather(LoadOptions(source=url), tmp_path / "work").parsed.annotations.height == 1


def test_an_annotation_file_of_the_web_comes_alone_and_says_where_it_lay(site: Any, tmp_path: Path) -> None:
    fetched = bring(site.file("/data/x.json", json.dumps(COCO).encode()), tmp_path, allow_private_addresses=True)
    assert [path.name for path in fetched.root.iterdir()] == ["x.json"]
    assert fetched.image_base == site.url("/data")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"<!doctype html><title>Sign in</title>", "web page"),
        (b"", "is empty"),
        (b"\x7fELF", "neither an archive"),
        (coco_zip()[:200], "damaged or cut short"),
    ],
)
def test_what_the_web_gives_instead_of_an_archive_is_one_sentence(
    site: Any, tmp_path: Path, body: bytes, said: str
) -> None:
    with pytest.raises(SourceError, match=said) as caught:
        bring(site.file("/cats.zip", body), tmp_path, allow_private_addresses=True)
    assert "\n" not in str(caught.value)


def test_a_missing_file_of_the_web_is_bad_input(site: Any, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="There is nothing at") as caught:
        bring(site.url("/none.zip"), tmp_path, allow_private_addresses=True)
    assert caught.value.exit_code == 2


def test_a_prefix_and_an_archive_in_a_bucket_are_the_same_data_set(
    s3_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    base = f"s3://{s3_server.bucket}/sources/{tmp_path.name}"
    store = S3Store.from_environment(base)
    store.write("cats/annotations/instances.json", json.dumps(COCO).encode())
    store.write("cats/images/a.jpg", b"a")
    store.write("packed/cats.zip", coco_zip())
    found = [
        gather(LoadOptions(source=f"{base}/{key}"), tmp_path / str(number)).parsed
        for number, key in enumerate(("cats", "cats/", "packed/cats.zip", "packed"))
    ]
    for parsed in found:
        assert parsed.classes == ("cat",)
        assert parsed.images.get_column("name").to_list() == found[0].images.get_column("name").to_list()
        assert Path(parsed.images.item(0, "path")).read_bytes() == b"a"
