"""make install, again, over an older one while it runs, and make uninstall."""

import os
import shutil
import stat
import subprocess

import pytest
from conftest import DAEMONS, ROOT, Machine, until
from scripted_model import HOLD
from streaming import Stream, watch

from geoosd.wire import events


@pytest.fixture(scope="module")
def writable(installed, tmp_path_factory):
    """A machine whose /opt can be written to."""
    log = tmp_path_factory.mktemp("sandbox") / "console.log"
    with Machine(installed, log, writable=True) as machine:
        yield machine


def install(machine, *arguments):
    return machine.run("make", "-C", str(ROOT), "install", *arguments, timeout=250)


def installed_files(machine):
    """All that is installed, but for the releases."""
    return sorted(machine.run("find", "/usr/local", "/etc/geoos", "-name", "*geoos*").splitlines())


def test_a_staged_tree_knows_nothing_of_where_it_was_staged(installed):
    found = subprocess.run(
        ["grep", "-rlF", str(installed), installed], capture_output=True, text=True, check=False
    )
    assert found.stdout == ""


def test_everybody_may_read_what_was_staged_with_a_strict_umask(installed):
    kept = [path for path in installed.rglob("*") if not path.lstat().st_mode & stat.S_IROTH]
    assert kept == [installed / "etc/geoos/credentials"]


def test_a_release_that_is_not_whole_does_not_come_into_force(installed, tmp_path):
    tree, staged = tmp_path / "tree", tmp_path / "staged"
    for part in ("geoosd", "ctl", "units", "etc", "docs"):
        shutil.copytree(ROOT / part, tree / part)
    for part in ("Makefile", "pyproject.toml", "constraints.txt", "README.md", "LICENSE"):
        shutil.copy(ROOT / part, tree / part)
    shutil.copytree(ROOT / "build", tree / "build", symlinks=True, copy_function=os.link)
    for wheel in (tree / "build/wheels").glob("msgspec-*"):
        wheel.unlink()
    done = subprocess.run(
        ["make", "-C", tree, "install", f"DESTDIR={staged}"], capture_output=True, text=True
    )
    assert done.returncode != 0
    assert "cannot install geoos: pip said why" in done.stderr
    assert "staged geoos" not in done.stdout
    assert not (staged / "opt/geoos/current").is_symlink()
    assert list((staged / "opt/geoos/releases").iterdir()) == []


@pytest.mark.parametrize("target", ["install", "uninstall"])
def test_not_without_root(writable, target):
    # The checkout may lie where nobody may look: a place that everybody may read.
    script = "/srv/geoos/units/install.sh"
    writable.call("install", "-D", "-m", "0755", str(ROOT / "units" / "install.sh"), script)
    answer = writable.call(script, target, user="nobody", group="nogroup")
    assert answer.returncode != 0
    assert (
        f"cannot {target}: it writes to /opt/geoos and /etc/geoos; use: sudo make" in answer.stderr
    )


def test_upgrade_while_a_stream_runs(writable):
    writable.start_all()
    writable.model(400, 0.02)
    watch(writable)
    writable.run("touch", str(HOLD))
    stream = Stream(writable, 400)
    before, release = writable.main_pids(), writable.run("readlink", "/opt/geoos/current")
    writable.configure("# the administrator's own\n[engine]\nenabled = 'no'\n")

    files = installed_files(writable)
    # What runs has a unit more than the version that comes.
    gone = "/usr/local/lib/systemd/system/geoosgone.service"
    unit = "[Service]\nExecStart=sleep infinity\n[Install]\nWantedBy=geoos.target"
    writable.run("sh", "-c", f"printf '{unit}' >{gone}; echo {gone} >>/opt/geoos/installed")
    writable.run("systemctl", "daemon-reload")
    writable.run("systemctl", "enable", "--now", "geoosgone")
    said = install(writable)
    assert f"removed {gone}, which this version does not have" in said
    assert writable.call("systemctl", "cat", "geoosgone").returncode != 0
    assert writable.call("pgrep", "-x", "sleep").stdout == ""
    assert installed_files(writable) == sorted([*files, "/etc/geoos/geoos.toml.new"])
    assert "kept /etc/geoos/geoos.toml" in said
    assert "next: systemctl restart" in said
    assert writable.main_pids() == before  # nothing was touched that runs
    assert writable.run("readlink", "/opt/geoos/current") != release
    assert "administrator's own" in writable.run("cat", "/etc/geoos/geoos.toml")

    for daemon in ("compositor", "broadcaster", "control"):
        writable.run("systemctl", "restart", f"geoos-{daemon}")
    assert not stream.ended()  # all of that while it ran
    writable.run("rm", str(HOLD))
    stream.must_be_whole(60)
    # Now what it told to do, the bridge included; the viewer goes on and misses nothing.
    told = said.partition("next: ")[2].splitlines()[0]
    writable.run("sh", "-c", told)
    until(lambda: "scripted" in writable.call("geoosctl", "models").stdout, "the model is known")
    writable.model(20, 0.02)
    Stream(writable, 20).must_be_whole()
    program = writable.run("readlink", "-f", "/opt/geoos/current").strip()
    for daemon, pid in writable.main_pids().items():
        assert program in writable.run("sh", "-c", f"tr '\\0' ' ' </proc/{pid}/cmdline"), daemon


