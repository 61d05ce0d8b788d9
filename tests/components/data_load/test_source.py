import shutil
from pathlib import Path

import pytest

from components.data_load.options import SampleOptions
from components.data_load.source import fetch
from components.shared.errors import ConfigError, SourceError

SAMPLE = SampleOptions(images=20, edge=96, seed=1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "cats").mkdir()
    (tmp_path / "cats" / "a.txt").write_text("meow")
    return tmp_path / "cats"


def test_a_folder_is_used_where_it_is(folder: Path, tmp_path: Path) -> None:
    assert fetch(str(folder), tmp_path / "work", SAMPLE) == folder
    assert not (tmp_path / "work").exists()


def test_a_file_uri_means_the_path(folder: Path, tmp_path: Path) -> None:
    assert fetch(folder.as_uri(), tmp_path / "work", SAMPLE) == folder


@pytest.mark.parametrize("kind", ["zip", "tar", "gztar"])
def test_an_archive_is_unpacked_below_the_work_folder_and_itself_left_alone(
    folder: Path, tmp_path: Path, kind: str
) -> None:
    archive = Path(shutil.make_archive(str(tmp_path / "packed"), kind, folder))
    before = archive.read_bytes()
    heard: list[str] = []
    root = fetch(str(archive), tmp_path / "work", SAMPLE, lambda _, text: heard.append(text))
    assert root.is_relative_to(tmp_path / "work")
    assert [path.read_text() for path in root.rglob("a.txt")] == ["meow"]
    assert archive.read_bytes() == before
    assert heard == [f"unpacking {archive.name}"]


def test_the_sample_is_drawn_with_its_options(tmp_path: Path) -> None:
    root = fetch("sample://workbench", tmp_path, SAMPLE)
    assert len(list(root.rglob("*.jpg"))) == 20


def test_a_sample_smaller_than_it_can_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="20"):
        fetch("sample://workbench", tmp_path, SampleOptions(images=3))


@pytest.mark.parametrize("source", ["sample://kitchen", "https://example.org/cats.zip", "/no/such/folder"])
def test_what_cannot_be_fetched_is_named_in_one_sentence(tmp_path: Path, source: str) -> None:
    with pytest.raises(SourceError) as caught:
        fetch(source, tmp_path / "work", SAMPLE)
    assert repr(source) in str(caught.value)
    assert not (tmp_path / "work").exists()
