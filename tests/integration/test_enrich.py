"""``[bridge] enrich`` on the real engine: plain requests through the proxy are measured too."""

import json

import httpx
import pytest

from .stack import payloads

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.timeout(180)]
BODY = {"messages": [{"role": "user", "content": "Count to five."}], "max_tokens": 8}


def chunks(answer):
    return [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]


def text(answer):
    choices = [choice for chunk in chunks(answer) for choice in chunk["choices"]]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


def test_a_plain_request_is_measured_once_it_is_known_how(stack):
    stack.config.write_text(stack.config.read_text().replace("[bridge]", "[bridge]\nenrich = true"))
    assert stack.ctl("reload").returncode == 0
    body = {**BODY, "stream": True, "temperature": 0}

    def asked():
        with stack.viewer() as viewer:
            answer = httpx.post(f"{stack.openai}/chat/completions", json=body, timeout=60)
            viewer.read("SessionEnded")
        assert answer.status_code == 200
        return answer, payloads(viewer.messages, "TokenVisualizationUpdate")

    plain, tokens = asked()
    assert {token["activation"] for token in tokens} == {None}
    assert stack.ctl("prompt", "The sea is", "--param", "max_tokens=4").returncode == 0
    rich, tokens = asked()
    assert all(0.0 <= token["activation"] <= 1.0 for token in tokens)
    assert {token["provenance"]["activation"] for token in tokens} == {"measured"}
    assert {token["provenance"]["token_id"] for token in tokens} == {"measured"}
    assert all(len(token["alternatives"]) == 5 for token in tokens)
    assert text(rich) == text(plain)
    # The bytes differ, as docs/interfaces.md says.
    assert not any("usage" in chunk for chunk in chunks(plain))
    assert chunks(rich)[-1]["usage"]["completion_tokens"] == 8
    assert any("prompt_progress" in chunk for chunk in chunks(rich))
    # What is not streamed has log-probabilities too, and what is named stays as it was named.
    url = f"{stack.openai}/chat/completions"
    whole = httpx.post(url, json=BODY, timeout=60).json()["choices"][0]
    assert len(whole["logprobs"]["content"]) == 8
    own = httpx.post(url, json={**BODY, "logprobs": False}, timeout=60).json()["choices"][0]
    assert own.get("logprobs") is None
    tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    with_tools = httpx.post(url, json={**body, "tools": tools}, timeout=60)
    assert with_tools.status_code == 200, with_tools.text
