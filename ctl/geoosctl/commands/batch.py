"""``batch``: asks many prompts from a file of JSON lines, a few at a time, and goes on where it
stopped.

Answers are appended as they come, one JSON object a line, each on disk before the next: whatever
interrupts it leaves a file that can be gone on with. A second run asks what has no answer there
yet, or only an error.
"""

from __future__ import annotations

import codecs
import contextlib
import hashlib
import json
import os
import queue
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final

import click
import msgspec
from msgspec import Struct

from geoosctl import client, output, unlisted
from geoosctl.cli import Settings, Verb, settings
from geoosd.durable import replace_file, replaceable
from geoosd.errors import EX_SOFTWARE, GeoosError, MessageError, VarlinkError, reason_of
from geoosd.wire import messages
from geoosd.wire import varlink as wire

_SHOWN_ERRORS: Final = 5


class Ask(Struct, forbid_unknown_fields=True):
    """One line of the input."""

    prompt: str
    id: str | int | None = None
    model: str | None = None
    system: str | None = None
    parameters: dict[str, Any] | None = None


class Task(Struct):
    """One prompt to ask: its ``id`` is the line's own, else the line's number; ``digest`` tells
    whether an answer is to the same question."""

    line: int
    id: str | int
    digest: str
    ask: Ask


@click.command(
    cls=Verb,
    examples=[
        "geoosctl batch prompts.jsonl",
        "geoosctl batch prompts.jsonl --concurrency 8 --out answers.jsonl",
        'echo \'{"prompt": "Say hello"}\' | geoosctl batch - --out -',
    ],
)
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path))
@click.option(
    "--concurrency",
    type=click.IntRange(1, 64),
    default=4,
    show_default=True,
    help="Prompts asked at a time.",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    metavar="OUT",
    help="Where answers go; else FILE.results.jsonl.",
)
def batch(file: Path, concurrency: int, out: Path | None) -> int:
    """Ask every prompt in a file.

    Each line of FILE is a JSON object. It has prompt, and may have id, model,
    system and parameters. Interrupted, it goes on where it stopped when it is
    run again.
    """
    if out is None and str(file) == "-":
        raise click.UsageError("prompts from standard input need --out (- is standard output)")
    out = out or file.with_suffix(".results.jsonl")
    tasks = _read_tasks(file)
    done = {} if str(out) == "-" else _resume(out, tasks)
    todo = [task for task in tasks if task.id not in done]
    if done and not settings().json:
        output.echo(f"{len(done)} of {len(tasks)} have their answers already", err=True)
    unlisted.warn(task.ask.model for task in todo if task.ask.model)
    try:
        with _opened(out) as target:
            failed = _ask_all(settings(), todo, concurrency, target, len(tasks))
    except KeyboardInterrupt:
        again = "" if str(out) == "-" else "; run it again to ask the others"
        output.echo(f"geoosctl: interrupted{again}", err=True)
        raise
    return _verdict(out, len(tasks), len(done), failed)


def _verdict(out: Path, total: int, before: int, failed: int) -> int:
    asked = total - before
    if settings().json and str(out) != "-":
        output.print_json({"file": str(out), "prompts": total, "asked": asked, "failed": failed})
    elif str(out) != "-":
        output.echo(f"{output.visible(str(out))}: {asked - failed} answered, {failed} failed")
    if failed:
        again = "" if str(out) == "-" else "; run it again to ask them once more"
        output.echo(f"geoosctl: cannot answer {failed} of {total} prompts{again}", err=True)
    return EX_SOFTWARE if failed else 0


# -- the input -------------------------------------------------------------------------------------


