"""``config``: check a configuration file, show what is in force, print one with every key."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click
from msgspec import Struct

from geoosctl import cells, output, toml_lines
from geoosctl.cli import VerbGroup, settings
from geoosd import startable
from geoosd.config import Config, RawConfig, RawUpstream, configured, load
from geoosd.errors import EX_CONFIG, ConfigError

ABOUT: Final[dict[str, str]] = {
    "bridge": "The bridge: takes prompts and proxied requests to the model servers.",
    "bridge.listen": "HOST:PORT of the OpenAI-compatible proxy.",
    "bridge.record": 'What is kept of sessions: "off", "metadata" (no text) or "full".',
    "bridge.retention_days": "Recorded sessions older than this many days are deleted.",
    "bridge.retention_mb": "The oldest sessions go when the records take more MiB than this.",
    "bridge.outbox": "Messages kept for the compositor while it is away.",
    "bridge.enrich": (
        "Ask for log-probabilities, usage and progress in proxied requests too, where the model\n"
        "is known to tell them; the answers then have more in them than the client asked for."
    ),
    "bridge.system_prompt": "System prompt of geoos's own prompts, where none is given.",
    "bridge.cache": "Answer repeated deterministic requests to the proxy from a cache.",
    "bridge.cache_mb": "MiB of answers that the cache keeps; those unused for longest go first.",
    "bridge.cache_seconds": "How long an answer stays in the cache.",
    "bridge.client_rate": (
        "Proxied requests per second of each client (its API key, else its address); more\n"
        "get 429. 0: unlimited."
    ),
    "bridge.origins": "Origins whose pages may use the proxy (CORS), as http://NAME[:PORT].",
    "bridge.upstream": (
        "Model servers, one table each. Without any, geoos looks on localhost for LM Studio\n"
        "(1234), Ollama (11434), llama.cpp (8080) and its own engine."
    ),
    "bridge.upstream.id": "Its name here; letters, digits, _ . -",
    "bridge.upstream.url": "Its address, without /v1.",
    "bridge.upstream.kind": '"auto", "openai", "llama.cpp", "lmstudio", "ollama" or "vllm".',
    "bridge.upstream.models": "The models to use; empty: all that it lists.",
    "bridge.upstream.api_key_credential": "Name of the systemd credential that holds its API key.",
    "bridge.upstream.max_concurrency": "Own prompts at a time; more wait. Proxied ones never do.",
    "bridge.upstream.rate": "Requests per second at most; unlimited where it is not given.",
    "bridge.upstream.priority": "The lowest number that answers is the default.",
    "bridge.upstream.timeout": "Seconds without a byte until a request is given up.",
    "compositor": "The compositor: keeps the map and draws it.",
    "compositor.backend": '"auto", "numpy" or "wgpu"; auto takes wgpu only on a real GPU.',
    "compositor.adapter": "Part of the GPU's name, where there are several.",
    "compositor.fps": "Pictures per second at most, 1 to 240.",
    "compositor.decay_seconds": "Seconds in which a lit cell fades to 1/e.",
    "compositor.snapshot_interval": "Seconds between two saves of the map.",
    "compositor.legacy_socket": "A second ingest socket, such as /tmp/evolution_daemon.sock.",
    "broadcaster": "The broadcaster: page, WebSocket, pictures and metrics on one port.",
    "broadcaster.listen": "HOST:PORT of the page.",
    "broadcaster.max_viewers": "Viewers at a time; more are turned away.",
    "broadcaster.max_per_address": "Connections from one address (IPv6: one /64), not loopback.",
    "broadcaster.max_lag": "Messages that a viewer may be behind until it gets a Gap.",
    "broadcaster.max_stall_seconds": "Seconds that a viewer may take nothing at all.",
    "broadcaster.tick": "Milliseconds for which messages are gathered: 0, 16, 33 or 100.",
    "broadcaster.origins": "Origins that may connect besides loopback names and our own host.",
    "broadcaster.token_key": (
        "Key of tokens: name of a systemd credential, or a file. With it every call needs a\n"
        "token; off loopback it must be given. Make one: geoosctl token key FILE"
    ),
    "broadcaster.workers": "Processes that share the port, each with its share of the viewers.",
    "control": "control: status, health and logs of all daemons.",
    "control.structure_root": "Source tree whose structure score is shown; empty: none.",
    "control.structure_interval": "Seconds between two looks at that tree.",
    "control.structure_in_health": "Whether that score counts in health.",
    "control.alerts": (
        "Rules of alerts: QUANTITY < or > NUMBER; docs/alerts.md has the quantities. Empty:\nnone."
    ),
    "control.webhook": "Address that alerts are posted to as JSON; empty: none.",
    "engine": "The embedded model server, for machines that have no other.",
    "engine.enabled": '"auto" (when no other server answers), "yes" or "no".',
    "engine.mode": '"server"; "glass-box", for attention and activations, is not there yet.',
    "engine.model": "A GGUF file; empty: the model that comes with geoos.",
    "engine.listen": "HOST:PORT of its OpenAI API.",
    "engine.threads": "Threads to compute with; 0: as many as there are cores.",
    "log": "Logs of every daemon.",
    "log.level": '"debug", "info", "warning", "error" or "critical".',
    "log.format": '"auto" (journal fields or console lines), "json" or "console".',
}
"""What every section and key is for. A test holds it against the Structs of geoosd.config."""

_SAMPLE_UPSTREAM: Final = {
    "id": "desk",
    "url": "http://127.0.0.1:1234",
    "api_key_credential": "desk-api-key",
    "rate": 10.0,
}
"""Values of the sample for keys whose default is nothing."""


@click.group(cls=VerbGroup)
def config() -> None:
    """Check, show or explain the configuration."""


@config.command("check", examples=["geoosctl config check", "geoosctl config check ./geoos.toml"])
@click.argument("file", required=False, type=click.Path(path_type=Path))
def check(file: Path | None) -> int:
    """Verify FILE, or the configuration that daemons would read now.

    Exit code 0 if it can be used, 78 if not.
    """
    error: ConfigError | None = None
    source = file
    try:
        loaded = load(file)
        source = loaded.source
        startable.check(loaded)
    except ConfigError as refused:
        error = refused
    line, text = (None, "") if error is None else _place(file, error)
    if settings().json:
        members = {"file": str(source) if source else None, "ok": error is None}
        output.print_json({**members, "error": str(error) if error else None, "line": line})
    elif error is None:
        output.echo(f"{source or 'no file, the defaults'}: ok")
    else:
        output.echo(f"geoosctl: {output.visible(str(error))}", err=True)
        if line is not None:
            output.echo(
                f"{line:>6} | {cells.shorten(output.visible(text), output.line_width(9))}", err=True
            )
    return 0 if error is None else EX_CONFIG


def _place(file: Path | None, error: ConfigError) -> tuple[int | None, str]:
    """The line that *error* is about, and its text; none where it is about no key."""
    key, source = toml_lines.key_of(str(error)), file or configured()
    if key is None or source is None:
        return None, ""
    try:
        text = source.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None, ""
    line = toml_lines.line_of(text, key)
    return line, "" if line is None else text.splitlines()[line - 1]


@config.command("show", examples=["geoosctl config show", "geoosctl config show --json"])
@click.argument("file", required=False, type=click.Path(path_type=Path))
def show(file: Path | None) -> None:
    """Show every value that FILE, or the configuration in force, amounts to."""
    found = load(file)
    if settings().json:
        source = str(found.source) if found.source else None
        output.print_json({"file": source, "config": found.sections()})
        return
    output.echo(f"# {found.source or 'no file: the defaults'}")
    for line in _shown(found):
        output.echo(output.visible(line))


def _shown(found: Config) -> Iterator[str]:
    for name, section in found.sections().items():
        yield ""
        yield f"[{name}]"
        tables = section.pop("upstream", [])
        yield from (f"{key} = {toml(value)}" for key, value in section.items())
        for table in tables:
            yield ""
            yield f"[[{name}.upstream]]"
            yield from (
                f"{key} = {toml(value)}" for key, value in table.items() if value is not None
            )


@config.command("example", examples=["geoosctl config example > geoos.toml"])
def example() -> None:
    """Print a configuration with every key, its default and what it is for."""
    if settings().json:
        output.print_json({"text": example_text()})
    else:
        click.echo(example_text(), nl=False)


def example_text() -> str:
    """A configuration file in which every key has its default, with a comment above it."""
    lines = [
        "# geoos.toml: every key with its default. Made by: geoosctl config example",
        "# Check it with: geoosctl config check FILE. Secrets do not belong here.",
    ]
    for name in RawConfig.__struct_fields__:
        section = getattr(RawConfig(), name)
        lines += ["", *_comment(name), f"[{name}]"]
        for key in section.__struct_fields__:
            if key != "upstream":
                comment = _comment(f"{name}.{key}")
                lines += [*comment, f"{key} = {toml(getattr(section, key))}"]
    return "\n".join([*lines, *_upstream_example()]) + "\n"


def _upstream_example() -> Iterator[str]:
    """A table of ``[[bridge.upstream]]``, commented out: it would turn the search off."""
    yield ""
    yield from _comment("bridge.upstream")
    yield "#[[bridge.upstream]]"
    sample: Struct = RawUpstream(**_SAMPLE_UPSTREAM)  # type: ignore[arg-type]
    for key in sample.__struct_fields__:
        yield from _comment(f"bridge.upstream.{key}")
        yield f"#{key} = {toml(getattr(sample, key))}"


def _comment(key: str) -> list[str]:
    return [f"# {line}" for line in ABOUT[key].splitlines()]


def toml(value: Any) -> str:
    """A value of the configuration in TOML: JSON's notation of it is valid TOML, too."""
    return json.dumps(value, ensure_ascii=False)
