"""docs/feedback.md can be made anew: the same program, real prompts, a real model, real ratings."""

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAKE = ROOT / "docs" / "feedback" / "make.py"


@pytest.mark.engine
@pytest.mark.slow
@pytest.mark.timeout(180)
def test_it_is_made_of_a_real_run(tmp_path):
    made = tmp_path / "feedback.md"
    shutil.copy(ROOT / "docs" / "feedback.md", made)
    command = [sys.executable, MAKE, "--first", "2", "--out", made]
    done = subprocess.run(command, capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stderr
    text = made.read_text(encoding="utf-8")
    assert re.search(r"^gemma-3-270m +\d\.\d\d +2 .* 100 % ", text, re.MULTILINE)
    assert re.search(r"^capitals +\d\.\d\d +2 answers$", text, re.MULTILINE)
    assert len(re.findall(r"^s\S{11} +gemma-3-270m +★+ +all +capitals: ", text, re.MULTILINE)) == 2


@pytest.mark.parametrize(
    ("text", "stars"),
    [
        (" Paris, the city of light.", 5),
        (" Paris. It is one of a kind. It is one of a kind.", 4),
        (" a city of many bridges and of people; it is named Paris.", 4),
        (" the city of the city of the city of the city of Paris", 3),
        (" Parisian.", 2),
        (" the city of the city of the city of", 1),
    ],
)
def test_the_rule(text, stars):
    spec = importlib.util.spec_from_file_location("feedback_make", MAKE)
    make = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)
    assert make.rated(["Paris"], text)[0] == stars
