"""JSON, XML and YAML from outside, parsed within bounds: size, depth, no entities, no aliases, no tags."""

import json
import re
from collections.abc import Callable
from xml.etree.ElementTree import Element, ParseError
from xml.etree.ElementTree import fromstring as plain_fromstring

import msgspec
import yaml
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from components.shared.errors import FormatError, UnsafeInputError, in_one_line

try:
    from yaml import CSafeLoader as _SafeLoader  # ten times as fast
except ImportError:
    from yaml import SafeLoader as _SafeLoader  # type: ignore[assignment]

JSON_LIMIT = 4 << 30
XML_LIMIT = 64 << 20
YAML_LIMIT = 4 << 20
DEPTH = 100

_BOM = b"\xef\xbb\xbf"
_BRACKETS = b"[]{}"
_NO_BRACKETS = bytes(byte for byte in range(256) if byte not in _BRACKETS)
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_PLAIN_XML = re.compile(
    rb'(?:\xef\xbb\xbf)?\s*(?:<\?xml version="1\.0"(?: encoding="(?i:utf-8)")?\s*\?>\s*)?<[A-Za-z]'
)  # in UTF-8
_CHUNK = 1 << 24
_DECODER = msgspec.json.Decoder()
_SAFE_TAGS = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null", "seq", "map"))


