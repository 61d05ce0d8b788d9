"""Reads JSON documents whose lists are too long for memory: their records come one at a time."""

import json
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from components.shared.documents import DEPTH, JSON_LIMIT, decode_json, parse_json
from components.shared.errors import FormatError, SourceError, UnsafeInputError
from components.shared.json_scan import BLOCK, Outline, Value, scan

WHOLE_LIMIT = 16 << 20  # bytes of a document that can only be held whole, which takes twenty times as much

_BOM = b"\xef\xbb\xbf"


def texts_in(path: Path, texts: Iterable[bytes]) -> frozenset[bytes]:
    """Which of these byte strings a file holds; it is read until all are found, and never held (or mapped) whole.

    Raises:
        OSError: it cannot be read.
    """
    wanted = frozenset(texts)
    missing = set(wanted)
    overlap = max(map(len, wanted), default=1) - 1
    tail = b""
    with path.open("rb") as handle:
        while missing and (block := handle.read(BLOCK)):
            window = tail + block
            missing = {text for text in missing if text not in window}
            tail = window[max(len(window) - overlap, 0) :]
    return wanted - missing


class JsonFile:
    """A JSON document on disk, checked as strictly as ``parse_json`` does it but held a piece at a time.

    What ``records`` gives is checked as it is read; ``check`` looks at the rest.

    Attributes:
        is_list: the document is a list; its elements are ``records()``.
        lists: keys of the document, when it is an object, whose values are lists.
    """

    def __init__(
        self, path: Path, name: str, *, limit: int = JSON_LIMIT, depth: int = DEPTH, block: int = BLOCK
    ) -> None:
        """Look at the document's outline.

        Args:
            path: the file; UTF-8, or UTF-16 or 32, which are held in memory as a whole and may not be as large.
            name: what messages call it.
            limit: largest size in bytes.
            depth: deepest nesting of lists and objects.
            block: bytes looked at and parsed at a time; more where one element is longer.

        Raises:
            FormatError: it is no JSON; the message names the file and the line.
            SourceError: it cannot be read.
            UnsafeInputError: it is too large or nested too deeply.
        """
        self._path, self._name = path, name
        self._outline = Outline()
        self._values: dict[str, Value] = {}  # by key; the document itself has the key ""
        self._held: dict[str, list[object]] = {}  # the lists of a document that was read whole
        self.is_list = False
        try:
            self._open(limit, depth, block)
        except OSError as error:
            raise SourceError(f"{name!r} cannot be read: {error.strerror}.") from error
        streamed = (key for key, value in self._values.items() if value.is_list)
        self.lists = frozenset() if self.is_list else frozenset((*streamed, *self._held))

    def records(self, key: str = "") -> Iterator[object]:
        """The elements of the list with this key, in order; without a key those of the document itself.

        Raises:
            FormatError: the list is no JSON; the message names the file and the line.
            KeyError: there is no such list.
        """
        if key in self._held:
            yield from self._held[key]
        else:
            for piece in self._pieces(self._values[key]):
                yield from piece

    def check(self, *, but: frozenset[str] = frozenset()) -> None:
        """Parse every value but the lists of the keys in ``but``, which somebody will read.

        Raises:
            FormatError: one is no JSON; the message names the file and the line.
        """
        later = {id(self._values[key]) for key in but if key in self._values}
        for value in self._outline.values:
            if id(value) not in later:
                for _ in self._pieces(value):
                    pass

    def _open(self, limit: int, depth: int, block: int) -> None:
        size = self._path.stat().st_size
        if size > limit:
            raise UnsafeInputError(f"{self._name!r} has {size} bytes; the limit for such a file is {limit}.")
        with self._path.open("rb") as handle:
            head = handle.read(4)
            if json.detect_encoding(head) not in {"utf-8", "utf-8-sig"}:
                if size > WHOLE_LIMIT:
                    raise UnsafeInputError(f"{self._name!r} has {size} bytes in UTF-16 or UTF-32: save it as UTF-8.")
                content = parse_json(head + handle.read(), self._name, limit=limit, depth=depth)
                self.is_list = isinstance(content, list)
                members = content if isinstance(content, dict) else {"": content}
                self._held = {key: value for key, value in members.items() if isinstance(value, list)}
                return
            self._outline = scan(handle, len(_BOM) if head.startswith(_BOM) else 0, block=block, max_depth=depth)
        if self._outline.depth > depth:
            raise UnsafeInputError(f"{self._name!r} nests lists and objects more than {depth} deep: flatten it.")
        self._name_values()

    def _name_values(self) -> None:
        """Take the values' keys from the skeleton, where every value is an empty list."""
        try:
            skeleton = json.loads(self._outline.skeleton.decode("utf-8", "surrogatepass"), object_pairs_hook=tuple)
        except ValueError as error:
            self.check()  # the first error of the file may well be in a value
            raise self._skeleton_error(error) from error
        self.is_list = isinstance(skeleton, list)
        if self.is_list:
            self._values = {"": self._outline.values[0]}
        elif isinstance(skeleton, tuple):
            named = [key for key, value in skeleton if isinstance(value, list)]
            last = dict(skeleton)  # of two members with one key the second counts, whatever they hold
            found = dict(zip(named, self._outline.values, strict=True))
            self._values = {key: value for key, value in found.items() if isinstance(last[key], list)}

    def _pieces(self, value: Value) -> Iterator[list[object]]:
        """A list's elements a piece at a time; nothing for an object, which is only parsed."""
        final = len(value.cuts) - 2
        with self._path.open("rb") as handle:
            for number, (start, end) in enumerate(value.pieces()):
                handle.seek(start)
                # A piece in the middle begins with the comma behind the last one; the 0 before it is left out again.
                text = (b"[0" if number else b"") + handle.read(end - start) + (b"]" if number < final else b"")
                found = decode_json(text, self._name, before=partial(self._lines_before, start))
                if isinstance(found, list):
                    if number:
                        del found[0]
                    yield found

    def _skeleton_error(self, error: ValueError) -> FormatError:
        skeleton, line = self._outline.skeleton, 1
        if isinstance(error, json.JSONDecodeError):
            place = len(error.doc[: error.pos].encode("utf-8", "surrogatepass"))
            line += self._lines_before(self._outline.file_offset(place))
            return FormatError(f"{self._name!r} is not valid JSON: line {line}: {error.msg}.")
        if isinstance(error, UnicodeDecodeError):
            line += self._lines_before(self._outline.file_offset(error.start))
            return FormatError(f"{self._name!r} is not UTF-8: line {line} holds the byte {skeleton[error.start]:#04x}.")
        return FormatError(f"{self._name!r} cannot be read as JSON: {error}.")

    def _lines_before(self, offset: int) -> int:
        lines = 0
        with self._path.open("rb") as handle:
            while offset > 0 and (data := handle.read(min(offset, BLOCK))):
                lines += data.count(b"\n")
                offset -= len(data)
        return lines
