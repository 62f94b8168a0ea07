"""``[broadcaster] workers = 2``: processes that share the port, and are one to the outside."""

import os
import re
import signal
import subprocess
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from .crowd import Load, crowd
from .stack import BIN, Stack, payloads, until

pytestmark = pytest.mark.slow
WORKERS = 2
VIEWERS = 60
RESTARTS = "broadcast_worker_restarts_total"


@contextmanager
def sharing(directory, more=""):
    stack = Stack(directory, engine=False)
    text = stack.config.read_text()
    lines = f"[broadcaster]\nworkers = {WORKERS}\n{more}"
    stack.config.write_text(text.replace("[broadcaster]", lines))
    try:
        stack.start()
        yield stack
    finally:
        stack.kill()


@pytest.fixture
def shared_port(tmp_path):
    """A running geoos without models, whose broadcaster has two workers."""
    with sharing(tmp_path) as stack:
        yield stack


def workers_of(stack):
    """The pids of the workers."""
    parent = stack.pids()["broadcaster"]
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return sorted(map(int, children))


def status_of(stack):
    return stack.status()["broadcaster"]["status"]


def metric(stack, name):
    text = httpx.get(f"{stack.page}metrics").text
    found = re.findall(rf"^{name}{{([^}}]*)}} (\S+)$", text, re.MULTILINE)
    return {labels: float(value) for labels, value in found}


def all_connected(stack, count):
    # A broadcaster whose workers have not started yet says nothing of viewers.
    until(lambda: status_of(stack)["details"].get("viewers") == str(count), 10, f"{count} viewers")


def test_workers_are_one_to_the_outside(shared_port):
    stack = shared_port
    assert len(workers_of(stack)) == WORKERS
    with ExitStack() as viewers:
        watching = [viewers.enter_context(stack.viewer()) for _ in range(12)]
        all_connected(stack, 12)
        listed = stack.json("viewers")["viewers"]
        assert len({each["id"] for each in listed}) == 12
        # That all twelve came to one of them has a chance of one in two thousand; more come then.
        while {each["id"][0] for each in listed} != {"1", "2"}:
            watching.append(viewers.enter_context(stack.viewer()))
            all_connected(stack, len(watching))
            listed = stack.json("viewers")["viewers"]
        status = status_of(stack)
        assert status["status"] == f"{len(watching)} viewers, 2 of 2 workers"
        assert [link["name"] for link in status["links"]] == ["feed 1", "feed 2"]
        with Load(stack.directory / "run" / "ingest.sock", rate=100) as load:
            until(lambda: load.sent >= 20, 10)
            load.stop()
            texts = set()
            for viewer in watching:
                viewer.read("TokenVisualizationUpdate", count=load.sent)
                tokens = payloads(viewer.messages, "TokenVisualizationUpdate")
                texts.add("".join(token["current_token"] for token in tokens))
            assert texts == {"".join(f" {n}" for n in range(load.sent))}
            messages = "broadcast_messages_total"
            until(lambda: list(metric(stack, messages).values()) == [load.sent], 10, "the sum")
        assert list(metric(stack, "broadcast_clients_active").values()) == [len(watching)]
        assert len(metric(stack, "broadcast_worker_resident_bytes")) == WORKERS
        for each in listed[:2]:
            assert stack.ctl("viewers", "disconnect", each["id"]).returncode == 0
        all_connected(stack, len(watching) - 2)
        refused = stack.ctl("viewers", "disconnect", "7-v1")
        assert refused.stderr == "geoosctl: cannot find viewer '7-v1'\n"
    assert stack.ctl("log-level", "debug").returncode == 0
    assert stack.ctl("reload").returncode == 0
    assert "reloaded" in stack.ctl("logs", "--unit", "broadcaster", "-n", "50").stdout
    stack.config.write_text(stack.config.read_text().replace("workers = 2", "workers = 3"))
    refused = stack.ctl("reload")
    assert refused.returncode == 78
    assert "cannot change broadcaster.workers while running" in refused.stdout + refused.stderr


