"""A kill at any moment of a save leaves the old state or the new one, whole."""

import subprocess
import sys
from pathlib import Path


def test_a_kill_at_any_step_of_a_save_leaves_a_whole_state(tmp_path):
    script = Path(__file__).with_name("kill_while_saving.py")
    done = subprocess.run(
        [sys.executable, script, tmp_path], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    at_lines, at_bytes = map(int, done.stdout.split())
    assert at_lines > 25
    assert at_bytes > 10
