"""A recorded session once more: when each of its messages is due, and in what words.

The recording keeps seconds since its session started. A replay runs them at *speed* times the
recorded pace under a session id of its own; only the id changes, what was measured stays what was
measured. That it is a replay stands in its ``SessionStarted.replay_of``. The I/O is
:mod:`..adapters.replay`.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from geoosd.wire.messages import (
    NeuralStateUpdate,
    Payload,
    SessionEnded,
    SessionProgress,
    SessionStarted,
    TokenVisualizationUpdate,
    Usage,
)
from geoosd.wire.sessions import Session, Timed

MAX_SPEED: Final = 1000.0

_KINDS: Final[dict[str, Any]] = {
    kind.__name__: kind for kind in (TokenVisualizationUpdate, NeuralStateUpdate, SessionProgress)
}


def kind_of(payload: Payload) -> str:
    """The name of a recorded message's type."""
    return type(payload).__name__


class Replay:
    """One run of *recorded* as *session*, begun at *now* on the caller's clock in seconds.

    *speed* is above 0 and at most :data:`MAX_SPEED`; 1 is the recorded pace.
    """

    def __init__(self, recorded: Session, session: str, *, speed: float, now: float) -> None:
        self.session = session
        self.recorded = recorded
        self._speed = speed
        self._began = now
        self._held = 0.0

    def started(self) -> Payload:
        """The first message."""
        recorded = self.recorded
        return SessionStarted(
            self.session,
            recorded.model,
            recorded.upstream,
            recorded.choices,
            replay_of=recorded.id,
        )

    def due(self, timed: Timed) -> float:
        """When *timed* is to be sent, on the caller's clock."""
        return self._began + self._held + max(0.0, timed.after) / self._speed

    def hold(self, seconds: float) -> None:
        """The replay had to wait: everything to come is as much later."""
        self._held += seconds

    def message(self, timed: Timed) -> Payload | None:
        """The message as this session's; None for a type that this version does not know.

        ``timed.payload`` is the recorded JSON. Raises msgspec.MsgspecError where it is damaged.
        """
        kind = _KINDS.get(timed.message_type)
        if kind is None:
            return None
        payload: Payload = msgspec.json.decode(timed.payload, type=kind)
        payload.session = self.session  # type: ignore[union-attr]
        return payload

    def ended(self, error: str | None = None) -> Payload:
        """The last message: what the recording's end said, or *error* where it did not get
        there."""
        recorded = self.recorded
        usage = None
        if recorded.completion_tokens is not None or recorded.prompt_tokens is not None:
            usage = Usage(recorded.prompt_tokens, recorded.completion_tokens, recorded.total_tokens)
        return SessionEnded(
            self.session,
            finish_reason=recorded.finish_reason,
            usage=usage,
            time_to_first_token=recorded.time_to_first_token,
            tokens_per_second=recorded.tokens_per_second,
            error=error or recorded.error,
        )
