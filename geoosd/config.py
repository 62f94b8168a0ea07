"""Configuration: TOML → raw Structs (exactly the file) → :class:`Config` (resolved, ready to use).

One loader serves the daemons and geoosctl. Unknown keys are errors that name the nearest key; every
key has a default. Secrets never stand here: an upstream names a credential by
``api_key_credential``.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias, get_args, get_type_hints
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Struct, field

from geoosd.errors import ConfigError, reason_of
from geoosd.wire import alerting

DEFAULT_CONFIG = Path("/etc/geoos/geoos.toml")
SYSTEM_RUNTIME_DIR = Path("/run/geoos")
MAX_SOCKET_PATH = 107
"""Bytes that fit in sockaddr_un.sun_path with its NUL (unix(7))."""

DAEMONS = ("compositor", "bridge", "broadcaster", "control", "engine")
"""All daemons, in the order in which the foreground starts them."""

Positive = Annotated[float, Meta(gt=0)]
Natural = Annotated[int, Meta(ge=1)]


# -- raw: exactly the file -------------------------------------------------------------------------


class RawUpstream(Struct, forbid_unknown_fields=True):
    """One ``[[bridge.upstream]]``."""

    id: Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
    url: str
    kind: Literal["auto", "openai", "llama.cpp", "lmstudio", "ollama", "vllm"] = "auto"
    models: list[str] = field(default_factory=list[str])
    api_key_credential: str | None = None
    max_concurrency: Natural = 4
    rate: Positive | None = None
    priority: int = 0
    timeout: Positive = 600.0


class RawBridge(Struct, forbid_unknown_fields=True):
    """``[bridge]``."""

    listen: str = "127.0.0.1:1235"
    record: Literal["off", "metadata", "full"] = "metadata"
    retention_days: Natural = 30
    retention_mb: Natural = 512
    outbox: Natural = 20_000
    enrich: bool = False
    system_prompt: str = ""
    cache: bool = False
    cache_mb: Natural = 64
    cache_seconds: Positive = 3600.0
    client_rate: Annotated[float, Meta(ge=0)] = 0.0
    origins: list[str] = field(default_factory=list[str])
    upstream: list[RawUpstream] = field(default_factory=list[RawUpstream])


class RawCompositor(Struct, forbid_unknown_fields=True):
    """``[compositor]``."""

    backend: Literal["auto", "numpy", "wgpu"] = "auto"
    adapter: str = ""
    fps: Annotated[int, Meta(ge=1, le=240)] = 30
    decay_seconds: Positive = 8.0
    snapshot_interval: Positive = 60.0
    legacy_socket: str = ""


class RawBroadcaster(Struct, forbid_unknown_fields=True):
    """``[broadcaster]``."""

    listen: str = "127.0.0.1:8765"
    max_viewers: Natural = 2000
    max_per_address: Natural = 256
    max_lag: Natural = 1000
    max_stall_seconds: Positive = 30.0
    tick: Literal[0, 16, 33, 100] = 16
    origins: list[str] = field(default_factory=list[str])
    token_key: str = ""
    workers: Annotated[int, Meta(ge=1, le=64)] = 1


class RawControl(Struct, forbid_unknown_fields=True):
    """``[control]``."""

    structure_root: str = ""
    structure_interval: Positive = 3600.0
    structure_in_health: bool = False
    alerts: list[str] = field(default_factory=lambda: list(alerting.DEFAULT))
    webhook: str = ""


class RawEngine(Struct, forbid_unknown_fields=True):
    """``[engine]``."""

    enabled: Literal["auto", "yes", "no"] = "auto"
    mode: Literal["server", "glass-box"] = "server"
    model: str = ""
    listen: str = "127.0.0.1:1236"
    threads: Annotated[int, Meta(ge=0, le=1024)] = 0


LogFormat: TypeAlias = Literal["auto", "json", "console"]


class RawLog(Struct, forbid_unknown_fields=True):
    """``[log]``."""

    level: Literal["debug", "info", "warning", "error", "critical"] = "info"
    format: LogFormat = "auto"


class RawConfig(Struct, forbid_unknown_fields=True):
    """The whole file."""

    bridge: RawBridge = field(default_factory=RawBridge)
    compositor: RawCompositor = field(default_factory=RawCompositor)
    broadcaster: RawBroadcaster = field(default_factory=RawBroadcaster)
    control: RawControl = field(default_factory=RawControl)
    engine: RawEngine = field(default_factory=RawEngine)
    log: RawLog = field(default_factory=RawLog)


# -- resolved --------------------------------------------------------------------------------------


class Address(NamedTuple):
    """A TCP address; ``port`` 0 lets the kernel choose."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host in ("localhost", "::1") or self.host.startswith("127.")


