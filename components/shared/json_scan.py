"""Finds the values of a large JSON document without parsing them, so that it can be read a piece at a time.

A document that is an object is cut into its members' lists and objects and a ``skeleton``, what is left with each of
them written as ``[]``; a document that is a list is one such value. Long lists are cut again between two elements.
The document is valid JSON exactly when its skeleton, its values and the pieces of its lists are, so nothing is lost
by checking those one at a time.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

BLOCK = 1 << 20

_QUOTE, _BACKSLASH, _OPEN, _CLOSE = 0x22, 0x5C, 0x7B, 0x7D  # square brackets are curly ones without this bit:
_CURLY = 0x20
_SQUARE_OPEN = 0x5B

_Positions = npt.NDArray[np.int64]
_Bytes = npt.NDArray[np.uint8]


@dataclass
class Value:
    """Where a list or an object lies in the file.

    Attributes:
        cuts: offsets in bytes: where it starts, where it may be cut between two elements, where it ends.
        is_list: it starts with ``[``.
    """

    cuts: list[int]
    is_list: bool

    def pieces(self) -> Iterator[tuple[int, int]]:
        """The offsets of each piece: of its first byte and behind its last."""
        return zip(self.cuts[:-1], self.cuts[1:], strict=True)


@dataclass
class Outline:
    """What a scan found.

    Attributes:
        values: lists and objects directly in the document, in its order.
        skeleton: the rest of the document, ``[]`` in the place of each value.
        places: (offset in the skeleton, offset in the file) where the two go on together.
        depth: how deep lists and objects are nested at most.
    """

    values: list[Value] = field(default_factory=list)
    skeleton: bytearray = field(default_factory=bytearray)
    places: list[tuple[int, int]] = field(default_factory=list)
    depth: int = 0

    def file_offset(self, position: int) -> int:
        """Where a byte of the skeleton stands in the file."""
        before = [place for place in self.places if place[0] <= position]
        return before[-1][1] + position - before[-1][0] if before else position


def scan(handle: BinaryIO, start: int, *, block: int = BLOCK, max_depth: int) -> Outline:
    """Outline the UTF-8 document from offset ``start``; stops early once it is nested deeper than ``max_depth``."""
    handle.seek(start)
    scanner = _Scanner(start)
    while data := handle.read(block):
        scanner.feed(data)
        if scanner.outline.depth > max_depth:
            break
    return scanner.finish()


class _Scanner:
    def __init__(self, start: int) -> None:
        self.outline = Outline()
        self._offset = start  # of the block in the file
        self._level = 0
        self._base: int | None = None  # nesting around the values: 1 in an object, 0 for a list
        self._in_string = False
        self._escaped = False  # the block's first byte follows an odd number of backslashes
        self._open: Value | None = None

    def feed(self, data: bytes) -> None:
        """Take the next block of the document."""
        if self._base is None:
            first = data.lstrip()[:1]
            if first:
                self._base = 0 if first == b"[" else 1
        positions, levels, opens = self._brackets(data)
        if positions.size:
            self._follow(data, positions, levels, opens)
            self._level = int(levels[-1])
            self.outline.depth = max(self.outline.depth, int(levels.max()))
        elif self._open is None:
            self._keep(data, 0, len(data))
        self._offset += len(data)

    def finish(self) -> Outline:
        """The outline of all blocks."""
        if self._open is not None:
            self._open.cuts.append(self._offset)
        return self.outline

    def _brackets(self, data: bytes) -> tuple[_Positions, _Positions, npt.NDArray[np.bool_]]:
        """Of the brackets outside strings: positions in the block, nesting behind each, and which of them open."""
        codes = np.frombuffer(data, np.uint8)
        if self._escaped or b"\\" in data:
            codes = self._without_escapes(codes)
        folded = codes | _CURLY
        marks = np.flatnonzero((codes == _QUOTE) | (folded == _OPEN) | (folded == _CLOSE))
        found = codes[marks]
        is_quote = found == _QUOTE
        inside = (np.cumsum(is_quote) + self._in_string) & 1
        if inside.size:
            self._in_string = bool(inside[-1])
        chosen = ~is_quote & (inside == 0)
        opens = (found[chosen] | _CURLY) == _OPEN
        return marks[chosen], np.cumsum(np.where(opens, 1, -1)) + self._level, opens

    def _without_escapes(self, codes: _Bytes) -> _Bytes:
        """The bytes with every escaped one made 0: those behind an odd number of backslashes."""
        slashes = np.flatnonzero(codes == _BACKSLASH)
        if self._escaped:
            slashes = np.concatenate([[-1], slashes])
        ends = np.flatnonzero(np.diff(slashes, append=len(codes) + 1) != 1)  # of each run of backslashes
        lengths = np.diff(ends, prepend=-1)
        behind = slashes[ends[lengths % 2 == 1]] + 1
        self._escaped = bool(behind.size) and int(behind[-1]) == len(codes)
        clean = codes.copy()
        clean[behind[behind < len(codes)]] = 0
        return clean

    def _follow(self, data: bytes, positions: _Positions, levels: _Positions, opens: npt.NDArray[np.bool_]) -> None:
        """Note where values begin and end, and the last place where the open list may be cut."""
        base = self._base or 0
        begun = opens & (levels == base + 1)
        ended = ~opens & (levels == base)
        done = 0  # up to here the block's bytes are dealt with
        for index in np.flatnonzero(begun | ended).tolist():
            position = int(positions[index])
            if begun[index]:
                self._keep(data, done, position)
                self.outline.skeleton += b" [] "
                self._open = Value([self._offset + position], data[position] == _SQUARE_OPEN)
                self.outline.values.append(self._open)
                done = position
            elif self._open is not None:
                done = position + 1
                self._open.cuts.append(self._offset + done)
                self._open = None
        if self._open is None:
            self._keep(data, done, len(data))
        elif self._open.is_list:
            elements = np.flatnonzero(~opens & (levels == base + 1))
            cut = self._offset + int(positions[elements[-1]]) + 1 if elements.size else 0
            if cut > self._open.cuts[-1]:
                self._open.cuts.append(cut)

    def _keep(self, data: bytes, start: int, end: int) -> None:
        if end > start:
            self.outline.places.append((len(self.outline.skeleton), self._offset + start))
            self.outline.skeleton += data[start:end]
