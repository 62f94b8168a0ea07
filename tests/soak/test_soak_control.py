"""The control socket under fire beside a running stream: tokens and viewers notice nothing.

Processes ask control as fast as its socket takes it, on many connections each, calls sent before
the answers to those before them; who asks like that is held back. `make soak`.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections import Counter

import httpx
import pytest
from integration.scripted import ScriptedUpstream
from integration.stack import Stack

pytestmark = [pytest.mark.soak, pytest.mark.timeout(300)]
PROCESSES = 24
SECONDS = 15.0

FLOOD = """
import json, select, socket, sys, time
path, seconds = sys.argv[1], float(sys.argv[2])
call = b'{"method":"io.geoos.Control.GetStatus"}\\0'
rest = {}
for _ in range(4):
    conn = socket.socket(socket.AF_UNIX); conn.connect(path); conn.setblocking(False)
    rest[conn] = b""
sent = answers = 0
end = time.monotonic() + seconds
while time.monotonic() < end:
    readable, writable, _ = select.select(rest, rest, [], 0.1)
    for conn in readable:
        answers += conn.recv(1 << 20).count(0)
    for conn in writable:
        data = rest[conn] or call * 50
        taken = conn.send(data)
        sent += data[:taken].count(0)
        rest[conn] = data[taken:]
    time.sleep(0.001)
print(json.dumps([sent, answers]))
"""


def stream(stack, stop, texts):
    """Answers, one after the other, until told to stop."""
    body = {"model": "gemma-3-270m", "stream": True, "messages": []}
    while not stop.is_set():
        answer = httpx.post(f"{stack.openai}/chat/completions", json=body, timeout=60)
        texts.append(answer.content)


def watch(viewer, stop, kinds):
    """What a viewer gets, counted by kind."""
    while not stop.is_set():
        with contextlib.suppress(TimeoutError):
            kinds[json.loads(viewer.connection.recv(0.5))["message_type"]] += 1


def ways(stack):
    """How many batches of tokens took at most so many seconds to the map, so far."""
    text = httpx.get(f"{stack.page}metrics", timeout=30).text
    lines = [line for line in text.splitlines() if line.startswith("pipeline_latency_seconds_b")]
    found = {line.split('le="')[1].split('"')[0]: float(line.split()[-1]) for line in lines}
    return {float(bound): count for bound, count in found.items()}


def p99(before, after):
    grown = {bound: after[bound] - before.get(bound, 0) for bound in after}
    total = max(grown.values())
    return min(bound for bound, count in grown.items() if count >= 0.99 * total), total


def measured(stack, seconds, floods):
    """p99 of the way to the map, tokens, and what the floods sent and got, over *seconds*."""
    before = ways(stack)
    path = str(stack.directory / "run" / "control.sock")
    command = [sys.executable, "-c", FLOOD, path, str(seconds)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(floods)]
    time.sleep(seconds)
    said = [json.loads(each.communicate(timeout=60)[0]) for each in running]
    after = ways(stack)
    bound, tokens = p99(before, after)
    sent, answered = sum(each[0] for each in said), sum(each[1] for each in said)
    return bound, tokens, sent / seconds, answered / seconds


def test_a_flood_of_calls_does_not_reach_the_data_path(tmp_path):
    with ScriptedUpstream(pieces=40) as upstream:
        stack = Stack(tmp_path, engine=False, upstream=upstream.url)
        stop, texts = threading.Event(), []
        try:
            stack.start()
            stack.wait_for_model()
            streams = threading.Thread(target=stream, args=(stack, stop, texts))
            streams.start()
            with stack.viewer() as viewer:
                kinds = Counter()
                watching = threading.Thread(target=watch, args=(viewer, stop, kinds))
                watching.start()
                quiet = measured(stack, 8.0, 0)
                loud = measured(stack, SECONDS, PROCESSES)
                stop.set()
                streams.join(60)
                watching.join(60)
            print(f"p99 s, batches, calls sent/s, answered/s: quiet {quiet}, loud {loud}")
            assert set(texts) == {upstream.body}
            assert kinds["TokenVisualizationUpdate"] > 1000
            assert not kinds["Gap"]
            assert loud[3] > 1000
            assert loud[0] <= max(0.25, 8 * quiet[0]), (quiet, loud)
            assert stack.ctl("status").returncode == 0
            dropped = httpx.get(f"{stack.page}metrics", timeout=30).text
            assert 'geoos_outbox_dropped{daemon="bridge"} 0.0' in dropped
        finally:
            stop.set()
            stack.kill()
