"""Which model a message is of: some name only their session."""

from __future__ import annotations

from typing import Final

from geoosd.wire.messages import Payload, SessionStarted, TokenVisualizationUpdate

_MAX_SESSIONS: Final = 4096


class Models:
    """The models of the last sessions, by what their messages said."""

    def __init__(self) -> None:
        self._of_session: dict[str, str] = {}

    def of(self, payload: Payload) -> str | None:
        """The model of *payload*; None where nothing has named it."""
        session: str | None = getattr(payload, "session", None)
        model: str | None = None
        if isinstance(payload, SessionStarted | TokenVisualizationUpdate):
            model = payload.model
        if session is None:
            return model
        if model is None:
            return self._of_session.get(session)
        if session not in self._of_session:
            if len(self._of_session) >= _MAX_SESSIONS:
                del self._of_session[next(iter(self._of_session))]
            self._of_session[session] = model
        return model
