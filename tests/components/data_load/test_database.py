import logging
import os
import shutil
import socket
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from components.data_load import database
from components.data_load.database import read_database
from components.data_load.database_rows import Columns, Images, to_parsed
from components.data_load.gather import gather
from components.data_load.options import LoadOptions
from components.shared.errors import ConfigError, SourceError
from components.shared.formats.base import PARSED_ANNOTATIONS, PARSED_IMAGES, Parsed
from components.shared.ledger import Rule

pytestmark = pytest.mark.xdist_group("database")
psycopg = pytest.importorskip("psycopg", reason="the optional extra 'sql' is not installed")

TABLE = """create table boxes (
    image text, label text, x double precision, y double precision, width double precision, height double precision,
    split text, score double precision, image_width integer, image_height integer)"""
ROWS = [
    ("img/a.jpg", "cat", 1.5, 2, 10, 8, "train", None, 40, 24),
    ("img/a.jpg", "dog", 0, 0, 5, 5, "train", 0.75, 40, 24),
    ("b c.jpg", None, None, None, None, None, "valid", None, None, None),
    ("s3://bucket/x/d.jpg", "cat", 1, 1, 2, 2, "TEST", None, None, None),
    ("https://images.test/e%20e.jpg?sig=1", "cat", 1, 1, 2, 2, None, None, None, None),
]
QUERY = "select image, label, x, y, width, height, split, score, image_width, image_height from boxes"
PASSWORD = "gäheim/@:?pass"


@dataclass
class Postgres:
    port: int

    @property
    def source(self) -> str:
        return f"postgresql+psycopg://reader@127.0.0.1:{self.port}/postgres"

    def run(self, *statements: str, rows: list[tuple[object, ...]] | None = None) -> None:
        with psycopg.connect(
            host="127.0.0.1", port=self.port, user="postgres", password=PASSWORD, dbname="postgres", autocommit=True
        ) as connection:
            for statement in statements:
                connection.execute(statement)
            if rows:
                marks = ", ".join(["%s"] * len(rows[0]))
                connection.cursor().executemany(f"insert into boxes values ({marks})", rows)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A PostgreSQL of this test session that asks for a password, on a free port of the loopback."""
    binaries = {name: shutil.which(name) for name in ("initdb", "postgres")}
    if not all(binaries.values()):
        pytest.skip("there is no PostgreSQL on this machine (initdb, postgres)")
    home = tmp_path_factory.mktemp("postgres")
    (home / "password").write_text(PASSWORD)
    other = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"] if os.geteuid() == 0 else []
    if other:
        if shutil.which("setpriv") is None:
            pytest.skip("PostgreSQL does not run as root, and there is no setpriv to be somebody else")
        for folder in (home, *home.parents):
            if folder.is_relative_to("/tmp") and folder != Path("/tmp"):
                folder.chmod(0o755)
        shutil.chown(home, "nobody", "nogroup")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    data = home / "data"
    create = [str(binaries["initdb"]), "-D", data, "-U", "postgres", "--auth=scram-sha-256", "-E", "UTF8", "--no-sync"]
    made = subprocess.run(
        [*other, *create, f"--pwfile={home / 'password'}"], capture_output=True, text=True, cwd="/", check=False
    )
    if made.returncode:
        pytest.skip(f"initdb does not run here: {made.stderr.strip()[-300:]}")
    start = [str(binaries["postgres"]), "-D", data, "-p", str(port), "-k", home, "-h", "127.0.0.1", "-F"]
    server = subprocess.Popen([*other, *start], cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    found = Postgres(port)
    deadline = time.monotonic() + 30
    while True:
        try:
            found.run(
                TABLE, f"create role reader login password '{PASSWORD}'", "grant all on boxes to reader", rows=ROWS
            )
            break
        except psycopg.OperationalError:
            if time.monotonic() > deadline or server.poll() is not None:
                raise
            time.sleep(0.1)
    yield found
    server.terminate()
    server.wait(20)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def source(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of a database that holds ROWS, of each kind."""
    monkeypatch.delenv("PGPASSWORD", raising=False)
    (tmp_path / "img").mkdir()
    (tmp_path / "img" / "a.jpg").write_bytes(b"a")
    (tmp_path / "b c.jpg").write_bytes(b"b")
    monkeypatch.delenv("PIPELINE_SQL_PASSWORD", raising=False)
    monkeypatch.delenv("PIPELINE_SQL_IMAGES", raising=False)
    if request.param == "sqlite":
        return sqlite(tmp_path, ROWS)
    server: Postgres = request.getfixturevalue("postgres")
    monkeypatch.setenv("PIPELINE_SQL_PASSWORD", PASSWORD)
    monkeypatch.setenv("PIPELINE_SQL_IMAGES", str(tmp_path))
    return server.source


