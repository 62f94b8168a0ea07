"""A circuit breaker: when an upstream that fails requests is set aside, and when it is tried again.

The pattern is that of Nygard, "Release It!" (2nd ed., ch. 5). Every request counts that was not
answered to the end: a refused connection, one that broke, silence beyond the timeout. An answer
with an error status is an answer: servers give 500 to one bad request, and 503 while they load.

The caller's duties (:mod:`..adapters.watched`)::

    breaker.failed(now, jitter)      # a request was not answered to the end
    breaker.answered()               # a request was
    if breaker.begin_trial(now): breaker.end_trial(ok, now, jitter)   # one look, and one at a time
    breaker.revived()                # it was down altogether, and is back

*now* is one monotonic clock in seconds; *jitter* is a fresh random number in [0, 1).
"""

from __future__ import annotations

from collections import deque
from typing import Literal, NamedTuple, TypeAlias

Circuit: TypeAlias = Literal["closed", "open", "half_open"]


class Policy(NamedTuple):
    """*failures* within *window* seconds open the circuit, for *first* seconds, then twice that and
    so on up to *longest*."""

    failures: int = 3
    window: float = 30.0
    first: float = 5.0
    longest: float = 60.0


DEFAULT = Policy()


class Breaker:
    """The circuit of one upstream; ``state`` and ``openings`` (in all) are for those who show it.

    After a good trial the circuit is closed on probation: until a request is answered, one failure
    opens it again, for twice as long.
    """

    def __init__(self, policy: Policy = DEFAULT) -> None:
        self.state: Circuit = "closed"
        self.openings = 0
        self._policy = policy
        self._failures: deque[float] = deque(maxlen=policy.failures)
        self._level = 0
        self._retry_at = 0.0

    def failed(self, now: float, jitter: float) -> bool:
        """A request was not answered to the end; whether that opened the circuit."""
        if self.state != "closed":
            return False  # sent before it opened, or as the last resort
        self._failures.append(now)
        full = len(self._failures) == self._policy.failures
        if self._level or (full and now - self._failures[0] <= self._policy.window):
            self._open(now, jitter)
            return True
        return False

    def answered(self) -> bool:
        """A request got an answer, which is the best of proofs; whether that closed the circuit."""
        changed = self.state != "closed"
        self._close()
        self._level = 0
        return changed

    def begin_trial(self, now: float) -> bool:
        """Whether to look now: True once, when the back-off is over."""
        if self.state != "open" or now < self._retry_at:
            return False
        self.state = "half_open"
        return True

    def end_trial(self, ok: bool, now: float, jitter: float) -> None:
        """How the look went; nothing if a request was answered meanwhile."""
        if self.state != "half_open":
            return
        if ok:
            self._close()
        else:
            self._open(now, jitter)

    def revived(self) -> bool:
        """It was down and answers again: another start of it, perhaps; whether that closed it."""
        changed = self.state != "closed"
        self._close()
        return changed

    def retry_in(self, now: float) -> float | None:
        """Seconds until the next trial; None unless the circuit is open."""
        return max(0.0, self._retry_at - now) if self.state == "open" else None

    def _open(self, now: float, jitter: float) -> None:
        policy = self._policy
        delay = min(policy.longest, policy.first * 2.0 ** min(self._level, 30))
        # Half of it is left to chance, so that many bridges do not come back at once.
        self._retry_at = now + delay * (0.5 + 0.5 * jitter)
        self._level += 1
        self.state = "open"
        self.openings += 1

    def _close(self) -> None:
        self._failures.clear()
        self.state = "closed"
