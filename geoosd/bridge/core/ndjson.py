"""Newline-delimited JSON (https://github.com/ndjson/ndjson-spec): bytes in, lines out.

The framing of :mod:`.ollama`, as :mod:`.sse` is that of the others.
"""

from __future__ import annotations

from typing import Final

from geoosd.errors import SSETooLarge

MAX_LINE: Final = 4 << 20
"""Default bound of one line in bytes, without its end."""


class NDJSONParser:
    """A stream of lines, fed in pieces of any size."""

    __slots__ = ("_failure", "_max_line", "_rest", "_rest_size")

    def __init__(self, *, max_line: int = MAX_LINE) -> None:
        self._max_line = max_line
        self._rest: list[bytes] = []
        self._rest_size = 0
        self._failure: SSETooLarge | None = None

    def receive(self, data: bytes) -> list[bytes]:
        """Take *data*; return the lines that are now complete, empty ones left out.

        Raises :class:`SSETooLarge` for a line beyond the bound, after the lines before it were
        returned: the call that finds it returns those, the next one raises.
        """
        if self._failure is not None:
            raise self._failure
        first, *others = data.split(b"\n")
        self._rest.append(first)
        self._rest_size += len(first)
        lines: list[bytes] = []
        for other in others:
            if self._rest_size > self._max_line:
                break
            lines.append(b"".join(self._rest))
            self._rest = [other]
            self._rest_size = len(other)
        if self._rest_size > self._max_line:
            self._failure = SSETooLarge(
                f"cannot read the answer: a line is longer than {self._max_line} bytes"
            )
            self._rest.clear()
        found = [line for line in lines if line.strip()]
        if self._failure is not None and not found:
            raise self._failure
        return found

    def finish(self) -> bytes:
        """The last line where its end is missing; b"" where there is none."""
        rest = b"".join(self._rest).strip()
        self._rest.clear()
        return rest
