"""Metrics as an operator has them: scraped by a real Prometheus that has our rules loaded."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import httpx
import pytest

from .scripted import ScriptedUpstream
from .stack import free_ports, running, until

pytestmark = [pytest.mark.slow, pytest.mark.prometheus]
ROOT = Path(__file__).parent.parent.parent
RULES = ROOT / "etc/prometheus/geoos.rules.yml"
DASHBOARD = ROOT / "etc/grafana/geoos.json"
WANTED = {
    "sse_tokens_total",
    "sse_errors_total",
    "broadcast_messages_total",
    "broadcast_clients_active",
    "broadcast_queue_depth",
    "broadcast_latency_seconds",
    "shm_pas_score",
    "pipeline_latency_seconds",
    "gen_ai_client_operation_duration_seconds",
    "gen_ai_client_operation_time_to_first_chunk_seconds",
    "gen_ai_client_operation_time_per_output_chunk_seconds",
    "gen_ai_client_token_usage",
}
"""Names that dashboards of others rely on (docs/metrics.md)."""


class Prometheus:
    """A real server on loopback that scrapes one geoos every second."""

    def __init__(self, directory, target):
        (self.port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = directory / "prometheus.log"
        ours = (ROOT / "etc/prometheus/prometheus.yml").read_text()
        shutil.copy(RULES, directory)
        fast = ours.replace("15s", "1s").replace("127.0.0.1:8765", target)
        assert fast.count("1s") == 2
        assert target in fast
        config = directory / "prometheus.yml"
        config.write_text(fast)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    "prometheus",
                    f"--config.file={config}",
                    f"--storage.tsdb.path={directory}/data",
                    f"--web.listen-address=127.0.0.1:{self.port}",
                ],
                stdout=log,
                stderr=log,
            )

    def get(self, path, **query):
        """The ``data`` of an API call; None while it does not serve yet."""
        assert self.process.poll() is None, self.log.read_text()
        try:
            answer = httpx.get(f"{self.url}/api/v1/{path}", params=query, timeout=10)
        except httpx.TransportError:
            return None
        return answer.json()["data"] if answer.status_code == 200 else None

    def query(self, expression):
        """The samples that an expression yields now."""
        found = self.get("query", query=expression)
        return found["result"] if found else []

    def stop(self):
        self.process.terminate()
        self.process.wait(30)


@pytest.fixture(scope="module")
def scraped(tmp_path_factory):
    """A geoos that has answered, watched by a viewer, and the Prometheus that scrapes it."""
    directory = tmp_path_factory.mktemp("metrics")
    tree = directory / "tree"
    for name in ("one", "two"):
        (tree / "made" / name).mkdir(parents=True)
        (tree / "made" / name / "__init__.py").write_text('"""A part."""\n')
    (tree / "made" / "__init__.py").write_text('"""A tree."""\n')
    recording = ScriptedUpstream("02_chat_logprobs_usage_timings_progress")
    with recording as upstream, running(directory, engine=False, upstream=upstream.url) as stack:
        stack.config.write_text(f'{stack.config.read_text()}[control]\nstructure_root = "{tree}"\n')
        assert stack.ctl("reload").returncode == 0
        stack.wait_for_model()
        body = {"model": "gemma-3-270m", "stream": True, "messages": []}
        with stack.viewer() as viewer:
            httpx.post(f"{stack.openai}/chat/completions", json=body, timeout=30)
            viewer.read("SessionEnded")
            server = Prometheus(directory, f"127.0.0.1:{stack.broadcaster}")
            try:
                until(lambda: server.query("shm_pas_score"), 30, f"a scrape (see {server.log})")
                yield stack, server
            finally:
                server.stop()


def promtool(*arguments, stdin=""):
    done = subprocess.run(
        ["promtool", *arguments], input=stdin, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    return done.stdout


def test_promtool_has_nothing_to_say_of_the_text(scraped):
    stack, _server = scraped
    text = httpx.get(f"{stack.page}metrics", timeout=10).text
    assert promtool("check", "metrics", stdin=text) == ""
    types = re.findall(r"^# TYPE (\S+)", text, re.M)
    assert len(types) == len(set(types))
    assert set(types) >= WANTED


def test_prometheus_takes_every_daemon(scraped):
    stack, server = scraped
    (target,) = server.get("targets")["activeTargets"]
    assert (target["health"], target["lastError"]) == ("up", "")

    def answering():
        up = {
            each["metric"]["daemon"]: each["value"][1] for each in server.query("geoos_daemon_up")
        }
        return up == dict.fromkeys(stack.daemons, "1")

    until(answering, 30, "a scrape of all daemons")
    (tokens,) = server.query("sse_tokens_total")
    assert int(tokens["value"][1]) > 10
    (viewers,) = server.query("broadcast_clients_active")
    assert viewers["value"][1] == "1"
    flushes = server.query("broadcast_latency_seconds_count")
    assert int(flushes[0]["value"][1]) >= 1
    (score,) = server.query("shm_pas_score")
    assert 0 < float(score["value"][1]) <= 1
    assert stack.json("health")["structure"]["score"] == float(score["value"][1])


def test_the_rules_do_what_they_say():
    checked = promtool("check", "rules", str(RULES))
    assert "SUCCESS" in checked
    tested = promtool("test", "rules", str(RULES.with_suffix(".test.yml")))
    assert "FAILED" not in tested


def test_prometheus_evaluates_the_rules(scraped):
    _stack, server = scraped

    def evaluated():
        (group,) = server.get("rules")["groups"]
        rules = group["rules"]
        return rules if all(rule["health"] == "ok" for rule in rules) else None

    rules = until(evaluated, 30, f"evaluated rules (see {server.log})")
    assert not [rule for rule in rules if rule["state"] == "firing"], rules


def series_of(expression):
    """The names of the series that an expression of ours reads."""
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\"[^\"]*\"", "", expression)
    bare = re.sub(r"\b(?:by|on|without) \([^)]*\)", "", bare)
    return set(re.findall(r"\b(?!(?:geoos_)?$)[a-z_]+_[a-z_]+\b(?!\()", bare))


def dashboard_expressions():
    dashboard = json.loads(DASHBOARD.read_text())
    targets = [each for panel in dashboard["panels"] for each in panel["targets"]]
    return [target["expr"] for target in targets]


def test_dashboard_and_rules_name_series_that_are_there(scraped):
    _stack, server = scraped
    rules = re.findall(r"^ +expr: (.*)$", RULES.read_text(), re.M)
    assert len(rules) >= 7
    expressions = [*rules, *dashboard_expressions()]
    names = set().union(*map(series_of, expressions))
    assert len(names) > 20
    assert names >= {"shm_pas_score", "sse_tokens_total", "broadcast_latency_seconds_bucket"}
    there = set(server.get("label/__name__/values"))
    assert names <= there, names - there
    for expression in dashboard_expressions():
        asked = expression.replace("$__rate_interval", "1m").replace("$instance", ".*")
        assert server.get("query", query=asked) is not None, expression


def test_every_metric_is_documented(scraped):
    stack, _server = scraped
    text = httpx.get(f"{stack.page}metrics", timeout=10).text
    told = set(re.findall(r"`([a-z_]+)`", (ROOT / "docs/metrics.md").read_text()))
    types = set(re.findall(r"^# TYPE (\S+)", text, re.M))
    assert types <= told, types - told
