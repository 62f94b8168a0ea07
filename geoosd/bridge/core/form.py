"""Finds fields of a ``multipart/form-data`` body (RFC 7578) that comes in pieces.

That is how audio and pictures are sent, with ``model`` as one part among others. As
:mod:`.members` for JSON: not a validator, nothing is kept but the fields that were asked for, and
whatever the bytes are, nothing is raised. :mod:`..adapters.model_field` looks with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from geoosd.bridge.core.members import MAX_VALUE, Member

MAX_HEAD: Final = 8192
"""Bytes of the header fields of one part; beyond that the search is given up."""

MAX_PARTS: Final = 1000

_BOUNDARY: Final = re.compile(
    rb'\s*multipart/form-data\s*;(?:[^"]*;)?\s*boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70})(?=[\s;]|$))',
    re.I,
)
_NAME: Final = re.compile(
    rb'^content-disposition:[ \t]*form-data[ \t]*;[ \t]*name=(?:"([^"\n]*)"|([^\s";]+))[ \t]*$',
    re.I | re.M,
)
"""A file has ``filename`` besides, and is none of the fields that are looked for."""


def boundary_of(content_type: bytes) -> bytes | None:
    """What stands between the parts of a body of this type; None where it has no parts."""
    found = _BOUNDARY.match(content_type)
    return (found[1] or found[2]) if found is not None else None


class FieldSearch:
    """A search for the fields named *wanted*; ``found`` and ``over`` are as those of
    :class:`.members.MemberSearch`, values being as they stand between the parts' heads and ends."""

    def __init__(self, boundary: bytes, wanted: Iterable[str]) -> None:
        self.found: dict[str, Member] = {}
        self.over = False
        self._wanted = {name.encode(): name for name in wanted}
        self._delimiter = b"\r\n--" + boundary
        # As if a line had ended before the body: so the first delimiter is like all others.
        self._held = b"\r\n"
        self._at = -2
        self._step = self._content
        self._name: str | None = None
        self._parts = 0

    def feed(self, data: bytes) -> None:
        """Search the next bytes."""
        self._held += data
        while not self.over and self._step():
            pass

    def _content(self) -> bool:
        """To the end of a part; whether there is more to be read of what has come."""
        end = self._held.find(self._delimiter)
        if end < 0:
            if self._name is None or len(self._held) > MAX_VALUE + len(self._delimiter):
                self._name = None
                # The delimiter may have begun.
                self._skip(max(0, len(self._held) - len(self._delimiter) + 1))
            return False
        if self._name is not None and end <= MAX_VALUE:
            self.found[self._name] = Member(self._at, self._held[:end])
        self._skip(end + len(self._delimiter))
        self._parts += 1
        self._step = self._head
        return True

    def _head(self) -> bool:
        """The header fields of a part, behind its delimiter; none where that was the last."""
        end = self._held.find(b"\r\n\r\n")
        size = end if end >= 0 else len(self._held)
        self.over = self._held[:2] == b"--" or size > MAX_HEAD or self._parts > MAX_PARTS
        if self.over or end < 0:
            return False
        name = _NAME.search(self._held[:end].replace(b"\r", b""))
        self._name = self._wanted.get(name[1] or name[2]) if name is not None else None
        self._skip(end + 4)
        self._step = self._content
        return True

    def _skip(self, count: int) -> None:
        self._held = self._held[count:]
        self._at += count
