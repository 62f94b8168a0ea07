"""Varlink on the wire: JSON objects that end in NUL (https://varlink.org/Method-Call).

Pure: :mod:`geoosd.runtime.varlink` and :mod:`geoosctl.client` do the I/O. The interface files stand
beside this module as ``<interface>.varlink``.
"""

from __future__ import annotations

import re
from importlib import resources
from typing import Any, Final

import msgspec
from msgspec import Struct

from geoosd.errors import FrameTooLarge, MessageError

MAX_MESSAGE: Final = 1 << 24
"""Largest message in bytes; a rendered picture in base64 fits."""

MAX_CALL: Final = 1 << 20
"""Largest call that a server takes in bytes."""

SERVICE: Final = "org.varlink.service"
PERMISSION_DENIED: Final = "io.geoos.PermissionDenied"
NOT_FOUND: Final = "io.geoos.NotFound"
INVALID_ARGUMENT: Final = "io.geoos.InvalidArgument"
UNAVAILABLE: Final = "io.geoos.Unavailable"


class Call(Struct, omit_defaults=True):
    """A method call. ``more``: the caller takes several replies; ``oneway``: it takes none."""

    method: str
    parameters: dict[str, Any] | None = None
    more: bool = False
    oneway: bool = False
    upgrade: bool = False


class Reply(Struct, omit_defaults=True):
    """A reply: ``error`` is None for success; ``continues``: another one follows."""

    parameters: dict[str, Any] | None = None
    error: str | None = None
    continues: bool = False


_encoder = msgspec.json.Encoder()
_calls = msgspec.json.Decoder(Call)
_replies = msgspec.json.Decoder(Reply)


def encode(message: Call | Reply) -> bytes:
    """One message with its NUL."""
    return _encoder.encode(message) + b"\0"


def decode_call(data: bytes) -> Call:
    """Decode a call, without its NUL. Raises :class:`MessageError`."""
    try:
        return _calls.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MessageError("malformed", f"cannot read the call: {error}") from None


def decode_reply(data: bytes) -> Reply:
    """Decode a reply, without its NUL. Raises :class:`MessageError`."""
    try:
        return _replies.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MessageError("malformed", f"cannot read the reply: {error}") from None


class Splitter:
    """Bytes in, NUL-terminated messages out; bounded by *limit* bytes a message."""

    __slots__ = ("_buffer", "_limit")

    def __init__(self, limit: int = MAX_MESSAGE) -> None:
        self._buffer = bytearray()
        self._limit = limit

    def receive(self, data: bytes | bytearray) -> list[bytes]:
        """The messages that are now whole. Raises :class:`FrameTooLarge`; then close the
        connection.
        """
        seen = len(self._buffer)
        self._buffer += data
        if self._buffer.find(0, seen) < 0:
            messages: list[bytes] = []
        else:
            *messages, rest = bytes(self._buffer).split(b"\0")
            self._buffer = bytearray(rest)
        for size in (*map(len, messages), len(self._buffer)):
            if size > self._limit:
                raise FrameTooLarge(size, self._limit)
        return messages

    def unterminated_call(self) -> bool:
        """Whether what is left is a whole call that ends in newline instead of NUL."""
        if not self._buffer.endswith(b"\n"):
            return False
        try:
            _calls.decode(self._buffer)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return False
        return True


def interface(name: str) -> str:
    """The text of the interface file of *name*, such as ``io.geoos.Daemon``."""
    return resources.files("geoosd.wire").joinpath(f"{name}.varlink").read_text(encoding="utf-8")


_NAME_LINE = re.compile(r"^interface\s+(\S+)", re.MULTILINE)
_METHOD = re.compile(r"^method\s+([A-Z][A-Za-z0-9]*)", re.MULTILINE)


def interface_name(description: str) -> str:
    """The name that an interface description declares."""
    found = _NAME_LINE.search(description)
    if found is None:
        raise ValueError("not a Varlink interface description")
    return found[1]


def method_names(description: str) -> list[str]:
    """The methods that an interface description declares, in order."""
    return _METHOD.findall(description)
