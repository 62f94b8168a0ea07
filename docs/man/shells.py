"""Completions for bash, zsh and fish.

geoosctl completes itself: click's scripts ask it what fits (click, "Shell Completion"). geoosd
would load a whole daemon for that, and its words are few: they are written into the scripts.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator, Mapping

from click.shell_completion import get_completion_class

from geoosctl.cli import cli

FILES = {"bash": "{}.bash", "zsh": "_{}", "fish": "{}.fish"}
"""The name under which each shell looks for the completion of a command."""


def geoosctl(shell: str) -> str:
    """The script for *shell*."""
    kind = get_completion_class(shell)
    assert kind is not None, shell
    # Not source(), which looks for the shell on the machine that makes the script.
    script: str = kind.source_template
    return script % kind(cli, {}, "geoosctl", "_GEOOSCTL_COMPLETE").source_vars()


def geoosd(shell: str, parsers: Mapping[str, argparse.ArgumentParser]) -> str:
    """The script for *shell*."""
    write = {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell]
    return "\n".join(write(parsers)) + "\n"


def _takes_file(action: argparse.Action) -> bool:
    return action.metavar == "FILE"


def _about(parser: argparse.ArgumentParser) -> str:
    return (parser.description or "").rstrip(".").replace(":", ",")


def _bash(parsers: Mapping[str, argparse.ArgumentParser]) -> Iterator[str]:
    yield "_geoosd() {"
    yield '    local words=""'
    yield '    case "${COMP_WORDS[COMP_CWORD - 1]}" in'
    for action in _distinct(parsers):
        flags = "|".join(action.option_strings)
        if _takes_file(action):
            yield f"    {flags}) compopt -o default; return ;;"
        elif action.nargs != 0:
            yield f'    {flags}) words="{" ".join(map(str, action.choices or ()))}" ;;'
    yield "    geoosd | */geoosd)"
    yield f'        words="{" ".join(parsers)}" ;;'
    yield "    *)"
    yield '        case "${COMP_WORDS[1]}" in'
    for name, parser in parsers.items():
        flags = " ".join(flag for action in parser._actions for flag in action.option_strings)
        yield f'        {name}) words="{flags}" ;;'
    yield "        esac ;;"
    yield "    esac"
    yield '    mapfile -t COMPREPLY < <(compgen -W "$words" -- "${COMP_WORDS[COMP_CWORD]}")'
    yield "}"
    yield "complete -F _geoosd geoosd"


def _distinct(parsers: Mapping[str, argparse.ArgumentParser]) -> list[argparse.Action]:
    """Every option of any command, once."""
    found = {action.dest: action for parser in parsers.values() for action in parser._actions}
    return list(found.values())


def _zsh(parsers: Mapping[str, argparse.ArgumentParser]) -> Iterator[str]:
    yield "#compdef geoosd"
    yield "_geoosd() {"
    yield "    local -a commands"
    yield "    commands=("
    for name, parser in parsers.items():
        yield f"        {shlex.quote(f'{name}:{_about(parser)}')}"
    yield "    )"
    yield "    if (( CURRENT == 2 )); then"
    yield "        _describe command commands"
    yield "        return"
    yield "    fi"
    yield "    local command=$words[2]"
    yield "    shift words; (( CURRENT-- ))"
    yield "    case $command in"
    for name, parser in parsers.items():
        specs = [spec for action in parser._actions for spec in _zsh_specs(action)]
        yield f"    {name}) _arguments {' '.join(map(shlex.quote, specs))} ;;"
    yield "    esac"
    yield "}"
    # As click does it: loaded by name it is the function's body, sourced it is registered.
    yield 'if [[ $zsh_eval_context[-1] == loadautofunc ]]; then _geoosd "$@"; '
    yield "else compdef _geoosd geoosd; fi"


def _zsh_specs(action: argparse.Action) -> Iterator[str]:
    about = (action.help or "").replace("[", "\\[").replace("]", "\\]").replace(":", "\\:")
    value = ""
    if _takes_file(action):
        value = ":file:_files"
    elif action.nargs != 0:
        words = " ".join(map(str, action.choices or ()))
        value = f":{(action.metavar or 'value').lower()}:({words})"
    for flag in action.option_strings:
        yield f"{flag}[{about}]{value}"


def _fish(parsers: Mapping[str, argparse.ArgumentParser]) -> Iterator[str]:
    yield "complete -c geoosd -f"
    for name, parser in parsers.items():
        about = shlex.quote(_about(parser))
        yield f"complete -c geoosd -n __fish_use_subcommand -a {name} -d {about}"
        for action in parser._actions:
            words = ["complete", "-c", "geoosd", "-n", f"__fish_seen_subcommand_from {name}"]
            for flag in action.option_strings:
                words += ["-l" if flag.startswith("--") else "-s", flag.lstrip("-")]
            if action.nargs != 0:
                words += ["-r", "-F"] if _takes_file(action) else ["-x"]
                words += ["-a", " ".join(map(str, action.choices))] if action.choices else []
            yield " ".join(map(shlex.quote, [*words, "-d", action.help or ""]))
