"""``reload`` and ``log-level``: changes to daemons that run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
import msgspec
from msgspec import Struct

from geoosctl import output
from geoosctl.asking import ask_for
from geoosctl.cli import Verb, exit_code, settings
from geoosd.config import DAEMONS
from geoosd.errors import EX_CONFIG, VarlinkError
from geoosd.wire import varlink as wire
from geoosd.wire.reports import LEVELS

_UNIT = click.option("--unit", type=click.Choice(DAEMONS), help="One daemon alone.")


class _Outcome(Struct):
    name: str
    error: str | None = None
    reason: str | None = None


class _Outcomes(Struct):
    outcomes: list[_Outcome]


@click.command(cls=Verb, examples=["geoosctl config check && geoosctl reload"])
@_UNIT
def reload(unit: str | None) -> int:
    """Have the daemons read their configuration anew.

    Each verifies all of it first; one that refuses keeps its old configuration, and the exit code
    is 78.
    """
    refused = _tell("Reload", {"unit": unit}, done="reloaded")
    return EX_CONFIG if refused == exit_code(VarlinkError(wire.INVALID_ARGUMENT)) else refused


@click.command(
    "log-level",
    cls=Verb,
    examples=["geoosctl log-level debug --unit bridge", "geoosctl log-level info"],
)
@click.argument("level", metavar="LEVEL", type=click.Choice(LEVELS))
@_UNIT
def log_level(level: str, unit: str | None) -> int:
    """Log from LEVEL on, until the next start or reload."""
    return _tell("SetLogLevel", {"level": level, "unit": unit}, done=f"logs from {level} on")


def _tell(method: str, parameters: Mapping[str, Any], *, done: str) -> int:
    """Tell the daemons; show what came of it; the exit code of the first that did not obey."""
    outcomes = ask_for(_Outcomes, method, parameters, seconds=10.0).outcomes
    as_json = settings().json
    if as_json:
        output.print_json({"outcomes": msgspec.to_builtins(outcomes)})
    code = 0
    for each in outcomes:
        if each.error is None:
            if not as_json:
                output.echo(f"{each.name}: {done}")
            continue
        why = output.visible(each.reason or each.error)
        output.echo(f"geoosctl: {each.name}: {why}", err=True)
        code = code or exit_code(VarlinkError(each.error))
    return code
