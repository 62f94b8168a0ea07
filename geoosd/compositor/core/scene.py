"""The state that is shown: activation, memory, thought stream, insides and sessions in flight.

Pure: tokens come placed (:mod:`.places`), ``now`` is monotonic seconds. Memory follows what is
alive; every collection here has a bound. The fields are :mod:`.field`'s, the thought stream is
:mod:`.thoughts`', attention and layers are :mod:`.insides`'. :mod:`.frame` turns a scene into
something to draw; docs/state.md says what is kept, and for how long.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from typing import Final, TypeVar

import msgspec
import numpy as np

from geoosd.compositor.core.field import Field, key_of
from geoosd.compositor.core.insides import Insides
from geoosd.compositor.core.thoughts import Thoughts
from geoosd.wire.messages import (
    MAX_SNAPSHOT_BYTES,
    MAX_SNAPSHOT_CELLS,
    District,
    NeuralStateUpdate,
    Payload,
    SessionEnded,
    SessionProgress,
    SessionStarted,
    SessionView,
    Snapshot,
    TokenVisualizationUpdate,
    encode,
)

MAX_SESSIONS: Final = 256
MEMORY_DECAY: Final = 7 * 86_400.0
"""Seconds of running time in which the memory of a token falls to 1/e."""

UNKNOWN_ACTIVATION: Final = 0.5
"""How brightly a token is drawn whose probability nobody told; its message says null all along."""

_ENVELOPE_ROOM: Final = 512
_Item = TypeVar("_Item")
_RECORD = np.dtype([("district", "<u4"), ("cell", "<u4"), ("weight", "<f4")])


class Scene:
    """What is known now. :meth:`apply` is the only way in."""

    def __init__(self, decay_seconds: float) -> None:
        self.activation = Field(decay_seconds, floor=1e-3, capacity=1 << 18)
        self.memory = Field(MEMORY_DECAY, floor=1e-3, capacity=1 << 16)
        self.thoughts = Thoughts()
        self.insides = Insides()
        self.sessions: dict[str, SessionView] = {}

    @property
    def recent(self) -> list[TokenVisualizationUpdate]:
        """The newest tokens over all sessions, oldest first."""
        return [thought.token for thought in self.thoughts.newest]

    @property
    def in_flight(self) -> list[SessionView]:
        """Sessions that have not ended, oldest first."""
        return [view for view in self.sessions.values() if view.phase != "ended"]

    def apply(self, payload: Payload, timestamp: float, now: float) -> None:
        """Take one message; types that do not change the scene are let pass."""
        if type(payload) is TokenVisualizationUpdate:
            self._token(payload, timestamp, now)
        elif type(payload) is NeuralStateUpdate:
            self.insides.take(payload, timestamp)
        elif type(payload) is SessionStarted:
            view = self._session(payload.session, timestamp)
            view.phase = "queued"
            view.model, view.upstream = payload.model, payload.upstream
            view.replay_of = payload.replay_of
        elif type(payload) is SessionProgress:
            view = self._session(payload.session, timestamp)
            view.phase = payload.phase
            view.upstream = payload.upstream or view.upstream
        elif type(payload) is SessionEnded:
            self._session(payload.session, timestamp).phase = "ended"

    def snapshot(self, at_seq: int, districts: Iterable[District], now: float) -> Snapshot:
        """The scene for a late joiner, at most 512 KiB encoded: what is oldest gives way,
        tokens first.

        Its cells are those of the memory: what was lit lately comes with the recent tokens.
        """
        keys, weights = self.memory.cells(now, MAX_SNAPSHOT_CELLS)
        records = np.empty(len(keys), _RECORD)
        records["district"] = keys >> np.uint64(20)
        records["cell"] = keys & np.uint64((1 << 20) - 1)
        records["weight"] = weights
        cells = b64encode(records.tobytes()).decode()
        snapshot = Snapshot(at_seq, [], [], cells, [])
        room = MAX_SNAPSHOT_BYTES - _ENVELOPE_ROOM - len(encode(snapshot, 0.0))
        # What is left out of thousands of long names is told with the next messages.
        snapshot.sessions, room = _newest_within(room, list(self.sessions.values()))
        snapshot.districts, room = _newest_within(room, list(districts))
        snapshot.tokens, room = _newest_within(room, self.recent)
        return snapshot

    def _token(self, token: TokenVisualizationUpdate, timestamp: float, now: float) -> None:
        if token.district is None or token.cell is None:
            raise ValueError("a token has to be placed before it is applied")
        key = key_of(token.district, token.cell)
        known = token.activation
        self.activation.add(key, UNKNOWN_ACTIVATION if known is None else known, now)
        self.memory.add(key, 1.0, now)
        self.thoughts.add(token, timestamp)
        if token.session is not None:
            view = self._session(token.session, timestamp)
            view.tokens += 1
            if view.phase != "ended":
                view.phase = "generating"
            if view.model is None:
                view.model = token.model

    def _session(self, name: str, timestamp: float) -> SessionView:
        view = self.sessions.get(name)
        if view is None:
            view = self.sessions[name] = SessionView(name, started=timestamp)
            if len(self.sessions) > MAX_SESSIONS:
                ended = (old.session for old in self.sessions.values() if old.phase == "ended")
                del self.sessions[next(ended, next(iter(self.sessions)))]
        return view


def _newest_within(room: int, items: list[_Item]) -> tuple[list[_Item], int]:
    """The last of *items* that fit into *room* bytes of JSON, in order; and the room left."""
    first = len(items)
    while first and (size := len(msgspec.json.encode(items[first - 1])) + 1) <= room:
        first -= 1
        room -= size
    return items[first:], room
