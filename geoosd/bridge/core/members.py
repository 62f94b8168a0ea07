"""Finds members of the top-level object of a JSON text (RFC 8259) that comes in pieces.

Not a validator: whoever the text is for says what is wrong with it. Here values are only stepped
over, nested ones and long strings at the speed of ``re``, and nothing is kept but the members that
were asked for. Whatever the bytes are, nothing is raised. :mod:`..adapters.model_field` looks for
``model`` with it, :mod:`.cache` takes the whole text instead.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple, TypeAlias

import msgspec

MAX_VALUE: Final = 4096
"""Bytes of a key or a wanted value that are kept; a longer one is not reported."""

MAX_STEPS: Final = 1_000_000
"""Brackets, keys and values that are stepped over before the search is given up: half a second."""

_BETWEEN = re.compile(rb"[ \t\r\n,]*+")
_SPACE = re.compile(rb"[ \t\r\n]*+")
_SCALAR = re.compile(rb'[^ \t\r\n,}\]"{\[:]*+')
_IN_STRING = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
_NESTED = re.compile(rb'(?:[^"{}\[\]]++|"[^"\\]*+(?:\\.[^"\\]*+)*+")*+', re.DOTALL)

_QUOTE, _BACKSLASH, _COLON, _OPEN = b'"\\:{'
_OPENING: Final = b"{["

_Then: TypeAlias = Callable[[], None]


class Member(NamedTuple):
    """A value as it stands in the text: its bytes, and where the first of them is."""

    start: int
    raw: bytes


class MemberSearch:
    """A search for the members named *wanted*.

    ``found`` has what was found so far, the last where a name is there twice. ``over`` tells that
    no more will be found: the object has ended, or the text is no object.
    """

    def __init__(self, wanted: Iterable[str]) -> None:
        self.found: dict[str, Member] = {}
        self.over = False
        self._wanted = frozenset(wanted)
        self._step: Callable[[bytes, int], int] = self._begin
        self._after_string: _Then = self._end_key
        self._offset = 0
        self._steps = 0
        self._depth = 0
        self._escaped = False
        self._key: str | None = None
        self._start = 0
        self._kept: bytearray | None = None

    def feed(self, data: bytes) -> None:
        """Search the next bytes."""
        at = 0
        while at < len(data) and not self.over:
            at = self._step(data, at)
            self._steps += 1
            self.over = self.over or self._steps > MAX_STEPS
        self._offset += len(data)

    # Each step takes a position in the data, and returns the position from which to go on.

    def _begin(self, data: bytes, at: int) -> int:
        at = _end(_SPACE, data, at)
        if at < len(data):
            self.over = data[at] != _OPEN
            self._step = self._before_key
            at += 1
        return at

    def _before_key(self, data: bytes, at: int) -> int:
        at = _end(_BETWEEN, data, at)
        if at < len(data):
            if data[at] == _QUOTE:
                self._enter_string(self._end_key, keep=True)
            else:
                self.over = True  # the end of the object, or no JSON
            at += 1
        return at

    def _end_key(self) -> None:
        name = None if self._kept is None else text_of(b'"%s"' % self._kept)
        self._key = name if name in self._wanted else None
        self._step = self._before_value

    def _before_value(self, data: bytes, at: int) -> int:
        at = _end(_SPACE, data, at)
        if at == len(data):
            return at
        byte = data[at]
        if byte == _COLON:
            return at + 1
        self._start = self._offset + at
        if byte == _QUOTE:
            self._enter_string(self._end_text, keep=self._key is not None)
            return at + 1
        if byte in _OPENING:
            self._depth = 1
            self._step = self._nested
            return at + 1
        self._kept = bytearray() if self._key is not None else None
        self._step = self._scalar
        return at

    def _end_text(self) -> None:
        if self._kept is not None:
            self._report(b'"%s"' % self._kept)
        self._step = self._before_key

    def _scalar(self, data: bytes, at: int) -> int:
        end = _end(_SCALAR, data, at)
        self._keep(data, at, end)
        if end < len(data):
            if self._kept is not None:
                self._report(bytes(self._kept))
            self._step = self._before_key
        return end

    def _nested(self, data: bytes, at: int) -> int:
        at = _end(_NESTED, data, at)
        if at == len(data):
            return at
        byte = data[at]
        if byte == _QUOTE:  # of a string that these bytes do not end
            self._enter_string(self._end_nested_string, keep=False)
            return at + 1
        self._depth += 1 if byte in _OPENING else -1
        if not self._depth:
            self._step = self._before_key
        return at + 1

    def _end_nested_string(self) -> None:
        self._step = self._nested

    def _enter_string(self, then: _Then, *, keep: bool) -> None:
        self._kept = bytearray() if keep else None
        self._after_string = then
        self._step = self._string

    def _string(self, data: bytes, at: int) -> int:
        begin = at
        if self._escaped:
            self._escaped = False
            at += 1
        end = _end(_IN_STRING, data, at)
        if end < len(data) and data[end] == _BACKSLASH:  # the last byte: its other half is to come
            self._escaped = True
            end += 1
        self._keep(data, begin, end)
        if end == len(data):
            return end
        self._after_string()
        return end + 1

    def _keep(self, data: bytes, begin: int, end: int) -> None:
        if self._kept is not None:
            if len(self._kept) + end - begin > MAX_VALUE:
                self._kept = None
            else:
                self._kept += data[begin:end]

    def _report(self, raw: bytes) -> None:
        assert self._key is not None  # else nothing would have been kept
        self.found[self._key] = Member(self._start, raw)


def _end(pattern: re.Pattern[bytes], data: bytes, at: int) -> int:
    """Where the match at *at* ends; all patterns here match the empty text too."""
    match = pattern.match(data, at)
    assert match is not None
    return match.end()


def text_of(raw: bytes) -> str | None:
    """A JSON value as text; None where it is none."""
    try:
        return msgspec.json.decode(raw, type=str)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