def sqlite(folder: Path, rows: list[tuple[object, ...]]) -> str:
    path = folder / "data set.db"
    with sqlite3.connect(path) as connection:
        connection.execute(TABLE)
        connection.executemany(f"insert into boxes values ({', '.join('?' * len(ROWS[0]))})", rows)
    connection.close()
    return f"sqlite:///{path}"


def read_rows(tmp_path: Path, rows: list[tuple[object, ...]], query: str = QUERY) -> Parsed:
    return read_database(sqlite(tmp_path, rows), query)


def test_rows_become_images_and_boxes(source: str, tmp_path: Path) -> None:
    parsed = read_database(source, QUERY)
    assert parsed.classes == ("cat", "dog")
    assert dict(parsed.images.schema) == PARSED_IMAGES
    assert dict(parsed.annotations.schema) == PARSED_ANNOTATIONS
    columns = ("name", "path", "uri", "split", "declared_width", "declared_height")
    assert parsed.images.select(columns).rows() == [
        ("img/a.jpg", str(tmp_path / "img" / "a.jpg"), None, "train", 40, 24),
        ("b c.jpg", str(tmp_path / "b c.jpg"), None, "val", None, None),
        ("bucket/x/d.jpg", None, "s3://bucket/x/d.jpg", "test", None, None),
        ("images.test/e e.jpg?sig=1", None, "https://images.test/e%20e.jpg?sig=1", None, None, None),
    ]
    columns = ("image_id", "category", "x", "y", "width", "height", "score", "kind", "relative")
    assert parsed.annotations.select(columns).rows() == [
        (0, "cat", 1.5, 2.0, 10.0, 8.0, None, "ground_truth", False),
        (0, "dog", 0.0, 0.0, 5.0, 5.0, 0.75, "prediction", False),
        (2, "cat", 1.0, 1.0, 2.0, 2.0, None, "ground_truth", False),
        (3, "cat", 1.0, 1.0, 2.0, 2.0, None, "ground_truth", False),
    ]
    assert parsed.ledger == ()


def test_a_source_of_the_pipeline_may_be_a_database(source: str, tmp_path: Path) -> None:
    gathered = gather(LoadOptions(source=source, sql_query=QUERY), tmp_path / "work")
    assert (gathered.formats, gathered.parsed.annotations.height) == ("sql", 4)


@pytest.mark.parametrize(
    "query",
    [
        "select file_name as PATH, klass as Category, x as xmin, y as ymin, x + 3 as xmax, y + 4 as ymax from t",
        "with u as (select * from t) select file_name, klass as class, x, y, 3 as width, 4.0 as height from u;",
        "/* which; */ select file_name as uri, klass as label, x, y, '3' as width, 4 as height from t -- one; two",
    ],
)
def test_other_names_of_the_columns_and_two_corners_are_understood(source: str, query: str) -> None:
    table = "(select 'img/a.jpg' as file_name, 'a%b:c' as klass, 1.5 as x, 2.5 as y) as t"
    parsed = read_database(source, query.replace("from t", f"from {table}"))
    assert parsed.annotations.select("category", "x", "y", "width", "height").rows() == [("a%b:c", 1.5, 2.5, 3.0, 4.0)]


