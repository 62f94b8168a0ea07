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

from geoosd.compositor.core import insides
from geoosd.errors import MessageError
from geoosd.wire.messages import (
    MAX_STATE_BYTES,
    Canary,
    Gap,
    Message,
    NeuralStateUpdate,
    Payload,
    ProducerHello,
    SessionEnded,
    SessionProgress,
    SessionStarted,
    TokenVisualizationUpdate,
    decode,
)

MAX_PRODUCERS: Final = 1024
MAX_UNFINISHED: Final = 1024

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
    if type(message.payload) is NeuralStateUpdate:
        if len(data) > MAX_STATE_BYTES:
            raise MessageError(
                "invalid",
                f"cannot take payload: {len(data)} bytes, at most {MAX_STATE_BYTES}; "
                "send fewer positions or layers",
                "payload",
            )
        insides.check(message.payload)
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


class Unfinished:
    """The sessions that each producer has begun and not ended; the oldest of too many are
    forgotten."""

    def __init__(self) -> None:
        self._sessions: dict[str, dict[str, None]] = {}

    def note(self, producer: str, payload: Payload) -> None:
        """*producer* has sent this."""
        session: str | None = getattr(payload, "session", None)
        if session is None:
            return
        if type(payload) is SessionEnded:
            self._sessions.get(producer, {}).pop(session, None)
            return
        begun = self._sessions.setdefault(producer, {})
        begun[session] = None
        if len(begun) > MAX_UNFINISHED:
            del begun[next(iter(begun))]

    def of(self, producer: str) -> list[str]:
        """What *producer* has not ended, in the order of its beginning."""
        return list(self._sessions.get(producer, ()))

    def abandon(self, producer: str) -> list[SessionEnded]:
        """*producer* has died: the ends that it owes; nothing of it is known any more."""
        error = f"{producer} went away before the answer ended"
        return [SessionEnded(session, error=error) for session in self._sessions.pop(producer, ())]
