"""``models``: what there is to ask."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click
import msgspec

from geoosctl import cells, output
from geoosctl.asking import ask_for
from geoosctl.cli import Verb, settings
from geoosctl.reported import Model, Models

_SHORT = {"token_ids": "ids", "prompt_progress": "progress"}
"""What a line of 80 columns has room for."""


@click.command(
    cls=Verb,
    examples=[
        "geoosctl models",
        "geoosctl models --json | jq -r '.models[].id'",
        "geoosctl models --local",
    ],
)
@click.option("--local", is_flag=True, help="The GGUF files here, whether or not one is served.")
def models(local: bool) -> None:
    """List the models that can be asked, where, and what they do.

    What a server does is learnt from its answers: + it does, - it does not, ? nobody asked it yet.
    With --local: the files that LM Studio, Ollama, Hugging Face, llama.cpp and geoos keep here.
    """
    as_json = settings().json
    if local:
        _show_local(as_json=as_json)
        return
    found = ask_for(Models, "ListModels", seconds=10.0).models
    if as_json:
        output.print_json({"models": msgspec.to_builtins(found)})
    elif not found:
        output.echo(
            "no model server answers; start LM Studio, Ollama or llama.cpp, or: geoosd engine"
        )
    else:
        for line in _model_lines(found):
            output.echo(line)


def _show_local(*, as_json: bool) -> None:
    from geoosctl import local

    found = local.found()
    if as_json:
        output.print_json({"files": msgspec.to_builtins(found)})
    elif not found:
        output.echo("no GGUF file where LM Studio, Ollama, Hugging Face or llama.cpp keep theirs")
    else:
        for line in local.lines(found):
            output.echo(line)


def _model_lines(models: Sequence[Model]) -> Iterator[str]:
    """A row for each model and under it what it does; without addresses where they do not fit."""
    head = ["MODEL", "STATE", "UPSTREAM", "ADDRESS"]
    rows = [_model_row(each) for each in models]
    lines = output.table(head, rows)
    if any(cells.width(line) > output.terminal_width() for line in lines):
        shorter = [row[:-1] for row in rows]
        lines = output.table_within(head[:-1], shorter, ["MODEL", "UPSTREAM"])
    yield lines[0]
    for model, line in zip(models, lines[1:], strict=True):
        yield line
        yield from output.wrapped(_can(model), 2, dim=True)


def _model_row(model: Model) -> list[str]:
    state = output.colored(output.visible(model.state))
    if model.circuit != "closed":
        state = click.style("set aside", fg="yellow")
    return [
        output.visible(model.id),
        state,
        output.visible(model.upstream),
        output.visible(model.upstream_url),
    ]


def _can(model: Model) -> str:
    """``+ chat, logprobs  - tools  ? usage``, and when a server that is set aside is tried."""
    parts: list[str] = []
    if model.circuit != "closed" and model.retry_in is not None:
        parts.append(f"it refuses requests; tried again in {model.retry_in:.0f} s; ")
    for sign, value in (("+", True), ("-", False), ("?", None)):
        names = [_SHORT.get(name, name) for name, can in model.capabilities.items() if can is value]
        if names:
            parts.append(f"{sign} {', '.join(names)}")
    return output.visible("  ".join(parts))
