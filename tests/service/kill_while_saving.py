"""Saves a scene over another and is killed at every step of it; prints how many kills there were.

A child of :mod:`test_compositor_kill`, since it forks. The kernel kills in the midst of a write
(RLIMIT_FSIZE: the write is cut at that byte, the next one ends the process by SIGXFSZ), and SIGKILL
comes before every line of geoosd.compositor.adapters that runs.
"""

import os
import resource
import signal
import sys
from pathlib import Path

import numpy as np

from geoosd.compositor.adapters import files as on_disk
from geoosd.compositor.adapters import scene_file, snapshot
from geoosd.compositor.adapters.scene_file import SceneFile
from geoosd.compositor.adapters.snapshot import PlacesFile, StateFiles
from geoosd.wire.messages import District, TokenVisualizationUpdate


def scene(weight):
    token = TokenVisualizationUpdate(f"word {weight}", 1, cell=3, district=1)
    keys = np.arange(1 << 20, (1 << 20) + 2000, dtype=np.uint64)
    weights = np.random.default_rng(int(weight)).random(2000) + weight
    return SceneFile(keys, weights, [(token, weight)])


OLD, NEW = scene(1.0), scene(2.0)
TRACED = [module.__file__ for module in (on_disk, scene_file, snapshot)]
DISTRICTS = [District(1, "m", "ids"), District(2, "n", "ids")]


def save(files, which):
    files.save_places(PlacesFile(districts=DISTRICTS[:which]))
    files.save_scene((OLD, NEW)[which - 1])


def killed_at_line(line):
    count = 0

    def trace(frame, event, _argument):
        nonlocal count
        if frame.f_code.co_filename not in TRACED:
            return None
        if event == "line":
            count += 1
            if count == line:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)


def killed_at_byte(size):
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def was_killed(directory, arm, at):
    """Run one save armed in a child; whether it was killed. What is left has to be whole."""
    files = StateFiles(directory)
    save(files, 1)
    child = os.fork()
    if child == 0:
        arm(at)
        save(files, 2)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    again = StateFiles(directory)
    places = again.load_places()
    found = again.load_scene(places.districts)
    assert again.complaints == [], (arm.__name__, at, again.complaints)
    assert places.districts in (DISTRICTS[:1], DISTRICTS)
    assert found.thoughts in (OLD.thoughts, NEW.thoughts), (arm.__name__, at)
    expected = OLD if found.thoughts == OLD.thoughts else NEW
    assert np.array_equal(found.weights, expected.weights), (arm.__name__, at)
    if not os.WIFSIGNALED(status):
        assert status == 0
        assert expected is NEW
    return os.WIFSIGNALED(status)


def main():
    directory = Path(sys.argv[1])
    lines = 1
    while was_killed(directory, killed_at_line, lines):
        lines += 1
    sizes = [0, 1, 50, 200, *range(1000, 40_000, 1000)]
    by_byte = sum(was_killed(directory, killed_at_byte, size) for size in sizes)
    print(lines - 1, by_byte)


main()
