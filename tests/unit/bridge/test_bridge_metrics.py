"""geoosd.bridge.adapters.metrics: names and boundaries of the conventions, labels that stay few."""

import shutil
import subprocess

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from geoosd.bridge.adapters.metrics import CLIENT_GONE, MAX_MODELS, Metrics
from geoosd.bridge.core.exchange import Exchange
from geoosd.bridge.core.outbox import Outbox
from geoosd.bridge.core.router import Router, Upstream
from geoosd.wire.messages import SessionEnded, Usage

SECONDS = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92]
TOKENS = [4.0**power for power in range(14)]


class Rig:
    def __init__(self):
        self.now = 100.0
        self.registry = CollectorRegistry()
        self.router = Router(
            [Upstream("u", "http://127.0.0.1:1234"), Upstream("far", "https://example.org")]
        )
        self.router.update("u", "ready", models=["gemma"])
        self.metrics = Metrics(
            self.registry,
            Outbox(10),
            self.router,
            now=lambda: self.now,
            waiting=lambda upstream: 3,
        )

    def exchange(self, model="gemma", upstream="u", status=200, dialect="chat"):
        exchange = Exchange("s", model=model, upstream=upstream, dialect=dialect)
        self.metrics.opened(exchange, dialect)
        exchange.answered(status, "text/event-stream", 0.0)
        return exchange

    def end(self, exchange, **ended):
        self.metrics.ended(exchange, SessionEnded("s", **ended))

    @property
    def text(self):
        return generate_latest(self.registry).decode()

    def samples(self, name):
        return [
            sample
            for family in text_string_to_metric_families(self.text)
            for sample in family.samples
            if sample.name == name
        ]

    def one(self, name):
        (sample,) = self.samples(name)
        return sample


def used(rig):
    """One request with everything."""
    exchange = rig.exchange()
    rig.metrics.started()
    for later in (0.5, 0.03, 0.03):
        rig.now += later
        rig.metrics.tokens(exchange, 2)
    rig.metrics.delivered(0.004)
    rig.metrics.upstream("u", 1)
    rig.end(exchange, usage=Usage(7, 50, 57), time_to_first_token=0.5)
    return rig


@pytest.mark.parametrize(
    ("name", "boundaries"),
    [
        ("gen_ai_client_operation_duration_seconds", SECONDS),
        ("gen_ai_client_operation_time_to_first_chunk_seconds", SECONDS),
        ("gen_ai_client_operation_time_per_output_chunk_seconds", SECONDS),
        ("gen_ai_client_token_usage", TOKENS),
    ],
)
def test_boundaries_are_those_of_the_conventions(name, boundaries):
    samples = used(Rig()).samples(f"{name}_bucket")
    found = sorted({float(sample.labels["le"]) for sample in samples})
    assert found == [*boundaries, float("inf")]


def test_a_request_is_measured():
    rig = used(Rig())
    who = {
        "gen_ai_operation_name": "chat",
        "gen_ai_request_model": "gemma",
        "gen_ai_response_model": "gemma",
        "server_address": "127.0.0.1",
        "server_port": "1234",
    }
    duration = rig.one("gen_ai_client_operation_duration_seconds_sum")
    assert duration.labels == {**who, "error_type": ""}
    assert duration.value == pytest.approx(0.56)
    first = rig.one("gen_ai_client_operation_time_to_first_chunk_seconds_sum")
    assert (first.labels, first.value) == (who, 0.5)
    chunks = rig.one("gen_ai_client_operation_time_per_output_chunk_seconds_sum")
    assert chunks.value == pytest.approx(0.06)
    assert rig.one("gen_ai_client_operation_time_per_output_chunk_seconds_count").value == 2
    usage = rig.samples("gen_ai_client_token_usage_sum")
    assert {each.labels["gen_ai_token_type"]: each.value for each in usage} == {
        "input": 7.0,
        "output": 50.0,
    }
    assert rig.one("sse_tokens_total").value == 6
    assert rig.one("sse_errors_total").value == 0
    assert rig.one("pipeline_latency_seconds_sum").value == 0.004
    assert rig.one("geoos_time_to_first_token_seconds_count").value == 1
    assert rig.one("geoos_prompts_waiting").value == 3


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (200, None, ""),
        (503, "the upstream answered 503: words of the server", "503"),
        (200, "the answer broke off", "_OTHER"),
        (200, CLIENT_GONE, "cancelled"),
    ],
)
def test_errors_have_few_types(status, error, kind):
    rig = Rig()
    rig.end(rig.exchange(status=status), error=error)
    duration = rig.one("gen_ai_client_operation_duration_seconds_count")
    assert duration.labels["error_type"] == kind
    assert rig.one("geoos_requests_failed_total").value == (error is not None)