class Upstream(Struct, frozen=True):
    """A model server. ``url`` has no trailing slash and no ``/v1``; ``timeout`` is seconds."""

    id: str
    url: str
    kind: str = "auto"
    models: tuple[str, ...] = ()
    api_key_credential: str | None = None
    max_concurrency: int = 4
    rate: float | None = None
    priority: int = 0
    timeout: float = 600.0


class Config(Struct, frozen=True):
    """What the daemons use: the raw sections with their addresses and upstreams resolved.

    ``upstreams`` is empty when none is configured: the bridge then looks for the well-known local
    servers (see :data:`WELL_KNOWN`).
    """

    bridge: RawBridge
    compositor: RawCompositor
    broadcaster: RawBroadcaster
    control: RawControl
    engine: RawEngine
    log: RawLog
    bridge_listen: Address
    broadcaster_listen: Address
    engine_listen: Address
    upstreams: tuple[Upstream, ...]
    source: Path | None = None

    def sections(self) -> dict[str, Any]:
        """A table of tables, as the file has it."""
        names = RawConfig.__struct_fields__
        return {name: msgspec.to_builtins(getattr(self, name)) for name in names}


def well_known(engine: Address) -> tuple[Upstream, ...]:
    """The local servers that geoos looks for when no upstream is configured, best first."""
    return (
        Upstream("lmstudio", "http://127.0.0.1:1234", kind="lmstudio", priority=0),
        Upstream("ollama", "http://127.0.0.1:11434", kind="ollama", priority=1),
        Upstream("llamacpp", "http://127.0.0.1:8080", kind="llama.cpp", priority=2),
        Upstream("engine", f"http://{engine}", kind="llama.cpp", priority=3),
    )


def load(path: Path | None = None, overrides: Sequence[str] = ()) -> Config:
    """Load, verify and resolve a configuration.

    *path* None means ``$GEOOS_CONFIG``, else ``/etc/geoos/geoos.toml`` where that exists, else the
    defaults. *overrides* are ``section.key=value`` with TOML values (a bare word is a string).
    Raises :class:`ConfigError` that names the file and the key.
    """
    source = path or configured()
    where = str(source) if source else "the configuration"
    return resolve(parse(_table(source, overrides), where), source, where)


def log_format(path: Path | None = None, overrides: Sequence[str] = ()) -> LogFormat:
    """How a configuration that :func:`load` refuses wants that to be logged; ``auto`` where it
    cannot be told."""
    try:
        return msgspec.convert(_table(path or configured(), overrides).get("log"), RawLog).format
    except (ConfigError, msgspec.ValidationError):
        return "auto"


def _table(source: Path | None, overrides: Sequence[str]) -> dict[str, Any]:
    table: dict[str, Any] = _read(source) if source else {}
    for override in overrides:
        _override(table, override)
    return table


def configured() -> Path | None:
    """The file that is used where none is named; None where there is none."""
    if named := os.environ.get("GEOOS_CONFIG"):
        return Path(named)
    return DEFAULT_CONFIG if DEFAULT_CONFIG.exists() else None


