import math
import time
from collections.abc import Callable

import pytest

from components.shared.documents import parse_json, parse_xml, parse_yaml
from components.shared.errors import FormatError, UnsafeInputError

BOM = b"\xef\xbb\xbf"
BILLION_LAUGHS = b'<!DOCTYPE a [<!ENTITY b "ha"><!ENTITY c "&b;&b;">]><a>&c;</a>'


def test_json_with_a_bom_and_non_finite_numbers_is_read() -> None:
    value = parse_json(BOM + b'{"a": [1, NaN, -Infinity]}', "a.json")
    assert value["a"][0] == 1
    assert math.isnan(value["a"][1])
    assert value["a"][2] == -math.inf


def test_broken_json_is_named_with_its_line() -> None:
    with pytest.raises(FormatError, match=r"'a.json' is not valid JSON: line 3"):
        parse_json(b'{\n"a": 1,\n}', "a.json")


def test_json_that_is_not_text_is_named_with_its_line() -> None:
    with pytest.raises(FormatError, match=r"line 2 holds the byte 0xff"):
        parse_json(b'["\n\xff"]', "a.json")


@pytest.mark.parametrize("nested", [b"[" * 100_000, b"[" * 101 + b"]" * 101, b'{"a":' * 101 + b"1" + b"}" * 101])
def test_json_nested_too_deeply_is_refused(nested: bytes) -> None:
    with pytest.raises(UnsafeInputError, match="more than 100 deep"):
        parse_json(nested, "a.json")


def test_brackets_inside_json_strings_do_not_count_as_nesting() -> None:
    assert parse_json(b'["' + b"[{" * 200 + b'\\""]', "a.json") == ["[{" * 200 + '"']


def test_a_json_number_of_absurd_length_is_an_error_and_no_crash() -> None:
    with pytest.raises(FormatError, match=r"a\.json"):
        parse_json(b"1" * 5000, "a.json")


@pytest.mark.parametrize("parse", [parse_json, parse_xml, parse_yaml])
def test_a_document_above_its_limit_is_refused(parse: Callable[..., object]) -> None:
    with pytest.raises(UnsafeInputError, match="the limit for such a file is 10"):
        parse(b" " * 11, "big", limit=10)


def test_xml_is_read() -> None:
    assert parse_xml(BOM + b"<a><b>1</b></a>", "a.xml").findtext("b") == "1"


def test_broken_xml_is_named_with_its_line() -> None:
    with pytest.raises(FormatError, match=r"'a.xml' is not valid XML: line 2: mismatched tag"):
        parse_xml(b"<a>\n<b></a>", "a.xml")


@pytest.mark.parametrize(
    "hostile", [BILLION_LAUGHS, b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>']
)
def test_xml_with_entities_is_refused(hostile: bytes) -> None:
    with pytest.raises(UnsafeInputError, match="declares entities"):
        parse_xml(hostile, "a.xml")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("text", ["<a>" * 101 + "</a>" * 101, "<a>" * 100 + "<b/>" + "</a>" * 100])
def test_xml_nested_too_deeply_is_refused(text: str, encoding: str) -> None:
    with pytest.raises(UnsafeInputError, match="more than 100 deep"):
        parse_xml(text.encode(encoding), "a.xml")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp037", "utf-7"])
@pytest.mark.parametrize("declared", [True, False])
def test_xml_entities_hide_in_no_encoding(encoding: str, declared: bool) -> None:
    head = f'<?xml version="1.0" encoding="{encoding}"?>' if declared else ""
    document = head + BILLION_LAUGHS.decode()
    with pytest.raises((UnsafeInputError, FormatError), match=r"a\.xml"):
        parse_xml(document.encode(encoding), "a.xml")


def test_xml_is_read_in_the_encoding_it_declares() -> None:
    for encoding in ("utf-8", "UTF-8", "iso-8859-1", "utf-16"):
        document = f'<?xml version="1.0" encoding="{encoding}"?>\n<a><b>größe</b></a>'.encode(encoding)
        assert parse_xml(document, "a.xml").findtext("b") == "größe"


def test_yaml_is_read_with_its_types() -> None:
    assert parse_yaml(BOM + b"a: 1\nb: [yes, null, x]", "a.yaml") == {"a": 1, "b": [True, None, "x"]}


def test_yaml_as_text_keeps_what_stands_in_the_file() -> None:
    content = parse_yaml(b"names: {0: no, 1: null, 2: 1.50, 3: 2020-01-01, 4: 'on'}", "a.yaml", text=True)
    assert content == {"names": {"0": "no", "1": "null", "2": "1.50", "3": "2020-01-01", "4": "on"}}


@pytest.mark.parametrize(
    "hostile",
    [
        b"!!python/object/apply:os.system ['echo']",
        b"a: !!python/name:os.system",
        b"a: !custom 1",
        b"a: !!binary aGk=",
    ],
)
@pytest.mark.parametrize("text", [False, True])
def test_yaml_with_tags_is_refused(hostile: bytes, *, text: bool) -> None:
    with pytest.raises(UnsafeInputError, match=r"uses the tag .* on line 1"):
        parse_yaml(hostile, "a.yaml", text=text)


def test_yaml_with_aliases_is_refused() -> None:
    with pytest.raises(UnsafeInputError, match="uses an alias on line 2"):
        parse_yaml(b"a: &a [x]\nb: *a", "a.yaml")


def test_yaml_nested_too_deeply_is_refused() -> None:
    with pytest.raises(UnsafeInputError, match="more than 100 deep"):
        parse_yaml(b"[" * 2000, "a.yaml")


@pytest.mark.parametrize("broken", [b"a: [1", b"a: 1\n---\nb: 2", b"a: \xff", b"a: 2020-99-99", b"{a: b}: c", b"\x00"])
def test_broken_yaml_is_named(broken: bytes) -> None:
    with pytest.raises(FormatError, match=r"^'a.yaml'"):
        parse_yaml(broken, "a.yaml")


@pytest.mark.parametrize("broken", [b"a: 1\nb: c: d", b"a:\n- [1", b"- a\nb\n"])
def test_broken_yaml_is_named_with_its_line(broken: bytes) -> None:
    with pytest.raises(FormatError, match="line 2"):
        parse_yaml(broken, "a.yaml")


@pytest.mark.slow
def test_a_long_list_of_yaml_is_read_in_no_time() -> None:
    started = time.process_time()
    assert len(parse_yaml(b"- a\n" * 150_000, "a.yaml", text=True)) == 150_000
    assert time.process_time() - started < 4
