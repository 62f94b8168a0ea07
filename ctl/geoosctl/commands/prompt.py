"""``prompt``: ask one model, several, or all, and see the answers as they come."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import click
import msgspec

from geoosctl import client, output
from geoosctl.cli import Settings, Verb, settings
from geoosd.errors import EX_SOFTWARE, GeoosError, MessageError
from geoosd.wire import messages

_SHOWN = (
    messages.SessionStarted,
    messages.SessionProgress,
    messages.TokenVisualizationUpdate,
    messages.SessionEnded,
)


@dataclass
class Answer:
    """One model's answer so far; ``text`` is what the model said, ``parts`` also its reasoning."""

    label: str
    parts: list[tuple[str, str]] = field(default_factory=list)
    progress: str = "waiting"
    ended: messages.SessionEnded | None = None
    tokens: int = 0

    @property
    def text(self) -> str:
        """The answer alone, without reasoning."""
        return "".join(text for role, text in self.parts if role != "reasoning")

    def add(self, token: messages.TokenVisualizationUpdate) -> str:
        """Take a token; its role, or an empty string if it is not shown."""
        role = token.role or "answer"
        if role == "prompt" or token.choice:
            return ""
        self.tokens += 1
        self.parts.append((role, token.current_token))
        return role

    def summary(self) -> str:
        """Model, tokens, speed, time to first token, as far as they are known."""
        ended = self.ended or messages.SessionEnded(session="")
        counted = ended.usage.completion_tokens if ended.usage else None
        parts = [self.label, f"{self.tokens if counted is None else counted} tokens"]
        if ended.tokens_per_second is not None:
            parts.append(f"{output.number(ended.tokens_per_second)} tok/s")
        if ended.time_to_first_token is not None:
            parts.append(f"first token after {ended.time_to_first_token:.2f} s")
        return output.visible(" · ".join(parts))


class _Screen(Protocol):
    """How answers are shown."""

    def progress(self, answer: Answer) -> None: ...
    def token(self, answer: Answer, role: str, text: str) -> None: ...
    def end(self, answer: Answer) -> None: ...
    def close(self) -> None: ...


def _parameter(_context: click.Context, _option: click.Parameter, given: tuple[str, ...]) -> Any:
    parameters: dict[str, Any] = {}
    for item in given:
        key, equals, text = item.partition("=")
        if not equals or not key:
            raise click.BadParameter(f"{item!r} is not key=value")
        try:
            parameters[key] = json.loads(text)
        except ValueError:
            parameters[key] = text
    return parameters or None


@click.command(
    cls=Verb,
    examples=[
        'geoosctl prompt "The geometry of thought is"',
        "geoosctl prompt - --param max_tokens=50 < question.txt",
        'geoosctl prompt "Say hello" --model gemma --model qwen',
    ],
)
@click.argument("text")
@click.option("--model", "models", multiple=True, metavar="M", help="May be given several times.")
@click.option("--all", "every", is_flag=True, help="Ask every model that is ready.")
@click.option("--system", metavar="S", help="System prompt.")
@click.option(
    "--param",
    "parameters",
    multiple=True,
    metavar="K=V",
    callback=_parameter,
    help="Sampling parameter, such as temperature=0.",
)
def prompt(
    text: str, models: tuple[str, ...], every: bool, system: str | None, parameters: Any
) -> int:
    """Send TEXT (- reads standard input) and stream the answer.

    Standard output gets the answer's text alone: as the model sent it where it is not a terminal,
    without control characters where it is. Reasoning is shown, dimmed, on a terminal only. Several
    models stand side by side on a terminal, else in labelled blocks.
    """
    if every and models:
        raise click.UsageError("--all asks every model: leave out --model")
    question = sys.stdin.read() if text == "-" else text
    call = {
        "prompt": question,
        "model": models[0] if len(models) == 1 else None,
        "models": list(models) if len(models) > 1 else None,
        "all": every or None,
        "system": system,
        "parameters": parameters,
    }
    options = settings()
    if options.json:
        return _stream_json(options, call)
    screen = _screen(several=every or len(models) > 1)
    try:
        answers = _converse(options, call, screen)
    finally:
        screen.close()
    return _verdict(answers)


def _replies(options: Settings, call: dict[str, Any]) -> Iterator[dict[str, Any]]:
    replies = client.stream(
        options.control, "io.geoos.Control.Prompt", call, timeout=options.timeout
    )
    for reply in replies:
        envelope = reply.get("message")
        if envelope is not None:
            yield envelope


def _decoded(envelope: Any) -> messages.Payload:
    try:
        return messages.decode(msgspec.json.encode(envelope), time.time()).payload
    except MessageError as error:
        raise GeoosError(f"cannot read the answer: {error}") from None


def _stream_json(options: Settings, call: dict[str, Any]) -> int:
    failed = False
    for envelope in _replies(options, call):
        payload = _decoded(envelope)
        failed |= isinstance(payload, messages.SessionEnded) and payload.error is not None
        output.print_json(envelope)
        sys.stdout.flush()
    return EX_SOFTWARE if failed else 0


