"""``backup`` and ``restore``: the state and the configuration in one file, and back.

The archive is :mod:`geoosctl.archive`'s, the renames are :mod:`geoosctl.restoring`'s; here daemons
are asked, stopped and started, and people told.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import fcntl
import os
import re
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

import click
from msgspec import Struct

from geoosctl import archive, cells, output, restoring, systemd
from geoosctl.archive import Contents, Incoming
from geoosctl.asking import listen, read
from geoosctl.cli import Verb, settings
from geoosd.config import DAEMONS, DEFAULT_CONFIG, paths
from geoosd.durable import replaceable, sync
from geoosd.errors import GeoosError, VarlinkError, reason_of
from geoosd.wire import varlink as wire

_SYSTEM_STATE: Final = Path("/var/lib/geoos")
_QUIET_SECONDS: Final = 60.0
_SYSTEMD_SECONDS: Final = 90.0
_NAMED: Final = re.compile(r"geoos-[0-9]{8}T[0-9]{6}Z\.tar\.zst")
_FILE = click.Path(path_type=Path)


class _Piece(Struct):
    file: str | None
    size: int
    data: str


# -- backup ----------------------------------------------------------------------------------------


@click.command(
    cls=Verb,
    examples=[
        "geoosctl backup geoos.tar.zst",
        "sudo geoosctl backup /var/backups/geoos/ --keep 7",
    ],
)
@click.argument("file", type=_FILE)
@click.option(
    "--keep",
    type=click.IntRange(min=1),
    metavar="N",
    help="In a directory: delete older backups, so that N remain.",
)
def backup(file: Path, keep: int | None) -> None:
    """Write state and configuration of all daemons to FILE.

    Nothing is stopped. FILE is a tar file compressed by zstd, readable by you alone; in a directory
    it is named after the time. It appears when it is whole. What record = "metadata" keeps off the
    disk is in no backup either. Credentials are not in it.
    """
    options = settings()
    now = time.time()
    chosen = _chosen(file, now)
    if keep is not None and chosen == file:
        raise click.UsageError("--keep is for a directory: name one")
    with _being_written(chosen) as target, _Progress() as progress:
        pieces = listen("Backup", seconds=_QUIET_SECONDS)
        contents = archive.write(target, progress.watch(_files(pieces)), now)
    size = chosen.stat().st_size
    deleted = _rotate(chosen.parent, keep) if keep is not None else []
    if options.json:
        files = [each.path for each in contents.files]
        names = [str(each) for each in deleted]
        output.print_json(
            {"file": str(chosen), "bytes": size, "created": now, "files": files, "deleted": names}
        )
        return
    output.echo(f"{chosen}: {output.size(size)}, {output.count(len(contents.files), 'file')}")
    for each in deleted:
        output.echo(f"deleted {each}")


def _chosen(file: Path, now: float) -> Path:
    if not file.is_dir():
        return file
    return file / time.strftime("geoos-%Y%m%dT%H%M%SZ.tar.zst", time.gmtime(now))


@contextlib.contextmanager
def _being_written(file: Path) -> Iterator[BinaryIO]:
    """A file that replaces *file* when the block ends well, and is gone when it does not.

    What a kill leaves is one ``.FILE.part``, which the next backup to the same place takes over.
    """
    try:
        part = replaceable(file).with_name(f".{file.name}.part")
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as target:
            _only_ours(target, file)
            target.truncate(0)
            try:
                yield target
                target.flush()
                os.fsync(descriptor)
                part.replace(file)
            except BaseException:
                part.unlink(missing_ok=True)
                raise
        sync(file.parent)
    except OSError as error:
        raise GeoosError(f"cannot write {file}: {reason_of(error)}") from None


def _only_ours(target: BinaryIO, file: Path) -> None:
    try:
        fcntl.flock(target, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise GeoosError(f"cannot write {file}: another backup is being written to it") from None


def _files(replies: Iterator[dict[str, object]]) -> Iterator[Incoming]:
    """The files in what ``Backup`` replies, each of which has to be read before the next."""
    pieces = (read(reply, _Piece) for reply in replies)
    piece = next(pieces, None)

    def content(path: str) -> Iterator[bytes]:
        nonlocal piece
        while piece is not None and piece.file == path:
            yield _bytes(piece)
            piece = next(pieces, None)

    while piece is not None and piece.file is not None:
        yield Incoming(piece.file, piece.size, content(piece.file))
    if piece is None:
        raise GeoosError("cannot back up: the answer ended before the last file; try again")


def _bytes(piece: _Piece) -> bytes:
    try:
        return base64.b64decode(piece.data, validate=True)
    except binascii.Error as error:
        raise GeoosError(f"cannot read {piece.file}: not base64: {error}") from None


class _Progress:
    """One line on a terminal's standard error that says how far it is."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty() and not settings().json
        self._done = 0

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._say("")

    def watch(self, files: Iterator[Incoming]) -> Iterator[Incoming]:
        """*files*, telling of each piece."""
        for each in files:
            yield Incoming(each.path, each.size, self._counted(each))

    def _counted(self, incoming: Incoming) -> Iterator[bytes]:
        for piece in incoming.pieces:
            self._done += len(piece)
            yield piece
            self._say(f"{output.size(self._done)}  {output.visible(incoming.path)}")

    def _say(self, text: str) -> None:
        if self._shown:
            click.echo(
                f"\r\x1b[K{cells.shorten(text, output.terminal_width() - 1)}", nl=False, err=True
            )


