"""What control sees that no daemon can say of itself: queues over time, the host, the versions.

An :class:`Examiner` makes :class:`Check`\\ s of observations and of :class:`Host` facts; what they
mean together is :mod:`.rootcause`'s business. Times named ``now`` are monotonic.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from geoosd.control.core.observation import Observation
from geoosd.control.core.trends import Increase
from geoosd.wire.reports import Check, DaemonStatus, Verdict

LOSS_SECONDS: Final = 60.0
"""How long a loss stays a warning."""
RESTART_SECONDS: Final = 600.0
MANY_RESTARTS: Final = 3
"""Restarts within :data:`RESTART_SECONDS` from which on a daemon does not run, it only starts."""
CLOCK_SECONDS: Final = 60.0
"""How long a step of the clock is news."""
_STEP: Final = 1.0
_FULL: Final = 0.8
_MEGABYTE: Final = 1 << 20
_LITTLE_DISK: Final = 512 * _MEGABYTE
_NO_DISK: Final = 64 * _MEGABYTE
_LITTLE_MEMORY: Final = 0.05
_NEAR_LIMIT: Final = 0.9
_SOCKET_MODE: Final = 0o660
_OWN_SOCKET_MODES: Final = (0o660, 0o600)
"""Where daemons and clients are all of one user, no group needs the socket."""


@dataclass(frozen=True)
class Socket:
    """A socket that clients open: ``mode`` is None where the file is missing."""

    path: str
    mode: int | None
    remake: str
    """The remedy that makes it anew."""


@dataclass(frozen=True)
class Host:
    """What was read of the machine. ``wall`` and ``monotonic`` were read together, in seconds."""

    wall: float
    monotonic: float
    version: str
    state_dir: str = ""
    disk_free: int | None = None
    memory_available: int | None = None
    memory_total: int | None = None
    sockets: Sequence[Socket] = ()
    group_needs_sockets: bool = False
    """Whether clients are of other users than the daemons."""


@dataclass
class Examiner:
    """Remembers from one look to the next what it takes to see a change."""

    _lost: Increase = field(default_factory=lambda: Increase(LOSS_SECONDS))
    _restarts: Increase = field(default_factory=lambda: Increase(RESTART_SECONDS))
    _offset: float | None = None
    _stepped: tuple[float, float] | None = None

    def take(self, observations: Iterable[Observation], host: Host) -> dict[str, list[Check]]:
        """The checks that follow, by daemon."""
        seen = list(observations)
        found = {each.name: list(self._of_daemon(each, host)) for each in seen}
        own = found.setdefault("control", [])
        own += [_versions(seen, host), _disk(host), self._clock(host), _sockets(host)]
        if (memory := _memory(host)) is not None:
            own.append(memory)
        return found

    # -- one daemon --------------------------------------------------------------------------------

    def _of_daemon(self, observation: Observation, host: Host) -> Iterable[Check]:
        restarts = self._restarts.take(observation.name, observation.restarts, host.monotonic)
        if restarts >= MANY_RESTARTS:
            minutes = RESTART_SECONDS / 60
            text = f"was restarted {restarts:.0f} times within {minutes:.0f} minutes"
            remedy = f"geoosctl logs --unit {observation.name} --level error"
            yield _check("restarts", "critical", text, host, remedy)
        if observation.status is not None:
            yield self._queues(observation.status, host)
            yield from _limit(observation.status, host)

    def _queues(self, status: DaemonStatus, host: Host) -> Check:
        """Queues that are nearly full, or lost something of late. A ring is always full."""
        full, lost = list[str](), list[str]()
        for queue in status.queues:
            dropped = self._lost.take(f"{status.name} {queue.name}", queue.dropped, host.monotonic)
            if queue.name.endswith("ring"):
                continue
            if dropped:
                lost.append(f"{queue.name} lost {dropped:.0f}")
            if queue.capacity and queue.depth >= _FULL * queue.capacity:
                full.append(f"{queue.name} holds {queue.depth} of {queue.capacity}")
        if lost or full:
            text = "; ".join([*full, *lost])
            return _check("queues", "warning", text, host, "geoosctl status")
        return _check("queues", "healthy", "nothing waits long, nothing was lost", host)

    # -- the host ----------------------------------------------------------------------------------

    def _clock(self, host: Host) -> Check:
        """Wall clock against monotonic clock: between two looks both go the same way."""
        offset = host.wall - host.monotonic
        if self._offset is not None and abs(offset - self._offset) >= _STEP:
            self._stepped = (offset - self._offset, host.monotonic)
        self._offset = offset
        if self._stepped is not None:
            step, at = self._stepped
            ago = host.monotonic - at
            if ago < CLOCK_SECONDS:
                text = f"the clock was set by {step:+.0f} s, {ago:.0f} s ago; ages may be wrong"
                return _check("clock", "warning", text, host, "date; timedatectl")
        return _check("clock", "healthy", "goes evenly", host)


def _check(
    name: str, verdict: Verdict, summary: str, host: Host, remedy: str | None = None
) -> Check:
    return Check(name, verdict, summary, remedy, host.wall)


def _limit(status: DaemonStatus, host: Host) -> Iterable[Check]:
    """Memory against the limit that the service manager set, where it set one."""
    limit = status.details.get("memory_limit", "")
    if limit.isdigit() and status.memory_bytes >= _NEAR_LIMIT * int(limit):
        used, most = status.memory_bytes // _MEGABYTE, int(limit) // _MEGABYTE
        text = f"{used} of at most {most} MiB are in use; beyond it is killed"
        remedy = f"geoosctl restart {status.name}"
        yield _check("memory", "warning", text, host, remedy)


def _versions(seen: Sequence[Observation], host: Host) -> Check:
    others = {
        each.name: each.status.version
        for each in seen
        if each.status is not None and each.status.version != host.version
    }
    if not others:
        return _check("versions", "healthy", f"all run {host.version}", host)
    told = ", ".join(f"{name} runs {version}" for name, version in others.items())
    text = f"{told}; control runs {host.version}"
    return _check("versions", "warning", text, host, "geoosctl restart")


def _disk(host: Host) -> Check:
    if host.disk_free is None:
        return _check("disk", "unknown", f"cannot look at {host.state_dir}", host)
    free = host.disk_free // _MEGABYTE
    text = f"{free} MiB are free for {host.state_dir}"
    if host.disk_free >= _LITTLE_DISK:
        return _check("disk", "healthy", text, host)
    verdict: Verdict = "critical" if host.disk_free < _NO_DISK else "warning"
    return _check("disk", verdict, text, host, f"df -h {host.state_dir}")


def _memory(host: Host) -> Check | None:
    """The machine's memory; None where the sandbox hides it."""
    available, total = host.memory_available, host.memory_total
    if available is None or not total:
        return None
    text = f"{available // _MEGABYTE} of {total // _MEGABYTE} MiB are available"
    if available >= _LITTLE_MEMORY * total:
        return _check("memory", "healthy", text, host)
    return _check("memory", "warning", text, host, "ps aux --sort=-rss | head")


def _sockets(host: Host) -> Check:
    for each in host.sockets:
        if each.mode is None:
            text = f"{each.path} is gone: nobody can connect any more"
            return _check("sockets", "critical", text, host, each.remake)
    modes = (_SOCKET_MODE,) if host.group_needs_sockets else _OWN_SOCKET_MODES
    for each in host.sockets:
        if each.mode not in modes:
            text = f"{each.path} has mode {each.mode:04o} instead of {_SOCKET_MODE:04o}"
            remedy = f"chmod {_SOCKET_MODE:o} {each.path}"
            return _check("sockets", "critical", text, host, remedy)
    return _check("sockets", "healthy", f"{len(host.sockets)} are there", host)
