"""``feedback``: say what an answer was worth, and see what all said of each model."""

from __future__ import annotations

from typing import Final

import click
import msgspec
from msgspec import Struct

from geoosctl import completion, flags, output
from geoosctl.asking import ask_for
from geoosctl.cli import VerbGroup, settings
from geoosd.wire.sessions import MAX_COMMENT, RATINGS, Feedback, ModelFeedback

WAIT: Final = 30.0


class _Added(Struct):
    feedback: Feedback


class _Listed(Struct):
    feedback: list[Feedback]
    models: list[ModelFeedback]
    next: int | None = None


class _Range(click.ParamType[tuple[int, int]]):
    """``3-17`` or ``3``: token positions, both ends included."""

    name = "range"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        """First and last."""
        if isinstance(value, tuple):
            return value
        first, dash, last = str(value).partition("-")
        try:
            found = int(first), int(last if dash else first)
        except ValueError:
            self.fail(f"{value!r} is no range of tokens: write 3-17")
        if not 0 <= found[0] <= found[1]:
            self.fail(f"{value!r} is no range of tokens: write 3-17")
        return found


@click.group(cls=VerbGroup)
def feedback() -> None:
    """Rate answers, and see how each model was rated."""


@feedback.command(
    "add",
    examples=[
        'geoosctl feedback add kXj2mPq9Lw0a 5 "to the point"',
        'geoosctl feedback add ID 2 "invented" --tokens 10-24',
    ],
)
@click.argument("session", shell_complete=completion.sessions)
@click.argument("rating", type=click.IntRange(RATINGS.start, RATINGS.stop - 1))
@click.argument("comment", required=False)
@click.option("--tokens", type=_Range(), metavar="A-B", help="About these tokens alone.")
def add(session: str, rating: int, comment: str | None, tokens: tuple[int, int] | None) -> None:
    """Rate SESSION from 1 (useless) to 5 (excellent), with a COMMENT."""
    if comment is not None and len(comment) > MAX_COMMENT:
        raise click.BadParameter(
            f"the comment has {len(comment)} characters, at most {MAX_COMMENT}"
        )
    first, last = tokens or (None, None)
    given = {
        "session": session,
        "rating": rating,
        "comment": comment,
        "first": first,
        "last": last,
    }
    added = ask_for(_Added, "AddFeedback", given, seconds=WAIT).feedback
    if settings().json:
        output.print_json({"feedback": msgspec.to_builtins(added)})
    else:
        output.echo(f"feedback {added.id} on {output.visible(added.model or session)}")


def _listed(session: str | None, model: str | None, limit: int) -> _Listed:
    query = {"session": session, "model": model, "limit": limit}
    return ask_for(_Listed, "ListFeedback", query, seconds=WAIT)


@feedback.command("list", examples=["geoosctl feedback list --model gemma-3-270m"])
@click.option(
    "--session", metavar="ID", shell_complete=completion.sessions, help="On this session alone."
)
@flags.model("On this model alone.")
@flags.limit
def list_feedback(session: str | None, model: str | None, limit: int) -> None:
    """List what was said, the newest first."""
    found = _listed(session, model, limit)
    if settings().json:
        listed = {"feedback": msgspec.to_builtins(found.feedback), "next": found.next}
        output.print_json(listed)
    elif not found.feedback:
        output.echo("no feedback yet")
    else:
        rows = [_row(each) for each in found.feedback]
        head = ["SESSION", "MODEL", "RATING", "TOKENS", "COMMENT"]
        for line in output.table_within(head, rows, ["MODEL", "COMMENT"]):
            output.echo(line)


def _row(said: Feedback) -> list[str]:
    last = "" if said.last is None else str(said.last)
    return [
        output.visible(said.session),
        output.visible(said.model or "–"),
        "★" * said.rating,
        "all" if said.first is None and said.last is None else f"{said.first or 0}-{last}",
        output.visible(said.comment or ""),
    ]


@feedback.command(
    "summary", examples=["geoosctl feedback summary", "geoosctl feedback summary --json"]
)
@flags.model("This model alone.")
def summary(model: str | None) -> None:
    """Show how each model was rated: the best first."""
    found = _listed(None, model, 1)
    if settings().json:
        output.print_json({"models": msgspec.to_builtins(found.models)})
    elif not found.models:
        output.echo("no feedback yet")
    else:
        head = ["MODEL", "RATING", "COUNT", "1", "2", "3", "4", "5", "DONE", "FIRST"]
        rows = [_summary_row(each) for each in found.models]
        for line in output.table_within(head, rows, ["MODEL"], align="<>>>>>>>>>"):
            output.echo(line)


def _summary_row(said: ModelFeedback) -> list[str]:
    latency = "–" if said.latency is None else f"{said.latency:.2f} s"
    return [
        output.visible(said.model or "–"),
        f"{said.rating:.2f}",
        str(said.count),
        *(str(count) for count in said.ratings),
        f"{100 * said.success:.0f} %",
        latency,
    ]
