"""geoosctl(1) from click's commands, geoosd(8) from the daemons' argument parsers."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Mapping
from importlib import import_module

import click
import roff

from geoosctl.cli import EXIT_CODES, Verb, cli
from geoosd import foreground
from geoosd.config import DAEMONS
from geoosd.errors import EX_CONFIG, EX_SOFTWARE, EX_USAGE
from geoosd.runtime import service
from geoosd.wire import events

_FIELD = re.compile(r"@GEOOS_([A-Z_]+)@")
_ENVIRONMENT = (
    ("GEOOS_RUNTIME_DIR", "The directory of the sockets."),
    ("GEOOS_CONFIG", "The configuration file; else /etc/geoos/geoos.toml where that exists."),
    ("NO_COLOR", "Set to anything: no colours."),
)


# -- geoosctl(1) -----------------------------------------------------------------------------------


def verbs(group: click.Group, above: str = "geoosctl") -> Iterator[tuple[str, click.Context]]:
    """Every verb that does something, with its context; a group's verbs in its place."""
    parent = click.Context(group, info_name=above)
    for name in group.list_commands(parent):
        command = group.get_command(parent, name)
        assert command is not None, name
        if not isinstance(command, click.Group) or command.invoke_without_command:
            yield f"{above} {name}", click.Context(command, info_name=f"{above} {name}")
        if isinstance(command, click.Group):
            yield from verbs(command, f"{above} {name}")


def geoosctl() -> list[str]:
    """The body of geoosctl(1)."""
    top = click.Context(cli, info_name="geoosctl", **cli.context_settings)
    every = {parameter.name for parameter in cli.get_params(top)}
    common = "".join(_options(top, but=set()))
    return [
        roff.section(
            "SYNOPSIS",
            f"{roff.bold('geoosctl')} [{roff.italic('OPTION')}]... {roff.italic('VERB')} "
            f"[{roff.italic('ARGUMENT')}]...\n.br\n"
            f"{roff.bold('geoosctl')} {roff.italic('VERB')} {roff.bold('--help')}\n",
        ),
        roff.section("DESCRIPTION", roff.paragraphs(f"{cli.help}\n\n{_ABOUT_GEOOSCTL}")),
        roff.section("OPTIONS", roff.paragraphs("Before the verb or after it:"), common),
        roff.section("VERBS", *(_verb(name, context, every) for name, context in verbs(cli))),
        roff.section("EXIT STATUS", *_exit_codes(EXIT_CODES)),
        roff.section("ENVIRONMENT", *roff.entries(_ENVIRONMENT)),
        roff.section("FILES", *roff.entries(_SOCKETS)),
    ]


_ABOUT_GEOOSCTL = """\
It asks the daemons over their Varlink sockets, and systemd about their units; members of the group
`geoos` may look and prompt, members of `geoos-admin` may change something too. `start`, `stop` and
`restart` need root where systemd asks for it.

With `--json` every verb prints one JSON object on one line, or, where the answer is a stream, one
object a line; docs/geoosctl-json.md says what is in them. Errors go to standard error, in one line
that ends in what to do.
"""
_SOCKETS = (
    ("/run/geoos/control.sock", "The control socket under systemd."),
    ("$XDG_RUNTIME_DIR/geoos/control.sock", "That of the user units and of `geoosd up`."),
)


def _verb(name: str, context: click.Context, common: set[str | None]) -> str:
    command = context.command
    blocks = [_usage(name, context), ".PP\n", roff.paragraphs(command.help or "")]
    blocks += _choices(command)
    blocks += _options(context, but=common)
    examples = command.examples if isinstance(command, Verb) else ()
    if examples:
        word = "Example:" if len(examples) == 1 else "Examples:"
        blocks += [".PP\n", roff.paragraphs(word), roff.example(examples)]
    return roff.subsection(name, *blocks)


def _usage(name: str, context: click.Context) -> str:
    pieces = context.command.collect_usage_pieces(context)
    words = [roff.italic(piece) for piece in pieces]
    return " ".join([roff.bold(name), *words]) + "\n"


def _choices(command: click.Command) -> Iterator[str]:
    """What an argument may be, where that is one of a few words."""
    for parameter in command.params:
        if isinstance(parameter, click.Argument) and isinstance(parameter.type, click.Choice):
            name = (parameter.metavar or parameter.human_readable_name).strip("[].")
            words = ", ".join(f"`{word}`" for word in parameter.type.choices)
            yield ".PP\n" + roff.paragraphs(f"<{name}> is one of {words}.")


def _options(context: click.Context, *, but: set[str | None]) -> Iterator[str]:
    for parameter in context.command.get_params(context):
        if isinstance(parameter, click.Option) and parameter.name not in but:
            record = parameter.get_help_record(context)
            if record is not None:
                yield roff.tagged(_flags(record[0]), record[1])


def _flags(text: str) -> str:
    """``-n, --lines N`` with what is typed in bold and what stands for something in italics."""
    words = []
    for word in text.split(" "):
        comma = "," if word.endswith(",") else ""
        style = roff.bold if word.startswith("-") else roff.italic
        words.append(style(word.removesuffix(",")) + comma)
    return " ".join(words)


def _exit_codes(codes: Mapping[int, str]) -> Iterator[str]:
    return roff.entries((str(code), words) for code, words in codes.items())


