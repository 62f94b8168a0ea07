"""What the policy tests look at: the files of the repository and the commands it has."""

import ast
import functools
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = ("geoosd", "ctl/geoosctl")
_NOT_OURS = {".venv", ".git", "node_modules", "build", "dist", "reports"}


@functools.cache
def files():
    """Every file of the source tree that git does not ignore."""
    listing = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    try:
        answer = subprocess.run(listing, cwd=ROOT, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        found = (path for path in ROOT.rglob("*") if not _NOT_OURS & set(path.parts))
    else:
        found = (ROOT / name for name in answer.stdout.decode().split("\0") if name)
    return sorted(path for path in found if path.is_file() and "__pycache__" not in path.parts)


def product_modules():
    """The Python modules that are installed."""
    roots = [ROOT / name for name in PRODUCT]
    return [
        path
        for path in files()
        if path.suffix == ".py" and any(path.is_relative_to(root) for root in roots)
    ]


def test_modules():
    """The modules that pytest collects."""
    return [path for path in files() if re.fullmatch(r"test_\w+\.py", path.name)]


test_modules.__test__ = False


def name(path):
    """A path as one reads it: from the root."""
    return path.relative_to(ROOT).as_posix()


def texts():
    """Path and content of every file that is text."""
    for path in files():
        try:
            yield path, path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue


@functools.cache
def parse(path):
    """The syntax tree of a module."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def documents():
    """README and everything in docs/."""
    return [path for path in files() if path.suffix == ".md"]