def _converse(options: Settings, call: dict[str, Any], screen: _Screen) -> list[Answer]:
    """Show every message on *screen*; the answers in the order in which they began."""
    answers: dict[str, Answer] = {}
    for envelope in _replies(options, call):
        payload = _decoded(envelope)
        if not isinstance(payload, _SHOWN):
            continue
        answer = answers.setdefault(payload.session or "", Answer("the model"))
        if isinstance(payload, messages.SessionStarted):
            answer.label = payload.model or answer.label
        elif isinstance(payload, messages.SessionProgress):
            answer.progress = _progress(payload)
            screen.progress(answer)
        elif isinstance(payload, messages.SessionEnded):
            answer.ended = payload
            screen.end(answer)
        elif role := answer.add(payload):
            screen.token(answer, role, payload.current_token)
    return list(answers.values())


def _progress(payload: messages.SessionProgress) -> str:
    if payload.phase == "queued" and payload.position is not None:
        return f"queued, position {payload.position}"
    if payload.phase == "prefill" and payload.total:
        return f"reading the prompt, {100 * (payload.processed or 0) // payload.total} %"
    return payload.phase


def _verdict(answers: list[Answer]) -> int:
    """Say what went wrong; the exit code."""
    if not answers:
        raise GeoosError("cannot answer: no model took the prompt; see: geoosctl models")
    code = 0
    for answer in answers:
        error = answer.ended.error if answer.ended else "the answer broke off"
        if error is not None:
            label, why = output.visible(answer.label), output.visible(error)
            output.echo(f"geoosctl: {label}: {why}", err=True)
            code = EX_SOFTWARE
    return code


# -- screens ---------------------------------------------------------------------------------------


def _screen(*, several: bool) -> _Screen:
    if not several:
        return _Stream()
    return _SideBySide() if sys.stdout.isatty() else _Blocks()


class _Stream:
    """One answer: its text as it comes; on a terminal progress before and a summary after it."""

    def __init__(self) -> None:
        self._terminal = sys.stdout.isatty()
        self._color = output.wants_color(self._terminal)
        self._notes = sys.stderr.isatty()
        self._noted = False
        self._last = "\n"

    def progress(self, answer: Answer) -> None:
        """A line on stderr that the first token wipes away."""
        if self._notes and not answer.tokens:
            click.echo(f"\r\x1b[K{answer.progress} …", nl=False, err=True)
            self._noted = True

    def token(self, answer: Answer, role: str, text: str) -> None:
        """The text at once: flushed, dimmed if it is reasoning."""
        self._wipe()
        if not self._terminal:
            if role != "reasoning":
                self._write(text)
            return
        text = output.visible(text, lines=True)
        self._write(click.style(text, dim=True) if role == "reasoning" and self._color else text)

    def end(self, answer: Answer) -> None:
        """End the last line; the summary."""
        self._wipe()
        self.close()
        if self._notes:
            output.echo(click.style(answer.summary(), dim=True), err=True)

    def close(self) -> None:
        """End the last line."""
        self._wipe()
        if self._last != "\n":
            self._write("\n")

    def _write(self, text: str) -> None:
        if text:
            sys.stdout.write(text)
            sys.stdout.flush()
            self._last = text[-1]

    def _wipe(self) -> None:
        if self._noted:
            click.echo("\r\x1b[K", nl=False, err=True)
            self._noted = False


class _Blocks:
    """Several answers, each whole under its label, in the order in which they end."""

    def progress(self, answer: Answer) -> None:
        """Nothing: only what is whole is shown."""

    def token(self, answer: Answer, role: str, text: str) -> None:
        """Nothing: only what is whole is shown."""

    def end(self, answer: Answer) -> None:
        """The answer under its label."""
        click.echo(f"== {output.visible(answer.label)} ==")
        click.echo(answer.text)
        sys.stdout.flush()

    def close(self) -> None:
        """Nothing is open."""


class _SideBySide:
    """Several answers in columns that grow, drawn by rich; whole at the end."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._answers: list[Answer] = []
        self._console = Console()
        # What grows beyond the screen cannot be redrawn: it is cut while it grows.
        self._live = Live(
            console=self._console,
            refresh_per_second=12,
            vertical_overflow="ellipsis",
            transient=True,
        )
        self._live.start()

    def progress(self, answer: Answer) -> None:
        """Draw."""
        self._draw(answer)

    def token(self, answer: Answer, role: str, text: str) -> None:
        """Draw."""
        self._draw(answer)

    def end(self, answer: Answer) -> None:
        """Draw."""
        self._draw(answer)

    def close(self) -> None:
        """Leave the whole answers on the screen."""
        self._live.stop()
        if self._answers:
            self._console.print(self._grid())

    def _draw(self, answer: Answer) -> None:
        if all(each is not answer for each in self._answers):
            self._answers.append(answer)
        self._live.update(self._grid())

    def _grid(self) -> Any:
        from rich.table import Table

        grid = Table.grid(expand=True, padding=(0, 1))
        for _ in self._answers:
            grid.add_column(ratio=1, overflow="fold")
        grid.add_row(*(_panel(each) for each in self._answers))
        return grid


def _panel(answer: Answer) -> Any:
    from rich.panel import Panel
    from rich.text import Text

    body = Text(overflow="fold")
    for role, part in answer.parts:
        body.append(output.visible(part, lines=True), "dim" if role == "reasoning" else "")
    if not answer.parts:
        body.append(answer.progress, "dim")
    subtitle = Text(answer.summary(), "dim") if answer.ended else None
    return Panel(body, title=Text(output.visible(answer.label), "bold"), subtitle=subtitle)
