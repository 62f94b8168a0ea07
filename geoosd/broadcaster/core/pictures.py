"""Pictures on their way from feed to viewers (docs/interfaces.md, "WebSocket").

A picture is a header of 16 bytes and a JPEG, and is passed on as it came: as one binary frame on
the channel ``frames``, as one part of ``/stream.mjpg`` (``multipart/x-mixed-replace``, after RFC
2046 §5.1). Both are made once for everybody. Of pictures only the newest counts: who is slow
misses some, and is told of none.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from geoosd.errors import MessageError

BOUNDARY: Final = "geoos"
MEDIA_TYPE: Final = f"multipart/x-mixed-replace; boundary={BOUNDARY}"
FIRST: Final = f"--{BOUNDARY}\r\n".encode()
_HEADER: Final = struct.Struct("<BBHHHQ")
_JPEG: Final = b"\xff\xd8"


class Still(NamedTuple):
    """A picture as a frame; ``number`` grows with each one."""

    number: int
    frame: bytes


class Header(NamedTuple):
    """What stands before the JPEG; ``width`` and ``height`` are pixels."""

    kind: int
    codec: int
    width: int
    height: int
    reserved: int
    seq: int


def header_of(picture: bytes) -> Header:
    """The header of *picture*. Raises :class:`MessageError` for what is none."""
    if len(picture) <= _HEADER.size:
        raise MessageError("malformed", f"cannot take a picture of {len(picture)} bytes")
    header = Header(*_HEADER.unpack_from(picture))
    if not header.width or not header.height or not picture.startswith(_JPEG, _HEADER.size):
        raise MessageError("malformed", "cannot take a picture: it is no JPEG with a size")
    return header


def part_of(picture: bytes) -> bytes:
    """*picture* as a part with the boundary that ends it: a browser shows it when that comes."""
    jpeg = memoryview(picture)[_HEADER.size :]
    head = f"Content-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n".encode()
    return b"".join((head, jpeg, b"\r\n", FIRST))
