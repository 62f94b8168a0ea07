"""``bugreport``: what somebody who is to help needs to see, and nothing else.

No text of a model, no prompt, no credential: what daemons say of themselves is free of the first
two by their own rules, :mod:`geoosctl.redact` takes out what looks like the third.
"""

from __future__ import annotations

import getpass
import io
import json
import os
import platform
import shutil
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import click

from geoosctl import output, redact, systemd
from geoosctl.asking import ask, listen
from geoosctl.cli import Settings, Verb, settings
from geoosd import __version__
from geoosd.config import DAEMONS, load, paths
from geoosd.errors import GeoosError, reason_of

_RECORDS: Final = 1000
_PACKAGES: Final = (
    "trio", "msgspec", "numpy", "wgpu", "httpx", "h11", "click", "rich", "structlog", "Pillow",
    "xllamacpp", "backports.zstd",
)  # fmt: skip


@click.command(
    cls=Verb,
    examples=["geoosctl bugreport", "geoosctl bugreport report.tar.gz && tar -xzOf report.tar.gz"],
)
@click.argument("file", required=False, type=click.Path(dir_okay=False, path_type=Path))
def bugreport(file: Path | None) -> None:
    """Write a report for who is to help to FILE.

    In it: versions, status, health, models, metrics, configuration, the newest log records, units.
    Not in it: prompts, answers, credentials, your name. Look at it before you send it.
    """
    options = settings()
    now = time.time()
    chosen = file or Path(time.strftime("geoos-bugreport-%Y%m%dT%H%M%SZ.tar.gz", time.gmtime(now)))
    parts = {name: _cleaned(collect, options) for name, collect in _PARTS.items()}
    try:
        _write(chosen, parts, now)
    except OSError as error:
        raise GeoosError(f"cannot write {chosen}: {reason_of(error)}") from None
    size = chosen.stat().st_size
    if options.json:
        output.print_json({"file": str(chosen), "bytes": size, "parts": list(parts)})
        return
    output.echo(f"{chosen}: {output.size(size)}, {len(parts)} parts")
    output.echo(f"look at it before you send it: tar -xzOf {chosen} | less")


def _cleaned(collect: Callable[[Settings], str], options: Settings) -> str:
    """What a part has to say, or why it has nothing to say: a broken geoos is what it is for."""
    try:
        found = collect(options)
    except (GeoosError, OSError) as error:
        found = f"not available: {error}\n"
    return redact.text(found, home=str(Path.home()), user=_user())


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no name for our uid
        return ""


def _write(file: Path, parts: dict[str, str], now: float) -> None:
    def opener(path: str, flags: int) -> int:
        return os.open(path, flags, 0o600)

    with (
        open(file, "wb", opener=opener) as target,
        tarfile.open(fileobj=target, mode="w:gz") as tar,
    ):
        for name, text in parts.items():
            data = text.encode(errors="replace")
            info = tarfile.TarInfo(f"geoos-bugreport/{name}")
            info.size, info.mtime, info.mode = len(data), int(now), 0o644
            tar.addfile(info, io.BytesIO(data))


# -- the parts -------------------------------------------------------------------------------------


def _versions(_options: Settings) -> str:
    from importlib.metadata import PackageNotFoundError, version

    def of(package: str) -> str:
        try:
            return version(package)
        except PackageNotFoundError:
            return "not installed"

    lines = [
        f"geoos {__version__}",
        f"Python {sys.version.split()[0]} at {sys.executable}",
        f"{platform.system()} {platform.release()} {platform.machine()}, {os.cpu_count()} CPUs",
        *(f"{package} {of(package)}" for package in _PACKAGES),
    ]
    return "\n".join(lines) + "\n" + _release()


def _release() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "") + "\n"
    except OSError:
        return ""


def _asked(method: str) -> Callable[[Settings], str]:
    def answer(_options: Settings) -> str:
        reply = ask(method, seconds=10.0)
        return json.dumps(reply, indent=1, ensure_ascii=False) + "\n"

    return answer


def _metrics(_options: Settings) -> str:
    return str(ask("GetMetrics", seconds=10.0).get("text", ""))


def _records(_options: Settings) -> str:
    replies = listen("GetLogs", {"lines": _RECORDS}, seconds=10.0)
    found = (reply.get("record") for reply in replies)
    return "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in found if each)


def _configuration(_options: Settings) -> str:
    found = load()
    shown: dict[str, Any] = {"file": str(found.source) if found.source else None}
    shown |= redact.values(found.sections())
    return json.dumps(shown, indent=1, ensure_ascii=False) + "\n"


def _units(options: Settings) -> str:
    manager = systemd.find(options.control, chosen=options.socket is not None)
    if manager is None:
        pid = systemd.foreground_pid(paths().runtime_dir)
        return f"no units; geoosd up: {'does not run' if pid is None else f'runs, pid {pid}'}\n"
    names = [systemd.TARGET, *map(systemd.service, DAEMONS)]
    names += [each for name in DAEMONS for each in systemd.SOCKETS[name]]
    answer = systemd.run(manager, ["status", "--lines=0", "--", *names], timeout=10.0)
    return answer.stdout + answer.stderr


def _places(options: Settings) -> str:
    return "\n".join([*_listed(options.control.parent), *_disks()]) + "\n"


def _listed(directory: Path) -> Iterator[str]:
    yield f"{directory}:"
    for path in sorted(directory.iterdir()):
        status = path.lstat()
        yield f"  {status.st_mode:o} {status.st_uid}:{status.st_gid} {path.name}"


def _disks() -> Iterator[str]:
    for path in (Path("/var/lib/geoos"), paths().state_dir, Path("/tmp")):
        if path.exists():
            free = shutil.disk_usage(path).free
            yield f"{path}: {output.size(free)} free"


_PARTS: Final[dict[str, Callable[[Settings], str]]] = {
    "versions.txt": _versions,
    "status.json": _asked("GetStatus"),
    "health.json": _asked("GetHealth"),
    "models.json": _asked("ListModels"),
    "viewers.json": _asked("ListViewers"),
    "metrics.txt": _metrics,
    "logs.jsonl": _records,
    "config.json": _configuration,
    "units.txt": _units,
    "places.txt": _places,
}
