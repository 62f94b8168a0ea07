"""``selftest``: does everything work, with the user's own model server?

Each step says pass, warn or fail, and what to do. What depends on a step that failed is skipped.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click
import msgspec

from geoosctl import client, flags, output, trial
from geoosctl.asking import ask_for
from geoosctl.cli import Settings, Verb, settings
from geoosctl.reported import Daemons, Entry, Model, Models
from geoosctl.trial import Answer, Sight, Step
from geoosd.config import load
from geoosd.errors import ConfigError, FrameTooLarge, GeoosError, MessageError, VarlinkError
from geoosd.wire import framing, messages
from geoosd.wire import varlink as wire
from geoosd.wire.messages import Ack, ProducerHello

_EXIT: Final = {"pass": 0, "skip": 0, "warn": 1, "fail": 2}
_ANSWER_SECONDS: Final = 120.0
_INGEST_SECONDS: Final = 5.0
_COLOR: Final = {"pass": "green", "warn": "yellow", "fail": "red", "skip": "bright_black"}
_AFTER: Final = ("SSE", "token", "neural state")
"""The steps that need a model to have answered."""


@click.command(cls=Verb, examples=["geoosctl selftest", "geoosctl selftest --json | jq -r .status"])
@flags.model("This one; else the default.")
def selftest(model: str | None) -> int:
    """Try everything with your own model server.

    The server, its models, a stream of 10 tokens through the proxy, ingest, the tokens and the
    neural state of that stream as a viewer gets them, WebSocket, GPU. Exit code 0 if all passes, 1
    with a warning, 2 if something fails.
    """
    options = settings()
    steps: list[Step] = []
    for step in _steps(options, model):
        steps.append(step)
        if not options.json:
            for line in _lines(step):
                output.echo(line)
    worst = max(steps, key=lambda step: _EXIT[step.status]).status
    verdict = "pass" if worst == "skip" else worst
    if options.json:
        output.print_json({"status": verdict, "steps": msgspec.to_builtins(steps)})
    else:
        failed = sum(step.status == "fail" for step in steps)
        warned = sum(step.status == "warn" for step in steps)
        passed = sum(step.status == "pass" for step in steps)
        counts = f"{passed} passed, {warned} warned, {failed} failed"
        output.echo(f"\n{click.style(verdict, fg=_COLOR[verdict], bold=True)}: {counts}")
    return _EXIT[verdict]


def _lines(step: Step) -> Iterator[str]:
    word = click.style(f"{step.status:<4}", fg=_COLOR[step.status])
    first, *rest = [line.strip() for line in output.wrapped(step.summary, 20)] or [""]
    yield f"{word}  {step.name:<13} {first}"
    for line in rest:
        yield f"{'':<20}{line}"
    if step.remedy:
        yield from ((f"{'':<20}→ {step.remedy}"),)


def _steps(options: Settings, wanted: str | None) -> Iterator[Step]:
    yield _configuration()
    try:
        daemons = {each.name: each for each in ask_for(Daemons, "GetStatus").daemons}
    except VarlinkError as error:
        if error.error == wire.PERMISSION_DENIED:
            raise  # who may ask nothing can test nothing
        yield Step("daemons", "fail", str(error), client.how_to_start(options.control))
        return
    yield _daemons(daemons)
    yield _ingest(options.control.parent / "ingest.sock")
    model, steps = _models(options, wanted)
    yield from steps
    yield from _request(options, daemons, model)
    yield _gpu(daemons.get("compositor"))


def _configuration() -> Step:
    try:
        source = load().source
    except ConfigError as error:
        return Step("configuration", "fail", str(error), "geoosctl config check")
    return Step("configuration", "pass", str(source or "no file: the defaults"))


def _daemons(daemons: dict[str, Entry]) -> Step:
    away = [each for each in daemons.values() if each.state != "active"]
    if away:
        worst = away[0]
        why = worst.reason or worst.state
        remedy = worst.remedy or "geoosctl status"
        return Step("daemons", "fail", f"the {worst.name} is not active: {why}", remedy)
    return Step("daemons", "pass", f"{', '.join(daemons)} answer")


def _ingest(path: Path) -> Step:
    """A producer's hello is acknowledged; nothing is put on the map."""
    hello = messages.encode(ProducerHello("selftest", 1), 0.0)
    try:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(_INGEST_SECONDS)
            sock.connect(os.fspath(path))
            sock.sendall(framing.encode_frame(hello))
            with sock.makefile("rb") as stream:
                size = int.from_bytes(stream.read(4), "little")
                if size > framing.MAX_FRAME:
                    raise FrameTooLarge(size, framing.MAX_FRAME)
                answer = messages.decode(stream.read(size), 0.0).payload
    except PermissionError:
        remedy = "sudo usermod -aG geoos $USER, and log in again"
        return Step("ingest", "fail", f"cannot open {path}: permission denied", remedy)
    except (OSError, FrameTooLarge, MessageError) as error:
        why = getattr(error, "strerror", None) or str(error) or "no answer"
        remedy = "geoosctl logs --unit compositor -n 20"
        return Step("ingest", "fail", f"{path}: {why.lower()}", remedy)
    if not isinstance(answer, Ack):
        return Step("ingest", "fail", f"{path} answers {type(answer).__name__}, not Ack", None)
    return Step("ingest", "pass", f"{path} takes messages")


