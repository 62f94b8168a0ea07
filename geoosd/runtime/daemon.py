"""``io.geoos.Daemon``: what every daemon answers about itself over Varlink."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import msgspec
import trio

from geoosd import __version__
from geoosd.config import Config
from geoosd.errors import ConfigError, StartError
from geoosd.runtime import metrics
from geoosd.runtime.export import END, send_files
from geoosd.runtime.varlink import IncomingCall, invalid_argument
from geoosd.wire import events, reports
from geoosd.wire import varlink as wire

if TYPE_CHECKING:
    from geoosd.runtime.service import Runtime, Service

_INTERFACE = "io.geoos.Daemon"
_OLD = "a reload was refused and the old configuration is in force"
_REMEDY = "geoosctl config check && geoosctl reload"


def _limit() -> dict[str, str]:
    limit = metrics.memory_limit()
    return {} if limit is None else {"memory_limit": str(limit)}


class DaemonInterface:
    """``io.geoos.Daemon``: what every daemon answers about itself."""

    def __init__(
        self, runtime: Runtime, service: Service, reload_config: Callable[[], Config]
    ) -> None:
        self._runtime = runtime
        self._service = service
        self._load = reload_config
        self._reloading = trio.Lock()
        self._nursery: trio.Nursery | None = None
        self._started = trio.Event()

    def register(self) -> None:
        server = self._runtime.varlink
        server.add_interface(wire.interface(_INTERFACE))
        server.add(f"{_INTERFACE}.GetStatus", self._get_status)
        server.add(f"{_INTERFACE}.GetHealth", self._get_health)
        server.add(f"{_INTERFACE}.GetMetrics", self._get_metrics)
        server.add(f"{_INTERFACE}.GetLogs", self._get_logs)
        server.add(f"{_INTERFACE}.Reload", self._reload, "admin")
        server.add(f"{_INTERFACE}.SetLogLevel", self._set_log_level, "admin")
        server.add(f"{_INTERFACE}.Export", self._export, "admin")

    async def _get_status(self, _call: IncomingCall) -> Mapping[str, Any]:
        runtime = self._runtime
        await runtime.refresh()
        report = self._service.report()
        status = reports.DaemonStatus(
            name=runtime.name,
            state=runtime.state,
            status=report.status or runtime.status_text,
            pid=os.getpid(),
            version=__version__,
            since=runtime.since,
            memory_bytes=metrics.resident_bytes() + report.memory_bytes,
            addresses=report.addresses,
            rates=report.rates,
            queues=report.queues,
            links=report.links,
            requests=report.requests,
            details=report.details | _limit(),
        )
        return {"status": msgspec.to_builtins(status)}

    async def _get_health(self, _call: IncomingCall) -> Mapping[str, Any]:
        await self._runtime.refresh()
        health: dict[str, Any] = msgspec.to_builtins(self._runtime.health.report())
        return health

    async def _get_metrics(self, _call: IncomingCall) -> Mapping[str, Any]:
        await self._runtime.refresh()
        return {"text": metrics.exposition(self._runtime.registry)}

    async def _get_logs(self, call: IncomingCall) -> Mapping[str, Any] | None:
        query = call.convert(reports.LogQuery)
        ring = self._runtime.logs.ring
        least = reports.LEVELS.index(query.level or "debug")

        def wanted(record: reports.Record) -> bool:
            return reports.LEVELS.index(record.level) >= least and query.session in (
                None,
                record.session,
            )

        records, position = ring.newest(100 if query.lines is None else query.lines, wanted)
        for record in records:
            await call.reply({"record": msgspec.to_builtins(record)})
        if query.follow:
            async with aclosing(ring.follow(position)) as following:
                async for record in following:
                    if wanted(record):
                        await call.reply({"record": msgspec.to_builtins(record)})
        return {"record": None}

    async def _reload(self, _call: IncomingCall) -> None:
        try:
            await self.reload()
        except ConfigError as error:
            raise invalid_argument(str(error)) from None

    def started(self, nursery: trio.Nursery) -> None:
        """The service is ready: from now on it can reload, in *nursery*."""
        self._nursery = nursery
        self._started.set()

    async def reload(self) -> None:
        """Load, verify, swap, once the service has started.

        What was begun is brought to its end whoever goes away meanwhile: half a reload is none.
        Raises :class:`ConfigError`; then the old configuration stays.
        """
        await self._started.wait()
        if self._runtime.draining.is_set():
            raise ConfigError("cannot reload: about to stop")
        assert self._nursery is not None
        refused: list[ConfigError] = []
        done = trio.Event()

        async def reload() -> None:
            try:
                await self._swap()
            except ConfigError as error:
                refused.append(error)
            finally:
                done.set()

        self._nursery.start_soon(reload)
        await done.wait()
        if refused:
            raise refused[0]

    async def _swap(self) -> None:
        runtime = self._runtime
        async with self._reloading:
            runtime.notifier.reloading()
            runtime.state = "reloading"
            try:
                fresh = await trio.to_thread.run_sync(self._load)
                await self._service.reload(fresh)
            except (ConfigError, StartError) as error:
                raise self._refused(str(error)) from None
            except Exception as error:
                # What runs goes on, whatever is wrong with what was to come.
                runtime.budget.spend("reload", error)
                raise self._refused("a bug in geoos; its log has it") from error
            else:
                runtime.config = fresh
                runtime.logs.set_level(fresh.log.level)
                runtime.health.remove("configuration")
                runtime.log.info("reloaded", **events.RELOADED.fields)
            finally:
                if not runtime.draining.is_set():  # asked to stop meanwhile
                    runtime.state = "active"
                    runtime.notifier.ready(runtime.status_text)

    def _refused(self, reason: str) -> ConfigError:
        """Note that a reload was refused; the error that says so."""
        runtime = self._runtime
        runtime.log.error("reload refused", error=reason, **events.RELOAD_REFUSED.fields)
        runtime.health.set("configuration", "warning", f"{_OLD}: {reason}", _REMEDY)
        return ConfigError(reason)

    async def _export(self, call: IncomingCall) -> Mapping[str, Any]:
        await send_files(call, await self._runtime.export())
        return END

    async def _set_log_level(self, call: IncomingCall) -> Mapping[str, Any]:
        class Parameters(msgspec.Struct, forbid_unknown_fields=True):
            level: reports.Level

        level = call.convert(Parameters).level
        await self._runtime.pass_on_level(level)
        return {"previous": self._runtime.logs.set_level(level)}
