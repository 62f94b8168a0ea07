"""Where a watcher stands in the numbered messages, and when it connects again. Pure.

The same rules as the page's ``core/connection.js`` (docs/interfaces.md, "WebSocket"): resume after
the last number seen, show nothing twice, tell of a gap once, wait longer after every failure, and
as long as a restarting server says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

RESTART: Final = 1001
REFUSED: Final = 1008
TOO_MANY: Final = 1013
_FIRST_DELAY: Final = 0.25
_GROWTH: Final = 1.5
"""A restart takes about a second: after it a watcher that doubled might wait for two more."""
_LONGEST_DELAY: Final = 8.0
_REFUSED_DELAY: Final = 30.0
_LONGEST_SAID_MS: Final = 60_000
_SAID: Final = re.compile("retry in ([0-9]{1,9}) ms$")


class Course:
    """``epoch`` and ``after`` are None before the first message; ``missed`` is what gaps say."""

    def __init__(self) -> None:
        self.epoch: str | None = None
        self.after: int | None = None
        self.missed = 0
        self._attempts = 0
        self._told_through = -1

    def query(self) -> dict[str, str]:
        """What the address must say to go on where this stands."""
        if self.epoch is None or self.after is None:
            return {}
        return {"epoch": self.epoch, "after": str(self.after)}

    def take(self, message: Mapping[str, Any]) -> bool:
        """Note a message of the server; False for one that was there before."""
        payload, seq = message["payload"], message.get("seq")
        match message["message_type"]:
            case "Hello":
                self._attempts = 0
                if payload["epoch"] != self.epoch:
                    self.epoch, self.after, self._told_through = payload["epoch"], None, -1
            case "Snapshot":
                self.after = payload["at_seq"]
            case "Gap":
                return self._take_gap(payload)
            case _ if seq is not None:
                if self.after is not None and seq <= self.after:
                    return False
                self.after = seq
            case _:
                pass
        return True

    def _take_gap(self, gap: Mapping[str, Any]) -> bool:
        """``after`` stays: what may not be dropped still comes, with numbers inside the gap."""
        through = gap.get("to_seq")
        if through is not None:
            if through <= self._told_through:
                return False
            self._told_through = through
        self.missed += gap["dropped"]
        return True

    def lose(self, code: int, reason: str, chance: float) -> float:
        """The connection is gone: seconds until the next attempt. *chance* is in 0..1: watchers
        must not come back in step.
        """
        self._attempts += 1
        if code == REFUSED:
            return _REFUSED_DELAY
        said = _SAID.search(reason) if code == RESTART else None
        if said is not None:
            return min(int(said[1]), _LONGEST_SAID_MS) / 1000
        crowded = 4 if code == TOO_MANY else 1
        grown = crowded * _FIRST_DELAY * _GROWTH ** min(self._attempts - 1, 20)
        return min(_LONGEST_DELAY, grown) * (1 - chance / 2)
