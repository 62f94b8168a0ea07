"""Drawing by wgpu in the shipped unit: its sandbox keeps the driver out, gpu.conf lets it in.

The driver is software (mesa-vulkan-drivers); what it needs of the sandbox is what any driver needs.
"""

import json

import pytest
from conftest import NO_ENGINE, until

pytestmark = [pytest.mark.system, pytest.mark.gpu]

WGPU = "[compositor]\nbackend = 'wgpu'\n"


def details(machine):
    """What the compositor tells of drawing."""
    status = json.loads(machine.call("geoosctl", "--json", "status").stdout)
    (found,) = (each for each in status["daemons"] if each["name"] == "compositor")
    return (found["status"] or {}).get("details", {})


def drawing(machine):
    """The health check."""
    health = json.loads(machine.call("geoosctl", "--json", "health").stdout)
    (found,) = (each for each in health["checks"] if each["name"] == "compositor: drawing")
    return found


def test_the_drop_in_lets_a_driver_draw(machine):
    machine.start_all(NO_ENGINE + WGPU)
    until(lambda: details(machine).get("gpu", "not").startswith("none"), "the probe has failed")
    assert details(machine)["backend"] == "numpy"
    check = drawing(machine)
    assert check["status"] == "warning"
    text = machine.run("cat", "/usr/local/share/doc/geoos/drop-ins/gpu.conf")
    machine.drop_in("geoos-compositor.service", text)
    machine.run("systemctl", "restart", "geoos-compositor")
    until(lambda: details(machine).get("backend") == "wgpu", "wgpu draws", seconds=60.0)
    assert drawing(machine)["status"] == "healthy"
    machine.run("geoosctl", "snapshot", "/tmp/by-wgpu.png")
    begin = machine.run("od", "-An", "-tx1", "-N4", "/tmp/by-wgpu.png").split()
    assert begin == ["89", "50", "4e", "47"]  # \x89PNG
    assert details(machine)["gpu_failures"] == "0"
