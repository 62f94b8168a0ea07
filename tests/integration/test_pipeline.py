"""The main job, end to end: a prompt, a real model, the map, a viewer (issue: foundation)."""

import json
import subprocess

import httpx
import openai
import pytest

from .stack import BIN, payloads, running, text_of

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.timeout(180)]
PROMPT = "The geometry of thought is"


def test_a_prompt_streams_and_every_token_reaches_a_viewer(shared_stack):
    with shared_stack.viewer() as viewer:
        done = shared_stack.ctl("prompt", PROMPT, "--param", "max_tokens=24")
        assert done.returncode == 0, done.stderr
        messages = viewer.read("SessionEnded")
    (started,) = payloads(messages, "SessionStarted")
    (ended,) = payloads(messages, "SessionEnded")
    assert ended["error"] is None
    tokens = payloads(messages, "TokenVisualizationUpdate")
    assert len(tokens) == 24
    assert text_of(messages, started["session"]) == done.stdout.rstrip("\n")
    positions = [token["sequence_position"] for token in tokens]
    assert positions == sorted(positions)
    seqs = [message["seq"] for message in messages if "seq" in message]
    assert seqs == sorted(set(seqs))
    for token in tokens:
        assert 0 < token["activation"] <= 1
        assert token["provenance"]["activation"] == "measured"
        assert token["token_id"] == token["cell"]
        x, y = token["hilbert_position"]
        assert 0 <= x < 1
        assert 0 <= y < 1
    state = payloads(messages, "NeuralStateUpdate")
    assert state
    assert state[-1]["data"]["attention_weights"] is None
    assert state[-1]["provenance"]["attention_weights"] == "absent"


def test_the_openai_client_gets_the_same_stream_as_from_the_engine(shared_stack):
    direct = f"http://127.0.0.1:{shared_stack.engine}/v1"

    def answer(base_url):
        client = openai.OpenAI(base_url=base_url, api_key="none", max_retries=0)
        with client:
            model = client.models.list().data[0].id
            stream = client.completions.create(
                model=model, prompt=PROMPT, max_tokens=16, temperature=0, stream=True, logprobs=2
            )
            with stream:
                return [
                    (each.choices[0].text, each.choices[0].finish_reason)
                    for each in stream
                    if each.choices
                ]

    proxied = answer(shared_stack.openai)
    assert len(proxied) >= 16
    assert proxied == answer(direct)


def test_a_proxied_request_is_seen_by_a_viewer(shared_stack):
    body = {"prompt": PROMPT, "max_tokens": 8, "stream": True}
    with shared_stack.viewer() as viewer:
        with httpx.stream(
            "POST", f"{shared_stack.openai}/completions", json=body, timeout=30
        ) as response:
            session = response.headers["x-geoos-session"]
            assert response.headers["x-geoos-upstream"] == "engine"
            lines = [line for line in response.iter_lines() if line.startswith("data: {")]
        messages = viewer.read("SessionEnded")
    chunks = [json.loads(line[6:]) for line in lines]
    text = "".join(chunk["choices"][0]["text"] for chunk in chunks if chunk["choices"])
    assert text_of(messages, session) == text
    for token in payloads(messages, "TokenVisualizationUpdate"):
        assert token["activation"] is None
        assert token["provenance"]["activation"] == "absent"


def test_the_page_s_prompt_call_answers_and_streams(shared_stack):
    with shared_stack.viewer() as viewer:
        answer = httpx.post(
            f"{shared_stack.page}api/prompt",
            json={"prompt": PROMPT, "parameters": {"max_tokens": 6}},
            headers={"origin": shared_stack.page.rstrip("/")},
            timeout=30,
        )
        assert answer.status_code == 202, answer.text
        (session,) = answer.json()["sessions"]
        messages = viewer.read("SessionEnded")
    assert payloads(messages, "SessionStarted")[0]["session"] == session
    assert text_of(messages, session)


def test_status_health_and_the_web_endpoints(shared_stack):
    entries = shared_stack.status()
    assert list(entries) == shared_stack.daemons or set(entries) == set(shared_stack.daemons)
    assert {entry["state"] for entry in entries.values()} == {"active"}
    shown = shared_stack.ctl("status")
    assert shown.returncode == 0, shown.stdout
    assert all(name in shown.stdout for name in shared_stack.daemons)
    assert max(map(len, shown.stdout.splitlines())) <= 80
    health = shared_stack.ctl("health")
    assert health.returncode == 0, health.stdout
    assert httpx.get(f"{shared_stack.page}healthz").status_code == 200
    metrics = httpx.get(f"{shared_stack.page}metrics").text
    assert "sse_tokens_total" in metrics
    assert 'daemon="compositor"' in metrics
    picture = httpx.get(f"{shared_stack.page}snapshot.png?width=320&height=200", timeout=20)
    assert picture.headers["content-type"] == "image/png"
    assert picture.content[:8] == b"\x89PNG\r\n\x1a\n"
    page = httpx.get(shared_stack.page)
    assert page.status_code == 200
    assert "Geometry OS" in page.text


def test_snapshot_models_metrics_and_logs_by_geoosctl(shared_stack, tmp_path):
    file = tmp_path / "map.png"
    done = shared_stack.ctl("snapshot", str(file))
    assert done.returncode == 0, done.stderr
    assert file.read_bytes()[:4] == b"\x89PNG"
    models = shared_stack.json("models")["models"]
    assert [model["upstream"] for model in models] == ["engine"]
    assert models[0]["chat"] is False
    assert "sse_tokens_total" in shared_stack.ctl("metrics").stdout
    shared_stack.ctl("prompt", "zebra crossing", "--param", "max_tokens=4")
    logs = shared_stack.ctl("logs", "-n", "500")
    assert logs.returncode == 0
    assert "ready" in logs.stdout
    assert "zebra" not in logs.stdout
    assert "zebra" not in shared_stack.log.read_text()


def test_a_token_keeps_its_place_over_a_restart(tmp_path):
    seen = []
    for _ in range(2):
        with running(tmp_path, engine=True) as stack, stack.viewer() as viewer:
            parameters = ("--param", "max_tokens=12", "--param", "temperature=0")
            assert stack.ctl("prompt", PROMPT, *parameters).returncode == 0
            tokens = payloads(viewer.read("SessionEnded"), "TokenVisualizationUpdate")
            seen.append(
                [(each["token_id"], each["district"], each["hilbert_position"]) for each in tokens]
            )
    assert len(seen[0]) == 12
    assert seen[0] == seen[1]


def test_logs_follow_a_running_stack(shared_stack):
    process = subprocess.Popen(
        [BIN / "geoosctl", "--json", "logs", "-f", "-n", "1"],
        stdout=subprocess.PIPE,
        text=True,
        env=shared_stack.environ,
    )
    try:
        json.loads(process.stdout.readline())  # one from before: now it follows
        assert shared_stack.ctl("prompt", "Hi", "--param", "max_tokens=1").returncode == 0
        while (record := json.loads(process.stdout.readline()))["event"] != "request ended":
            continue
        assert record["daemon"] == "bridge"
        assert record["session"]
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()