def _rotate(directory: Path, keep: int) -> list[Path]:
    """Delete the oldest of the backups that have names of ours, but *keep*."""
    names = sorted(each for each in directory.iterdir() if _NAMED.fullmatch(each.name))
    gone = names[:-keep]
    for each in gone:
        each.unlink(missing_ok=True)
    return gone


# -- restore ---------------------------------------------------------------------------------------


@click.command(
    cls=Verb,
    examples=[
        "sudo geoosctl restore geoos.tar.zst",
        "geoosctl restore --check geoos.tar.zst",
        "sudo geoosctl restore --undo",
    ],
)
@click.argument("file", type=_FILE, required=False)
@click.option("--check", is_flag=True, help="Verify FILE, and change nothing.")
@click.option("--undo", is_flag=True, help="Take the newest restore back.")
def restore(file: Path | None, check: bool, undo: bool) -> None:
    """Put state and configuration from a backup FILE in place.

    FILE is verified first. Daemons of the systemd units are stopped, and started again if they ran;
    in the foreground, stop geoosd up before. The old state is kept beside the new one, and comes
    back if the daemons cannot start with the new one, or with --undo.
    """
    if undo == (file is not None) or (check and undo):
        raise click.UsageError("name a FILE, or use --undo alone")
    if file is not None and check:
        _show_contents(file, archive.read(file))
        return
    manager, target = _target()
    contents = archive.read(file) if file is not None else None
    if manager is None:
        _nothing_may_run()
    for each in restoring.interrupted(target):
        with _stopped(manager):
            restoring.undo(target, each)
        output.echo(f"took back a restore that was interrupted: {each}", err=True)
    if file is None or contents is None:
        _undo(manager, target)
    else:
        _restore(manager, target, file, contents)


def _show_contents(file: Path, contents: Contents) -> None:
    header = contents.header
    if settings().json:
        entries = [{"path": each.path, "bytes": each.size} for each in contents.files]
        about = {"created": header.created, "geoos": header.geoos}
        output.print_json({"file": str(file), "ok": True, **about, "files": entries})
        return
    made = f"{output.ago(time.time() - header.created)} ago by geoos {output.visible(header.geoos)}"
    output.echo(f"{file}: whole, made {made}")
    rows = [[each.path, output.size(each.size)] for each in contents.files]
    for line in output.table(["FILE", "SIZE"], rows, align="<>"):
        output.echo(line)


def _restore(
    manager: systemd.Manager | None, target: restoring.Target, file: Path, contents: Contents
) -> None:
    restoring.prepare(file, contents, target)
    with _stopped(manager) as ran:
        aside = restoring.swap(contents, target)
        try:
            started = _start(manager, ran)
        except BaseException:
            if manager is not None:
                _systemctl(manager, "stop", [*_units(), *_sockets()])
            restoring.undo(target, aside)
            raise
    if settings().json:
        made = {"created": contents.header.created, "geoos": contents.header.geoos}
        files = [each.path for each in contents.files]
        members = {"file": str(file), **made, "files": files, "started": started}
        output.print_json({**members, "aside": str(aside)})
        return
    age = output.ago(time.time() - contents.header.created)
    output.echo(f"restored {output.count(len(contents.files), 'file')} of {age} ago")
    if target.config is None and any(each.path == "etc/geoos.toml" for each in contents.files):
        output.echo(
            "its configuration is left out: set GEOOS_CONFIG to the file that it should go to"
        )
    output.echo(f"the state before it is in {aside}; take it back: {_sudo(manager)}restore --undo")
    if not started:
        output.echo(f"start geoos: {'geoosd up' if manager is None else f'{_sudo(manager)}start'}")


