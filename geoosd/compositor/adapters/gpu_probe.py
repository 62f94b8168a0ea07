"""Looks for the GPU in a process of its own: a driver that hangs or aborts takes only that along.

What is run there is :mod:`.render_wgpu`, which prints a :class:`Finding` as JSON.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec
import trio
from msgspec import Struct

from geoosd.errors import reason_of

PROBE_SECONDS: Final = 10.0
_COMMAND: Final = (sys.executable, "-m", "geoosd.compositor.adapters.render_wgpu")


class Finding(Struct):
    """The adapter, or the ``reason`` why there is none."""

    name: str | None = None
    kind: str | None = None
    backend: str | None = None
    reason: str | None = None

    def __str__(self) -> str:
        if self.name is None:
            return f"none: {self.reason}"
        return f"{self.name} ({self.kind}, {self.backend})"

    @property
    def is_fit(self) -> bool:
        """Whether it draws faster than NumPy: software drivers and OpenGL do not."""
        return self.name is not None and self.kind != "CPU" and self.backend != "OpenGL"


async def probe(adapter: str = "", command: Sequence[str] = _COMMAND) -> Finding:
    """Ask for the adapter with *adapter* in its name, for ten seconds at most.

    Never raises for what the driver does.
    """
    with trio.move_on_after(PROBE_SECONDS):
        try:
            done = await trio.run_process(
                [*command, adapter],
                check=False,
                capture_stdout=True,
                stderr=subprocess.DEVNULL,
                stdin=subprocess.DEVNULL,
            )
        except OSError as error:
            return _cannot_start(error)
        return _read(done)
    return _hung()


def probe_now(adapter: str = "", command: Sequence[str] = _COMMAND) -> Finding:
    """The same, and blocks."""
    try:
        done = subprocess.run(
            [*command, adapter],
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
            timeout=PROBE_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return _hung()
    except OSError as error:
        return _cannot_start(error)
    return _read(done)


def out_of_reach(sys: Path = Path("/sys"), dev: Path = Path("/dev")) -> str | None:
    """Why this process may use none of the GPUs that the kernel has; None if it may, or has none.

    The kernel tells of them in sysfs, which a sandbox shows; their nodes in /dev it may hide.
    """
    reasons: list[str] = []
    for node in _nodes(sys, dev):
        if not node.exists():
            reasons.append(f"{node} is hidden from this service")
        elif not os.access(node, os.R_OK | os.W_OK):
            reasons.append(f"this service may not open {node}")
        else:
            return None
    return reasons[0] if reasons else None


def _nodes(sys: Path, dev: Path) -> Iterator[Path]:
    """The device nodes that GPUs draw by."""
    for node in sorted((sys / "class/drm").glob("renderD*")):
        yield dev / "dri" / node.name
    if (sys / "module/nvidia").exists():
        yield dev / "nvidia0"


def _cannot_start(error: OSError) -> Finding:
    return Finding(reason=f"cannot start the probe: {reason_of(error)}")


def _hung() -> Finding:
    return Finding(reason=f"the driver did not answer within {PROBE_SECONDS:g} s")


def _read(done: subprocess.CompletedProcess[bytes]) -> Finding:
    if done.returncode != 0:
        return Finding(reason=f"the probe ended with exit status {done.returncode}")
    try:
        return msgspec.json.decode(done.stdout, type=Finding)
    except msgspec.DecodeError:
        return Finding(reason="the probe gave no answer")
