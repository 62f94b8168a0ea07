"""The clients that people use, on the real engine: through the bridge they get what the engine
gives them directly, the map sees them, and when they hang up the engine stops.

The openai package over recorded streams is in tests/conformance.
"""

import json
import subprocess
import time

import anthropic
import httpx
import openai
import pytest

from .stack import payloads, text_of, until

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.timeout(180)]
SAYS = [{"role": "user", "content": "Count from one to ten."}]
TOKENS = 12
LONG = 3000
SAME = {"temperature": 0, "seed": 7}
# What of an answer depends on when it was given, not on what was asked.
VARIES = {"id", "created", "timings", "system_fingerprint"}


def openai_client(base):
    return openai.OpenAI(base_url=f"{base}/v1", api_key="none", max_retries=0, timeout=60)


def anthropic_client(base):
    return anthropic.Anthropic(base_url=base, api_key="none", max_retries=0, timeout=60)


def openai_chat(base):
    with openai_client(base) as client:
        answer = client.chat.completions.create(
            model="gemma-3-270m", messages=SAYS, max_tokens=TOKENS, **SAME
        )
    return answer.choices[0].message.content, answer.choices[0].finish_reason


def openai_chat_stream(base):
    pieces, finish = [], None
    with (
        openai_client(base) as client,
        client.chat.completions.create(
            model="gemma-3-270m", messages=SAYS, max_tokens=TOKENS, stream=True, **SAME
        ) as stream,
    ):
        for chunk in stream:
            pieces.append(chunk.choices[0].delta.content or "")
            finish = chunk.choices[0].finish_reason
    return "".join(pieces), finish


def openai_responses_stream(base):
    with (
        openai_client(base) as client,
        client.responses.create(
            model="gemma-3-270m",
            input="Count from one to ten.",
            max_output_tokens=TOKENS,
            stream=True,
            temperature=0,
        ) as stream,
    ):
        events = [event.to_dict() for event in stream]
    text = "".join(each["delta"] for each in events if each["type"].endswith("text.delta"))
    return text, [each["type"] for each in events]


def anthropic_messages(base):
    with anthropic_client(base) as client:
        answer = client.messages.create(
            model="gemma-3-270m", messages=SAYS, max_tokens=TOKENS, extra_body=SAME
        )
    return answer.content[0].text, answer.stop_reason


def anthropic_messages_stream(base):
    with (
        anthropic_client(base) as client,
        client.messages.stream(
            model="gemma-3-270m", messages=SAYS, max_tokens=TOKENS, extra_body=SAME
        ) as stream,
    ):
        text = "".join(stream.text_stream)
        return text, stream.get_final_message().stop_reason


def curl_command(base, tokens):
    body = {"model": "gemma-3-270m", "messages": SAYS, "max_tokens": tokens, "stream": True, **SAME}
    return [
        *("curl", "--no-buffer", "--silent", "--show-error", "--fail", "--noproxy", "*"),
        *("--header", "Content-Type: application/json", "--data", json.dumps(body)),
        f"{base}/v1/chat/completions",
    ]


def curl(base):
    """Its output, line by line; what varies with time is taken out of the chunks."""
    done = subprocess.run(curl_command(base, TOKENS), capture_output=True, timeout=60, check=True)
    lines, text = [], ""
    for line in done.stdout.decode().split("\n"):
        if line.startswith("data: {"):
            chunk = json.loads(line.removeprefix("data: "))
            assert set(chunk) >= {"id", "created"}
            text += chunk["choices"][0]["delta"].get("content") or ""
            chunk = {key: value for key, value in chunk.items() if key not in VARIES}
            line = "data: " + json.dumps(chunk)
        lines.append(line)
    return text, lines


CLIENTS = [
    openai_chat,
    openai_chat_stream,
    openai_responses_stream,
    anthropic_messages,
    anthropic_messages_stream,
    curl,
]


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.__name__)
def test_a_client_gets_what_the_engine_gives_and_is_seen(shared_stack, client):
    direct = client(f"http://127.0.0.1:{shared_stack.engine}")
    with shared_stack.viewer() as viewer:
        proxied = client(f"http://127.0.0.1:{shared_stack.bridge}")
        messages = viewer.read("SessionEnded")
    assert proxied == direct
    assert proxied[0]
    (ended,) = payloads(messages, "SessionEnded")
    assert ended["error"] is None
    assert text_of(messages, ended["session"]) == proxied[0]


def openai_hangs_up(base):
    with openai_client(base) as client:
        stream = client.chat.completions.create(
            model="gemma-3-270m", messages=SAYS, max_tokens=LONG, stream=True, extra_body=ENDLESS
        )
        yield from (None for _ in zip(range(3), stream, strict=False))
        stream.close()


def anthropic_hangs_up(base):
    with anthropic_client(base) as client:
        stream = client.messages.create(
            model="gemma-3-270m", messages=SAYS, max_tokens=LONG, stream=True, extra_body=ENDLESS
        )
        yield from (None for _ in zip(range(6), stream, strict=False))
        stream.close()


def curl_hangs_up(base):
    with subprocess.Popen(curl_command(base, LONG), stdout=subprocess.PIPE) as process:
        try:
            yield from (process.stdout.readline() for _ in range(6))
        finally:
            process.terminate()


ENDLESS = {"ignore_eos": True}
HANGING_UP = [openai_hangs_up, anthropic_hangs_up, curl_hangs_up]


def generating(stack):
    """Slots of the engine that work, asked of the engine itself."""
    slots = httpx.get(f"http://127.0.0.1:{stack.engine}/slots", timeout=10).json()
    return sum(slot["is_processing"] for slot in slots)


@pytest.mark.parametrize("client", HANGING_UP, ids=lambda client: client.__name__)
def test_a_client_that_hangs_up_stops_the_engine(shared_stack, client):
    """200 ms are the aim; a second is what a loaded machine gets. Run to its
    end, the answer would take minutes.
    """
    with shared_stack.viewer() as viewer:
        until(lambda: not generating(shared_stack), 10, "an idle engine")
        reading = client(f"http://127.0.0.1:{shared_stack.bridge}")
        next(reading)
        assert generating(shared_stack) == 1
        for _ in reading:
            hung_up = time.monotonic()  # the generator hangs up after its last item
        until(lambda: not generating(shared_stack), 1.0, "the end of generation")
        print(f"{client.__name__}: {(time.monotonic() - hung_up) * 1000:.0f} ms")
        messages = viewer.read("SessionEnded")
    (ended,) = payloads(messages, "SessionEnded")
    assert ended["error"]
    assert 0 < len(payloads(messages, "TokenVisualizationUpdate")) < LONG / 10
