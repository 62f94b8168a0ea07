"""The command line: options that every verb takes, verbs loaded when used, exit codes."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import click

from geoosctl.floats import FloatRange
from geoosd import __version__
from geoosd.errors import (
    EX_CONFIG,
    EX_NOPERM,
    EX_SOFTWARE,
    EX_UNAVAILABLE,
    EX_USAGE,
    ConfigError,
    GeoosError,
    VarlinkError,
)

_INTERRUPTED = 130
_CLOSED_PIPE = 141

EXIT_CODES: Final[dict[int, str]] = {
    0: "Done. status: all daemons are active. health: healthy.",
    1: "health: warning.",
    2: "health: critical.",
    3: "status: some or all daemons are not active. health: unknown.",
    EX_USAGE: "The command line, or an argument that a daemon refused.",
    EX_UNAVAILABLE: "Nobody answers, or what the call needs is unavailable.",
    EX_SOFTWARE: "Anything else, such as an answer that broke off or a daemon that failed.",
    EX_NOPERM: "Permission; the message says which group is missing.",
    EX_CONFIG: "The configuration cannot be used. reload: a daemon refused it, the old one stays.",
    _INTERRUPTED: "Interrupted.",
    _CLOSED_PIPE: "The reader of the output went away.",
}
"""Every exit code and what it means; geoosctl(1) and docs/geoosctl-json.md say the same."""

VERBS: Final = {
    "status": "state",
    "health": "health",
    "selftest": "selftest",
    "start": "units",
    "stop": "units",
    "restart": "units",
    "logs": "logs",
    "metrics": "metrics",
    "prompt": "prompt",
    "batch": "batch",
    "models": "listings",
    "viewers": "viewers",
    "watch": "watch",
    "token": "token",
    "sessions": "sessions",
    "session": "sessions",
    "feedback": "feedback",
    "snapshot": "snapshot",
    "theme": "theme",
    "map": "map",
    "structure": "structure",
    "config": "config",
    "backup": "backup",
    "restore": "backup",
    "bugreport": "bugreport",
    "reload": "control",
    "log-level": "control",
    "call": "call",
}
"""Every verb and the module of :mod:`geoosctl.commands` that has it, in the order of the help."""


@dataclass
class Settings:
    """What the options of every verb say."""

    json: bool = False
    socket: str | None = None
    timeout: float | None = None

    @property
    def control(self) -> Path:
        """The control socket."""
        from geoosctl.place import control_socket

        return control_socket(self.socket)

    def wait(self, usual: float | None) -> float | None:
        """Seconds to wait for an answer: ``--timeout``, else what is *usual* for the call."""
        return usual if self.timeout is None else self.timeout


def settings() -> Settings:
    """The settings of the verb that runs."""
    return click.get_current_context().ensure_object(Settings)


def _common_options() -> list[click.Option]:
    """Taken before the verb and after it."""

    def store(context: click.Context, parameter: click.Parameter, value: Any) -> None:
        if value is not None and parameter.name is not None:
            setattr(context.ensure_object(Settings), parameter.name, value)

    def option(*names: str, **attributes: Any) -> click.Option:
        return click.Option(names, expose_value=False, callback=store, default=None, **attributes)

    return [
        option("--json", is_flag=True, flag_value=True, help="One JSON object, or JSON lines."),
        option("--socket", metavar="PATH", help="Control socket; else the environment's."),
        option(
            "--timeout",
            type=FloatRange(min=0, min_open=True),
            metavar="SECONDS",
            help="How long to wait for an answer.",
        ),
    ]


class Verb(click.Command):
    """A verb: takes the common options too; its help ends in examples."""

    def __init__(self, *args: Any, examples: Sequence[str] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += _common_options()
        self.examples = examples

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The examples, one a line."""
        if self.examples:
            with formatter.section("Examples"):
                for example in self.examples:
                    formatter.write_text(example)


class VerbGroup(Verb, click.Group):
    """Verbs under one name, such as ``theme list``; with ``invoke_without_command`` itself one."""

    command_class = Verb


class _Geoosctl(click.Group):
    """The top: loads a verb's module when the verb is used, and turns errors into exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        module = import_module(f"geoosctl.commands.{VERBS[cmd_name]}")
        name = cmd_name.replace("-", "_")
        command: click.Command = getattr(module, name, None) or getattr(module, f"{name}_")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], VERBS, n=1)
            hint = f" Do you mean {near[0]}?" if near else ""
            ctx.fail(f"No such verb: {args[0]}.{hint}")
        return super().resolve_command(ctx, args)

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run and exit."""
        kwargs["standalone_mode"] = False
        sys.exit(self._run(*args, **kwargs))

    def _run(self, *args: Any, **kwargs: Any) -> int:
        try:
            result = super().main(*args, **kwargs)
            return result if isinstance(result, int) else 0
        except click.ClickException as error:
            error.show()
            usage = isinstance(error, click.UsageError)
            return EX_USAGE if usage else EX_SOFTWARE
        except click.Abort:
            return _INTERRUPTED
        except GeoosError as error:
            click.echo(f"geoosctl: {_in_words(error)}", err=True)
            return exit_code(error)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except BrokenPipeError:
            # Nobody reads any more: not an error of ours, and the interpreter's last flush is mute.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return _CLOSED_PIPE


def exit_code(error: GeoosError) -> int:
    """The exit code that tells a script what kind of error it was."""
    if isinstance(error, ConfigError):
        return EX_CONFIG
    if isinstance(error, VarlinkError):
        return {
            "io.geoos.Unavailable": EX_UNAVAILABLE,
            "io.geoos.PermissionDenied": EX_NOPERM,
            "io.geoos.InvalidArgument": EX_USAGE,
        }.get(error.error, EX_SOFTWARE)
    return EX_SOFTWARE


def _in_words(error: GeoosError) -> str:
    """The error in one line; a Varlink error without a reason shows its parameters."""
    from geoosctl.output import visible

    if isinstance(error, VarlinkError) and "reason" not in error.parameters:
        details = ", ".join(f"{key}: {value}" for key, value in error.parameters.items())
        return visible(f"{error.error}: {details}" if details else error.error)
    return visible(str(error))


@click.group(
    cls=_Geoosctl,
    params=_common_options(),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
    epilog="Begin with: geoosctl status. Every verb has --help with examples.",
)
@click.version_option(__version__, prog_name="geoosctl")
def cli() -> None:
    """See how geoos is, ask a model something, look at the map."""


def main() -> None:
    """The console script. What a terminal's encoding does not have is shown as a question mark."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="replace")
    cli()