def _models(options: Settings, wanted: str | None) -> tuple[Model | None, list[Step]]:
    """The model to ask, and what was found of servers and models."""
    try:
        found = ask_for(Models, "ListModels", seconds=10.0).models
    except VarlinkError as error:
        return None, [Step("server", "fail", str(error), "geoosctl logs --unit bridge -n 20")]
    ready = [each for each in found if each.state == "ready"]
    if not found:
        where = "no model server answers on the configured addresses, or on ports 1234, 11434, 8080"
        remedy = "start your model server (LM Studio: Developer, Start Server), then try again"
        return None, [Step("server", "fail", where, remedy)]
    servers = sorted({f"{each.upstream} ({each.upstream_url})" for each in found})
    steps = [Step("server", "pass", ", ".join(servers))]
    if not ready:
        steps.append(_none_ready(found))
        return None, steps
    model = next((each for each in ready if wanted in (None, each.id, _full(each))), None)
    if model is None:
        near = ", ".join(each.id for each in ready)
        steps.append(Step("models", "fail", f"{wanted!r} is not ready; there are {near}"))
        return None, steps
    steps.append(_model(model, len(ready), len(found)))
    return model, steps


def _full(model: Model) -> str:
    return f"{model.upstream}/{model.id}"


def _none_ready(found: list[Model]) -> Step:
    states = {each.state for each in found}
    if states == {"loading"}:
        return Step("models", "fail", f"{found[0].id} is loading", "wait, then: geoosctl selftest")
    return Step("models", "fail", f"none of {len(found)} models is ready", "geoosctl models")


def _model(model: Model, ready: int, count: int) -> Step:
    said = f"{model.id}; {ready} of {count} ready"
    if model.circuit != "closed":
        return Step("models", "warn", f"{said}; set aside after failures", "geoosctl health")
    return Step("models", "pass", said)


# -- the request -----------------------------------------------------------------------------------


def _request(options: Settings, daemons: dict[str, Entry], model: Model | None) -> Iterator[Step]:
    bridge, page = (_address(daemons.get(name)) for name in ("bridge", "broadcaster"))
    sight = Sight()
    viewer = None
    if page is not None:
        patience = options.wait(trial.SEEN_SECONDS) or trial.SEEN_SECONDS
        viewer = trial.Viewer(page, os.environ.get("GEOOS_TOKEN"), patience)
        viewer.greeted(sight)
    yield _websocket(page, sight)
    if model is None or bridge is None:
        yield from (Step(name, "skip", "needs a model that answers") for name in _AFTER)
        return
    try:
        answer = trial.ask(bridge, model, patience=options.wait(_ANSWER_SECONDS) or _ANSWER_SECONDS)
    except GeoosError as error:
        yield Step("SSE", "fail", str(error), "geoosctl logs --unit bridge -n 20")
        yield from (Step(name, "skip", "needs an answer") for name in _AFTER[1:])
        return
    yield (sse := _sse(model, answer))
    if sse.status == "fail" or viewer is None or sight.lost or answer.session is None:
        yield from (Step(name, "skip", "needs an answer and a viewer") for name in _AFTER[1:])
        return
    viewer.watch(answer.session, sight)
    yield _token(answer, sight)
    yield _state(sight)


