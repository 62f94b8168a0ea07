"""Length-prefixed framing of the ingest and feed sockets (docs/interfaces.md).

Ingest: unsigned 32-bit little-endian length, then that many bytes of UTF-8 JSON.
Feed: the same; the first byte of each frame is its kind (``KIND_JSON`` or ``KIND_PICTURE``) and
counts in the length.

The decoder is incremental and bounded: it holds at most one incomplete frame, and a length beyond
``limit`` is refused before a single byte of it is kept.
"""

from __future__ import annotations

import struct

from geoosd.errors import FrameTooLarge, MessageError

MAX_FRAME = 1 << 20
"""Largest ingest payload in bytes."""

MAX_FEED_FRAME = 1 << 24
"""Largest feed frame in bytes: a picture of 4096 × 4096 fits."""

KIND_JSON = 0
KIND_PICTURE = 1

_LENGTH = struct.Struct("<I")


def encode_frame(payload: bytes) -> bytes:
    """Put the length before *payload*."""
    return _LENGTH.pack(len(payload)) + payload


def encode_feed_frame(kind: int, payload: bytes) -> bytes:
    """A feed frame: length, kind byte, payload."""
    return _LENGTH.pack(len(payload) + 1) + bytes((kind,)) + payload


def split_feed_frame(frame: bytes) -> tuple[int, bytes]:
    """Kind and payload of a decoded feed frame.

    Raises :class:`MessageError` for an empty frame or an unknown kind.
    """
    if not frame or frame[0] not in (KIND_JSON, KIND_PICTURE):
        kind = frame[0] if frame else "none"
        raise MessageError("malformed", f"cannot take a feed frame: its kind is {kind}, not 0 or 1")
    return frame[0], frame[1:]


class FrameDecoder:
    """Bytes in, whole frames out.

    After :class:`FrameTooLarge` the stream cannot be read any further: the caller closes it.
    """

    __slots__ = ("_buffer", "_limit")

    def __init__(self, limit: int = MAX_FRAME) -> None:
        self._buffer = bytearray()
        self._limit = limit

    @property
    def pending(self) -> int:
        """Bytes held that do not make a whole frame yet."""
        return len(self._buffer)

    def receive(self, data: bytes | bytearray) -> list[bytes]:
        """Take *data*; return the frames that are now whole, in order.

        Raises :class:`FrameTooLarge` as soon as a length beyond the limit is seen. Frames that were
        whole before it in the same *data* are lost with the connection.
        """
        buffer = self._buffer
        buffer += data
        frames: list[bytes] = []
        start = 0
        while len(buffer) - start >= 4:
            (size,) = _LENGTH.unpack_from(buffer, start)
            if size > self._limit:
                raise FrameTooLarge(size, self._limit)
            end = start + 4 + size
            if len(buffer) < end:
                break
            frames.append(bytes(buffer[start + 4 : end]))
            start = end
        del buffer[:start]
        return frames
