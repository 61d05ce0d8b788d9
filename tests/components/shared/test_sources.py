from pathlib import Path

import pytest

from components.shared.errors import SourceError
from components.shared.sources import check_source, is_sample, local_path, name_of


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("/data/My Photos.tar.gz", "my-photos"),
        ("raccoon_voc/", "raccoon_voc"),
        ("sample://workbench", "workbench"),
        ("/data/Größe.zip", "groe"),
        ("/data/...", "dataset"),
        ("/data/cats/.", "cats"),
        ("/data/cats/..", "data"),
        ("file:///data/My%20Photos", "my-photos"),
        ("/data/50%20off", "50-20off"),
    ],
)
def test_a_dataset_is_named_after_the_last_part_of_its_source(source: str, name: str) -> None:
    assert name_of(source) == name


def test_a_missing_path_an_empty_folder_and_a_strange_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.docx").write_bytes(b"x")
    for source, reason in (("nowhere", "nothing at"), ("empty", "empty"), ("notes.docx", "cannot be loaded")):
        with pytest.raises(SourceError, match=reason):
            check_source(str(tmp_path / source))


def test_a_file_address_may_have_escaped_characters_and_a_path_may_have_percent_signs(tmp_path: Path) -> None:
    for folder in ("my pictures", "my%20pictures"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.jpg").write_bytes(b"x")
        assert local_path((tmp_path / folder).as_uri()) == tmp_path / folder
        assert local_path(str(tmp_path / folder)) == tmp_path / folder
        check_source((tmp_path / folder).as_uri())


def test_a_file_uri_is_unquoted(tmp_path: Path) -> None:
    (tmp_path / "a b").mkdir()
    (tmp_path / "a b" / "x").touch()
    check_source((tmp_path / "a b").as_uri())


@pytest.mark.parametrize("source", ["", "file://"])
def test_an_empty_source_is_refused(source: str) -> None:
    with pytest.raises(SourceError, match="The source is empty"):
        check_source(source)


def test_an_unknown_scheme_and_an_unknown_sample_are_refused() -> None:
    with pytest.raises(SourceError, match="no reader for ftp"):
        check_source("ftp://host/data.zip")
    with pytest.raises(SourceError, match="no built-in sample"):
        is_sample("sample://garden")