@pytest.mark.parametrize(
    ("dialect", "operation"),
    [("chat", "chat"), ("messages", "chat"), ("completions", "text_completion")],
)
def test_operations(dialect, operation):
    rig = Rig()
    rig.end(rig.exchange(dialect=dialect))
    duration = rig.one("gen_ai_client_operation_duration_seconds_count")
    assert duration.labels["gen_ai_operation_name"] == operation


def test_a_model_that_a_client_made_up_is_no_label():
    rig = Rig()
    for number in range(1000):
        rig.end(rig.exchange(model=f"my secret prompt {number}"))
    assert "secret" not in rig.text
    duration = rig.one("gen_ai_client_operation_duration_seconds_count")
    assert duration.labels["gen_ai_request_model"] == "other"
    rig.end(rig.exchange(model="u/gemma"))
    models = {
        each.labels["gen_ai_request_model"]
        for each in rig.samples("gen_ai_client_operation_duration_seconds_count")
    }
    assert models == {"other", "gemma"}


def test_models_are_capped():
    rig = Rig()
    names = [f"m{number}" for number in range(2 * MAX_MODELS)]
    rig.router.update("u", "ready", models=names)
    for name in names:
        rig.end(rig.exchange(model=name))
    models = {
        each.labels["gen_ai_request_model"]
        for each in rig.samples("gen_ai_client_operation_duration_seconds_count")
    }
    assert len(models) == MAX_MODELS + 1
    assert "other" in models


def test_where_no_upstream_was_there():
    rig = Rig()
    rig.end(rig.exchange(upstream=None), error="cannot find a model server")
    labels = rig.one("gen_ai_client_operation_duration_seconds_count").labels
    assert (labels["server_address"], labels["server_port"]) == ("", "")
    rig = Rig()
    rig.end(rig.exchange(upstream="far", model=None))
    labels = rig.one("gen_ai_client_operation_duration_seconds_count").labels
    assert (labels["server_address"], labels["server_port"]) == ("example.org", "443")


def test_an_exchange_that_nobody_opened_counts_no_time():
    rig = Rig()
    rig.metrics.tokens(None, 1)
    rig.end(Exchange("s", model=None, upstream=None, dialect="chat"))
    assert rig.samples("gen_ai_client_operation_duration_seconds_count") == []


def test_upstreams_come_and_go():
    rig = Rig()
    rig.metrics.upstream("u", 2)
    rig.metrics.upstream("u", 5)
    rig.metrics.upstream("nobody", 5)
    rig.router.set_circuit("u", "open")
    rig.metrics.upstream("u", 1)  # configured anew: it counts from nothing
    assert rig.one("geoos_upstream_unanswered_total").value == 6
    assert rig.one("geoos_upstream_circuit").value == 1.0
    assert rig.one("geoos_upstream_up").value == 1.0
    rig.metrics.forget_upstreams()
    assert rig.samples("geoos_upstream_up") == []


def test_promtool_finds_nothing_to_say():
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed: apt install prometheus")
    checked = subprocess.run(
        [promtool, "check", "metrics"], input=used(Rig()).text, capture_output=True, text=True
    )
    # It would have every name that it does not know the type of end in a unit: these are Prometheus
    # client's own.
    complaints = [line for line in checked.stderr.splitlines() if "_created" not in line]
    assert complaints == []
