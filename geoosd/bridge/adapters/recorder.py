"""Records sessions: from the loop, where they happen, to the disk, in a worker thread.

On the loop a message costs one append (:mod:`..core.recording`). Once a tick everything that waits
is written in one transaction (:mod:`.store`), by one thread at a time. A disk that is full or
read-only stops the recording alone: health says so, it is tried again, and nothing waits for it. A
file that cannot be read is set aside and another begun.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import trio
from prometheus_client import Counter, Gauge

from geoosd.bridge.adapters import store_sessions
from geoosd.bridge.adapters.store import (
    Damaged,
    Removed,
    Store,
    remove_side_files,
    set_aside,
)
from geoosd.bridge.adapters.store_copy import copy, remove_copy
from geoosd.bridge.core.exchange import Exchange
from geoosd.bridge.core.recording import Recording
from geoosd.config import Config, RawBridge
from geoosd.errors import ConfigError, VarlinkError
from geoosd.runtime.export import ExportedFile
from geoosd.runtime.health import Finding
from geoosd.runtime.service import Runtime
from geoosd.runtime.varlink import unavailable
from geoosd.wire import events, reports
from geoosd.wire.messages import Payload, SessionEnded
from geoosd.wire.sessions import Turn

FILE: Final = "sessions.db"

TICK_SECONDS: Final = 0.25
"""For which sessions are gathered; what a crash may cost."""

RETRY_SECONDS: Final = 10.0
RETAIN_SECONDS: Final = 600.0

_STOP_SECONDS: Final = 2.0
_LOSS_MEMORY: Final = 60.0
_DAY: Final = 86_400.0

T = TypeVar("T")


class Recorder:
    """The recording of one bridge."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._log = runtime.log
        self._settings = runtime.config.bridge
        self._recording = Recording(self._settings.record)
        self._store: Store | None = None
        self._path: Path | None = None
        self._more = trio.Event()
        self._turn = trio.Lock()
        self._copying = trio.Lock()
        self._thread = trio.CapacityLimiter(1)
        self._trouble: str | None = None
        self._aside: str | None = None
        self._stopping = False
        self._refused = 0
        self._refused_at = float("-inf")
        self._bytes = 0
        self._lost = Counter(
            "geoos_recording_refused",
            "Messages and sessions that were not recorded",
            registry=runtime.registry,
        )
        depth = Gauge("geoos_recording_depth", "Waits for the disk", registry=runtime.registry)
        depth.set_function(lambda: self._recording.statistics().depth)

    # -- what happens, on the loop -----------------------------------------------------------------

    def opened(
        self, exchange: Exchange, *, dialect: str, path: str, choices: int, now: float
    ) -> None:
        """A session begins."""
        self._recording.open(
            exchange.session,
            model=exchange.model,
            upstream=exchange.upstream,
            dialect=dialect,
            path=path,
            choices=choices,
            now=now,
            wall=self._runtime.now(),
        )
        self._more.set()

    @property
    def keeps_text(self) -> bool:
        """Whether prompts are recorded."""
        return self._settings.record == "full"

    def asked(
        self, session: str, prompt: str | None, system: str | None, turns: tuple[Turn, ...] = ()
    ) -> None:
        """What was asked in it."""
        self._recording.prompt(session, prompt, system, turns)

    def take(self, session: str | None, payloads: list[Payload], now: float) -> None:
        """What was published of it."""
        if self._recording.take(session, payloads, now):
            self._more.set()

    def closed(self, exchange: Exchange, ended: SessionEnded, now: float) -> None:
        """It is over."""
        self._recording.close(
            exchange.session,
            ended,
            model=exchange.model,
            upstream=exchange.upstream,
            tokens=exchange.tokens,
            now=now,
        )
        self._more.set()

    # -- life --------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Open the database. Raises :class:`ConfigError` where a newer geoos wrote it."""
        self._path = self._runtime.state_dir / FILE
        remove_copy(self._path)
        await self._use(self._settings)

    async def run(self) -> None:
        """Write what waits, once a tick, for ever; when cancelled, what is left."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._keep_for_ever)
                while True:
                    await self._more.wait()
                    self._more = trio.Event()
                    await trio.sleep(TICK_SECONDS)
                    await self._flush()
                    if self._recording.halted:
                        await trio.sleep(RETRY_SECONDS)
                        self._more.set()
        finally:
            self._stopping = True
            with trio.move_on_after(_STOP_SECONDS, shield=True):
                await self._flush()
                await self._close()

    async def _close(self) -> None:
        async with self._turn:
            self._path = None
            if self._store is not None:
                store, self._store = self._store, None
                await self._in_thread(store.close)

    async def configure(self, config: Config) -> None:
        """Record as *config* says from now on: when this returns, no more is kept than it wants.

        Raises :class:`ConfigError`.
        """
        await self._use(config.bridge)
        self._settings = config.bridge
        self._recording.set_mode(config.bridge.record)
        await self._keep()

    async def ask(self, question: Callable[[Store], T]) -> T | None:
        """What the database says, with all that happened until now; None where there is none.

        Raises :class:`VarlinkError` where it cannot be read.
        """
        await self._flush()
        async with self._turn:
            if self._store is None:
                if self._trouble is not None:
                    raise unavailable(f"cannot read the recorded sessions: {self._trouble}")
                return None
            try:
                return await self._in_thread(question, self._store)
            except (sqlite3.Error, OSError) as error:
                raise self._unreadable(error) from None
            except Removed as error:
                await self._begin_anew(error)
                return None
            except Damaged as error:
                await self._begin_anew(error)
                raise self._unreadable(error) from None

    async def export(self) -> list[ExportedFile]:
        """A copy of the database, made while it is written to. Raises :class:`VarlinkError`."""
        async with self._copying:
            await self._flush()
            store = self._store
            if store is None:
                if self._trouble is not None:
                    raise unavailable(f"cannot copy the recorded sessions: {self._trouble}")
                return []
            try:
                content = await trio.to_thread.run_sync(copy, store.path, _still_wanted)
            except (sqlite3.Error, OSError) as error:
                reason = _reason(error)
                raise unavailable(f"cannot copy the recorded sessions: {reason}") from None
        return [ExportedFile(FILE, content)]

    # -- the disk ----------------------------------------------------------------------------------

    async def _use(self, settings: RawBridge) -> None:
        """Have a database where *settings* want one, or where there is one."""
        async with self._turn:
            path = self._path
            if self._store is not None or path is None:
                return
            if settings.record != "off" or path.exists():
                await self._open_store(path)

    async def _open_store(self, path: Path) -> None:
        check = self._runtime.crashed_before
        try:
            self._store = await self._in_thread(partial(Store.open, path, check=check))
        except (sqlite3.Error, OSError, Damaged) as error:
            await self._suffer(error)

    async def _flush(self) -> None:
        """Write what waits, or keep what can be kept of it."""
        async with self._turn:
            if not self._recording.waiting:
                return
            if self._store is None and self._path is not None:
                await self._reopen(self._path)
            batch = self._recording.batch()
            if self._store is None:
                self._recording.failed(batch)
            elif await self._try(store_sessions.write, batch):
                self._recording.written(batch)
            else:
                self._recording.failed(batch, anew=self._store is None)

    async def _reopen(self, path: Path) -> None:
        """Open what could not be opened, or was set aside."""
        try:
            await self._open_store(path)
        except ConfigError as error:
            await self._suffer(error)

    async def _keep_for_ever(self) -> None:
        while True:
            await self._keep()
            await trio.sleep(RETAIN_SECONDS if self._trouble is None else RETRY_SECONDS)

    async def _keep(self) -> None:
        """Keep no text unless it is wanted, and no session for longer than it is."""
        settings = self._settings
        oldest = self._runtime.now() - settings.retention_days * _DAY
        max_bytes = settings.retention_mb << 20

        def tidy(store: Store) -> None:
            if settings.record != "full" and (forgotten := store.forget_text()):
                self._log.info("recorded text deleted", sessions=forgotten, record=settings.record)
            if gone := store.retain(oldest=oldest, max_bytes=max_bytes):
                self._log.info("old sessions deleted", sessions=gone)
            self._bytes = store.size()

        async with self._turn:
            if self._store is not None:
                await self._try(tidy)

    async def _try(self, work: Callable[..., None], *arguments: object) -> bool:
        """Do *work* on the database; False where the disk refused it, which is said."""
        try:
            await self._in_thread(work, self._store, *arguments)
        except (sqlite3.Error, OSError, Damaged) as error:
            await self._suffer(error)
            return False
        if self._trouble is not None:
            self._log.info("recording goes on", **events.RECORDING_RESUMED.fields)
        self._trouble = None
        return True

    async def _suffer(self, error: Exception) -> None:
        """The disk refused: say it once, and begin anew where the file is broken."""
        if isinstance(error, Damaged):
            await self._begin_anew(error)
            return
        reason = _reason(error)
        if reason != self._trouble:
            self._log.error("cannot record", error=reason, **events.RECORDING_STOPPED.fields)
        self._trouble = reason

    async def _begin_anew(self, error: Damaged) -> None:
        """Set the broken file aside, if there is one; the next flush makes another."""
        path = self._path
        if path is None:
            return
        if self._store is not None:
            store, self._store = self._store, None
            await self._in_thread(store.connection.close)
        self._recording.abandon()
        try:
            if isinstance(error, Removed):
                await self._in_thread(remove_side_files, path)
                self._log.warning(f"cannot go on with {path}: {error}; starting anew")
                self._more.set()
                return
            aside = await self._in_thread(set_aside, path)
        except OSError as refused:
            await self._suffer(refused)
            return
        self._aside = aside.name
        self._log.warning(
            f"cannot use {path}: {error}; kept as {aside.name}, starting anew",
            **events.STATE_SET_ASIDE.fields,
        )
        self._more.set()

    async def _in_thread(self, work: Callable[..., T], *arguments: object) -> T:
        """Only a stop that takes too long leaves a thread behind: then the process ends."""
        return await trio.to_thread.run_sync(
            work, *arguments, limiter=self._thread, abandon_on_cancel=self._stopping
        )

    def _unreadable(self, error: Exception) -> VarlinkError:
        return unavailable(f"cannot read the recorded sessions: {_reason(error)}")

    # -- health and status -------------------------------------------------------------------------

    def probe(self) -> Finding:
        """Whether sessions are recorded."""
        path, statistics = self._path, self._recording.statistics()
        self._count(statistics.refused)
        if self._trouble is not None:
            folder = path.parent if path is not None else "the state directory"
            return (
                "warning",
                f"cannot record sessions in {folder}: {self._trouble}; "
                f"{statistics.refused} messages were not recorded; it is tried again by itself",
                f"df -h {folder}; ls -ld {folder}" if path is not None else "df -h",
            )
        if self._aside is not None:
            return (
                "warning",
                f"the recorded sessions were unreadable and have been set aside as {self._aside}",
                "restore a backup by geoosctl restore, or go on; then: geoosctl restart bridge",
            )
        if trio.current_time() - self._refused_at < _LOSS_MEMORY:
            return (
                "warning",
                f"{statistics.refused} messages were not recorded: the disk took them too slowly, "
                "or not at all",
                'set bridge.record = "metadata" if that disk is slow; then: geoosctl reload',
            )
        if self._settings.record == "off":
            return "healthy", "sessions are not recorded", None
        kept = "all messages" if self._settings.record == "full" else "no text and no token ids"
        return "healthy", f"sessions are recorded, {kept}", None

    def _count(self, refused: int) -> None:
        if refused > self._refused:
            self._lost.inc(refused - self._refused)
            self._refused = refused
            self._refused_at = trio.current_time()

    def queue(self) -> reports.Queue:
        """For ``GetStatus``."""
        statistics = self._recording.statistics()
        self._count(statistics.refused)
        return reports.Queue(
            "recording", statistics.depth, statistics.capacity, "refuse", statistics.refused
        )

    def details(self) -> dict[str, str]:
        """For ``GetStatus``."""
        if self._store is None:
            return {"record": self._settings.record}
        return {
            "record": self._settings.record,
            "recorded": f"{self._bytes / (1 << 20):.1f} MiB of {self._settings.retention_mb}",
        }


def _still_wanted(*_pages: int) -> None:
    """Raises :class:`trio.Cancelled` in a worker thread when who asked is gone."""
    trio.from_thread.check_cancelled()


def _reason(error: Exception) -> str:
    """In plain words; SQLite's have no text of ours in them."""
    if isinstance(error, OSError):
        return (error.strerror or type(error).__name__).lower()
    return str(error).lower()
