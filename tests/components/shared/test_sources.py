from pathlib import Path

import pytest

from components.shared.errors import SourceError
from components.shared.source_addresses import redacted
from components.shared.sources import (
    Kind,
    check_source,
    kind_of,
    local_path,
    local_paths,
    name_of,
    settled,
    shown_sources,
    split_sources,
)


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
        kind_of("sample://garden")


@pytest.mark.parametrize(
    ("source", "kind", "name"),
    [
        ("sample://workbench", Kind.SAMPLE, "workbench"),
        ("/data/cats", Kind.LOCAL, "cats"),
        ("file:///data/cats", Kind.LOCAL, "cats"),
        ("s3://bucket", Kind.S3, "bucket"),
        ("s3://bucket/Big Cats/", Kind.S3, "big-cats"),
        ("https://host/x/cats.tar.gz?sig=1#top", Kind.WEB, "cats"),
        ("https://host/", Kind.WEB, "host"),
        ("http://host/annotations.json", Kind.WEB, "annotations"),
        ("postgresql+psycopg://u@host:5432/my_db", Kind.DATABASE, "my_db"),
        ("postgresql:///db?host=/tmp", Kind.DATABASE, "db"),
        ("sqlite:////data/boxes.db", Kind.DATABASE, "boxes"),
        ("mssql+pyodbc://u@h/db", Kind.DATABASE, "db"),
        ("labelstudio://host:8080/12", Kind.LABEL_STUDIO, "label-studio-12"),
        ("labelstudio+http://host/sub/12", Kind.LABEL_STUDIO, "label-studio-12"),
        ('["s3://bucket/dogs", "/data/cats"]', Kind.S3, "dogs"),
        ("https://host/dogs.zip\ns3://bucket/cats", Kind.WEB, "dogs"),
    ],
)
def test_the_scheme_tells_the_kind_and_the_last_part_the_name(source: str, kind: Kind, name: str) -> None:
    assert kind_of(split_sources(source)[0]) is kind
    assert name_of(source) == name


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("https://", "no address"),
        ("https://host:0/x", "no address"),
        ("https://[::1/x", "no address"),
        ("https://user@host/x.zip", "user name or password"),
        ("https://user:secret@host/x.zip", "user name or password"),
        ("https://host/a b.zip", "character ' '"),
        ("https://host\\@evil/x.zip", "character"),
        ("s3:///key", "no bucket name"),
        ("s3://UPPER/key", "no bucket name"),
        ("postgresql://u:secret@host/db", "PIPELINE_SQL_PASSWORD"),
        ("postgresql://u:sec/ret@host/db", "PIPELINE_SQL_PASSWORD"),
        ("postgresql://u:sec?ret@host/db", "PIPELINE_SQL_PASSWORD"),
        ("postgresql://u:sec#ret@host/db", "PIPELINE_SQL_PASSWORD"),
        ("postgresql://u:@secret@host/db", "PIPELINE_SQL_PASSWORD"),
        ("postgresql://host/db?user=u&password=secret", "PIPELINE_SQL_PASSWORD"),
        ("mysql+pymysql://host/db?passwd=secret", "PIPELINE_SQL_PASSWORD"),
        ("labelstudio://host/name", "names no project"),
        ("labelstudio://token@host/3", "LABEL_STUDIO_API_KEY"),
        ("labelstudio://host/3?token=secret", "LABEL_STUDIO_API_KEY"),
        ('["/a", 3]', "else than texts"),
        ('["/a", ', "not valid JSON"),
        ("[]", "list of sources is empty"),
        ('["s3://bucket/a", "s3://bucket/a"]', "given twice"),
        ("\n \n", "empty"),
    ],
)
def test_a_malformed_address_is_refused_without_showing_secrets(source: str, said: str) -> None:
    with pytest.raises(SourceError, match=said) as caught:
        check_source(source)
    assert not {"secret", "sec", "ret@"} & set(str(caught.value).replace("/", " ").replace(":", " ").split())
    assert "secret" not in str(caught.value)


def test_what_is_not_known_yet_is_not_judged() -> None:
    check_source("http://host/x.zip")
    check_source("postgresql://host/db")
    with pytest.raises(SourceError, match="not encrypted"):
        check_source("http://host/x.zip", allow_private_addresses=False)
    with pytest.raises(SourceError, match="not encrypted"):
        check_source("labelstudio+http://host/3", allow_private_addresses=False)
    with pytest.raises(SourceError, match="sql_query is empty"):
        check_source("postgresql://host/db", sql_query=" ")
    check_source("http://host/x.zip", allow_private_addresses=True)


def test_paths_become_absolute_and_addresses_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert settled("cats") == str(tmp_path / "cats")
    assert settled("s3://bucket/cats") == "s3://bucket/cats"
    assert settled("sample://workbench") == "sample://workbench"
    assert settled("sqlite:///boxes.db?mode=ro") == f"sqlite:///{tmp_path}/boxes.db?mode=ro"
    assert settled("cats\nhttps://host/x.zip") == f'["{tmp_path}/cats", "https://host/x.zip"]'


@pytest.mark.parametrize("name", ["[cats]", '["cats"]', "cats\ndogs", "a:b"])
def test_a_folder_with_a_strange_name_is_that_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "a.jpg").touch()
    monkeypatch.chdir(tmp_path)
    assert split_sources(name) == (name,)
    check_source(name)


def test_the_parts_of_an_address_that_may_hold_secrets_are_not_shown() -> None:
    assert redacted("https://u:p@host/x.zip?X-Amz-Signature=1#f") == "https://host/x.zip"
    assert redacted("postgresql://bob:pw@host/db?password=x") == "postgresql://bob@host/db"
    assert shown_sources('["/a", "https://host/x.zip?sig=1"]') == "/a, https://host/x.zip"
    assert redacted("/data/a?b@c:d") == "/data/a?b@c:d"


def test_only_what_lies_on_this_machine_has_paths_to_look_at() -> None:
    assert local_paths("/data/cats") == (Path("/data/cats"),)
    assert local_paths("sample://workbench\n/data/cats") == (Path("/data/cats"),)
    assert local_paths("sample://workbench") == ()
    for elsewhere in ("s3://bucket/x", "/data/cats\nhttps://host/x.zip", "sqlite:////data/x.db"):
        assert local_paths(elsewhere) is None
