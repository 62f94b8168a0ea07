"""``prompt``: ask one model, several, or all, and see the answers as they come."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from typing import Any, Protocol

import click
import msgspec

from geoosctl import flags, output, unlisted
from geoosctl.answers import Answer, progress_text
from geoosctl.asking import listen
from geoosctl.cli import Verb, settings
from geoosd.errors import EX_SOFTWARE, GeoosError, MessageError
from geoosd.wire import messages

_SHOWN = (
    messages.SessionStarted,
    messages.SessionProgress,
    messages.TokenVisualizationUpdate,
    messages.SessionEnded,
)


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
@flags.models("Ask this one.")
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
    unlisted.warn(models)
    if settings().json:
        return _stream_json(call)
    screen = _screen(several=every or len(models) > 1)
    try:
        answers = _converse(call, screen)
    finally:
        screen.close()
    return _verdict(answers)


def _replies(call: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for reply in listen("Prompt", call):
        envelope = reply.get("message")
        if envelope is not None:
            yield envelope


def _decoded(envelope: Any) -> messages.Payload:
    try:
        return messages.decode(msgspec.json.encode(envelope), time.time()).payload
    except MessageError as error:
        raise GeoosError(f"cannot read the answer: {error}") from None


def _stream_json(call: dict[str, Any]) -> int:
    failed = False
    for envelope in _replies(call):
        payload = _decoded(envelope)
        failed |= isinstance(payload, messages.SessionEnded) and payload.error is not None
        output.print_json(envelope)
        sys.stdout.flush()
    return EX_SOFTWARE if failed else 0


def _converse(call: dict[str, Any], screen: _Screen) -> list[Answer]:
    """Show every message on *screen*; the answers in the order in which they began."""
    answers: dict[str, Answer] = {}
    for envelope in _replies(call):
        payload = _decoded(envelope)
        if not isinstance(payload, _SHOWN):
            continue
        answer = answers.setdefault(payload.session or "", Answer("the model"))
        if isinstance(payload, messages.SessionStarted):
            answer.label = payload.model or answer.label
            answer.upstream = payload.upstream
        elif isinstance(payload, messages.SessionProgress):
            answer.progress = progress_text(payload)
            answer.upstream = payload.upstream or answer.upstream
            screen.progress(answer)
        elif isinstance(payload, messages.SessionEnded):
            answer.ended = payload
            screen.end(answer)
        elif role := answer.add(payload):
            screen.token(answer, role, payload.current_token)
    return list(answers.values())


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
    if not sys.stdout.isatty():
        return _Blocks()
    from geoosctl.columns import Columns

    return Columns()


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
