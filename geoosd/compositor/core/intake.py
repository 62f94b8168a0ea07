"""What the ingest socket takes (docs/interfaces.md, Ingest): which messages, and which only once.

A producer that says ``ProducerHello`` numbers its messages and re-sends after a reconnect what was
not acknowledged; numbers already taken are repeats. Numbers may skip. A producer that starts
anew takes another name, or goes on above its old numbers; the Ack that answers its hello tells it
where it stands.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct

from geoosd.errors import MessageError
from geoosd.wire.messages import (
    MAX_STATE_BYTES,
    Canary,
    Gap,
    Message,
    NeuralStateUpdate,
    ProducerHello,
    SessionEnded,
    SessionProgress,
    SessionStarted,
    TokenVisualizationUpdate,
    decode,
)

MAX_PRODUCERS: Final = 1024

_TAKEN: Final = (
    TokenVisualizationUpdate,
    NeuralStateUpdate,
    SessionStarted,
    SessionProgress,
    SessionEnded,
    Gap,
    Canary,
    ProducerHello,
)


class _Number(Struct):
    n: int | None = None


_numbers: msgspec.json.Decoder[_Number] = msgspec.json.Decoder(_Number)


def read(data: bytes, received_at: float) -> Message:
    """Decode and validate one ingest payload. Raises :class:`MessageError` naming the field."""
    message = decode(data, received_at)
    kind = type(message.payload)
    if kind not in _TAKEN:
        raise MessageError(
            "invalid",
            f"cannot take message_type: {kind.__name__} does not travel in this direction",
            "message_type",
        )
    if kind is NeuralStateUpdate and len(data) > MAX_STATE_BYTES:
        raise MessageError(
            "invalid",
            f"cannot take payload: {len(data)} bytes, at most {MAX_STATE_BYTES}; "
            "send fewer positions or layers",
            "payload",
        )
    return message


def number_of(data: bytes) -> int | None:
    """The number of a message that was refused, if it can be made out: it need not come again."""
    try:
        return _numbers.decode(data).n
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


class Producers:
    """The last number taken from each producer, by name; the least recent are forgotten."""

    def __init__(self) -> None:
        self._taken: dict[str, int] = {}

    def hello(self, producer: str, following: int) -> int:
        """A producer is back and will go on with number *following*; the last number it had taken.

        One that is not known, perhaps because we started anew, is believed.
        """
        taken = self._taken.pop(producer, following - 1)
        self._taken[producer] = taken
        if len(self._taken) > MAX_PRODUCERS:
            del self._taken[next(iter(self._taken))]
        return taken

    def through(self, producer: str) -> int:
        """The last number taken from a producer that said hello."""
        return self._taken.get(producer, -1)

    def take(self, producer: str, n: int) -> bool:
        """Whether number *n* is new; then it counts as taken."""
        if n <= self._taken.get(producer, -1):
            return False
        self._taken[producer] = n
        return True
