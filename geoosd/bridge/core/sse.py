"""Server-sent events, incrementally: bytes in, events out.

Interprets an event stream as the WHATWG HTML standard does (section 9.2.5 and 9.2.6, "Parsing an
event stream" and "Interpreting an event stream"): one leading byte order mark, lines ended by CR,
LF or CRLF wherever the stream is cut, comments, fields without a colon, one optional leading
space, ids with NUL ignored, a retry that is not all digits ignored, no event at the end of the
stream without its blank line.

Lines are split as bytes. That is the same as splitting after decoding: no ill-formed UTF-8 sequence
can contain CR or LF. Who wants text decodes it as the standard says, with ill-formed sequences
replaced (``data.decode("utf-8", "replace")``); :mod:`.chunks` reads the bytes as they are.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, TypeAlias

from geoosd.errors import SSETooLarge

MAX_LINE: Final = 1 << 20
"""Default bound of one line in bytes, without its end."""

MAX_EVENT: Final = 4 << 20
"""Default bound of the data of one event in bytes."""

_BOM: Final = b"\xef\xbb\xbf"
_LF: Final = 0x0A
_CR: Final = 0x0D
_FIELD: Final = slice(6)
_VALUE: Final = slice(6, -2)
_END: Final = slice(-2, None)
"""The parts of a whole event, as slices that are made once and not for each event."""

_MAX_HEADS: Final = 64
"""Event types remembered; further ones are decoded each time."""

_blocks = re.compile(b"\n\n").split


Event: TypeAlias = tuple[bytes, str, str]
"""One dispatched event: its data, the UTF-8 as it came with its lines joined by LF; its type; the
last event id. A plain tuple, since making one is a tenth of what reading a short event costs."""


class SSEParser:
    """An event stream, fed in pieces of any size.

    ``retry`` is the reconnection time in milliseconds that the stream asked for, or None;
    ``last_id`` the last event id that was dispatched.
    """

    __slots__ = (
        "_after_cr",
        "_at_start",
        "_bound",
        "_data",
        "_failure",
        "_heads",
        "_id",
        "_idle",
        "_max_event",
        "_max_line",
        "_rest",
        "_rest_size",
        "_size",
        "_type",
        "last_id",
        "retry",
    )

    def __init__(self, *, max_line: int = MAX_LINE, max_event: int = MAX_EVENT) -> None:
        self._max_line = max_line
        self._max_event = max_event
        self._bound = min(max_line, max_event)
        self._idle = True
        self._rest: list[bytes] = []
        self._rest_size = 0
        self._at_start = True
        self._after_cr = False
        self._data: list[bytes] = []
        self._size = 0
        self._type = b""
        self._id = ""
        self._failure: SSETooLarge | None = None
        # What may stand before the one "data: " of a block, and the type that it means.
        self._heads = {b"": "message"}
        self.last_id = ""
        self.retry: int | None = None

    def whole(self, data: bytes) -> bytes | None:
        """The data of the one event that *data* is, of type ``message``; None where it is anything
        else: then nothing was taken, and :meth:`receive` takes it.

        Almost always a piece is one event of one line of data, and nothing is held back before it.
        """
        if (
            self._idle
            and data[_FIELD] == b"data: "
            and data[_END] == b"\n\n"
            # An `in` with a number is a memchr, with bytes it is not.
            and _LF not in (value := data[_VALUE])
            and _CR not in value
            and len(data) <= self._bound
        ):
            self._at_start = False
            return value
        return None

    def receive(self, data: bytes) -> Sequence[Event]:
        """Take *data*; return the events that are now complete.

        Raises :class:`SSETooLarge` for a line or an event beyond the bounds, after the events
        before it were returned: the call that finds it returns those, the next one raises. Then
        the stream cannot be read any further.
        """
        if self._idle:  # as in whole(), of whatever type
            head, _, rest = data.partition(b"data: ")
            value, _, end = rest.partition(b"\n")
            if (
                end == b"\n"
                and (kind := self._heads.get(head) or self._learnt(head)) is not None
                and _CR not in data
                and len(data) <= self._bound
            ):
                self._at_start = False
                return ((value, kind, self.last_id),)
        if self._failure is not None:
            raise self._failure
        self._idle = False  # also where that raises
        events = self._receive(data)
        self._idle = (
            not (self._at_start or self._after_cr or self._rest or self._data or self._type)
            and self._failure is None
            and self._id == self.last_id
        )
        return events

    def _receive(self, data: bytes) -> list[Event]:
        if self._at_start:
            data = self._without_bom(data)
        if not data:
            return []
        if self._after_cr and data[0] == _LF:
            data = data[1:]
        self._after_cr = data.endswith(b"\r") if data else False
        if _CR in data:
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        events: list[Event] = []
        try:
            self._split(data, events)
        except SSETooLarge as failure:
            self._failure = failure
            if not events:
                raise
        return events

    def _without_bom(self, data: bytes) -> bytes:
        """Strip one byte order mark from the start of the stream; b"" until it is known."""
        data = b"".join((*self._rest, data))
        if len(data) < len(_BOM) and _BOM.startswith(data):
            self._rest = [data]
            return b""
        self._rest = []
        self._at_start = False
        return data.removeprefix(_BOM)

    def _split(self, data: bytes, events: list[Event]) -> None:
        """Blocks end in a blank line, so almost every block is exactly one event."""
        if _LF not in data:
            self._keep(data)
            return
        buffer = b"".join((*self._rest, data)) if self._rest else data
        self._rest = []
        self._rest_size = 0
        *blocks, tail = _blocks(buffer)
        # Where everything together is within the bounds, no part of it needs measuring.
        small = len(buffer) <= self._bound
        fresh = not self._data and not self._type and self._id == self.last_id
        heads, last_id = self._heads, self.last_id
        for block in blocks:
            if small and fresh:
                head, mark, value = block.partition(b"data: ")
                if (
                    mark
                    and _LF not in value
                    and (kind := heads.get(head) or self._learnt(head)) is not None
                ):
                    events.append((value, kind, last_id))
                    continue
            for line in block.split(b"\n"):
                self._line(line, events)
            self._dispatch(events)
            last_id = self.last_id
            fresh = True
        *lines, rest = tail.split(b"\n")
        for line in lines:
            self._line(line, events)
        self._keep(rest)

    def _learnt(self, head: bytes) -> str | None:
        """The type that *head* sets, where it is one ``event: TYPE`` line and nothing else."""
        if head[:7] != b"event: " or head.find(b"\n") != len(head) - 1:
            return None
        kind = head[7:-1].decode("utf-8", "replace") or "message"
        if len(self._heads) < _MAX_HEADS:
            self._heads[head] = kind
        return kind

    def _keep(self, rest: bytes) -> None:
        """Hold the start of a line whose end has not come yet."""
        self._rest_size += len(rest)
        if self._rest_size > self._max_line:
            raise self._line_too_long()
        if rest:
            self._rest.append(rest)

    def _line_too_long(self) -> SSETooLarge:
        return SSETooLarge(
            f"cannot read the event stream: a line is longer than {self._max_line} bytes"
        )

    def _line(self, line: bytes, events: list[Event]) -> None:
        """Process one line, without its end."""
        if len(line) > self._max_line:
            raise self._line_too_long()
        if not line:
            self._dispatch(events)
            return
        field, _, value = line.partition(b":")
        if value[:1] == b" ":
            value = value[1:]
        if field == b"data":
            self._size += len(value) + 1
            if self._size > self._max_event + 1:
                raise SSETooLarge(
                    f"cannot read the event stream: an event is larger than {self._max_event} bytes"
                )
            self._data.append(value)
        elif field == b"event":
            self._type = value
        elif field == b"id":
            if b"\0" not in value:
                self._id = value.decode("utf-8", "replace")
        elif field == b"retry" and value.isdigit() and len(value) <= 18:
            self.retry = int(value)

    def _dispatch(self, events: list[Event]) -> None:
        """The end of an event: hand it out, unless it has no data."""
        self.last_id = self._id
        if self._data:
            kind = self._type.decode("utf-8", "replace") if self._type else "message"
            data = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
            events.append((data, kind, self.last_id))
            self._data = []
            self._size = 0
        self._type = b""
