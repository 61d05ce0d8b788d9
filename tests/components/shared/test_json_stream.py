"""A JSON file read a piece at a time gives what the whole of it holds, and refuses what the whole of it would."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.shared import json_stream
from components.shared.documents import parse_json
from components.shared.errors import FormatError, InputError, SourceError, UnsafeInputError
from components.shared.json_stream import JsonFile, texts_in

SETTINGS = settings(max_examples=2 * settings().max_examples)
BLOCKS = [1, 2, 3, 7, 16, 61, 1 << 20]

texts = st.text(max_size=6) | st.sampled_from(['"', "\\", '\\"', "[", "}", "{[", '"]', "\\\\", ",", "[]"])
scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4), max_leaves=12
)
documents = st.dictionaries(texts, values, max_size=5) | st.lists(values, max_size=6) | scalars
layouts = st.fixed_dictionaries({"indent": st.sampled_from([None, 1]), "ensure_ascii": st.booleans()})
Write = Callable[[bytes], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def make(data: bytes) -> Path:
        path = tmp_path / "a.json"
        path.write_bytes(data)
        return path

    return make


def everything(path: Path, block: int) -> object:
    """What a file holds, lists and the document's kind only; reads and checks all of it."""
    file = JsonFile(path, path.name, block=block)
    file.check()
    return list(file.records()) if file.is_list else {key: list(file.records(key)) for key in file.lists}


def expected(data: bytes) -> object:
    content = parse_json(data, "a.json")
    if isinstance(content, dict):
        return {key: value for key, value in content.items() if isinstance(value, list)}
    return content if isinstance(content, list) else {}


def same(left: object, right: object) -> bool:
    return repr(left) == repr(right) or left == right


@SETTINGS
@given(documents, layouts, st.sampled_from(BLOCKS), st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32-le"]))
def test_any_document_gives_its_lists(content: object, layout: dict[str, bool], block: int, encoding: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        data = json.dumps(content, **layout).encode(encoding, "surrogatepass")
        path = Path(folder) / "a.json"
        path.write_bytes(data)
        assert same(everything(path, block), expected(data))


@SETTINGS
@given(
    documents,
    st.sampled_from(BLOCKS),
    st.integers(0, 200),
    st.integers(0, 3),
    st.sampled_from([b"", b'"', b"\\", b"[", b"]", b"{", b"}", b",", b":", b"0", b" ", b"\n", b"\xff", b"x", b"\0"]),
)
def test_any_damage_is_found_or_harmless(content: object, block: int, place: int, cut: int, inserted: bytes) -> None:
    text = json.dumps(content, ensure_ascii=False).encode("utf-8", "surrogatepass")
    place %= len(text) + 1
    damaged = text[:place] + inserted + text[place + cut :]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.json"
        path.write_bytes(damaged)
        try:
            wanted = expected(damaged)
        except InputError:
            with pytest.raises(InputError, match=r"a\.json"):
                everything(path, block)
        else:
            assert same(everything(path, block), wanted)


@pytest.mark.parametrize("block", BLOCKS)
def test_the_second_of_two_members_with_one_key_counts(write: Write, block: int) -> None:
    path = write(b'{"a": [1], "b": [2], "a": [3, 4], "b": 5, "c": 6, "c": [7]}')
    assert everything(path, block) == {"a": [3, 4], "c": [7]}


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize(
    "broken",
    [b"[{}, ]", b"[{},, {}]", b"[{} {}]", b"[,{}]", b'{"a": 1[]}', b'{"a": []0}', b"[]]", b"[][]", b"{}{}", b'{"a" []}']
    + [b"[{}", b'{"a": [{}, {}', b'{"a": [{}}', b'{"a": [{]}', b'{"a": ["}]', b'{"a": {}', b"", b" ", b"[", b"]", b"}"],
)
def test_what_is_no_json_as_a_whole_is_refused(write: Write, broken: bytes, block: int) -> None:
    with pytest.raises(FormatError, match=r"^'a\.json' is not valid JSON: line 1: "):
        everything(write(broken), block)


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize(
    ("broken", "line"),
    [
        (b'{"a": [\n{},\n{},\n{1}\n]}', 4),
        (b'{"a": [\n{},\n{}],\n"b": tru}', 4),
        (b'{\n"a": [{}, {}\n, {}],\n"b": {"c": [}\n}', 4),
        (b'[\n\n{"a": 1},\n{"a": 1}', 4),
    ],
)
def test_an_error_is_placed_on_its_line(write: Write, broken: bytes, line: int, block: int) -> None:
    with pytest.raises(FormatError, match=f"line {line}:"):
        everything(write(broken), block)


@pytest.mark.parametrize("block", BLOCKS)
def test_bytes_that_are_no_text_are_placed_on_their_line(write: Write, block: int) -> None:
    for broken in (b'{"a": [{},\n{"b": "\xff"}]}', b'{"a": [{}],\n"b": "\xff"}'):
        with pytest.raises(FormatError, match="line 2 holds the byte 0xff"):
            everything(write(broken), block)


@pytest.mark.parametrize("nested", [b"[" * 100_000, b'{"a": [' * 101 + b"]}" * 101, b"[[], " + b"[" * 200])
def test_what_nests_too_deeply_is_refused(write: Write, nested: bytes) -> None:
    with pytest.raises(UnsafeInputError, match="more than 100 deep"):
        everything(write(nested), 64)


def test_a_file_above_its_limit_is_refused(write: Write) -> None:
    with pytest.raises(UnsafeInputError, match="the limit for such a file is 10"):
        JsonFile(write(b" " * 11), "a.json", limit=10)


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"'gone\.json' cannot be read"):
        JsonFile(tmp_path / "gone.json", "gone.json")


def test_a_long_list_is_held_a_piece_at_a_time(write: Write) -> None:
    path = write(json.dumps({"a": [{"id": number} for number in range(5000)]}).encode())
    file = JsonFile(path, "a.json", block=1000)
    pieces = [len(piece) for piece in file._pieces(file._values["a"])]
    assert sum(pieces) == 5000
    assert max(pieces) < 200


def test_a_list_somebody_will_read_is_not_checked_twice(write: Write) -> None:
    file = JsonFile(write(b'{"a": [1, x], "b": {"c": 2}}'), "a.json")
    file.check(but=frozenset({"a", "no such key"}))
    with pytest.raises(FormatError, match="line 1"):
        list(file.records("a"))


@pytest.mark.parametrize("block", [1, 2, 3, 5, 100])
def test_texts_are_found_wherever_a_block_ends(write: Write, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "BLOCK", block)
    path = write(b'..."data": "result')
    assert texts_in(path, [b'"data"', b'"result"', b"..", b"t"]) == {b'"data"', b"..", b"t"}
    assert texts_in(path, []) == frozenset()
    assert texts_in(write(b""), [b"a"]) == frozenset()
