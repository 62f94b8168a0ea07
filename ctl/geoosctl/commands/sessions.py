"""``sessions`` and ``session``: what was recorded; show, replay, export, delete it.

Export writes JSON lines (the session first, then a message a line) or, for a name that ends in
``.txt``, a text to read.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import click
import msgspec
from msgspec import Struct

from geoosctl import completion, flags, output
from geoosctl.asking import ask, ask_for, listen, read
from geoosctl.cli import Settings, Verb, VerbGroup, settings
from geoosctl.floats import FloatRange
from geoosd.durable import replaceable, sync, temporary
from geoosd.errors import GeoosError, reason_of
from geoosd.wire.messages import TokenVisualizationUpdate
from geoosd.wire.sessions import Recorded, Session, Timed

WAIT: Final = 30.0

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


class _Sessions(Struct):
    sessions: list[Session]
    next: int | None = None


class _When(click.ParamType[float]):
    """A moment: ``2h`` or ``3d`` ago, or an ISO 8601 date or time."""

    name = "when"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Seconds since the epoch."""
        text = str(value)
        if matched := re.fullmatch("([0-9]{1,9})([smhdw])", text):
            return time.time() - int(matched[1]) * _UNITS[matched[2]]
        try:
            return datetime.fromisoformat(text).timestamp()
        except (ValueError, OverflowError):
            self.fail(f"{text!r} is no moment: write 30m, 12h, 7d, or 2027-01-31")


@click.command(
    cls=Verb,
    examples=[
        "geoosctl sessions --since 2h",
        "geoosctl sessions --model gemma-3-270m --limit 5",
        "geoosctl sessions --json | jq -r '.sessions[].id'",
    ],
)
@flags.model("Of this model alone.")
@click.option("--since", type=_When(), metavar="WHEN", help="Begun since: 30m, 12h, 7d, a date.")
@flags.limit
def sessions(model: str | None, since: float | None, limit: int) -> None:
    """List recorded sessions, the newest first."""
    query = {"model": model, "since": since, "limit": limit}
    found = ask_for(_Sessions, "ListSessions", query, seconds=WAIT)
    if settings().json:
        output.print_json(msgspec.to_builtins(found))
    elif not found.sessions:
        output.echo("no session is recorded" + (" that matches" if model or since else ""))
    else:
        head = ["SESSION", "BEGAN", "MODEL", "TOKENS", "TOK/S", "END"]
        rows = [_row(each, time.time()) for each in found.sessions]
        for line in output.table_within(head, rows, ["MODEL", "END"], align="<><>><"):
            output.echo(line)


def _row(session: Session, now: float) -> list[str]:
    speed = session.tokens_per_second
    return [
        output.visible(session.id),
        f"{output.ago(now - session.started)} ago",
        output.visible(session.model or "–"),
        str(session.tokens),
        "–" if speed is None else output.number(speed),
        output.visible(_end(session)),
    ]


def _end(session: Session) -> str:
    if session.state != "ended":
        return session.state
    return session.error or session.finish_reason or "ended"


def _parts(options: Settings, session: str) -> Iterator[Recorded]:
    """The session in parts, each with some of its messages."""
    after: int | None = 0
    while after is not None:
        asked = {"session": session, "after": after}
        part = ask_for(Recorded, "GetSession", asked, seconds=WAIT)
        after = part.next
        yield part


def _text(timed: Timed) -> tuple[str, str]:
    """Role and text of a recorded message; empty for one that is no token of the first choice."""
    if timed.message_type != TokenVisualizationUpdate.__name__:
        return "", ""
    token = read(timed.payload, TokenVisualizationUpdate)
    return ("", "") if token.choice else (token.role or "answer", token.current_token)


@click.group(cls=VerbGroup)
def session() -> None:
    """Show, replay, export or delete a recorded session."""


@session.command("show", examples=["geoosctl session show kXj2mPq9Lw0a"])
@click.argument("session_id", metavar="SESSION", shell_complete=completion.sessions)
def show(session_id: str) -> None:
    """Show what is recorded of SESSION; with record = "full" its text too."""
    options = settings()
    parts = _parts(options, session_id)
    part = next(parts)
    if options.json:
        messages = [*part.messages, *(timed for rest in parts for timed in rest.messages)]
        whole = msgspec.structs.replace(part, messages=messages, next=None)
        output.print_json(msgspec.to_builtins(whole))
        return
    for name, value in _facts(part.session):
        for line in output.hanging(f"{name:<20}", value):
            output.echo(line)
    for line in _readable(part, parts):
        sys.stdout.write(output.visible(line, lines=True) if sys.stdout.isatty() else line)


def _facts(found: Session) -> Iterator[tuple[str, str]]:
    yield "session", found.id
    yield "model", found.model or "–"
    yield "upstream", found.upstream or "–"
    yield "asked by", found.path
    began = datetime.fromtimestamp(found.started).isoformat(" ", "seconds")
    yield "began", f"{began}, {output.ago(time.time() - found.started)} ago"
    yield "end", _end(found)
    if found.duration is not None:
        yield "took", f"{found.duration:.2f} s"
    if found.time_to_first_token is not None:
        yield "first token after", f"{found.time_to_first_token:.2f} s"
    if found.tokens_per_second is not None:
        yield "speed", f"{output.number(found.tokens_per_second)} tok/s"
    yield "tokens", str(found.tokens)
    if found.total_tokens is not None:
        yield "usage", f"{found.prompt_tokens} in, {found.completion_tokens} out"
    known = ", ".join(f"{field} {how}" for field, how in sorted(found.provenance.items()))
    yield "values", known or "–"
    lost = f", {found.lost} lost" if found.lost else ""
    yield "recorded", f"{found.record}: {found.messages} messages{lost}"


