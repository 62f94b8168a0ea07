"""Looks for the GPU in a process of its own: a driver that hangs or aborts takes only that along.

What is run there is :mod:`.render_wgpu`, which prints a :class:`Finding` as JSON.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Final

import msgspec
import trio
from msgspec import Struct

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


async def probe(command: list[str] | None = None) -> Finding:
    """Ask for the adapter, for ten seconds at most; never raises for what the driver does."""
    with trio.move_on_after(PROBE_SECONDS):
        try:
            done = await trio.run_process(
                command or list(_COMMAND),
                check=False,
                capture_stdout=True,
                stderr=subprocess.DEVNULL,
                stdin=subprocess.DEVNULL,
            )
        except OSError as error:
            return Finding(reason=f"cannot start the probe: {error.strerror}")
        if done.returncode != 0:
            return Finding(reason=f"the probe ended with exit status {done.returncode}")
        try:
            return msgspec.json.decode(done.stdout, type=Finding)
        except msgspec.DecodeError:
            return Finding(reason="the probe gave no answer")
    return Finding(reason=f"the driver did not answer within {PROBE_SECONDS:g} s")
