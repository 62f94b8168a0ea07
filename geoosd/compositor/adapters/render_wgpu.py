"""wgpu: the one module that imports it, and only when it is used.

``python -m geoosd.compositor.adapters.render_wgpu`` prints the adapter that would be used, as the
JSON of a :class:`.gpu_probe.Finding`. This version draws with NumPy; what the probe found is shown
in ``geoosctl status``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec

from geoosd.compositor.adapters.gpu_probe import Finding


def source(name: str) -> str:
    """The shader ``NAME.wgsl`` beside this module. Blocks."""
    return Path(__file__).with_name(f"{name}.wgsl").read_text(encoding="utf-8")


def open_device() -> Any:
    """A device of the adapter that wgpu would use. Blocks, and may abort the process."""
    import wgpu

    adapter = wgpu.gpu.request_adapter_sync(power_preference="high-performance")
    return adapter.request_device_sync()


def find_adapter() -> Finding:
    """The adapter that wgpu would use. Blocks, and may abort the process: see :mod:`.gpu_probe`."""
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
