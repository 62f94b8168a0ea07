"""A picture on the feed and on the WebSocket: 16 bytes of header, then the file.

docs/interfaces.md, WebSocket: u8 kind, u8 codec, u16 width, u16 height, u16 view, u64 seq, all
little-endian. ``seq`` is the number of the newest message that the picture shows, ``view`` counts
in :data:`VIEWS`.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from geoosd.errors import MessageError
from geoosd.wire.framing import KIND_PICTURE

JPEG: Final = 1
VIEWS: Final = ("activation", "memory", "confidence", "models", "attention", "layers")
"""What pictures show. Their numbers are part of the protocol: new ones go to the end."""
HEADER_BYTES: Final = 16

_HEADER: Final = struct.Struct("<BBHHHQ")
_JPEG_BEGINS: Final = b"\xff\xd8"


class Picture(NamedTuple):
    """``width`` and ``height`` in pixels; ``data`` is a whole JPEG file."""

    width: int
    height: int
    seq: int
    data: bytes
    view: int = 0


def encode_picture(picture: Picture) -> bytes:
    """Header and file."""
    width, height, seq, data, view = picture
    return _HEADER.pack(KIND_PICTURE, JPEG, width, height, view, seq) + data


def decode_picture(payload: bytes) -> Picture:
    """The inverse, for whoever gets a picture from another process.

    Raises :class:`MessageError` for what is no JPEG with a size.
    """
    if len(payload) < HEADER_BYTES:
        raise MessageError("malformed", f"cannot take a picture of {len(payload)} bytes")
    kind, codec, width, height, view, seq = _HEADER.unpack_from(payload)
    if kind != KIND_PICTURE or codec != JPEG:
        raise MessageError("malformed", f"cannot take a picture: kind {kind}, codec {codec}")
    if not width or not height or not payload.startswith(_JPEG_BEGINS, HEADER_BYTES):
        raise MessageError("malformed", "cannot take a picture: it is no JPEG with a size")
    return Picture(width, height, seq, payload[HEADER_BYTES:], view)
