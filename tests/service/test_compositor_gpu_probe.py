"""The probe for a GPU: whatever the driver does, there is a finding."""

import sys

import msgspec
import pytest

from geoosd.compositor.adapters import gpu_probe
from geoosd.compositor.adapters.gpu_probe import Finding


def python(code):
    return [sys.executable, "-c", code]


async def test_an_adapter_is_named():
    found = Finding("Radeon", "DiscreteGPU", "Vulkan")
    text = msgspec.json.encode(found).decode()
    finding = await gpu_probe.probe(python(f"print({text!r})"))
    assert str(finding) == "Radeon (DiscreteGPU, Vulkan)"


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (python("import os; os.abort()"), "exit status -6"),
        (python("print('hello')"), "no answer"),
        (["/nowhere/python"], "cannot start"),
    ],
)
async def test_a_driver_that_fails_is_a_reason(command, reason):
    assert reason in str(await gpu_probe.probe(command))


async def test_a_driver_that_hangs_is_given_up(monkeypatch):
    monkeypatch.setattr(gpu_probe, "PROBE_SECONDS", 0.2)
    finding = await gpu_probe.probe(python("import threading; threading.Event().wait()"))
    assert "did not answer" in str(finding)


@pytest.mark.slow
async def test_this_machine_has_a_finding():
    finding = await gpu_probe.probe()
    assert finding.name or finding.reason