class _TextLoader(_SafeLoader):
    """Builds mappings, lists and text only: ``1``, ``yes`` and ``null`` stay what the file says."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 - PyYAML's own class attribute


def parse_json(data: bytes, name: str, *, limit: int = JSON_LIMIT, depth: int = DEPTH) -> object:
    """The value a JSON document holds; ``NaN`` and ``Infinity`` become floats, a BOM is skipped.

    Args:
        data: the document, UTF-8 (or 16 or 32).
        name: the file it comes from, for messages.
        limit: largest size in bytes.
        depth: deepest nesting of lists and objects.

    Raises:
        FormatError: it is no JSON; the message names the file and the line.
        UnsafeInputError: it is too large or nested too deeply.
    """
    _check_size(data, name, limit)
    # Brackets inside strings count too in the quick look, so a suspect is looked at again without its strings.
    if _json_depth(data) > depth and _json_depth(_STRING.sub(b"", data)) > depth:
        raise UnsafeInputError(f"{name!r} nests lists and objects more than {depth} deep: flatten it.")
    return decode_json(data, name)


def decode_json(data: bytes, name: str, *, before: Callable[[], int] = lambda: 0) -> object:
    """The value of a JSON text whose size and depth are known to be fit.

    Args:
        data: the text, UTF-8 (or 16 or 32).
        name: the file it comes from, for messages.
        before: tells how many line ends stand before it in that file; asked only when there is an error to place.

    Raises:
        FormatError: it is no JSON; the message names the file and the line.
    """
    try:
        return _DECODER.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        pass  # it knows no NaN, no half surrogate pairs and no lines
    try:
        # Left to itself json.loads takes the pieces of some UTF-8 texts with NUL bytes for UTF-16.
        return json.loads(data.decode(json.detect_encoding(data), "surrogatepass"))
    except json.JSONDecodeError as error:
        raise FormatError(f"{name!r} is not valid JSON: line {before() + error.lineno}: {error.msg}.") from error
    except UnicodeDecodeError as error:
        line = before() + data.count(b"\n", 0, error.start) + 1
        raise FormatError(f"{name!r} is not UTF-8: line {line} holds the byte {data[error.start]:#04x}.") from error
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{name!r} cannot be read as JSON: {error}.") from error


def parse_xml(data: bytes, name: str, *, limit: int = XML_LIMIT, depth: int = DEPTH) -> Element:
    """The root element of an XML document without entity declarations.

    Raises:
        FormatError: it is no XML; the message names the file and the line.
        UnsafeInputError: it is too large, nested too deeply or declares entities.
    """
    _check_size(data, name, limit)
    try:
        # Without a declaration there is no entity to defuse, and the plain parser is four times as fast.
        root: Element = plain_fromstring(data) if _PLAIN_XML.match(data) and b"<!" not in data else fromstring(data)  # noqa: S314
    except ParseError as error:
        line = error.position[0]
        raise FormatError(f"{name!r} is not valid XML: line {line}: {str(error).split(':', 1)[0]}.") from error
    except DefusedXmlException as error:
        raise UnsafeInputError(f"{name!r} declares entities ({type(error).__name__}): remove its DOCTYPE.") from error
    except (ValueError, LookupError) as error:
        raise FormatError(f"{name!r} cannot be read as XML: {error}.") from error
    if data.count(b"</") < depth and b"\0" not in data:
        return root  # too few elements that end to nest deeper than that
    level = [root]
    for _ in range(depth):
        level = [child for element in level for child in element]
        if not level:
            return root
    raise UnsafeInputError(f"{name!r} nests elements more than {depth} deep: flatten it.")


def parse_yaml(data: bytes, name: str, *, text: bool = False, limit: int = YAML_LIMIT, depth: int = DEPTH) -> object:
    """The value a YAML document holds: mappings, lists and plain scalars.

    Args:
        data: one document, UTF-8, with or without a BOM.
        name: the file it comes from, for messages.
        text: True leaves every scalar the text that stands in the file, so a class called ``1`` or ``no`` keeps
            its name.
        limit: largest size in bytes.
        depth: deepest nesting of lists and mappings.

    Raises:
        FormatError: it is no YAML, or more than one document; the message names the file and the line.
        UnsafeInputError: it is too large, nested too deeply, or uses aliases or tags.
    """
    _check_size(data, name, limit)
    try:
        content = data.removeprefix(_BOM).decode("utf-8")
        _check_yaml_events(content, name, depth)
        # SafeLoader and its child build plain values only.
        return yaml.load(content, Loader=_TextLoader if text else _SafeLoader)  # noqa: S506
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise FormatError(f"{name!r} is not UTF-8: line {line} holds the byte {data[error.start]:#04x}.") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        # The parser in C places what is missing at the end on a line behind it.
        last = data.rstrip().count(b"\n")
        place = f"line {min(mark.line, last) + 1}: " if mark else ""
        raise FormatError(f"{name!r} is not valid YAML: {place}{error.problem or error.context}.") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise FormatError(f"{name!r} cannot be read as YAML: {in_one_line(error)}.") from error


def _check_size(data: bytes, name: str, limit: int) -> None:
    if len(data) > limit:
        raise UnsafeInputError(f"{name!r} has {len(data)} bytes; the limit for such a file is {limit}.")


def _json_depth(data: bytes) -> int:
    import numpy as np  # noqa: PLC0415 - commands read YAML with this module and start without numpy

    level = deepest = 0
    for start in range(0, len(data), _CHUNK):
        brackets = data[start : start + _CHUNK].translate(None, _NO_BRACKETS)
        if not brackets:
            continue
        codes = np.frombuffer(brackets, np.uint8)
        # Bit 2 tells an opening bracket (0x5b, 0x7b) from a closing one (0x5d, 0x7d).
        levels = np.cumsum(np.where(codes & 0x04, -1, 1)) + level
        deepest, level = max(deepest, int(levels.max())), int(levels[-1])
    return deepest


def _check_yaml_events(content: str, name: str, depth: int) -> None:
    level = 0
    for event in yaml.parse(content, Loader=_SafeLoader):
        line = event.start_mark.line + 1 if event.start_mark else 0
        if isinstance(event, yaml.AliasEvent):
            raise UnsafeInputError(f"{name!r} uses an alias on line {line}: write the value out.")
        if isinstance(event, (yaml.ScalarEvent, yaml.CollectionStartEvent)) and event.tag not in {None, "!"}:
            _check_tag(event.tag, name, line)
        if isinstance(event, yaml.CollectionStartEvent):
            level += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            level -= 1
        if level > depth:
            raise UnsafeInputError(f"{name!r} nests more than {depth} deep on line {line}: flatten it.")


def _check_tag(tag: str, name: str, line: int) -> None:
    if tag not in _SAFE_TAGS:
        raise UnsafeInputError(f"{name!r} uses the tag {tag!r} on line {line}: write a plain value.")