def _read_tasks(file: Path) -> list[Task]:
    """The prompts. Every bad line is named before anything is asked."""
    try:
        data = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        reason = reason_of(error)
        raise click.BadParameter(f"cannot read {file}: {reason}") from None
    tasks: list[Task] = []
    wrong: list[str] = []
    seen: dict[str | int, int] = {}
    for number, line in enumerate(data.removeprefix(codecs.BOM_UTF8).split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            task = _task(number, line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            wrong.append(f"line {number}: {error}")
            continue
        if task.id in seen:
            wrong.append(f"line {number}: id {task.id!r} is that of line {seen[task.id]}")
        seen.setdefault(task.id, number)
        tasks.append(task)
    if wrong:
        more = len(wrong) - _SHOWN_ERRORS
        told = wrong[:_SHOWN_ERRORS] + ([f"and {more} more"] if more > 0 else [])
        raise click.BadParameter(f"cannot use {file}: " + "; ".join(told))
    return tasks


def _task(number: int, line: bytes) -> Task:
    ask = msgspec.json.decode(line, type=Ask)
    if not ask.prompt:
        raise msgspec.ValidationError("prompt is empty")
    canonical = json.dumps([ask.prompt, ask.model, ask.system, ask.parameters], sort_keys=True)
    digest = hashlib.sha256(canonical.encode()).hexdigest()[:16]
    return Task(number, number if ask.id is None else ask.id, digest, ask)


# -- the output ------------------------------------------------------------------------------------


def _resume(out: Path, tasks: list[Task]) -> dict[str | int, dict[str, Any]]:
    """The answers that *out* has already; errors and a line that was cut off are taken out."""
    with _writing(out):
        replaceable(out)
    try:
        lines = out.read_bytes().split(b"\n")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise GeoosError(f"cannot read {out}: {reason_of(error)}") from None
    digests = {task.id: task.digest for task in tasks}
    done: dict[str | int, dict[str, Any]] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        answer = _answer(line)
        if answer is None:
            if number == len(lines):
                break  # the last line was cut off
            raise GeoosError(
                f"cannot go on with {out}: line {number} is no answer; name another --out"
            )
        if digests.get(answer["id"]) != answer["digest"]:
            raise GeoosError(
                f"cannot go on with {out}: line {number} answers another prompt than id "
                f"{answer['id']!r} has now; name another --out"
            )
        if answer.get("error") is None:
            done[answer["id"]] = answer
    kept = b"".join(json.dumps(each, ensure_ascii=False).encode() + b"\n" for each in done.values())
    if kept != b"\n".join(lines):
        with _writing(out):
            replace_file(out, kept)
    return done


def _answer(line: bytes) -> dict[str, Any] | None:
    try:
        answer = json.loads(line)
    except ValueError:
        return None
    usable = isinstance(answer, dict) and isinstance(answer.get("id"), str | int)
    return answer if usable and "digest" in answer else None


@contextlib.contextmanager
def _opened(out: Path) -> Iterator[IO[str]]:
    if str(out) == "-":
        yield sys.stdout
        return
    with _writing(out), out.open("a", encoding="utf-8") as target:
        yield target


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    """OSError in words."""
    try:
        yield
    except OSError as error:
        raise GeoosError(f"cannot write {path}: {reason_of(error)}") from None


def _write(target: IO[str], answer: dict[str, Any]) -> None:
    target.write(json.dumps(answer, ensure_ascii=False) + "\n")
    target.flush()
    if target is not sys.stdout:
        os.fsync(target.fileno())


# -- asking ----------------------------------------------------------------------------------------


def _ask_all(
    options: Settings, todo: list[Task], concurrency: int, target: IO[str], total: int
) -> int:
    """Ask all of *todo*, write each answer as it comes; how many failed.

    Raises the :class:`VarlinkError` of a geoos that does not answer at all, and whatever else went
    wrong in a thread: going on is no use.
    """
    waiting: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
    answers: queue.SimpleQueue[dict[str, Any] | Exception] = queue.SimpleQueue()
    for task in todo:
        waiting.put(task)

    def work() -> None:
        with contextlib.suppress(queue.Empty):
            while (task := waiting.get_nowait()) is not None:
                try:
                    answers.put(_ask(options, task))
                except Exception as error:  # noqa: BLE001 - raised where it is waited for
                    answers.put(error)

    # Daemons: an interrupt ends the process, which ends their calls and the work upstream.
    for _ in range(min(concurrency, len(todo))):
        threading.Thread(target=work, daemon=True).start()
    failed = 0
    with _Progress(total, total - len(todo)) as progress:
        for _ in todo:
            answer = answers.get()
            if isinstance(answer, Exception):
                raise answer
            _write(target, answer)
            failed += answer["error"] is not None
            progress.step(failed)
    return failed


def _ask(options: Settings, task: Task) -> dict[str, Any]:
    """One prompt's answer: its text, how it ended, or its error.

    Raises the :class:`VarlinkError` of a geoos that does not answer at all.
    """
    call = msgspec.structs.asdict(task.ask)
    del call["id"]
    began = time.monotonic()
    answer: dict[str, Any] = {
        "version": output.SCHEMA_VERSION,
        "id": task.id,
        "line": task.line,
        "digest": task.digest,
        "model": task.ask.model,
        "session": None,
        "text": "",
        "reasoning": "",
        "finish_reason": None,
        "usage": None,
        "time_to_first_token": None,
        "tokens_per_second": None,
        "error": "the answer broke off",
    }
    try:
        replies = client.stream(
            options.control, "io.geoos.Control.Prompt", call, timeout=options.timeout
        )
        for reply in replies:
            if (envelope := reply.get("message")) is not None:
                _hear(answer, messages.decode(msgspec.json.encode(envelope), 0.0).payload)
    except VarlinkError as error:
        gone = error.error == wire.UNAVAILABLE and str(options.control) in str(error)
        if gone or error.error == wire.PERMISSION_DENIED:
            raise
        answer["error"] = str(error)
    except MessageError as error:
        answer["error"] = str(error)
    answer["seconds"] = round(time.monotonic() - began, 3)
    return answer


def _hear(answer: dict[str, Any], payload: messages.Payload) -> None:
    if isinstance(payload, messages.SessionStarted):
        answer["session"], answer["model"] = payload.session, payload.model or answer["model"]
    elif isinstance(payload, messages.TokenVisualizationUpdate):
        role = payload.role or "answer"
        if not payload.choice and role in ("answer", "reasoning"):
            answer["text" if role == "answer" else "reasoning"] += payload.current_token
    elif isinstance(payload, messages.SessionEnded):
        answer |= {
            "finish_reason": payload.finish_reason,
            "usage": msgspec.to_builtins(payload.usage),
            "time_to_first_token": payload.time_to_first_token,
            "tokens_per_second": payload.tokens_per_second,
            "error": payload.error,
        }


class _Progress:
    """A bar on standard error where that is a terminal; nothing elsewhere."""

    def __init__(self, total: int, done: int) -> None:
        self._bar: Any = None
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

            columns = ("{task.description}", BarColumn(), MofNCompleteColumn())
            self._bar = Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True))
            self._task = self._bar.add_task("asking", total=total, completed=done)

    def __enter__(self) -> _Progress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def step(self, failed: int) -> None:
        """One more; *failed* of all so far."""
        if self._bar is not None:
            told = f"asking, {failed} failed" if failed else "asking"
            self._bar.update(self._task, advance=1, description=told)
