"""geoosd.bridge.core.conversation: the words of requests in all dialects, and of anything else."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoosd.bridge.core import conversation
from geoosd.bridge.core.conversation import Conversation, read
from geoosd.wire.sessions import Turn

CALL = {"function": {"name": "look", "arguments": '{"at":1}'}}

DEEP = b'{"prompt":%s"x"%s}' % (b"[" * 900, b"]" * 900)
"""Deep enough for Python's stack, not for the decoder's."""


def of(**body):
    return read(json.dumps(body).encode())


def test_a_chat():
    said = of(
        messages=[
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": None, "tool_calls": [CALL, "bad"]},
            {"role": "tool", "content": [{"type": "text", "text": "seen"}]},
            {"role": "developer", "content": "in rhyme"},
            "bad",
            {"content": [{"type": "text", "text": "and"}, {"type": "image_url", "image_url": {}}]},
        ]
    )
    assert said == Conversation(
        "and\n[image_url]",
        "be brief\n\nin rhyme",
        (Turn("user", "hi"), Turn("assistant", 'look({"at":1})'), Turn("tool", "seen")),
    )


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"prompt": "go on"}, Conversation("go on")),
        ({"prompt": ["a", "b"]}, Conversation("a\nb")),
        ({"prompt": [1, 2, 3]}, Conversation("[3 token ids]")),
        ({"prompt": [[1, 2], [3]]}, Conversation("[2 token ids]\n[1 token ids]")),
        ({"prompt": "hi", "system": "be brief"}, Conversation("hi", "be brief")),
        ({"input": "hi", "instructions": "be brief"}, Conversation("hi", "be brief")),
        ({"input": "hi", "system_prompt": "be brief"}, Conversation("hi", "be brief")),
        (
            {
                "messages": [{"role": "user", "content": "hi"}],
                "system": [{"text": "a"}, {"text": "b"}],
            },
            Conversation("hi", "a\nb"),
        ),
        (
            {
                "messages": [
                    {"role": "assistant", "content": [{"type": "tool_use", "name": "x"}]},
                    {"role": "user", "content": [{"type": "tool_result", "content": "found"}]},
                ]
            },
            Conversation("found", None, (Turn("assistant", "[tool_use]"),)),
        ),
        (
            {
                "input": [
                    {"type": "function_call", "name": "look", "arguments": {"at": 1}},
                    {"type": "function_call_output", "output": "found"},
                    {"role": "user", "content": [{"type": "input_text", "text": "so?"}]},
                ]
            },
            Conversation(
                "so?",
                None,
                (Turn("function_call", 'look({"at":1})'), Turn("function_call_output", "found")),
            ),
        ),
        ({"input": [{"type": "message", "content": "hi"}]}, Conversation("hi")),
        ({"input": [{"role": "user", "tool_calls": [{"function": 1}]}]}, Conversation("")),
        ({"messages": []}, Conversation()),
        ({"messages": 5, "prompt": None}, Conversation()),
        ({"prompt": {"prompt_string": "x", "type": 1}}, Conversation()),
        ({}, Conversation()),
    ],
)
def test_other_dialects(body, said):
    assert of(**body) == said


@pytest.mark.parametrize("body", [b"", b"[]", b"\xff", b'{"prompt":"\xff"}', b"[" * 100_000, DEEP])
def test_what_is_no_request(body):
    assert read(body) == Conversation()


def test_a_body_that_is_too_long(monkeypatch):
    body = b'{"prompt":"hi"}'
    monkeypatch.setattr(conversation, "MAX_PROMPT", len(body))
    assert read(body).prompt == "hi"
    assert read(body + b" ") == Conversation()


NAMES = ["role", "content", "type", "text", "tool_calls", "function", "name", "arguments", "output"]
TOP = ["messages", "input", "prompt", "system", "instructions", "system_prompt"]
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES), inner),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(TOP), values))
def test_whatever_it_holds_it_is_read(body):
    said = of(**body)
    for text in (said.prompt, said.system, *(part for turn in said.turns for part in
                 (turn.role, turn.text))):  # fmt: skip
        assert text is None or isinstance(text, str)
