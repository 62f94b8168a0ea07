"""The units: valid, and as closed as the daemons can bear (systemd-analyze(1), offline)."""

import re
import shutil
import subprocess

import pytest
from repository import ROOT

pytestmark = pytest.mark.skipif(
    not shutil.which("systemd-analyze"), reason="no systemd-analyze: sudo apt install systemd"
)

UNITS = ROOT / "units"
EXPOSURE = {
    "bridge": 1.2,
    "broadcaster": 1.2,
    "engine": 1.2,
    "compositor": 0.6,
    "control": 0.6,
    "backup": 0.6,
    "structure": 0.6,
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A root with the units alone, and programs where they name them."""
    root = tmp_path_factory.mktemp("root")
    for manager in ("system", "user"):
        target = root / "usr/lib/systemd" / manager
        source = UNITS if manager == "system" else UNITS / "user"
        target.mkdir(parents=True)
        for pattern in ("*.service", "*.socket", "*.target", "*.timer", "*.slice"):
            for unit in source.glob(pattern):
                shutil.copy(unit, target)
        for drop_in in source.glob("geoos-*.service.d"):
            shutil.copytree(drop_in, target / drop_in.name)
    for name in ("opt/geoos/bin/geoosd", "opt/geoos/bin/geoosctl", "bin/sh"):
        program = root / name
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
    # What the units lean on; here they may be empty.
    for name in ("sysinit", "basic", "shutdown", "sockets", "slices", "timers", "multi-user"):
        (root / f"usr/lib/systemd/system/{name}.target").write_text("[Unit]\n")
    return root


def analyze(*arguments):
    return subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize("daemon", EXPOSURE)
def test_exposure(daemon, root):
    answer = analyze("security", "--offline=true", f"--root={root}", f"geoos-{daemon}.service")
    level = re.search(r"Overall exposure level for \S+: ([0-9.]+)", answer.stdout)
    assert level, answer.stdout + answer.stderr
    assert float(level[1]) <= EXPOSURE[daemon], answer.stdout


def test_nothing_to_complain_about(root):
    names = sorted(unit.name for unit in UNITS.glob("geoos*") if unit.is_file())
    answer = analyze("verify", "--man=no", f"--root={root}", *names)
    assert answer.stderr == ""
    assert answer.returncode == 0


DROP_INS = {
    "gpu": ("compositor", 0.4, 0.8),
    "network": ("bridge", 1.1, 1.5),
    "webhook": ("control", 0.3, 1.2),
}
"""Each drop-in's unit, what it is more exposed than with it, and what it must not exceed."""


@pytest.mark.parametrize("drop_in", DROP_INS)
def test_a_drop_in_opens_no_more_than_it_must(drop_in, root, tmp_path):
    daemon, least, most = DROP_INS[drop_in]
    opened = tmp_path / "root"
    shutil.copytree(root, opened)
    directory = opened / f"usr/lib/systemd/system/geoos-{daemon}.service.d"
    directory.mkdir()
    shutil.copy(UNITS / "drop-ins" / f"{drop_in}.conf", directory)
    unit = f"geoos-{daemon}.service"
    answer = analyze("security", "--offline=true", f"--root={opened}", unit)
    level = re.search(r"Overall exposure level for \S+: ([0-9.]+)", answer.stdout)
    assert level, answer.stdout + answer.stderr
    assert least < float(level[1]) <= most, answer.stdout
    answer = analyze("verify", "--man=no", f"--root={opened}", unit)
    assert (answer.returncode, answer.stderr) == (0, "")


def test_the_check_sees_an_unknown_key(root, tmp_path):
    broken = tmp_path / "root"
    shutil.copytree(root, broken)
    with (broken / "usr/lib/systemd/system/geoos-bridge.service").open("a") as unit:
        unit.write("\n[Service]\nProtectHoem=yes\n")
    answer = analyze("verify", "--man=no", f"--root={broken}", "geoos-bridge.service")
    assert "ProtectHoem" in answer.stderr


def test_the_users_units_are_the_systems_without_root():
    system = {unit.name for unit in UNITS.glob("geoos*") if unit.is_file()} - {"geoos.slice"}
    assert {unit.name for unit in (UNITS / "user").glob("geoos*") if unit.is_file()} == system
    for unit in (UNITS / "user").rglob("geoos*"):
        if unit.is_file():
            text = unit.read_text()
            assert not re.search(r"^(User|SocketGroup|PrivateDevices|CapabilityBound)", text, re.M)
            assert not re.search(r"^[^#]*/run/geoos", text, re.M)


@pytest.mark.parametrize("checker", [["bash", "-n"], ["shellcheck"]])
def test_install_script_is_sound(checker):
    if not shutil.which(checker[0]):
        pytest.skip(f"{checker[0]} is not installed: apt install {checker[0]}")
    done = subprocess.run(
        [*checker, UNITS / "install.sh"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
