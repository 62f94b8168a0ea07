"""The groups by themselves: who shares a ring, what a new one holds, when one is forgotten."""

from geoosd.broadcaster.core.groups import Groups
from geoosd.broadcaster.core.pictures import NOTHING, Stills
from geoosd.broadcaster.core.ring import Entry
from geoosd.broadcaster.core.subscription import Filter

ALL = Filter()
SESSIONS = Filter(frozenset({"sessions"}))
ONE_MODEL = Filter(models=frozenset({"m1"}))
PICTURES = Filter(frozenset({"frames"}), view="memory")


def entry(seq, channel="tokens", model=None):
    return Entry(seq, b"%d" % seq, channel=channel, model=model)


def held(ring):
    return [each.seq for each in ring.entries()]


def test_equal_filters_share_a_ring_which_is_filled_from_the_one_of_everything():
    groups = Groups(100, 1 << 20)
    groups.append(entry(1))
    groups.append(entry(2, "sessions"))
    group = groups.join(Filter())
    assert groups.join(Filter()) is group
    assert group.members == 2
    sessions = groups.join(SESSIONS)
    one_model = groups.join(ONE_MODEL)
    assert (held(group.ring), held(sessions.ring)) == ([1, 2], [2])
    groups.append(entry(3, model="m1"))
    groups.append(entry(4, model="m2"))
    groups.append(entry(5, channel=None, model="m2"))  # for everybody
    assert held(groups.everything) == held(group.ring) == [1, 2, 3, 4, 5]
    assert held(sessions.ring) == [2, 5]
    assert held(one_model.ring) == [1, 2, 3, 5]


def test_a_group_that_nobody_is_in_is_forgotten():
    groups = Groups(100, 1 << 20)
    group = groups.join(ALL)
    groups.join(ALL)
    groups.leave(ALL)
    assert [*groups] == [group]
    groups.leave(ALL)
    assert len(groups) == 0
    assert groups.ring_of(ALL) is groups.everything
    assert groups.join(ALL) is not group
    assert groups.ring_of(ALL) is not groups.everything


def test_whoever_goes_through_them_may_change_them():
    groups = Groups(100, 1 << 20)
    for filter_ in (ALL, SESSIONS):
        groups.join(filter_)
    for group in groups:
        groups.leave(group.filter)
    assert not groups


def test_a_lane_per_tick():
    group = Groups(100, 1 << 20).join(PICTURES)
    assert group.lane(16) is group.lane(16)
    assert group.lane(16) is not group.lane(0)
    assert group.lane(0).pictures == "memory"


def test_a_restart_leaves_no_groups_and_nothing_to_resume():
    groups = Groups(100, 1 << 20)
    groups.join(PICTURES)
    groups.append(entry(1))
    assert groups.views == {"memory"}
    groups.restart(7)
    assert not groups
    assert not groups.views
    assert groups.everything.lost_through == groups.join(ALL).ring.lost_through == 7


def test_rings_are_bounded():
    groups = Groups(3, 1 << 20)
    ring = groups.join(ALL).ring
    for seq in range(1, 6):
        groups.append(entry(seq))
    assert held(groups.everything) == held(ring) == [3, 4, 5]


def test_the_newest_picture_of_each_view_while_somebody_looks():
    stills = Stills()
    assert stills.newest("memory") is NOTHING
    for view in ("memory", "layers", "memory"):
        stills.show(b"picture", view)
    assert (stills.newest("memory").number, stills.newest("layers").number) == (3, 2)
    stills.keep({"layers", "models"})
    assert stills.newest("memory") is NOTHING
    assert stills.newest("layers").number == 2
