"""tests/bench/machine.py and processes.py: what is read of /proc; what is started is ended."""

import os
import subprocess
import sys

import machine
import pytest
from processes import Missing, end, serving


def test_a_processor_has_a_name():
    text = "processor\t: 0\nmodel name\t: A: Fast One\nflags\t: x\nmodel name\t: other\n"
    assert machine.cpu_model(text) == "A: Fast One"
    assert machine.cpu_model("processor\t: 0\nBogoMIPS\t: 1\n")


def test_ticks_are_read_past_any_name():
    ticks = os.sysconf("SC_CLK_TCK")
    fields = " ".join(str(number) for number in range(3, 53))
    assert machine.stat_seconds(f"12 (a) b (c) {fields}") == (14 + 15) / ticks


def test_this_process_uses_cpu_and_memory():
    before = machine.cpu_seconds(os.getpid())
    sum(range(200_000))
    assert machine.cpu_seconds(os.getpid()) >= before > 0
    assert machine.resident_bytes([os.getpid()]) > 1 << 20


def test_the_machine_is_described():
    assert set(machine.described()) == {
        "cpu",
        "cores",
        "memory_gb",
        "system",
        "python",
        "load_before",
    }


SERVER = "import time; print(4321, flush=True); time.sleep(60)"


def test_a_server_is_gone_afterwards_even_if_paused():
    with serving([sys.executable, "-c", SERVER]) as server:
        assert server.port == 4321
        assert server.resident_bytes > 0
        server.pause()
        process = server._process
    assert process.returncode is not None


def test_a_server_that_cannot_start_says_why():
    with (
        pytest.raises(Missing, match="No module named 'no_such_peer'"),
        serving([sys.executable, "-c", "import no_such_peer"]),
    ):
        pass


def test_a_process_that_has_ended_can_be_ended():
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.wait()
    end(process)
    assert process.returncode == 0