def _readable(first: Recorded, rest: Iterator[Recorded]) -> Iterator[str]:
    """Prompt and answer, in pieces, under headings."""
    if first.system:
        yield f"\n== system ==\n{first.system}\n"
    for turn in first.turns:
        yield f"\n== earlier: {turn.role} ==\n{turn.text}\n"
    if first.prompt:
        yield f"\n== prompt ==\n{first.prompt}\n"
    at, last = None, "\n"
    for part in (first, *rest):
        for timed in part.messages:
            role, text = _text(timed)
            if not text:
                continue
            if role != at:
                yield ("" if last.endswith("\n") else "\n") + f"\n== {role} ==\n"
                at = role
            yield text
            last = text
    if not last.endswith("\n"):
        yield "\n"


@session.command(
    "replay",
    examples=["geoosctl session replay kXj2mPq9Lw0a", "geoosctl session replay ID --speed 4"],
)
@click.argument("session_id", metavar="SESSION", shell_complete=completion.sessions)
@click.option(
    "--speed",
    type=FloatRange(0, 1000, min_open=True),
    default=1.0,
    show_default=True,
    help="Times the recorded pace.",
)
def replay(session_id: str, speed: float) -> None:
    """Show SESSION on the map once more, at the recorded pace; Ctrl-C ends it.

    Everybody who looks sees it, marked as a replay. Needs record = "full".
    """
    options = settings()
    asked = {"session": session_id, "speed": speed}
    replies = listen("ReplaySession", asked)
    told, error = 0, None
    for reply in replies:
        envelope = reply.get("message")
        if envelope is None:
            continue
        if options.json:
            output.print_json(envelope)
            sys.stdout.flush()
        told += 1
        error = envelope.get("payload", {}).get("error")
        if sys.stderr.isatty() and not options.json:
            click.echo(
                f"\r\x1b[Kreplay {reply.get('session')}: {output.count(told, 'message')}",
                nl=False,
                err=True,
            )
    if sys.stderr.isatty() and not options.json:
        click.echo("\r\x1b[K", nl=False, err=True)
    if not options.json:
        ending = f"; it ends as recorded: {error}" if error else ""
        output.echo(f"replayed {told} messages{output.visible(ending)}")


@session.command(
    "export",
    examples=["geoosctl session export kXj2mPq9Lw0a talk.jsonl", "geoosctl session export ID -"],
)
@click.argument("session_id", metavar="SESSION", shell_complete=completion.sessions)
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--format", "kind", type=click.Choice(["jsonl", "text"]), help="Else by FILE's name.")
def export(session_id: str, file: Path, kind: str | None) -> None:
    """Write SESSION to FILE (- is standard output), as JSON lines or as text (.txt).

    An existing FILE is replaced when all of the session is there.
    """
    options = settings()
    kind = kind or ("text" if file.suffix == ".txt" else "jsonl")
    parts = _parts(options, session_id)
    first = next(parts)
    lines = _readable(first, parts) if kind == "text" else _json_lines(first, parts)
    if str(file) == "-":
        for line in lines:
            sys.stdout.write(line)
        return
    try:
        _replace(replaceable(file), lines)
    except OSError as error:
        raise GeoosError(f"cannot write {file}: {reason_of(error)}") from None
    if options.json:
        output.print_json({"file": str(file), "format": kind, "session": first.session.id})
    else:
        told = output.count(first.session.messages, "message")
        output.echo(f"{output.visible(str(file))}: {told}")


def _replace(file: Path, lines: Iterator[str]) -> None:
    beside = temporary(file)
    try:
        with beside.open("w", encoding="utf-8") as target:
            target.writelines(lines)
        sync(beside)
        beside.replace(file)
        sync(file.parent)
    finally:
        beside.unlink(missing_ok=True)


def _json_lines(first: Recorded, rest: Iterator[Recorded]) -> Iterator[str]:
    head: dict[str, Any] = {
        "version": output.SCHEMA_VERSION,
        "session": msgspec.to_builtins(first.session),
        "prompt": first.prompt,
        "system": first.system,
        "turns": msgspec.to_builtins(first.turns),
    }
    yield json.dumps(head, ensure_ascii=False) + "\n"
    for part in (first, *rest):
        for timed in part.messages:
            yield json.dumps(msgspec.to_builtins(timed), ensure_ascii=False) + "\n"


@session.command(
    "delete", examples=["geoosctl session delete kXj2mPq9Lw0a", "geoosctl session delete ID --yes"]
)
@click.argument(
    "session_ids", metavar="SESSION...", nargs=-1, required=True, shell_complete=completion.sessions
)
@click.option("--yes", is_flag=True, help="Do not ask.")
def delete(session_ids: tuple[str, ...], yes: bool) -> None:
    """Delete SESSION with its messages and its feedback, from the disk too."""
    options = settings()
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("deleting without a terminal to ask needs --yes")
        named = ", ".join(map(output.visible, session_ids))
        click.confirm(f"Delete {named} for ever?", abort=True, err=True)
    for each in session_ids:
        ask("DeleteSession", {"session": each}, seconds=WAIT)
    if options.json:
        output.print_json({"deleted": list(session_ids)})
    else:
        output.echo(f"deleted {len(session_ids)}")
