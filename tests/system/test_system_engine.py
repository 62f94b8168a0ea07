"""The embedded model, under the units' sandbox: it needs nothing that they deny."""

import json

import pytest
from conftest import until


def model_answers(machine):
    return machine.call("curl", "-fs", "http://127.0.0.1:1236/health").returncode == 0


@pytest.fixture(scope="module")
def running(machine):
    machine.start_all("")
    return machine


@pytest.mark.engine
def test_it_starts_where_no_other_server_answers_and_nobody_waits(running):
    assert running.active("bridge")  # whatever the engine does
    until(lambda: model_answers(running), "the model is loaded", 60)
    said = until(
        lambda: running.call(
            "geoosctl", "prompt", "The sky is", "--param", "max_tokens=4"
        ).stdout.strip(),
        "an answer",
    )
    assert said
    status = json.loads(running.run("geoosctl", "--json", "status"))
    assert {"engine"} <= {each["name"] for each in status["daemons"]}


def test_it_is_skipped_beside_another_server(running):
    running.run("systemctl", "stop", "geoos-engine")
    running.model(1, 0)
    running.run("systemctl", "start", "geoos-engine")
    assert running.show("geoos-engine", "ActiveState") == "inactive"
    said = running.journal("-u", "geoos-engine", "-n", "6")
    assert any("lmstudio answers" in str(each["MESSAGE"]) for each in said)
    assert running.run("systemctl", "--failed", "--no-legend") == ""
