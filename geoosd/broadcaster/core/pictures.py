"""Pictures on their way from feed to viewers (docs/interfaces.md, "WebSocket").

A picture is a header of 16 bytes and a JPEG, and is passed on as it came: as one binary frame on
the channel ``frames``, as one part of ``/stream.mjpg`` (``multipart/x-mixed-replace``, after RFC
2046 §5.1). Both are made once for everybody. Of pictures only the newest counts: who is slow
misses some, and is told of none.
"""

from __future__ import annotations

from collections.abc import Set
from typing import Final, NamedTuple

from geoosd.broadcaster.core import frames
from geoosd.wire.pictures import HEADER_BYTES

BOUNDARY: Final = "geoos"
MEDIA_TYPE: Final = f"multipart/x-mixed-replace; boundary={BOUNDARY}"
FIRST: Final = f"--{BOUNDARY}\r\n".encode()


class Still(NamedTuple):
    """A picture as a frame; ``number`` grows with each one, of whatever view."""

    number: int
    frame: bytes


NOTHING: Final = Still(0, b"")
"""Before the first picture of a view."""


class Stills:
    """The newest picture of each view that anybody looks at."""

    def __init__(self) -> None:
        self._shown = 0
        self._newest: dict[str, Still] = {}

    def show(self, picture: bytes, view: str) -> None:
        """*picture* takes the place of the one before."""
        self._shown += 1
        self._newest[view] = Still(self._shown, frames.binary_frame(picture))

    def newest(self, view: str) -> Still:
        """The newest of *view*; number 0 before the first."""
        return self._newest.get(view, NOTHING)

    def keep(self, views: Set[str]) -> None:
        """Forget all but *views*: what nobody looks at would be old when somebody does."""
        self._newest = {view: self._newest[view] for view in views & self._newest.keys()}


def part_of(picture: bytes) -> bytes:
    """*picture* as a part with the boundary that ends it: a browser shows it when that comes."""
    jpeg = memoryview(picture)[HEADER_BYTES:]
    head = f"Content-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n".encode()
    return b"".join((head, jpeg, b"\r\n", FIRST))
