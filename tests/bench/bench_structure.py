"""The structure score of a tree of 2,000 modules, beside what reads the imports of the same tree:
grimp alone, and import-linter with one contract."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from measure import Pace, Result, Turn, alternate, at_most, ratio, value

NAME = "structure"
PACKAGES, MODULES = 40, 50
BIN = Path(sys.executable).parent
_BODY = '''

class Thing{number}:
    """A thing."""

    def __init__(self, size: int) -> None:
        self.size = size

    def grow(self, by: int) -> int:
        """Grow."""
        if by < 0:
            raise ValueError(by)
        for _ in range(by):
            self.size += 1
        return self.size
'''
_CONTRACT = """[importlinter]
root_package = tree

[importlinter:contract:1]
name = one
type = forbidden
source_modules = tree.p00
forbidden_modules = tree.p39
allow_indirect_imports = true
"""


def make(root: Path) -> None:
    """A package of 2,000 modules that import some of those before them; always the same."""
    chance = random.Random(7)
    names: list[str] = []
    package = root / "tree"
    for number in range(PACKAGES):
        folder = package / f"p{number:02}"
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text('"""A package."""\n')
        for index in range(MODULES - 1):
            name = f"tree.p{number:02}.m{index:02}"
            chosen = sorted(chance.sample(names, min(len(names), 4)))
            imports = "".join(f"import {each}\n" for each in chosen)
            bodies = "".join(_BODY.format(number=each) for each in range(5))
            text = f'"""Module {index}."""\n\n{imports}{bodies}'
            (folder / f"m{index:02}.py").write_text(text)
            names.append(name)
    (package / "__init__.py").write_text('"""The tree."""\n')
    (root / ".importlinter").write_text(_CONTRACT)


def seconds(root: Path, command: list[str]) -> float:
    """Seconds until *command* has ended, in *root*."""
    environ = {**os.environ, "XDG_CACHE_HOME": str(root / "cache"), "PYTHONPATH": str(root)}
    began = time.monotonic()
    done = subprocess.run(
        command,
        cwd=root,
        env=environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return time.monotonic() - began


def run(pace: Pace) -> Iterator[Result]:
    """Cold and cached."""
    grimp = "import grimp; grimp.build_graph('tree', cache_dir=None)"
    with tempfile.TemporaryDirectory(prefix="geoos-bench-") as directory:
        root = Path(directory)
        make(root)
        geoosctl = [str(BIN / "geoosctl"), "structure", "tree"]
        turns: dict[str, Turn] = {
            "cold": partial(seconds, root, [*geoosctl, "--fresh"]),
            "cached": partial(seconds, root, geoosctl),
            "grimp": partial(seconds, root, [sys.executable, "-c", grimp]),
            "import-linter": partial(seconds, root, [str(BIN / "lint-imports"), "--no-cache"]),
        }
        alternate(turns, 1)  # writes what is not compiled yet
        measured = alternate(turns, min(pace.rounds, 5))
    group = f"{NAME}, {PACKAGES * MODULES:,} files"
    yield ratio(f"{group}, cold: grimp", " s", measured["cold"], measured["grimp"], "lower")
    yield ratio(
        f"{group}, cold: import-linter", " s", measured["cold"], measured["import-linter"], "lower"
    )
    yield value(f"{group}: cold", " s", measured["cold"], at_most(2))
    yield value(f"{group}: cached", " s", measured["cached"], at_most(0.2))