def _read(source: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(source.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {source}: {reason_of(error)}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"cannot read {source}: not UTF-8 at byte {error.start}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"cannot read {source}: not TOML: {error}") from None


def _override(table: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    section, dot, name = key.strip().partition(".")
    if not equals or not dot or not name:
        raise ConfigError(f"cannot use --set {override}: write it as section.key=value")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    target = table.setdefault(section, {})
    if not isinstance(target, dict):
        raise ConfigError(f"cannot use --set {override}: {section} is not a section")
    target[name] = value


_AT_PATH = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")
_ENUM = re.compile(r"Invalid enum value (?P<value>.*)")
_UNKNOWN = re.compile(r"unknown field `(?P<field>[^`]+)`")


def parse(table: Mapping[str, Any], where: str = "the configuration") -> RawConfig:
    """A TOML table as :class:`RawConfig`. Raises :class:`ConfigError`."""
    try:
        return msgspec.convert(table, RawConfig)
    except msgspec.ValidationError as error:
        reason = str(error)
    at = _AT_PATH.search(reason)
    path = at["path"] if at else ""
    why = reason[: at.start()] if at else reason
    if unknown := _UNKNOWN.search(why):
        key = f"{path}.{unknown['field']}".lstrip(".")
        nearest = _nearest(path, unknown["field"])
        hint = f"; do you mean {nearest}?" if nearest else ""
        raise ConfigError(f"cannot use {where}: unknown key {key}{hint}")
    if enum := _ENUM.fullmatch(why):
        section, _, key = re.sub(r"\[[^\]]*\]", "", path).rpartition(".")
        choices = get_args(get_type_hints(_SECTIONS[section])[key])
        why = f"{enum['value']} is none of {', '.join(map(repr, choices))}"
    raise ConfigError(f"cannot use {where}: {path or 'top level'}: {why[:1].lower()}{why[1:]}")


_SECTIONS: dict[str, type[Struct]] = {
    "": RawConfig,
    "bridge": RawBridge,
    "bridge.upstream": RawUpstream,
    "compositor": RawCompositor,
    "broadcaster": RawBroadcaster,
    "control": RawControl,
    "engine": RawEngine,
    "log": RawLog,
}


def _nearest(path: str, name: str) -> str | None:
    """The known key most likely meant: in the same section first, else in any, qualified."""
    section = re.sub(r"\[[^\]]*\]", "", path)
    here = _SECTIONS.get(section)
    if here and (close := difflib.get_close_matches(name, here.__struct_fields__, 1, 0.55)):
        return f"{section}.{close[0]}".lstrip(".")
    everywhere = {
        key: f"{prefix}.{key}".lstrip(".")
        for prefix, struct in _SECTIONS.items()
        for key in struct.__struct_fields__
    }
    close = difflib.get_close_matches(name, everywhere, n=1)
    return everywhere[close[0]] if close else None


def resolve(raw: RawConfig, source: Path | None = None, where: str = "the configuration") -> Config:
    """Turn texts into addresses and upstreams. Raises :class:`ConfigError` that names the key."""
    _check_alerts(raw.control, where)
    upstreams: list[Upstream] = []
    seen: set[str] = set()
    for index, item in enumerate(raw.bridge.upstream):
        key = f"bridge.upstream[{index}]"
        if item.id in seen:
            raise ConfigError(f"cannot use {where}: {key}.id: {item.id!r} is there twice")
        seen.add(item.id)
        upstreams.append(
            Upstream(
                id=item.id,
                url=_base_url(item.url, f"{key}.url", where),
                kind=item.kind,
                models=tuple(item.models),
                api_key_credential=item.api_key_credential,
                max_concurrency=item.max_concurrency,
                rate=item.rate,
                priority=item.priority,
                timeout=item.timeout,
            )
        )
    return Config(
        bridge=raw.bridge,
        compositor=raw.compositor,
        broadcaster=raw.broadcaster,
        control=raw.control,
        engine=raw.engine,
        log=raw.log,
        bridge_listen=_address(raw.bridge.listen, "bridge.listen", where),
        broadcaster_listen=_address(raw.broadcaster.listen, "broadcaster.listen", where),
        engine_listen=_address(raw.engine.listen, "engine.listen", where),
        upstreams=tuple(upstreams),
        source=source,
    )


def _check_alerts(raw: RawControl, where: str) -> None:
    for index, text in enumerate(raw.alerts):
        try:
            alerting.parse(text)
        except ValueError as error:
            raise ConfigError(f"cannot use {where}: control.alerts[{index}]: {error}") from None
    if raw.webhook:
        _http_url(raw.webhook, "control.webhook", where, "use a token in its path instead")


def _address(text: str, key: str, where: str) -> Address:
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not re.fullmatch("[0-9]{1,5}", port) or int(port) > 65535:
        raise ConfigError(f"cannot use {where}: {key}: {text!r} is not HOST:PORT")
    return Address(host, int(port))


def _base_url(text: str, key: str, where: str) -> str:
    instead = "name a credential by api_key_credential"
    url = _http_url(text, key, where, instead)
    if re.search(r"[?#\s]", url):  # the query may be a key: it is not said again
        raise ConfigError(
            f"cannot use {where}: {key}: holds a query, a fragment or a space; {instead}"
        )
    return url.rstrip("/").removesuffix("/v1")


def _http_url(text: str, key: str, where: str, instead: str) -> str:
    """*text*, if it is the address of an HTTP server; *instead* is said of a password in it."""
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # half an IPv6 address, or a port beyond 65535
        parts, usable = None, False
    if "@" in (parts.netloc if parts else text):
        raise ConfigError(f"cannot use {where}: {key}: holds a password; {instead}")
    if not usable:
        raise ConfigError(f"cannot use {where}: {key}: {text!r} is not an http(s):// address")
    return text


# -- files and sockets -----------------------------------------------------------------------------


class Paths(NamedTuple):
    """Where sockets and state live."""

    runtime_dir: Path
    state_dir: Path

    def socket(self, name: str) -> Path:
        """``control.sock``, ``ingest.sock``, ``feed.sock`` or ``<daemon>.varlink``.

        Raises :class:`ConfigError` when the path does not fit a socket address.
        """
        path = self.runtime_dir / name
        if len(os.fsencode(path)) > MAX_SOCKET_PATH:
            raise ConfigError(
                f"cannot use {path}: too long for a socket (at most {MAX_SOCKET_PATH} bytes); "
                "set GEOOS_RUNTIME_DIR to a shorter path"
            )
        return path

    def varlink(self, daemon: str) -> Path:
        """The Varlink socket of a daemon."""
        return self.socket("control.sock" if daemon == "control" else f"{daemon}.varlink")

    def last_words(self, daemon: str) -> Path:
        """In the foreground: why a daemon stays down, once it has refused to start."""
        return self.runtime_dir / f"{daemon}.refused"


def paths(environ: Mapping[str, str] | None = None) -> Paths:
    """The directories that the environment names, else the foreground's defaults.

    The units set ``GEOOS_RUNTIME_DIR=/run/geoos``.
    """
    env = os.environ if environ is None else environ
    home = Path(env.get("HOME") or "/")
    if named := env.get("GEOOS_RUNTIME_DIR"):
        runtime = Path(named)
    elif xdg := env.get("XDG_RUNTIME_DIR"):
        runtime = Path(xdg) / "geoos"
    else:
        runtime = Path(f"/tmp/geoos-{os.getuid()}")
    if named := env.get("GEOOS_STATE_DIR"):
        state = Path(named)
    elif xdg := env.get("XDG_STATE_HOME"):
        state = Path(xdg) / "geoos"
    else:
        state = home / ".local" / "state" / "geoos"
    return Paths(runtime, state)
