"""The probe for a GPU: whatever the driver does, there is a finding."""

import os
import sys

import msgspec
import pytest
import trio

from geoosd.compositor.adapters import gpu_probe
from geoosd.compositor.adapters.gpu_probe import Finding


def python(code):
    return [sys.executable, "-c", code]


@pytest.fixture(params=["awaited", "blocking"])
def probe(request):
    """Both ways to ask, as one."""

    async def ask(command):
        if request.param == "awaited":
            return await gpu_probe.probe("", command)
        return await trio.to_thread.run_sync(gpu_probe.probe_now, "", command)

    return ask


async def test_an_adapter_is_named(probe):
    found = Finding("Radeon", "DiscreteGPU", "Vulkan")
    text = msgspec.json.encode(found).decode()
    finding = await probe(python(f"print({text!r})"))
    assert str(finding) == "Radeon (DiscreteGPU, Vulkan)"


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (python("import os; os.abort()"), "exit status -6"),
        (python("print('hello')"), "no answer"),
        (["/nowhere/python"], "cannot start"),
    ],
)
async def test_a_driver_that_fails_is_a_reason(probe, command, reason):
    assert reason in str(await probe(command))


async def test_a_driver_that_hangs_is_given_up(probe, monkeypatch):
    monkeypatch.setattr(gpu_probe, "PROBE_SECONDS", 0.2)
    finding = await probe(python("import threading; threading.Event().wait()"))
    assert "did not answer" in str(finding)


async def test_the_adapter_that_is_wanted_is_passed_on():
    said = python("import sys, json; print(json.dumps({'name': sys.argv[1]}))")
    assert (await gpu_probe.probe("Arc", said)).name == "Arc"


@pytest.mark.parametrize(
    ("kind", "backend", "fit"),
    [
        ("DiscreteGPU", "Vulkan", True),
        ("IntegratedGPU", "Metal", True),
        ("CPU", "Vulkan", False),
        ("IntegratedGPU", "OpenGL", False),
    ],
)
def test_software_and_opengl_are_not_fit(kind, backend, fit):
    assert Finding("it", kind, backend).is_fit is fit
    assert not Finding(reason="none").is_fit


class Machine:
    """What /sys and /dev tell of GPUs."""

    def __init__(self, root):
        self.sys, self.dev = root / "sys", root / "dev"
        (self.sys / "class/drm").mkdir(parents=True)
        (self.dev / "dri").mkdir(parents=True)

    def has(self, name):
        (self.sys / "class/drm" / name).mkdir()
        return self.dev / "dri" / name

    def reach(self):
        return gpu_probe.out_of_reach(self.sys, self.dev)


def test_a_gpu_that_the_sandbox_hides_is_out_of_reach(tmp_path):
    machine = Machine(tmp_path)
    machine.has("card0")  # a display without a render node draws nothing for us
    assert machine.reach() is None
    node = machine.has("renderD128")
    assert machine.reach() == f"{node} is hidden from this service"
    machine.has("renderD129").touch()
    assert machine.reach() is None


def test_an_nvidia_driver_without_its_node_is_out_of_reach(tmp_path):
    machine = Machine(tmp_path)
    (machine.sys / "module/nvidia").mkdir(parents=True)
    assert machine.reach() == f"{machine.dev / 'nvidia0'} is hidden from this service"


def test_a_node_that_may_not_be_opened_is_out_of_reach(tmp_path, monkeypatch):
    machine = Machine(tmp_path)
    node = machine.has("renderD128")
    node.touch(mode=0)
    if os.geteuid() == 0:  # whom no mode keeps out
        monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert machine.reach() == f"this service may not open {node}"


@pytest.mark.slow
async def test_this_machine_has_a_finding():
    finding = await gpu_probe.probe()
    assert finding.name or finding.reason