def _address(entry: Entry | None) -> str | None:
    return entry.status.addresses[0] if entry and entry.status and entry.status.addresses else None


def _websocket(page: str | None, sight: Sight) -> Step:
    if page is None:
        return Step("WebSocket", "fail", "the broadcaster does not answer", "geoosctl status")
    if sight.lost is not None:
        return Step("WebSocket", "fail", sight.lost, "geoosctl logs --unit broadcaster -n 20")
    version = (sight.hello or {}).get("version", "?")
    return Step("WebSocket", "pass", f"{page} lets a viewer in, version {version}")


def _sse(model: Model, answer: Answer) -> Step:
    look = f"look at {model.upstream}'s own log; {model.upstream_url}"
    if answer.reason:
        status = f" with {answer.status}" if answer.status != 200 else ""
        return Step("SSE", "fail", f"{model.upstream} refuses{status}: {answer.reason}", look)
    if not answer.events:
        return Step("SSE", "fail", "the stream ended without any event", look)
    first = f"first after {1000 * (answer.first or 0):.0f} ms, all after {answer.seconds:.1f} s"
    said = f"{answer.events} events, {first}"
    if not answer.done:
        return Step("SSE", "warn", f"{said}; the stream ended without [DONE]", look)
    if not answer.text:
        return Step("SSE", "warn", f"{said}; no text in them", look)
    return Step("SSE", "pass", said)


def _token(answer: Answer, sight: Sight) -> Step:
    logs = f"geoosctl logs --session {answer.session}"
    if not sight.tokens:
        return Step("token", "fail", "the viewer saw no token of that answer", logs)
    if sight.text != answer.text:
        lost = f"{len(sight.text)} of {len(answer.text)} characters"
        return Step("token", "fail", f"the viewer saw another text than the client: {lost}", logs)
    unplaced = [each for each in sight.tokens if each.get("hilbert_position") is None]
    if unplaced:
        return Step("token", "fail", f"{len(unplaced)} tokens have no place on the map", logs)
    said = f"{len(sight.tokens)} tokens, the client's text, each with its place"
    if all(each.get("token_id") is None for each in sight.tokens):
        why = "the server tells no token ids: places go by the text"
        return Step("token", "warn", f"{said}; {why}", "nothing to do; see docs/interfaces.md")
    return Step("token", "pass", said)


def _state(sight: Sight) -> Step:
    if not sight.states:
        said = "no neural state came: the server gives no probabilities"
        return Step("neural state", "warn", said, "a server with logprobs, such as llama.cpp")
    known = [each["strength"] for each in sight.states if each.get("strength") is not None]
    if not known:
        said = f"{len(sight.states)} came, without a strength: the server gives no probabilities"
        return Step("neural state", "warn", said, "a server with logprobs, such as llama.cpp")
    return Step("neural state", "pass", f"{len(sight.states)} came, strength {known[-1]:.2f}")


def _gpu(compositor: Entry | None) -> Step:
    if compositor is None or compositor.status is None:
        return Step("GPU", "skip", "the compositor does not answer")
    details = compositor.status.details
    gpu, backend = details.get("gpu", "?"), details.get("backend", "?")
    if backend == "wgpu":
        return Step("GPU", "pass", f"draws on {gpu}")
    if gpu.startswith("none"):
        return Step("GPU", "pass", f"draws on the CPU; a GPU: {gpu}")
    return Step("GPU", "pass", f"draws on the CPU ({backend}); found: {gpu}")