def test_uninstall_leaves_the_data(writable):
    said = writable.run("make", "-C", str(ROOT), "uninstall")
    assert "/var/lib/geoos" in said
    assert writable.call("pgrep", "-f", "bin/geoosd").stdout == ""
    assert writable.call("ls", "/opt/geoos").returncode != 0
    assert writable.run("find", "/usr/local", "-name", "*geoos*").strip() == ""
    writable.run("test", "-d", "/var/lib/geoos/compositor")
    writable.run("test", "-f", "/etc/geoos/geoos.toml")
    assert writable.call("systemctl", "cat", "geoos.target").returncode != 0


def test_install_then_start_on_a_clean_machine(writable):
    writable.run("rm", "-rf", "/etc/geoos", "/var/lib/geoos", "/var/cache/geoos")
    people = (
        "for each in bridge compositor broadcaster control engine; do userdel geoos-$each; done"
    )
    writable.run("sh", "-c", f"{people}; groupdel geoos-admin; groupdel geoos || true")
    assert "next: systemctl enable --now geoos.target" in install(writable)
    # Nothing is started by being installed, and no distribution's preset enables it by accident.
    assert writable.run("systemctl", "preset", "geoos.target") == ""
    assert writable.call("systemctl", "is-enabled", "geoos.target").stdout.strip() == "disabled"
    assert writable.show("geoos.target", "ActiveState") == "inactive"
    for daemon in (*DAEMONS, "engine"):
        assert writable.run("id", "-Gn", f"geoos-{daemon}").split() == ["geoos"]
    writable.run("systemctl", "start", "geoos.target")
    assert all(writable.active(each) for each in DAEMONS)


def test_what_it_explains_is_installed_too(writable):
    """Man pages, completions and the catalog, each found by the program that shows it."""
    for page in ("geoosctl", "geoosd", "geoos.toml", "geoos.target"):
        assert writable.run("man", "-w", page).strip().rpartition("/")[2].startswith(f"{page}.")
    ask = (
        "source /usr/share/bash-completion/bash_completion; COMP_WORDS=($0 $1); COMP_CWORD=1\n"
        "_load_comp $0 || __load_completion $0; f=$(complete -p $0); f=${f##*-F }\n"
        "${f%% *} $0; echo ${COMPREPLY[*]}"
    )
    assert writable.run("bash", "--norc", "-c", ask, "geoosctl", "sta").split() == [
        "status",
        "start",
    ]
    assert writable.run("bash", "--norc", "-c", ask, "geoosd", "comp").split() == ["compositor"]
    explained = writable.run("journalctl", "--dump-catalog", events.READY.message_id)
    assert events.READY.meaning in explained


def test_for_a_package_and_nothing_is_left_of_it(writable):
    """PREFIX=/usr, as a distribution would; and out again."""
    writable.run("make", "-C", str(ROOT), "uninstall")
    assert "next: systemctl enable" in install(writable, "PREFIX=/usr")
    unit = writable.show("geoos.target", "FragmentPath")
    assert unit.endswith("/lib/systemd/system/geoos.target")
    assert not unit.startswith("/usr/local")
    writable.run("systemctl", "start", "geoos.target")
    assert all(writable.active(each) for each in DAEMONS)
    writable.run("make", "-C", str(ROOT), "uninstall", "PREFIX=/usr")
    assert writable.run("find", "/usr", "/opt", "/run/systemd", "-name", "*geoos*").strip() == ""
    assert writable.run("systemctl", "list-units", "--all", "--no-legend", "geoos*").strip() == ""
    assert writable.call("journalctl", "--dump-catalog", events.READY.message_id).stdout == ""
