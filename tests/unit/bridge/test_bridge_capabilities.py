"""geoosd.bridge.core.capabilities: what is learnt, what outweighs what, what is forgotten."""

from geoosd.bridge.core import capabilities as capabilities_module
from geoosd.bridge.core.capabilities import Capabilities, Evidence, Known
from geoosd.wire.messages import (
    SessionEnded,
    SessionProgress,
    SessionStarted,
    TokenVisualizationUpdate,
    Usage,
)


def token(role="answer", **known):
    return TokenVisualizationUpdate("x", 0, session="s", role=role, **known)


def ended(**how):
    return SessionEnded("s", **{"time_to_first_token": 0.1, **how})


def evidence(*payloads, asked=frozenset()):
    found = Evidence(asked)
    for payload in payloads:
        found.take(payload)
    return found


def test_unknown_until_learnt():
    table = Capabilities()
    assert table.can("u", "m", "logprobs") is None
    assert table.known("u", "m") == {}
    table.learn("u", "m", "logprobs", True, "answer")
    assert table.can("u", "m", "logprobs") is True
    assert table.can("u", "other", "logprobs") is None
    assert table.known("u", "m") == {"logprobs": Known(True, "answer")}


def test_one_lack_does_not_outweigh_one_proof():
    table = Capabilities()
    table.learn("u", "m", "logprobs", True, "answer")
    table.learn("u", "m", "logprobs", False, "answer")
    assert table.can("u", "m", "logprobs") is True


def test_the_second_refusal_decides():
    table = Capabilities()
    table.learn("u", "m", "logprobs", True, "answer")
    table.learn("u", "m", "logprobs", False, "refusal")
    assert table.can("u", "m", "logprobs") is None
    table.learn("u", "m", "logprobs", False, "refusal")
    assert table.known("u", "m") == {"logprobs": Known(False, "refusal")}
    table.learn("u", "m", "logprobs", True, "answer")
    assert table.can("u", "m", "logprobs") is True


def test_what_the_server_says_of_itself_counts():
    table = Capabilities()
    table.learn("u", "m", "chat", True, "answer")
    table.learn("u", "m", "chat", False, "probe")
    assert table.can("u", "m", "chat") is False


def test_another_version_is_another_server():
    table = Capabilities()
    assert not table.saw_version("u", "1")
    table.learn("u", "m", "logprobs", False, "refusal")
    table.learn("v", "m", "logprobs", False, "refusal")
    assert not table.saw_version("u", "1")
    assert table.can("u", "m", "logprobs") is False
    assert table.saw_version("u", "2")
    assert table.can("u", "m", "logprobs") is None
    assert table.can("v", "m", "logprobs") is False


def test_what_is_doubted_is_known_no_more():
    table = Capabilities()
    table.learn("u", "m", "logprobs", True, "answer")
    table.learn("u", "m", "usage", False, "refusal")
    for what in ("logprobs", "usage", "tools"):
        table.doubt("u", "m", what)
        table.doubt("u", "another", what)
    assert table.can("u", "m", "logprobs") is None
    assert table.can("u", "m", "usage") is False
    assert table.can("u", "m", "tools") is None


def test_models_that_are_gone_are_forgotten():
    table = Capabilities()
    for model in ("a", "b", None):
        table.learn("u", model, "usage", True, "answer")
    table.learn("v", "b", "usage", True, "answer")
    table.keep("u", {"a"})
    assert table.can("u", "a", "usage") is True
    assert table.can("u", None, "usage") is True
    assert table.can("u", "b", "usage") is None
    assert table.can("v", "b", "usage") is True


def test_the_table_is_bounded(monkeypatch):
    monkeypatch.setattr(capabilities_module, "_MAX_MODELS", 2)
    table = Capabilities()
    for model in "abc":
        table.learn("u", model, "usage", True, "answer")
    table.learn("u", "a", "chat", True, "answer")
    assert table.can("u", "c", "usage") is None
    assert table.can("u", "a", "chat") is True


def test_what_messages_prove():
    assert evidence(SessionStarted("s"), token()).proven == set()
    assert evidence(token(activation=0.5)).proven == {"logprobs"}
    assert evidence(token(token_id=3, provenance={"token_id": "measured"})).proven == {"token_ids"}
    assert evidence(token(token_id=3, provenance={"token_id": "derived"})).proven == set()
    assert evidence(token(token_id=3)).proven == set()
    assert evidence(token("tool", activation=0.5)).proven == {"tools"}
    assert evidence(ended(usage=Usage(1, 2, 3))).proven == {"usage"}
    assert evidence(ended(usage=Usage(1, 2, 3), time_to_first_token=None)).proven == set()
    progress = SessionProgress("s", "prefill", processed=1, total=2)
    assert evidence(progress).proven == {"prompt_progress"}
    assert evidence(SessionProgress("s", "prefill")).proven == set()


def test_what_a_whole_answer_lacks():
    asked = frozenset({"logprobs", "usage", "prompt_progress"})
    assert evidence(token(), ended(), asked=asked).missing() == {"logprobs", "usage"}
    assert evidence(token(activation=0.1), ended(), asked=asked).missing() == {"usage"}
    assert evidence(ended(), asked=asked).missing() == set()
    assert evidence(token("tool"), ended(), asked=asked).missing() == set()
    assert evidence(token(), ended(error="reset"), asked=asked).missing() == set()
    assert evidence(token(), ended()).missing() == set()