def _undo(manager: systemd.Manager | None, target: restoring.Target) -> None:
    found = restoring.kept(target)
    if not found:
        reason = f"cannot undo: no restore has left anything in {target.state}"
        raise VarlinkError(wire.NOT_FOUND, {"reason": reason})
    with _stopped(manager) as ran:
        restoring.undo(target, found[-1])
        _start(manager, ran)
    if settings().json:
        output.print_json({"undone": str(found[-1])})
    else:
        output.echo(f"the state from before the restore is back; the other one is in {found[-1]}")


def _sudo(manager: systemd.Manager | None) -> str:
    return "sudo geoosctl " if manager == "system" else "geoosctl "


def _target() -> tuple[systemd.Manager | None, restoring.Target]:
    """Who runs the daemons, and where their state and configuration are."""
    options = settings()
    manager = systemd.find(options.control, chosen=options.socket is not None)
    named = os.environ.get("GEOOS_CONFIG")
    if manager == "system":
        themes = DEFAULT_CONFIG.parent / "themes"
        return manager, restoring.Target(_SYSTEM_STATE, DEFAULT_CONFIG, themes, users=True)
    state = paths().state_dir
    if manager == "user" and not state.exists():
        # systemd before 254 keeps a user's StateDirectory= beside the configuration.
        configured = Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser()
        state = configured / "geoos" if (configured / "geoos/bridge").exists() else state
    return manager, restoring.Target(state.absolute(), Path(named).absolute() if named else None)


def _nothing_may_run() -> None:
    """In the foreground nobody but its user can stop it."""
    runtime_dir = paths().runtime_dir
    pid = systemd.foreground_pid(runtime_dir)
    if pid is not None:
        raise _unavailable(
            f"geoosd up runs in the foreground; stop it with Ctrl-C in its terminal or with: "
            f"kill {pid}"
        )
    for name in archive.WITH_STATE:
        path = runtime_dir / f"{name}.varlink"
        with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(OSError):
            probe.connect(os.fspath(path))
            raise _unavailable(f"the {name} runs and listens on {path}; stop it first")


def _unavailable(why: str) -> VarlinkError:
    return VarlinkError(wire.UNAVAILABLE, {"reason": f"cannot restore: {why}"})


# -- the units -------------------------------------------------------------------------------------


def _units() -> list[str]:
    """All of them: each has read the configuration."""
    return [systemd.TARGET, *map(systemd.service, DAEMONS)]


def _sockets() -> list[str]:
    return [each for name in DAEMONS for each in systemd.SOCKETS[name]]


@contextlib.contextmanager
def _stopped(manager: systemd.Manager | None) -> Iterator[list[str]]:
    """No unit with state runs inside; what ran before runs again when the block fails.

    Gives the units that ran.
    """
    if manager is None:
        yield []
        return
    ran = [unit.name for unit in systemd.show(manager, _units()) if unit.active == "active"]
    try:
        _systemctl(manager, "stop", [*_units(), *_sockets()])
        yield ran
    except BaseException:
        with contextlib.suppress(GeoosError):
            _start(manager, ran)
        raise


def _start(manager: systemd.Manager | None, ran: list[str]) -> list[str]:
    """Start what *ran*; the units that are up then. The engine goes on by itself.

    Raises :class:`GeoosError` for a daemon that does not come up.
    """
    if manager is None or not ran:
        return []
    engine = systemd.service("engine")
    names = [name for name in ran if name not in (systemd.TARGET, engine)]
    _systemctl(manager, "reset-failed", [*names, *_sockets()])
    _systemctl(manager, "start", names)
    _systemctl(manager, "start", [name for name in ran if name not in names], "--no-block")
    for unit in systemd.show(manager, names):
        if unit.active != "active":
            why = unit.last_error or systemd.trouble(unit)
            raise GeoosError(f"cannot start {unit.name}: {why}; the state before it is back")
    return names


def _systemctl(manager: systemd.Manager, verb: str, names: list[str], *options: str) -> None:
    if names:
        wait = settings().wait(_SYSTEMD_SECONDS) or _SYSTEMD_SECONDS
        systemd.change(manager, verb, names, wait, asked="restore", options=options)
