"""The GPU adapter that wgpu finds here, probed in a process of its own.

A driver that hangs or aborts takes only that process with it, and wgpu is imported nowhere else.
This version draws with NumPy; what the probe found is shown in ``geoosctl status``.
``python -m geoosd.compositor.adapters.render_wgpu`` prints the finding as JSON.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Final

import msgspec
import trio
from msgspec import Struct

PROBE_SECONDS: Final = 10.0


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
    command = command or [sys.executable, "-m", __spec__.name]
    with trio.move_on_after(PROBE_SECONDS):
        try:
            done = await trio.run_process(
                command,
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


def find_adapter() -> Finding:
    """The adapter that wgpu would use. Blocks, and may abort the process: see :func:`probe`."""
    try:
        import wgpu
    except (ImportError, OSError) as error:
        return Finding(reason=f"cannot load wgpu: {error}")
    try:
        adapter = wgpu.gpu.request_adapter_sync(power_preference="high-performance")
        info = adapter.info
    except Exception as error:  # noqa: BLE001 - whatever a driver raises, it is the finding
        lines = str(error).strip().splitlines() or [type(error).__name__]
        return Finding(reason=lines[0])
    name = info.get("device") or info.get("vendor") or "unnamed"
    return Finding(name, str(info.get("adapter_type")), str(info.get("backend_type")))


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(find_adapter()))
