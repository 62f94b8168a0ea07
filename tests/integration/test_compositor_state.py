"""What a compositor does beside state that it may not read: as a process, without root's powers."""

import os
import subprocess
import sys

import pytest

from geoosd.compositor.adapters.snapshot import PlacesFile, StateFiles
from geoosd.wire.messages import District

POWERS = "-dac_override,-dac_read_search"
WITHOUT = ["setpriv", f"--inh-caps={POWERS}", f"--bounding-set={POWERS}"]


@pytest.fixture
def state(tmp_path):
    made = tmp_path / "state" / "compositor"
    made.mkdir(parents=True)
    StateFiles(made).save_places(PlacesFile(districts=[District(1, "m", "ids")]))
    yield made
    made.chmod(0o700)


def started(state):
    """One that cannot start, and ends by itself."""
    environ = {
        **os.environ,
        "GEOOS_RUNTIME_DIR": str(state.parents[1] / "run"),
        "GEOOS_STATE_DIR": str(state.parent),
        "NO_COLOR": "1",
    }
    command = [sys.executable, "-m", "geoosd.compositor"]
    return subprocess.run(
        [*(WITHOUT if os.geteuid() == 0 else []), *command],
        env=environ,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize("name", ["places.json", "."])
def test_whole_places_that_it_may_not_read_are_left_alone(state, name):
    kept = (state / "places.json").read_bytes()
    (state / name).chmod(0)
    done = started(state)
    assert done.returncode == 78
    (line,) = done.stderr.splitlines()
    assert f"cannot read {state / name}: permission denied" in line
    assert "give it to the user that runs the compositor" in line
    state.chmod(0o700)
    (state / "places.json").chmod(0o600)
    assert (state / "places.json").read_bytes() == kept
    assert not list(state.glob("*.unreadable"))
