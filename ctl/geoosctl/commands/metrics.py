"""``metrics``: Prometheus text of all daemons, or the same as JSON."""

from __future__ import annotations

import math
from typing import Any

import click
from msgspec import Struct

from geoosctl import output
from geoosctl.asking import ask_for
from geoosctl.cli import Verb, settings
from geoosd.errors import GeoosError


class _Text(Struct):
    text: str


@click.command(cls=Verb, examples=["geoosctl metrics", "geoosctl metrics | grep geoos_daemon_up"])
def metrics() -> None:
    """Print the metrics of all daemons.

    They are in Prometheus text format 0.0.4; the label daemon tells them apart.
    """
    text = ask_for(_Text, "GetMetrics").text
    if settings().json:
        output.print_json({"metrics": _families(text)})
    else:
        click.echo(text, nl=False)


def _families(text: str) -> list[dict[str, Any]]:
    """Every family with its samples; a value that JSON cannot hold is a string."""
    from prometheus_client.parser import text_string_to_metric_families

    try:
        return [
            {
                "name": family.name,
                "type": family.type,
                "help": family.documentation,
                "samples": [
                    {"name": each.name, "labels": each.labels, "value": _value(each.value)}
                    for each in family.samples
                ],
            }
            for family in text_string_to_metric_families(text)
        ]
    except ValueError as error:
        raise GeoosError(f"cannot read the metrics: {error}") from None


def _value(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)
