"""Whether a daemon was restarted, from what can be seen of it: its pid, its start, its silence.

:class:`geoosd.control.adapters.watch.Watch` tells a :class:`Lifeline` what it sees; the service
asks it for :class:`geoosd.control.core.aggregate` and :class:`geoosd.control.core.rootcause`.
"""

from __future__ import annotations

from collections import deque
from typing import Final

RECENT_SECONDS: Final = 30.0
"""How long a restart is news: ``status`` shows it and ``health`` warns of it."""
ANSWERS: Final = 3
"""How many answers in a row tell whether a daemon is slow: one alone may have met with anything."""


class Lifeline:
    """The life of one daemon over its restarts.

    Times named ``now`` are seconds of one monotonic clock; ``since`` is the daemon's own wall-clock
    start in seconds since the epoch.
    """

    __slots__ = ("_answers", "_lost", "_restarted_at", "pid", "restarts", "since", "wanted")

    def __init__(self) -> None:
        self.pid: int | None = None
        """The newest known process; None before the first answer."""
        self.since = 0.0
        self.restarts = 0
        """How often it ended and was started again, without anybody asking for it."""
        self.wanted = False
        """Whether somebody asked for the last restart."""
        self._lost = False
        self._restarted_at: float | None = None
        self._answers: deque[float] = deque(maxlen=ANSWERS)

    def answered(self, seconds: float) -> float:
        """It answered within *seconds*; how long each of its last answers took at least."""
        self._answers.append(seconds)
        return min(self._answers) if len(self._answers) == ANSWERS else 0.0

    def is_another(self, pid: int, since: float) -> bool:
        """Whether this is another process than the one that was seen before.

        A start later than the known one is a restart only after a loss: a daemon that becomes
        active sets its start once more.
        """
        return self.pid is not None and (pid != self.pid or (self._lost and since > self.since))

    def saw(self, pid: int, since: float, now: float, *, wanted: bool = False) -> None:
        """The daemon answered; *wanted*: if it is another process, then because somebody asked."""
        if self.is_another(pid, since):
            self.restarts += not wanted
            self.wanted = wanted
            self._restarted_at = now
        self.pid, self.since, self._lost = pid, since, False

    def returned(self, now: float) -> None:
        """It was restarted before anybody watched it, as only control itself can know of itself."""
        self.restarts += 1
        self.wanted = False
        self._restarted_at = now

    def lost(self) -> bool:
        """Its connection broke; True when this is news."""
        news = self.pid is not None and not self._lost
        self._lost = True
        return news

    @property
    def gone(self) -> bool:
        """Whether the process that was last seen hung up and no other has answered yet."""
        return self._lost and self.pid is not None

    def restarted_ago(self, now: float) -> float | None:
        """Seconds since the last restart, None when there was none or it is no news any more."""
        if self._restarted_at is None or now - self._restarted_at > RECENT_SECONDS:
            return None
        return max(0.0, now - self._restarted_at)
