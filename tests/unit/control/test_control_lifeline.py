"""geoosd.control.core.lifeline."""

from geoosd.control.core.lifeline import RECENT_SECONDS, Lifeline


def test_nothing_is_known_before_the_first_answer():
    life = Lifeline()
    assert life.pid is None
    assert not life.gone
    assert not life.lost()
    assert not life.gone
    assert life.restarted_ago(0.0) is None


def test_the_first_answer_is_no_restart():
    life = Lifeline()
    life.lost()
    assert not life.is_another(10, 100.0)
    life.saw(10, 100.0, 1.0)
    assert life.restarts == 0


def test_becoming_active_is_no_restart():
    life = Lifeline()
    life.saw(10, 100.0, 1.0)
    assert not life.is_another(10, 101.0)
    life.saw(10, 101.0, 2.0)
    assert life.since == 101.0


def test_its_own_restart_is_told_by_control():
    life = Lifeline()
    life.returned(5.0)
    assert life.restarts == 1
    assert life.restarted_ago(7.0) == 2.0
    assert not life.wanted
    assert not life.is_another(10, 100.0)


def test_another_pid_is_a_restart_and_news_for_a_while():
    life = Lifeline()
    life.saw(10, 100.0, 1.0)
    assert life.lost()
    assert not life.lost()
    assert life.gone
    assert life.is_another(11, 105.0)
    life.saw(11, 105.0, 6.0)
    assert not life.gone
    assert not life.wanted
    assert life.restarts == 1
    assert life.restarted_ago(8.0) == 2.0
    assert life.restarted_ago(6.0 + RECENT_SECONDS + 0.1) is None


def test_the_same_pid_that_started_later_after_a_loss_is_a_restart():
    life = Lifeline()
    life.saw(10, 100.0, 1.0)
    life.lost()
    assert life.is_another(10, 105.0)
    life.saw(10, 105.0, 6.0)
    assert life.restarts == 1


def test_a_connection_that_broke_alone_is_no_restart():
    life = Lifeline()
    life.saw(10, 100.0, 1.0)
    life.lost()
    assert not life.is_another(10, 100.0)
    life.saw(10, 100.0, 2.0)
    assert life.restarts == 0


def test_a_restart_that_was_asked_for_is_news_and_does_not_count():
    life = Lifeline()
    life.saw(10, 100.0, 1.0)
    life.lost()
    life.saw(11, 105.0, 6.0, wanted=True)
    assert (life.wanted, life.restarts, life.restarted_ago(7.0)) == (True, 0, 1.0)
    life.saw(11, 105.0, 7.0)
    assert life.wanted, "it is the same process still"
    life.lost()
    life.saw(12, 110.0, 11.0)
    assert (life.wanted, life.restarts) == (False, 1)


def test_slow_are_several_answers_in_a_row():
    life = Lifeline()
    assert [life.answered(each) for each in (0.5, 0.9, 0.6, 0.7, 0.01, 0.8)] == [
        0.0,
        0.0,
        0.5,
        0.6,
        0.01,
        0.01,
    ]
