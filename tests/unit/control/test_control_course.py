"""Health over time: flapping is held, turns are remembered."""

import pytest

from geoosd.control.core.course import CALM_SECONDS, FLAP_SECONDS, MAX_HISTORY, Course
from geoosd.wire.reports import Check

WELL = Check("link", "healthy", "is up")
BAD = Check("link", "warning", "is down", "mend it", 7.0)


def damped(course, *steps):
    return [course.damp("bridge: link", check, now) for check, now in steps][-1]


def test_a_check_that_goes_bad_counts_at_once_and_recovers_at_once():
    course = Course()
    assert damped(course, (WELL, 0.0), (BAD, 1.0)) is BAD
    assert damped(course, (WELL, 2.0)) is WELL
    assert damped(course, (BAD, 3.0), (BAD, 4.0), (WELL, 5.0)) is WELL


@pytest.mark.parametrize("start", [0.0, 1e6])
def test_one_that_comes_and_goes_is_held_until_it_was_calm(start):
    course = Course()
    steps = [(check, start + 2 * n + m) for n in range(3) for m, check in ((0, BAD), (1, WELL))]
    held = damped(course, *steps)
    assert (held.status, held.remedy, held.since) == ("warning", "mend it", 7.0)
    assert held.summary == "comes and goes, 3 times within 5 minutes: is down"
    assert damped(course, (WELL, start + 4.0 + CALM_SECONDS - 0.1)).status == "warning"
    assert damped(course, (WELL, start + 4.0 + CALM_SECONDS)) is WELL


@pytest.mark.parametrize(("late", "held"), [(0.0, "warning"), (0.1, "healthy")])
def test_the_first_turn_counts_until_its_last_moment(late, held):
    course = Course()
    last = FLAP_SECONDS + late
    for start in (0.0, last - 2, last - 1):
        damped(course, (BAD, start), (WELL, start + 0.5))
    assert damped(course, (WELL, last)).status == held


def test_turns_of_long_ago_are_forgotten():
    course = Course()
    for start in (0.0, 10.0, FLAP_SECONDS + 5):
        damped(course, (BAD, start), (WELL, start + 1))
    assert damped(course, (WELL, FLAP_SECONDS + 7)) is WELL


def test_the_number_of_checks_is_bounded():
    course = Course()
    for number in range(1500):
        course.damp(f"check {number}", BAD, 0.0)
    assert course.damp("check 0", WELL, 1.0) is WELL
    assert len(course._checks) == 1000


def test_the_turns_of_the_whole_are_remembered():
    course = Course()
    assert course.note("healthy", None, 1.0)
    assert not course.note("healthy", None, 2.0)
    assert course.note("critical", "the bridge does not answer: 3 s", 3.0)
    assert not course.note("critical", "the bridge does not answer: 9 s", 4.0)
    assert not course.note("critical", "the compositor does not answer", 5.0)
    assert course.note("healthy", None, 6.0)
    told = [(each.at, each.status) for each in course.history]
    assert told == [(1.0, "healthy"), (3.0, "critical"), (5.0, "critical"), (6.0, "healthy")]
    for number in range(300):
        course.note("warning" if number % 2 else "healthy", None, float(number))
    assert len(course.history) == MAX_HISTORY
