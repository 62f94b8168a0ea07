"""geoosd.runtime.watchdog: signs of life on time; the budget for bugs."""

import structlog
import trio

from geoosd.runtime.watchdog import ErrorBudget, feed_watchdog


class Manager:
    """Notes when it hears a sign of life."""

    def __init__(self, enough):
        self.heard = []
        self.enough = enough
        self.done = trio.Event()

    def watchdog(self):
        self.heard.append(trio.current_time())
        if len(self.heard) == self.enough:
            self.done.set()


async def test_signs_of_life_come_at_half_the_interval(autojump_clock, monkeypatch, nursery):
    monkeypatch.setenv("WATCHDOG_USEC", "3000000")
    manager = Manager(enough=5)
    nursery.start_soon(feed_watchdog, manager)
    await manager.done.wait()
    assert [moment - manager.heard[0] for moment in manager.heard] == [0.0, 1.5, 3.0, 4.5, 6.0]


async def test_without_a_wish_there_are_none(monkeypatch):
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    manager = Manager(enough=1)
    await feed_watchdog(manager)
    assert manager.heard == []


async def test_many_bugs_in_a_short_while_exhaust_the_budget(mock_clock):
    with structlog.testing.capture_logs() as records:
        budget = ErrorBudget(structlog.get_logger(), bugs=3, seconds=60.0)
        for seconds in (0, 31, 30):
            mock_clock.jump(seconds)
            budget.spend("a handler", ValueError("oops"))
        assert not budget.exhausted.is_set()
        mock_clock.jump(29)
        budget.spend("a handler", ValueError("oops"))
        assert budget.exhausted.is_set()
    assert len(records) == 4
    assert (records[0]["event"], records[0]["error"]) == ("bug", "ValueError: oops")
