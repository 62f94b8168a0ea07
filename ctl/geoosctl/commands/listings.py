"""``models`` and ``viewers``: what there is to ask, and who looks."""

from __future__ import annotations

import time

import click
import msgspec
from msgspec import Struct, field

from geoosctl import client, output
from geoosctl.cli import Verb, settings
from geoosctl.commands.state import read

_KINDS = ("chat", "completions")  # said by ``chat`` already


class Model(Struct):
    """A model that an upstream offers; see io.geoos.Control.varlink."""

    id: str
    upstream: str
    upstream_url: str
    state: str
    chat: bool
    capabilities: dict[str, bool] = field(default_factory=dict)


class _Models(Struct):
    models: list[Model]


class Viewer(Struct):
    """Somebody who looks at the map; ``since`` is seconds since the epoch, ``tick`` ms."""

    id: str
    address: str
    since: float
    lag: int
    dropped: int
    sent: int
    channels: list[str]
    tick: int


class _Viewers(Struct):
    viewers: list[Viewer]


@click.command(
    cls=Verb, examples=["geoosctl models", "geoosctl models --json | jq -r '.models[].id'"]
)
def models() -> None:
    """List the models that can be asked, and where they are."""
    options = settings()
    reply = client.call(options.control, "io.geoos.Control.ListModels", timeout=options.wait(10.0))
    found = read(reply, _Models).models
    if options.json:
        output.print_json({"models": msgspec.to_builtins(found)})
    elif not found:
        output.echo(
            "no model server answers; start LM Studio, Ollama or llama.cpp, or: geoosd engine"
        )
    else:
        for line in output.table(
            ["MODEL", "STATE", "UPSTREAM", "ADDRESS", "CAN"], [_model_row(each) for each in found]
        ):
            output.echo(line)


def _model_row(model: Model) -> list[str]:
    can = [name for name, has in sorted(model.capabilities.items()) if has and name not in _KINDS]
    return [
        output.visible(model.id),
        output.colored(output.visible(model.state)),
        output.visible(model.upstream),
        output.visible(model.upstream_url),
        output.visible(", ".join(["chat" if model.chat else "completion", *can])),
    ]


@click.command(
    cls=Verb, examples=["geoosctl viewers", "geoosctl viewers --json | jq '.viewers | length'"]
)
def viewers() -> None:
    """List who looks at the map, and how far behind each of them is."""
    options = settings()
    reply = client.call(options.control, "io.geoos.Control.ListViewers", timeout=options.wait(5.0))
    found = read(reply, _Viewers).viewers
    if options.json:
        output.print_json({"viewers": msgspec.to_builtins(found)})
    elif not found:
        output.echo("nobody looks")
    else:
        now = time.time()
        head = ["VIEWER", "ADDRESS", "SINCE", "SENT", "LAG", "DROPPED", "TICK", "CHANNELS"]
        rows = [_viewer_row(each, now) for each in found]
        for line in output.table(head, rows, align="<<>>>>><"):
            output.echo(line)


def _viewer_row(viewer: Viewer, now: float) -> list[str]:
    return [
        output.visible(viewer.id),
        output.visible(viewer.address),
        output.ago(now - viewer.since),
        str(viewer.sent),
        str(viewer.lag),
        str(viewer.dropped),
        f"{viewer.tick} ms",
        output.visible(",".join(viewer.channels)),
    ]
