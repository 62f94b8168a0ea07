"""``geoosctl reload`` in a running geoos: what takes hold at once, while traffic goes on."""

import json
import re

import httpx
import pytest

from .scripted import MODEL, ScriptedUpstream
from .stack import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
BODY = {"model": MODEL, "stream": True, "messages": [], "temperature": 0}
PAGE = "https://page.example"


class Reloaded:
    """A running stack and its configuration as it was."""

    def __init__(self, stack):
        self.stack = stack
        self.before = stack.config.read_text()
        self.chat = f"{stack.openai}/chat/completions"

    def reload(self, bridge="", upstream="", more=""):
        """Run with these lines in ``[bridge]``, in its upstream's table, and after it."""
        text = self.before.replace("[bridge]", f"[bridge]\n{bridge}", 1)
        text = text.replace('id = "scripted"', f'id = "scripted"\n{upstream}', 1)
        self.stack.config.write_text(text.replace("[broadcaster]", f"{more}\n[broadcaster]", 1))
        return self.stack.ctl("reload")

    def upstreams(self):
        """Those that are ready."""
        models = self.stack.json("models")["models"]
        return {each["upstream"] for each in models if each["state"] == "ready"}

    def post(self, **headers):
        return httpx.post(self.chat, json=BODY, headers=headers, timeout=30)


@pytest.fixture
def running(light_stack):
    return Reloaded(light_stack)


def test_rates_origins_and_the_cache(running):
    plain = running.post(origin=PAGE)
    assert plain.status_code == 200
    assert not {"access-control-allow-origin", "x-geoos-cache"} & set(plain.headers)
    assert running.reload("client_rate = 0.001").returncode == 0
    assert [running.post().status_code for _ in range(2)] == [200, 429]
    assert int(running.post().headers["retry-after"]) > 900
    assert running.reload("", "rate = 0.001").returncode == 0
    refused = [running.post() for _ in range(2)][1]
    assert refused.json()["error"]["code"] == "rate_limited"
    assert "scripted" in refused.json()["error"]["message"]
    assert running.reload(f'origins = ["{PAGE}"]').returncode == 0
    assert running.post(origin=PAGE).headers["access-control-allow-origin"] == PAGE
    assert "access-control-allow-origin" not in running.post(origin="https://other").headers
    assert running.reload("cache = true").returncode == 0
    assert running.post().headers["x-geoos-cache"] == "miss"
    until(lambda: running.post().headers["x-geoos-cache"] == "hit", 10, "an answer that is kept")
    counted = running.stack.ctl("metrics").stdout
    assert re.search(
        r'geoos_cache_requests_total\{[^}]*result="hit"[^}]*\} 1(\.0)?$', counted, re.M
    )
    assert running.reload().returncode == 0
    assert "x-geoos-cache" not in running.post(origin=PAGE).headers


def test_another_upstream_while_a_stream_runs(running, scripted):
    """The stream goes on to its end at the upstream that is not there any more."""
    scripted.gate.clear()
    with ScriptedUpstream("02_chat_logprobs_usage_timings_progress") as other:
        table = f'[[bridge.upstream]]\nid = "other"\nurl = "{other.url}"\npriority = -1\n'
        with httpx.stream("POST", running.chat, json=BODY, timeout=30) as stream:
            assert stream.headers["x-geoos-upstream"] == "scripted"
            assert running.reload(more=table).returncode == 0
            until(lambda: running.upstreams() == {"other", "scripted"}, 10, "the new upstream")
            answer = running.post()
            assert (answer.headers["x-geoos-upstream"], answer.content) == ("other", other.body)
            text = running.before
            begin, end = text.index("[[bridge.upstream]]"), text.index("[broadcaster]")
            running.stack.config.write_text(text[:begin] + table + text[end:])
            assert running.stack.ctl("reload").returncode == 0
            assert running.upstreams() == {"other"}
            scripted.gate.set()
            assert stream.read() == scripted.body
        assert len(scripted.requests) == 1


def test_what_cannot_be_taken_changes_nothing(running):
    def refuses(said):
        done = running.stack.ctl("reload")
        assert done.returncode != 0
        assert said in done.stdout + done.stderr
        assert running.post().status_code == 200

    running.stack.config.write_text(
        running.before.replace("[bridge]", "[bridge]\nclient_rate = -1")
    )
    refuses("client_rate")
    port = f":{running.stack.bridge}"
    running.stack.config.write_text(running.before.replace(port, ":1"))
    refuses("bridge.listen")
    shown = json.loads(running.stack.ctl("--json", "status").stdout)
    assert {each["state"] for each in shown["daemons"]} == {"active"}