@pytest.mark.parametrize(
    "query",
    [
        *("delete from boxes", "update boxes set label = 'x'", "drop table boxes", "", "-- nothing"),
        "select image, label, x, y, width, height from boxes; delete from boxes",
        "with gone as (delete from boxes returning *) select image, label, x, y, width, height from gone",
        "insert into boxes (image) values ('x') returning image",
    ],
)
def test_no_query_can_write(source: str, query: str) -> None:
    with pytest.raises((ConfigError, SourceError)):
        read_database(source, query)
    assert read_database(source, QUERY).annotations.height == 4


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("select image from boxes", "yields the columns image, but not label and x, y, width, height"),
        ("select image, label, x, y, width from boxes", "not x, y, width, height"),
        ("select image, image as path, label, x, y, width, height from boxes", "'image' and 'path'.* mean the same"),
        ("select * from nothing", "nothing"),
        ("select image, label frm boxes", "boxes"),
        ("select 1 as 'a", "says"),
    ],
)
def test_a_query_that_does_not_fit_is_one_sentence(source: str, query: str, said: str) -> None:
    with pytest.raises(SourceError, match=said) as caught:
        read_database(source, query)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


@pytest.mark.slow
def test_the_password_is_in_no_message_nor_log(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    wrong = postgres.source.replace(str(postgres.port), "1")
    bad = postgres.source.replace("reader", "nobody")
    monkeypatch.delenv("PGPASSWORD", raising=False)
    monkeypatch.setenv("PIPELINE_SQL_PASSWORD", PASSWORD)
    for source in (wrong, bad, postgres.source + "?sslmode=verify-full", postgres.source + "?nonsense=1"):
        with pytest.raises(SourceError) as caught:
            read_database(source, QUERY)
        error: BaseException | None = caught.value
        while error is not None:
            assert PASSWORD not in str(error)
            error = error.__cause__
    assert PASSWORD not in caplog.text


@pytest.mark.slow
def test_libpqs_own_variable_gives_the_password_too(
    postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIPELINE_SQL_PASSWORD", raising=False)
    monkeypatch.setenv("PIPELINE_SQL_IMAGES", str(tmp_path))
    with pytest.raises(SourceError, match="no password supplied"):
        read_database(postgres.source, QUERY)
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    assert read_database(postgres.source.replace("+psycopg", ""), QUERY).images.height == 4


@pytest.mark.parametrize("secret", ["reader:hidden@127.0.0.1/db", "127.0.0.1/db?password=hidden", "u:hid/den@h/db"])
def test_an_address_with_a_password_is_refused_without_showing_it(tmp_path: Path, secret: str) -> None:
    with pytest.raises(SourceError, match="PIPELINE_SQL_PASSWORD") as caught:
        gather(LoadOptions(source=f"postgresql+psycopg://{secret}", sql_query=QUERY), tmp_path)
    assert "hid" not in str(caught.value)


@pytest.mark.slow
def test_a_hundred_thousand_rows_are_streamed(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_SQL_PASSWORD", PASSWORD)
    query = """select 's3://b/' || n / 9 || '.jpg' as image, 'c' || n % 7 as label, 1 as x, 2 as y,
               3::numeric as width, 4::real as height from generate_series(0, 99999) as n"""
    heard: list[str] = []
    parsed = read_database(postgres.source, query, lambda _, text: heard.append(text))
    assert (parsed.images.height, parsed.annotations.height, len(parsed.classes)) == (11112, 100_000, 7)
    assert heard[:2] == [f"{database.BATCH} rows", f"{2 * database.BATCH} rows"]


def test_rows_that_are_none_are_in_the_ledger_and_their_images_stay(tmp_path: Path) -> None:
    none = (None,) * 4
    parsed = read_rows(
        tmp_path,
        [
            ("a.jpg", "cat", 1, 2, None, 4, *none),
            ("a.jpg", "cat", 1, "wide", 3, 4, *none),
            ("a.jpg", "cat", *none, *none),
            ("b.jpg", None, 1, 2, 3, 4, *none),
            (None, "cat", 1, 2, 3, 4, *none),
        ],
    )
    assert [(entry.image, entry.annotation) for entry in parsed.ledger] == [
        *(("row 5", None), ("a.jpg", "row 1"), ("a.jpg", "row 2"), ("a.jpg", "row 3")),
    ]
    assert {entry.rule for entry in parsed.ledger} == {Rule.MALFORMED}
    assert parsed.images.get_column("name").to_list() == ["a.jpg", "b.jpg"]
    assert parsed.annotations.select("image_id", "category", "x").rows() == [(1, None, 1.0)]


def test_paths_that_leave_the_folder_are_rejected(tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "s.jpg").write_bytes(b"s")
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "link.jpg").symlink_to(tmp_path / "secret" / "s.jpg")
    (folder / "in.jpg").write_bytes(b"i")
    rest = ("cat", 1, 1, 2, 2, None, None, None, None)
    hostile = [
        "../secret/s.jpg",
        "/etc/passwd",
        "link.jpg",
        "a\\..\\..\\s.jpg",
        "file:///etc/passwd",
        "s3://b/../x",
        "a\nb",
    ]
    good = [str(folder / "in.jpg"), "in.jpg", "./in.jpg"]
    parsed = read_rows(folder, [(name, *rest) for name in (*hostile, *good)])
    assert parsed.images.select("name", "path").rows() == [("in.jpg", str(folder / "in.jpg"))]
    assert parsed.annotations.height == 3  # three ways to write one path are one image
    assert [entry.rule for entry in parsed.ledger] == [Rule.UNSAFE_NAME] * len(hostile)


def test_relative_paths_stand_below_a_folder_or_address_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIPELINE_SQL_IMAGES", "s3://bucket/photos/")
    assert read_rows(tmp_path, ROWS[:1]).images.row(0, named=True)["uri"] == "s3://bucket/photos/img/a.jpg"
    monkeypatch.delenv("PIPELINE_SQL_IMAGES")
    columns = Columns.of(["image", "label", "x", "y", "width", "height"])
    with pytest.raises(SourceError, match="PIPELINE_SQL_IMAGES"):
        to_parsed(columns, [[("a.jpg", "cat", 1, 2, 3, 4)]], Images(None, None))


def test_values_of_every_driver_are_understood() -> None:
    columns = Columns.of(["image", "label", "x", "y", "width", "height", "split"])
    rows = [("s3://b/a.jpg", 7, Decimal("1.25"), 2, "3.5", float("nan"), "Training"), (b"s3://b/b.jpg", *[None] * 6)]
    parsed = to_parsed(columns, [rows], Images(None, None))
    assert parsed.classes == ("7",)
    assert parsed.annotations.select("x", "width").row(0) == (1.25, 3.5)
    assert parsed.images.select("name", "split").rows() == [("b/a.jpg", "train"), ("b/b.jpg", None)]
    assert parsed.annotations.get_column("height").is_nan().all()


def test_an_image_that_two_rows_put_into_different_splits_belongs_to_none(tmp_path: Path) -> None:
    rows = [("a.jpg", "cat", 1, 1, 2, 2, split, None, None, None) for split in ("train", "val")]
    assert read_rows(tmp_path, rows).images.get_column("split").to_list() == [None]


def test_a_query_without_rows_gives_no_images(tmp_path: Path) -> None:
    parsed = read_rows(tmp_path, [])
    assert (parsed.images.height, parsed.annotations.height, parsed.classes) == (0, 0, ())


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("sqlite:///nowhere/x.db", "no database file"),
        ("mysql+pymysql://u@127.0.0.1/db", r"optional extra 'sql'|says"),
        ("trino://u@h/db", "trino|says"),
    ],
)
def test_a_database_that_cannot_be_opened_is_one_sentence(source: str, said: str) -> None:
    with pytest.raises((SourceError, ConfigError), match=said) as caught:
        read_database(source, QUERY)
    assert str(caught.value).endswith(".")


def test_without_the_optional_extra_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "sqlalchemy", None)
    with pytest.raises(ConfigError, match="optional extra 'sql'"):
        read_rows(tmp_path, ROWS)


def test_a_text_file_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_text("not a database " * 100)
    with pytest.raises(SourceError, match="not a database"):
        read_database(f"sqlite:///{tmp_path / 'x.db'}", QUERY)


def test_the_tables_have_their_types_whatever_the_rows(tmp_path: Path) -> None:
    parsed = read_rows(tmp_path, ROWS[2:3])
    assert parsed.annotations.schema == pl.Schema(PARSED_ANNOTATIONS)
    assert parsed.images.schema == pl.Schema(PARSED_IMAGES)
