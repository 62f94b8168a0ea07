"""Files that a loss of power does not tear: on the disk first (fsync(2)), then in their place.

A name is on the disk when its directory is. Everything here blocks; call it in a worker thread.
"""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path


def replace_file(path: Path, data: bytes) -> None:
    """Put *data* in place of *path*, all or nothing, also when the power fails. Raises OSError."""
    new = temporary(path)
    with new.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    sync(path.parent)


def copy_file(source: Path, path: Path, mode: int) -> None:
    """As :func:`replace_file`, with the content of *source*."""
    new = temporary(path)
    shutil.copyfile(source, new)
    new.chmod(mode)
    sync(new)
    new.replace(path)
    sync(path.parent)


def replaceable(path: Path) -> Path:
    """*path*, if a file may take that place: nothing is there, or a file.

    Raises OSError for all else: ``/dev/null`` is not to become a file, and a link is not followed.
    """
    if os.path.lexists(path) and not (path.is_file() and not path.is_symlink()):
        raise OSError(errno.EEXIST, "a link, a device or the like is there")
    return path


def temporary(path: Path) -> Path:
    """Where *path* is written before it takes its place."""
    return path.with_name(f".{path.name}.new")


def sync(path: Path) -> None:
    """Have a file's content, or the names in a directory, survive a loss of power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(directory: Path) -> None:
    """Have everything in *directory* survive a loss of power, and itself but for its own name."""
    for each in directory.rglob("*"):
        sync(each)
    sync(directory)
