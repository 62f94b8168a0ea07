import pytest

from geoosd.engine.core.condition import GOOD_RUN, KEEPS_ENDING, SILENT_AFTER, Condition


@pytest.fixture
def condition():
    return Condition("gemma", "http://127.0.0.1:1236")


def test_from_nothing_to_ready(condition):
    assert condition.finding() == ("warning", "model loading: starting", "geoosctl health --watch")
    condition.preparing("putting the model together: 25 %")
    assert condition.finding()[1] == "model loading: putting the model together: 25 %"
    condition.spawned()
    condition.unanswered()
    condition.answered(503, 1.0)
    assert condition.finding()[:2] == ("warning", "model loading: gemma")
    assert not condition.ready
    condition.answered(200, 2.0)
    assert condition.ready
    assert condition.finding() == ("healthy", "gemma answers on http://127.0.0.1:1236", None)


def test_a_ready_server_that_falls_silent(condition):
    condition.spawned()
    condition.answered(200, 0.0)
    for _ in range(SILENT_AFTER):
        assert condition.ready
        condition.unanswered()
    verdict, summary, remedy = condition.finding()
    assert (verdict, condition.ready) == ("critical", False)
    assert "does not answer" in summary
    assert remedy
    condition.answered(200, 9.0)
    assert condition.ready


def test_one_end_is_a_warning(condition):
    condition.spawned()
    condition.ended("killed by SIGKILL; restarting in 0.2 s")
    verdict, summary, _ = condition.finding()
    assert verdict == "warning"
    assert summary == "model loading: the model server killed by SIGKILL; restarting in 0.2 s"


@pytest.mark.parametrize("words", ["", "GGML_ASSERT(x) failed"])
def test_ending_again_and_again_is_critical_with_the_last_words(condition, words):
    for _ in range(KEEPS_ENDING):
        condition.spawned()
        if words:
            condition.said(words)
        condition.ended("killed by SIGABRT")
    verdict, summary, remedy = condition.finding()
    assert verdict == "critical"
    assert summary.startswith("the model server keeps ending: killed by SIGABRT")
    assert summary.endswith(f"it said: {words}" if words else "SIGABRT")
    assert "engine.model" in remedy
    condition.spawned()
    assert condition.finding()[0] == "critical"  # not before it is ready


def test_a_good_run_forgives(condition):
    for _ in range(KEEPS_ENDING):
        condition.ended("killed by SIGABRT")
    condition.spawned()
    condition.answered(200, 0.0)
    condition.answered(200, GOOD_RUN - 1)
    assert condition.ends == KEEPS_ENDING
    condition.answered(200, GOOD_RUN)
    assert (condition.ends, condition.total_ends) == (0, KEEPS_ENDING)
