"""geoosd.bridge.core.holdoff: each change at once, until there are too many."""

from geoosd.bridge.core.holdoff import HoldOff


def test_a_few_changes_are_told_at_once():
    hold = HoldOff(burst=2, window=10.0)
    assert hold.changed(0.0)
    assert hold.changed(1.0)
    assert not hold.changed(2.0)
    assert not hold.changed(3.0)


def test_held_changes_are_told_together_when_there_is_room():
    hold = HoldOff(burst=2, window=10.0)
    assert hold.due(0.0) == 0
    for now in (0.0, 1.0, 2.0, 3.0):
        hold.changed(now)
    assert hold.due(10.0) == 0
    assert hold.due(10.5) == 2
    assert hold.due(10.6) == 0


def test_while_changes_are_held_no_other_overtakes_them():
    hold = HoldOff(burst=1, window=10.0)
    assert hold.changed(0.0)
    assert not hold.changed(5.0)
    assert not hold.changed(11.0)
    assert hold.due(11.0) == 2


def test_a_flapping_server_fills_no_journal():
    hold = HoldOff()
    told = sum(hold.changed(float(now)) + bool(hold.due(float(now))) for now in range(3600))
    assert told <= 4 * 61
