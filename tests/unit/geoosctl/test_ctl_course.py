"""Resuming, gaps and waits of a watcher."""

import pytest

from geoosctl.course import Course


def message(kind, seq=None, **payload):
    return {"message_type": kind, "payload": payload, **({} if seq is None else {"seq": seq})}


def at(epoch="e1", seq=9):
    course = Course()
    assert course.take(message("Hello", epoch=epoch, seq=seq))
    assert course.take(message("Snapshot", at_seq=seq))
    return course


def test_it_goes_on_after_the_last_number():
    course = Course()
    assert course.query() == {}
    course.take(message("Hello", epoch="e1", seq=9))
    assert course.query() == {}
    course.take(message("Snapshot", at_seq=9))
    assert course.take(message("TokenVisualizationUpdate", 10))
    assert course.take(message("TokenVisualizationUpdate", 14))
    assert course.take(message("Canary"))
    assert course.query() == {"epoch": "e1", "after": "14"}
    course.take(message("Hello", epoch="e1", seq=15))
    assert not course.take(message("TokenVisualizationUpdate", 14))
    assert course.take(message("TokenVisualizationUpdate", 15))


def test_without_a_snapshot_the_first_number_counts():
    course = Course()
    course.take(message("Hello", epoch="e1", seq=0))
    assert course.take(message("SessionStarted", 1))
    assert course.query()["after"] == "1"


def test_a_new_epoch_begins_anew():
    course = at()
    course.take(message("Gap", from_seq=10, to_seq=20, dropped=3))
    course.take(message("Hello", epoch="e2", seq=2))
    assert course.query() == {}
    assert course.take(message("TokenVisualizationUpdate", 1))
    assert course.take(message("Gap", from_seq=2, to_seq=4, dropped=2))
    assert course.missed == 5


def test_a_gap_is_told_once_and_what_is_inside_still_comes():
    course = at()
    gap = message("Gap", from_seq=10, to_seq=20, dropped=10)
    assert course.take(gap)
    assert course.query()["after"] == "9"
    assert course.take(message("SessionEnded", 15))
    assert not course.take(gap)
    assert course.take(message("Gap", from_seq=None, to_seq=None, dropped=2))
    assert course.missed == 12


def test_waits_grow_by_half_and_start_again_after_hello():
    course = at()
    waits = [course.lose(1006, "", 0) for _ in range(12)]
    assert waits[:4] == [0.25, 0.375, 0.5625, 0.84375]
    assert waits[9:] == [8, 8, 8]
    assert course.lose(1006, "", 1) == 4.0
    course.take(message("Hello", epoch="e1", seq=9))
    assert course.lose(1006, "", 0) == 0.25
    for _ in range(3000):
        assert course.lose(1006, "", 0) <= 8


@pytest.mark.parametrize(
    ("code", "reason", "wait"),
    [
        (1001, "restarting; retry in 700 ms", 0.7),
        (1001, "restarting; retry in 999999999 ms", 60),
        (1001, "restarting", 0.25),
        (1006, "restarting; retry in 700 ms", 0.25),
        (1008, "the token has expired", 30),
        (1013, "too many viewers", 1),
    ],
)
def test_the_server_is_obeyed(code, reason, wait):
    assert at().lose(code, reason, 0) == wait
