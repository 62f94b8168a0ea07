"""Puts a verified backup in place of the state, and back again if need be.

Everything is written beside the state first, in ``.restore-new``. Then each daemon's directory
changes places with the new one by two renames, the old one into ``.before-restore-TIME``; nothing
is deleted, ever. :func:`undo` works at any moment, also after a kill or a loss of power between two
renames: what has been moved aside is what lies there, and nothing is moved before it can be found
again on the disk.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from geoosctl import archive
from geoosctl.archive import WITH_STATE, Contents, Entry
from geoosd.config import load
from geoosd.durable import copy_file, replace_file, sync, sync_tree
from geoosd.errors import GeoosError, VarlinkError, reason_of
from geoosd.wire import varlink as wire

_NEW: Final = ".restore-new"
_ASIDE: Final = ".before-restore-"
_PLAN: Final = "plan.json"
_RESERVE: Final = 16 << 20


class _Plan(Struct):
    """Written before the first rename: ``absent`` are state directories that were not there, and
    ``config`` are files of the configuration that the backup brings, with whether they were there.
    """

    absent: list[str]
    config: dict[str, bool]
    complete: bool = False


@dataclass(frozen=True)
class Target:
    """Where a backup goes: ``state`` holds a directory for each daemon; ``config`` is the file of
    the configuration, ``themes`` the administrator's directory, each None where neither belongs to
    us; ``users`` says that each directory belongs to a user of its own (systemd's units)."""

    state: Path
    config: Path | None = None
    themes: Path | None = None
    users: bool = False

    def place(self, path: str) -> Path | None:
        """Where a file ``etc/...`` goes."""
        if path == "etc/geoos.toml":
            return self.config
        return None if self.themes is None else self.themes / Path(path).name


def prepare(backup: Path, contents: Contents, target: Target) -> None:
    """Have the verified *contents* of *backup* beside the state, on the disk.

    Raises :class:`GeoosError`; then nothing has changed.
    """
    new = target.state / _NEW
    try:
        with _denied(target):
            target.state.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(new, ignore_errors=True)
            free = shutil.disk_usage(target.state).free
            if contents.bytes + _RESERVE > free:
                raise GeoosError(
                    f"cannot restore into {target.state}: {free >> 20} MiB are free, "
                    f"{(contents.bytes + _RESERVE) >> 20} are needed; make room"
                )
            new.mkdir(mode=0o700)
        _extract(backup, contents, target, new)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise


def _extract(backup: Path, contents: Contents, target: Target, new: Path) -> None:
    for name in WITH_STATE:
        (new / "state" / name).mkdir(mode=0o700, parents=True)

    def keep(entry: Entry, pieces: Iterator[bytes]) -> None:
        path = new / entry.path
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(path, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.writelines(pieces)

    with _denied(target):
        if archive.read(backup, keep).files != contents.files:
            raise GeoosError(f"cannot use {backup}: it changed while it was read")
        if (new / "etc/geoos.toml").exists() and target.config is not None:
            load(new / "etc/geoos.toml")
        for name in WITH_STATE:
            _give(new / "state" / name, target.state / name, name, users=target.users)
        sync_tree(new)


def _give(tree: Path, like: Path, daemon: str, *, users: bool) -> None:
    """Have *tree* belong to whom *like* does, or will."""
    try:
        owner = like.stat()
        uid, gid = owner.st_uid, owner.st_gid
    except FileNotFoundError:
        if not users:
            return
        try:
            entry = pwd.getpwnam(f"geoos-{daemon}")
        except KeyError:
            raise GeoosError(
                f"cannot find the user geoos-{daemon}: install geoos first: sudo make install"
            ) from None
        uid, gid = entry.pw_uid, entry.pw_gid
    if (uid, gid) != (os.geteuid(), os.getegid()):
        for each in [tree, *tree.rglob("*")]:
            os.chown(each, uid, gid, follow_symlinks=False)


def swap(contents: Contents, target: Target) -> Path:
    """Put what :func:`prepare` made in place; the directory where the old state now lies.

    No daemon may run. Raises :class:`GeoosError`, after which all is as it was.
    """
    aside = _fresh_aside(target)
    places = {
        each.path: place
        for each in contents.files
        if each.path.startswith("etc/") and (place := target.place(each.path)) is not None
    }
    plan = _Plan(
        absent=[name for name in WITH_STATE if not (target.state / name).exists()],
        config={path: place.exists() for path, place in places.items()},
    )
    with _denied(target):
        _note(aside, plan)
    try:
        with _denied(target):
            _keep_config(aside, places)
            sync_tree(aside)
            sync(target.state)
            for path, place in places.items():
                _replace_config(target.state / _NEW / path, place)
            for name in WITH_STATE:
                _move(target.state / name, aside / name)
                _move(target.state / _NEW / "state" / name, target.state / name)
            sync(target.state)
            plan.complete = True
            _note(aside, plan)
    except BaseException:
        undo(target, aside)
        raise
    shutil.rmtree(target.state / _NEW, ignore_errors=True)
    return aside


def _note(aside: Path, plan: _Plan) -> None:
    replace_file(aside / _PLAN, msgspec.json.encode(plan))


def _fresh_aside(target: Target) -> Path:
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    for number in range(1, 1000):
        aside = target.state / f"{_ASIDE}{stamp}{f'-{number}' if number > 1 else ''}"
        with _denied(target), contextlib.suppress(FileExistsError):
            aside.mkdir(mode=0o700)
            return aside
    raise GeoosError(f"cannot keep the old state: {target.state} is full of old ones")


def _keep_config(aside: Path, places: Mapping[str, Path]) -> None:
    """Copies of what the backup's configuration is going to replace."""
    for path, place in places.items():
        if place.exists():
            (aside / path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            shutil.copy2(place, aside / path)


def _replace_config(source: Path, place: Path) -> None:
    """The new file appears whole, with the permissions of the old one."""
    place.parent.mkdir(parents=True, exist_ok=True)
    copy_file(source, place, _mode(place) if place.exists() else 0o644)


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _move(source: Path, destination: Path) -> None:
    if source.exists():
        source.rename(destination)


# -- back again ------------------------------------------------------------------------------------


def kept(target: Target) -> Sequence[Path]:
    """What earlier restores have set aside and no undo has taken back, the oldest first."""
    return sorted(each.parent for each in target.state.glob(f"{_ASIDE}*/{_PLAN}"))


def interrupted(target: Target) -> Sequence[Path]:
    """Those of :func:`kept` whose restore was killed between two renames: they want an undo."""
    return [each for each in kept(target) if not _plan(each).complete]


def _plan(aside: Path) -> _Plan:
    try:
        return msgspec.json.decode((aside / _PLAN).read_bytes(), type=_Plan)
    except msgspec.DecodeError:
        raise GeoosError(
            f"cannot undo: {aside / _PLAN} is damaged; move the rest back by hand"
        ) from None


def undo(target: Target, aside: Path) -> None:
    """Have the state and the configuration back that lie in *aside*.

    What is in their place now is kept there in turn, as ``NAME.restored``. Raises
    :class:`GeoosError`; it may be called again.
    """
    with _denied(target):
        plan = _plan(aside)
        for name in WITH_STATE:
            there = target.state / name
            if (aside / name).exists() or name in plan.absent:
                _move(there, aside / f"{name}.restored")
                _move(aside / name, there)
        for path, was_there in plan.config.items():
            place = target.place(path)
            if place is None:
                continue
            if (aside / path).exists():
                copy_file(aside / path, place, _mode(aside / path))
            elif not was_there:
                place.unlink(missing_ok=True)
        sync(target.state)
        (aside / _PLAN).rename(aside / f"undone-{_PLAN}")
        sync(aside)


@contextlib.contextmanager
def _denied(target: Target) -> Iterator[None]:
    """OSError in words, with the remedy."""
    try:
        yield
    except PermissionError as error:
        reason = f"cannot write {error.filename or target.state}: permission denied; use sudo"
        raise VarlinkError(wire.PERMISSION_DENIED, {"reason": reason}) from None
    except OSError as error:
        why = reason_of(error)
        raise GeoosError(f"cannot restore into {target.state}: {why}") from None
