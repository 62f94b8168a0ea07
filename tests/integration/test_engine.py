"""``geoosd engine`` as a process, with the shipped model and without."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest

from .stack import free_ports

BIN = Path(sys.executable).parent


def until(condition, seconds=30.0, what="what was waited for"):
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not (result := condition()):
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds} s"
        pause.wait(0.02)
    return result


def model_server_of(pid):
    """The pid of the engine's child."""
    with contextlib.suppress(OSError, ValueError):
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
    return None


def gone(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state == "Z"


class EngineProcess:
    """The daemon in directories of its own."""

    def __init__(self, directory):
        (self.port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}"
        self.environ = {
            **os.environ,
            "GEOOS_RUNTIME_DIR": str(directory / "run"),
            "GEOOS_STATE_DIR": str(directory / "state"),
        }
        self.processes = []

    def argv(self, *args):
        return [BIN / "geoosd", "engine", "--set", f"engine.listen=127.0.0.1:{self.port}", *args]

    def start(self):
        process = subprocess.Popen(
            self.argv(), env=self.environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        self.processes.append(process)
        return process

    def fails(self, *args, **environ):
        """Run it to its end; exit code and what it said."""
        done = subprocess.run(
            self.argv(*args),
            env={**self.environ, **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=30,
            check=False,
        )
        return done.returncode, done.stdout

    def ready(self):
        try:
            return httpx.get(f"{self.url}/health", timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    def stream(self, tokens):
        body = {"prompt": "Once upon a time", "max_tokens": tokens, "stream": True}
        body |= {"ignore_eos": True, "logprobs": 2}
        return httpx.stream("POST", f"{self.url}/v1/completions", json=body, timeout=60)

    def busy_slots(self):
        return sum(slot["is_processing"] for slot in httpx.get(f"{self.url}/slots").json())


@pytest.fixture(scope="module")
def shared_cache(tmp_path_factory):
    if given := os.environ.get("GEOOS_CACHE_DIR"):
        return Path(given)
    return tmp_path_factory.mktemp("engine-cache")


@pytest.fixture
def engine(tmp_path, shared_cache):
    engine = EngineProcess(tmp_path)
    engine.environ["GEOOS_CACHE_DIR"] = str(shared_cache)
    yield engine
    for process in engine.processes:
        if process.poll() is None:
            process.kill()
        process.wait(10)
        process.stdout.close()


def texts(lines):
    for line in lines:
        if line.startswith("data: {"):
            yield json.loads(line[6:])["choices"][0]


@pytest.mark.engine
def test_a_life_of_the_engine(engine):
    process = engine.start()
    until(engine.ready, 60, "readiness")

    with engine.stream(8) as response:
        choices = list(texts(response.iter_lines()))
    assert "".join(choice["text"] for choice in choices)
    assert any(choice.get("logprobs") for choice in choices)

    # A page from elsewhere may not ask.
    origin = {"Origin": "http://evil.example"}
    answer = httpx.get(f"{engine.url}/health", headers=origin)
    assert "access-control-allow-origin" not in answer.headers

    # Who goes away frees the slot.
    with engine.stream(2000) as response:
        answer = texts(response.iter_lines())  # closed if it is thrown away
        next(answer)
        until(lambda: engine.busy_slots() == 1, 10, "a busy slot")
    until(lambda: engine.busy_slots() == 0, 10, "a free slot")

    # llama.cpp dies: the daemon starts it again, even with a stream open.
    first = model_server_of(process.pid)
    with engine.stream(2000) as response:
        answer = texts(response.iter_lines())
        next(answer)
        os.kill(first, signal.SIGKILL)
        with pytest.raises(httpx.HTTPError):
            list(answer)
    until(engine.ready, 30, "a new model server")
    second = model_server_of(process.pid)
    assert second != first

    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    assert time.monotonic() - began < 2.0
    assert gone(second)
    said = process.stdout.read().decode()
    assert "Once upon" not in said
    assert "killed by SIGKILL" in said


@pytest.mark.engine
def test_killed_it_leaves_no_orphan_and_gets_its_port_back(engine):
    process = engine.start()
    until(engine.ready, 60, "readiness")
    child = model_server_of(process.pid)
    process.kill()
    engine.start()
    until(lambda: gone(child), 5, "the end of the orphan")
    until(engine.ready, 30, "readiness after the kill")


@pytest.mark.engine
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"junk", "not a GGUF file: it does not begin with 'GGUF'"),
        (b"GGUF\3\0\0\0", "truncated"),
        (None, "no such file or directory"),
    ],
)
def test_a_model_that_is_none(engine, tmp_path, content, said):
    path = tmp_path / "model.gguf"
    if content is not None:
        path.write_bytes(content)
    code, output = engine.fails("--model", str(path))
    assert code == 78
    assert len(output.splitlines()) == 1
    assert f"cannot read {path}: " in output
    assert said in output


@pytest.mark.engine
def test_a_taken_port(engine):
    with socket.create_server(("127.0.0.1", engine.port)):
        code, output = engine.fails()
    assert code == 78
    assert len(output.splitlines()) == 1
    assert f"cannot listen on 127.0.0.1:{engine.port}: the port is taken" in output
    assert "engine.listen" in output


def test_without_the_extra(engine, tmp_path):
    """A package path in which xllamacpp is found to be missing."""
    hook = tmp_path / "hook" / "sitecustomize.py"
    hook.parent.mkdir()
    hook.write_text(
        "import importlib.util as u\n"
        "find = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'xllamacpp' else find(name, *a)\n"
    )
    code, output = engine.fails(PYTHONPATH=str(hook.parent))
    assert code == 78
    assert len(output.splitlines()) == 1
    assert output.rstrip().endswith(
        "cannot start the embedded engine: the package xllamacpp is not installed; "
        "install it with: pip install 'geoos[engine]'"
    )


def test_a_mode_that_is_not_there_yet(engine):
    code, output = engine.fails("--set", "engine.mode=glass-box")
    assert code == 78
    assert "engine.mode" in output
