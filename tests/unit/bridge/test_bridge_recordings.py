"""Every answer in tests/data/sse, read at any cut, is what its expected.json says."""

import pytest
from recordings import NAMES, SSE, check, expect, recording

from geoosd.bridge.core.exchange import Exchange, dialect_of
from geoosd.wire.messages import (
    Payload,
    SessionProgress,
    TokenVisualizationUpdate,
    decode,
    encode,
)


def replay(name: str, cut: int | str) -> tuple[Exchange, list[Payload]]:
    recorded = recording(name)
    exchange = Exchange("s", model="asked", upstream="u", dialect=dialect_of(recorded.path))
    payloads = exchange.started(0.0) + exchange.answered(200, recorded.content_type, 0.5)
    for piece in recorded.pieces(cut):
        payloads += exchange.receive(piece, 1.0)
    return exchange, payloads + exchange.finish(2.0)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_at_every_cut(name):
    exchange, payloads = replay(name, "recorded")
    for cut in (1, 7):
        assert replay(name, cut)[1] == payloads
    assert exchange.errors == 0
    check(recording(name), payloads)
    for payload in payloads:
        assert decode(encode(payload, 1.0), 1.0).payload == payload


def test_every_answer_has_what_is_expected_of_it():
    assert {path.name.removesuffix(".expected.json") for path in SSE.glob("*.expected.json")} == (
        set(NAMES)
    )


@pytest.mark.parametrize("name", NAMES)
def test_what_is_expected_is_what_a_plain_reader_finds(name):
    """The committed expectations are those of a reader that shares nothing with the product."""
    recorded = recording(name)
    found = expect.expected_tokens(name, recorded.path, recorded.content_type)
    assert [tuple(token) for token in found] == recorded.tokens
    assert recorded.tokens


@pytest.mark.parametrize(
    "name",
    [
        "24_native_completion_probs_progress",
        "25_native_completion_post_sampling",
        "26_native_completion_whole",
    ],
)
def test_ids_and_probabilities_of_native_completions(name):
    tokens = [each for each in replay(name, 7)[1] if isinstance(each, TokenVisualizationUpdate)]
    kind = recording(name).content_type
    entries = [
        entry
        for each in expect.objects(name, kind)
        for entry in each.get("completion_probabilities", [])
    ]
    assert [token.token_id for token in tokens] == [entry["id"] for entry in entries]
    assert all(token.provenance["activation"] == "measured" for token in tokens)
    assert all(len(token.alternatives) >= 2 for token in tokens)
    if "prob" in entries[0]:
        expected = [entry["prob"] for entry in entries]
        assert [token.activation for token in tokens] == pytest.approx(expected)


def test_ids_without_probabilities():
    tokens = [
        each
        for each in replay("28_native_completion_plain", 7)[1]
        if isinstance(each, TokenVisualizationUpdate)
    ]
    assert [token.token_id for token in tokens] == [496, 1977, 529, 1822, 9899]


def test_a_character_of_several_tokens_is_not_said_to_be_one():
    payloads = replay("33_native_completion_multibyte", 7)[1]
    tokens = [each for each in payloads if isinstance(each, TokenVisualizationUpdate)]
    assert {token.current_token: token.provenance["token_id"] for token in tokens} == {
        "h": "measured",
        "é": "measured",
        " ": "measured",
        "日": "derived",
        "本": "derived",
        "👩": "derived",
        "\u200d": "derived",
        "👧": "derived",
        "🏳": "derived",
    }


def test_two_prompts_do_not_disturb_each_others_counts():
    payloads = replay("35_native_completion_two_prompts", 7)[1]
    tokens = [each for each in payloads if isinstance(each, TokenVisualizationUpdate)]
    assert [token.choice for token in tokens].count(1) == 5
    assert {token.provenance["token_id"] for token in tokens} == {"measured"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "24_native_completion_probs_progress",
            [("prefill", None), ("prefill", 0), ("prefill", 14), ("prefill", 18)],
        ),
        (
            "written_lmstudio_chat",
            [
                ("prefill", None),
                ("queued", 25),
                ("queued", 65),
                ("queued", 100),
                ("prefill", 0),
                ("prefill", 50),
                ("prefill", 100),
            ],
        ),
    ],
)
def test_progress(name, expected):
    progress = [each for each in replay(name, 1)[1] if isinstance(each, SessionProgress)]
    assert [(each.phase, each.processed) for each in progress] == [
        *expected,
        ("generating", None),
    ]


def test_speed_as_the_server_measured_it():
    assert replay("written_ollama_chat", 1)[1][-1].tokens_per_second == 12.0
    assert replay("written_lmstudio_chat", 1)[1][-1].tokens_per_second == 43.73
    assert replay("10_responses_stream", 1)[1][-1].tokens_per_second == pytest.approx(14.519, 0.01)


def test_the_usage_of_several_choices_is_theirs_together():
    ended = replay("40_chat_two_choices", 7)[1][-1]
    assert (ended.usage.prompt_tokens, ended.usage.completion_tokens) == (31, 24)
    assert ended.usage.total_tokens == 55
