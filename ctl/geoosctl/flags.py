"""Options that several verbs have, alike in each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

import click

from geoosctl import completion

Decorator: TypeAlias = Callable[[Callable[..., Any]], Callable[..., Any]]


def model(about: str) -> Decorator:
    """``--model M``, as ``model``."""
    return click.option("--model", metavar="M", shell_complete=completion.models, help=about)


def models(about: str) -> Decorator:
    """``--model M``, as often as wanted, as ``models``."""
    return click.option(
        "--model",
        "models",
        multiple=True,
        metavar="M",
        shell_complete=completion.models,
        help=f"{about} May be given several times.",
    )


limit: Final[Decorator] = click.option(
    "--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, metavar="N"
)