def test_a_second_one_does_not_share_the_port_unasked(shared_port):
    where = f"127.0.0.1:{shared_port.broadcaster}"
    command = [BIN / "geoosd", "broadcaster", "--set", f"broadcaster.listen={where}"]
    directory = shared_port.directory / "other"
    environ = {
        **shared_port.environ,
        "GEOOS_RUNTIME_DIR": str(directory),
        "GEOOS_STATE_DIR": str(directory),
    }
    second = subprocess.run(
        command, env=environ, capture_output=True, text=True, timeout=20, check=False
    )
    assert second.returncode == 78
    assert f"cannot listen on {where}: the port is taken by" in second.stderr


def test_who_dies_is_replaced_and_nobody_misses_anything(shared_port):
    stack = shared_port
    ingest = stack.directory / "run" / "ingest.sock"
    with crowd(stack.broadcaster, VIEWERS) as viewers, Load(ingest, rate=50) as load:
        until(lambda: viewers.ask().tokens >= 20, 20, "the first tokens")
        before = workers_of(stack)
        os.kill(before[0], signal.SIGKILL)
        until(lambda: set(metric(stack, RESTARTS).values()) == {0.0, 1.0}, 10, "a new worker")
        until(lambda: status_of(stack)["details"]["workers"] == "2 of 2", 10, "both are there")
        all_connected(stack, VIEWERS)
        assert before[1] in workers_of(stack)
        assert 0 < len(viewers.ask().back) < VIEWERS, "the other worker's viewers saw nothing"
        said = stack.ctl("logs", "--unit", "broadcaster", "--level", "error").stdout
        assert "killed by SIGKILL; restarting" in said

        parent = stack.pids()["broadcaster"]
        before = workers_of(stack)
        os.kill(parent, signal.SIGKILL)
        until(lambda: stack.pids()["broadcaster"] not in (None, parent), 20, "a new broadcaster")
        all_connected(stack, VIEWERS)
        assert not set(before) & set(workers_of(stack))
        load.stop()
        until(lambda: viewers.ask().tokens >= load.sent, 20, "the last token")
        report = viewers.ask()
    assert (report.gaps, report.out_of_order, report.snapshots) == (0, 0, VIEWERS)
    assert list(report.texts.values()) == [VIEWERS], "all have seen the same"


def test_health_says_nothing_of_workers_that_do_not_answer(shared_port):
    """What one of them said counts for both; of none, nothing is claimed but that."""
    stack = shared_port

    def checks():
        found = stack.json("health")["checks"]
        names = {each["name"]: each for each in found}
        own = {name.partition(": ")[2] for name in names if name.startswith("broadcaster: ")}
        return own, names["broadcaster: workers"]

    until(lambda: "feed" in checks()[0], 10, "they answer")
    one, other = workers_of(stack)
    os.kill(one, signal.SIGSTOP)
    try:
        until(lambda: checks()[1]["status"] == "warning", 5, "one is missed")
        own, told = checks()
        assert "feed" in own
        assert re.fullmatch("no answer from worker [12] of 2", told["summary"])
        os.kill(other, signal.SIGSTOP)
        until(lambda: checks()[1]["status"] == "critical", 5, "both are missed")
        assert not {"feed", "viewers", "canary"} & checks()[0]
        health = stack.ctl("health")
        assert health.returncode == 2
        assert "no answer from worker 1, 2 of 2" in health.stdout.splitlines()[0]
    finally:
        for worker in (one, other):
            with suppress(ProcessLookupError):  # its keeper ends one that hangs for long
                os.kill(worker, signal.SIGCONT)
    until(lambda: checks()[1]["status"] == "healthy" and "feed" in checks()[0], 10, "all is well")


@pytest.mark.timeout(120)  # by chance one may have to try a few times
def test_whoever_is_refused_by_a_full_worker_gets_in_at_the_one_with_room(tmp_path):
    """Each has half of the places, and the kernel does not know who is full."""
    with (
        sharing(tmp_path, "max_viewers = 8\n") as stack,
        crowd(stack.broadcaster, 8) as many,  # who all had their Hello
    ):
        all_connected(stack, 8)
        numbers = [each["id"][0] for each in stack.json("viewers")["viewers"]]
        assert sorted(numbers) == ["1"] * 4 + ["2"] * 4
        assert many.ask().connected == 8