# -- geoosd(8) -------------------------------------------------------------------------------------


def parsers() -> dict[str, argparse.ArgumentParser]:
    """The argument parser of every command of geoosd."""
    specs = {name: import_module(f"geoosd.{name}.service").SPEC for name in DAEMONS}
    found = {name: service.parser(spec) for name, spec in specs.items()}
    return {"up": foreground.parser(), **found}


def geoosd() -> list[str]:
    """The body of geoosd(8)."""
    found = parsers()
    shared = found["up"]
    return [
        roff.section(
            "SYNOPSIS",
            f"{roff.bold('geoosd')} {roff.bold('up')} [{roff.italic('OPTION')}]...\n.br\n"
            f"{roff.bold('geoosd')} {roff.italic('DAEMON')} [{roff.italic('OPTION')}]...\n",
        ),
        roff.section("DESCRIPTION", roff.paragraphs(_ABOUT_GEOOSD)),
        roff.section("COMMANDS", *(_command(name, each, shared) for name, each in found.items())),
        roff.section("OPTIONS", roff.paragraphs("Every command takes:"), *_actions(shared)),
        roff.section("SIGNALS", *roff.entries(_SIGNALS)),
        roff.section("EVENTS", roff.paragraphs(_ABOUT_EVENTS), *map(_event, events.EVENTS)),
        roff.section("EXIT STATUS", *_exit_codes(_EXIT_GEOOSD)),
        roff.section("ENVIRONMENT", *roff.entries(_ENVIRONMENT), *roff.entries(_MORE)),
    ]


_ABOUT_GEOOSD = """\
`geoosd` runs the daemons of geoos, which let people see a language model think, live. Under systemd
each runs as a service of its own: see `geoos.target`(8). `geoosd up` runs all of them in the
foreground, under one supervisor, for a look or for a machine without systemd; Ctrl-C stops them.

A daemon says that it is ready (sd_notify(3)), takes its sockets from systemd where there are some,
and feeds the watchdog only while its event loop, its threads and its data path work. It logs to the
journal, in fields, where standard error is the journal, and to standard error otherwise.
"""
_SIGNALS = (
    ("SIGTERM, SIGINT", "Finish what is in flight, then end; a second one ends at once."),
    (
        "SIGHUP",
        "Read the configuration anew; one that cannot be used is refused, with a record.",
    ),
)
_ABOUT_EVENTS = """\
Records worth an alert carry a `MESSAGE_ID`. `journalctl MESSAGE_ID=`<ID> finds them, and
`journalctl -x` explains them. Records may also carry `GEOOS_DAEMON`, `GEOOS_SESSION`,
`GEOOS_UPSTREAM` and `GEOOS_ERROR`. The text of prompts and answers is in none.
"""
_EXIT_GEOOSD = {
    0: "Stopped as asked.",
    EX_USAGE: "The command line is wrong.",
    EX_SOFTWARE: "Anything else; the unit starts the daemon again.",
    EX_CONFIG: (
        "It cannot start: the configuration cannot be used, or a port is taken. The last record "
        "says which and what to do; the unit stays down, since another try would end the same way."
    ),
}
_MORE = (
    ("GEOOS_STATE_DIR", "The directory of the state; else $XDG_STATE_HOME/geoos."),
    (
        "CREDENTIALS_DIRECTORY",
        "The directory of the API keys that api_key_credential names; systemd sets it.",
    ),
    (
        "NOTIFY_SOCKET, WATCHDOG_USEC, LISTEN_FDS, JOURNAL_STREAM",
        "Set by systemd; see systemd.exec(5).",
    ),
)


def _command(name: str, parser: argparse.ArgumentParser, shared: argparse.ArgumentParser) -> str:
    about = (parser.description or "").rstrip(".")
    own = "".join(_actions(parser, but=shared))
    head = roff.tagged(roff.bold(f"geoosd {name}"), f"{about[:1].upper()}{about[1:]}.")
    return head + (f".RS\n{own}.RE\n" if own else "")


def _actions(
    parser: argparse.ArgumentParser, but: argparse.ArgumentParser | None = None
) -> Iterator[str]:
    """The options of *parser*, without those that *but* has too."""
    known = {each.dest for each in but._actions} if but else set()
    for action in parser._actions:
        if action.dest not in known:
            about = (action.help or "").rstrip(".")
            yield roff.tagged(_action_flags(action), f"{about[:1].upper()}{about[1:]}.")


def _action_flags(action: argparse.Action) -> str:
    value = ""
    if action.nargs != 0:
        words = "|".join(map(str, action.choices)) if action.choices else str(action.metavar)
        value = f" {roff.italic(words)}"
    return ", ".join(roff.bold(flag) + value for flag in action.option_strings)


def _event(event: events.Event) -> str:
    identity = f"MESSAGE_ID={event.message_id}"
    about = " ".join(map(_sentence, (event.subject, event.meaning)))
    return roff.tagged(roff.bold(event.name), identity, about, _fields(event.remedy))


def _sentence(text: str) -> str:
    return _fields(text if text.endswith((".", "?")) else f"{text}.")


def _fields(text: str) -> str:
    """*text* with the names of the record's fields as placeholders."""
    return _FIELD.sub(r"<\1>", text)
