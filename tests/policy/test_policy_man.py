"""Man pages and completions: clean, as wide as a terminal, and saying what ``--help`` says."""

import contextlib
import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import msgspec
import pytest
from click.testing import CliRunner
from repository import ROOT

from geoosctl.cli import EXIT_CODES, cli
from geoosctl.commands.config import ABOUT, toml
from geoosd import __main__ as geoosd
from geoosd import config
from geoosd.wire import events

PAGES = ("geoosctl.1", "geoosd.8", "geoos.toml.5", "geoos.target.8")
WIDTH = 80


def need(tool, package=None):
    """Skip where *tool* is not there."""
    if not shutil.which(tool):
        pytest.skip(f"no {tool}: sudo apt install {package or tool}")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Everything that docs/man/build.py makes."""
    where = tmp_path_factory.mktemp("build")
    subprocess.run([sys.executable, "-B", ROOT / "docs/man/build.py", where], check=True)
    return where


@pytest.fixture(scope="module")
def rendered(built):
    """Each page as a terminal shows it."""
    need("man", "man-db")
    return {page: render(built / "man" / page) for page in PAGES}


def render(path):
    environ = {**os.environ, "MANWIDTH": str(WIDTH), "LC_ALL": "C.UTF-8", "MANPAGER": "cat"}
    command = ["man", "--warnings", "--encoding=UTF-8", "--local-file", path]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    assert done.stderr == ""  # what groff has to complain about
    return done.stdout


def flat(text):
    return " ".join(text.split())


def part(page, start, end=r"\Z"):
    """From the heading *start* to the next that matches *end*."""
    found = re.search(rf"^{start}\n(.*?)(?=^{end}|\Z)", page, re.MULTILINE | re.DOTALL)
    assert found, start
    return found[1]


def help_entries(text, heading="Options:"):
    """The options in what ``--help`` printed: each with its words, in one line."""
    block = text.partition(f"{heading}\n")[2].partition("\n\n")[0]
    return [flat(entry) for entry in re.split(r"\n(?=  -)", block) if entry.strip()]


# -- as roff ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES)
def test_no_linter_has_a_complaint(built, page):
    need("mandoc")
    lint = ["mandoc", "-T", "lint", "-W", "all", built / "man" / page]
    done = subprocess.run(lint, capture_output=True, text=True, check=False)
    assert (done.stdout + done.stderr, done.returncode) == ("", 0)


@pytest.mark.parametrize("page", PAGES)
def test_every_line_fits_a_terminal(rendered, page):
    assert [line for line in rendered[page].splitlines() if len(line) > WIDTH] == []
    assert "\N{HYPHEN}" not in rendered[page]  # which nobody could paste into a shell


def test_the_check_sees_what_groff_complains_about(tmp_path):
    need("man", "man-db")
    broken = tmp_path / "broken.1"
    broken.write_text(".TH BROKEN 1\n.SH NAME\nbroken \\- it is\n.nosuchmacro\n")
    with pytest.raises(AssertionError):
        render(broken)


# -- what they say ---------------------------------------------------------------------------------


def verbs(group=cli, above=()):
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if not isinstance(command, click.Group) or command.invoke_without_command:
            yield (*above, name)
        if isinstance(command, click.Group):
            yield from verbs(command, (*above, name))


@pytest.mark.parametrize("verb", list(verbs()), ids=" ".join)
def test_geoosctl_1_says_what_help_says(rendered, verb):
    page = rendered["geoosctl.1"]
    asked = {"prog_name": "geoosctl", "terminal_width": WIDTH}
    said = CliRunner().invoke(cli, [*verb, "--help"], **asked).stdout
    own = part(page, f"   geoosctl {' '.join(verb)}", r"(   )?\w")
    usage, _, about = said.partition("Options:")[0].partition("\n\n")
    assert flat(usage.removeprefix("Usage:")) in flat(own)
    for paragraph in filter(None, map(flat, about.split("\n\n"))):
        assert paragraph in flat(own)
    entries = help_entries(said)
    assert entries
    anywhere = flat(own) + flat(part(page, "OPTIONS", r"\w"))
    assert [entry for entry in entries if entry.removeprefix("-h, ") not in anywhere] == []
    for example in re.findall(r"^  (?:sudo )?geoosctl .*", said.partition("Examples:")[2], re.M):
        assert example.strip() in map(str.strip, own.splitlines())


def test_geoosctl_1_has_no_verb_that_is_not_there(rendered):
    shown = re.findall(r"^   geoosctl (.*)$", rendered["geoosctl.1"], re.MULTILINE)
    assert shown == [" ".join(verb) for verb in verbs()]


def test_exit_codes_are_the_same_everywhere(rendered):
    shown = re.findall(r"^       (\d+)\s", part(rendered["geoosctl.1"], "EXIT STATUS", r"\w"), re.M)
    assert list(map(int, shown)) == list(EXIT_CODES)
    text = (ROOT / "docs" / "geoosctl-json.md").read_text(encoding="utf-8")
    table = part(text, "## Exit codes", "## ")
    cells = re.findall(r"^\| ([\d ·]+) \|", table, re.MULTILINE)
    known = {int(code) for cell in cells for code in cell.split(" · ")}
    assert known | {1, 2, 3} == set(EXIT_CODES)  # those of status and health are said below


@pytest.mark.parametrize("command", ["up", *config.DAEMONS])
def test_geoosd_8_says_what_help_says(rendered, command, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    said = io.StringIO()
    with contextlib.redirect_stdout(said), pytest.raises(SystemExit):
        geoosd.main([command, "--help"])
    page = re.sub(r"\.(\s)", r"\1", rendered["geoosd.8"]).casefold()
    about = flat(said.getvalue().split("\n\n")[1]).rstrip(".")
    assert f"geoosd {command} {about}".casefold() in flat(page)
    entries = help_entries(said.getvalue(), "options:")
    assert len(entries) >= 6
    for entry in entries:
        words = re.sub(r"\{(.*?)\}", lambda found: found[1].replace(",", "|"), entry)
        assert words.casefold() in flat(page)


def test_geoosd_8_names_every_event(rendered):
    page = part(rendered["geoosd.8"], "EVENTS", r"\w")
    assert re.findall("MESSAGE_ID=([0-9a-f]{32})", page) == [it.message_id for it in events.EVENTS]


def fields():
    """Table, and what msgspec knows of each of its keys."""
    for table, struct in config._SECTIONS.items():
        if table:
            info = msgspec.inspect.type_info(struct)
            yield from ((table, each) for each in info.fields if each.name != "upstream")


@pytest.mark.parametrize(
    ("table", "field"), [pytest.param(*each, id=f"{each[0]}.{each[1].name}") for each in fields()]
)
def test_geoos_toml_5_explains_every_key(rendered, table, field):
    heading = "[[bridge.upstream]]" if table == "bridge.upstream" else f"[{table}]"
    own = flat(part(rendered["geoos.toml.5"], re.escape(heading), r"[\w\[]"))
    words = flat(ABOUT[f"{table}.{field.name}"])
    entry = own.partition(f"{field.name} {words} (")[2].partition(".)")[0]
    assert entry, own
    if field.required:
        assert entry.endswith("must be given")
    elif field.default is not msgspec.NODEFAULT and field.default is not None:
        assert entry.casefold().endswith(f"default {toml(field.default)}".casefold())
    if isinstance(field.type, msgspec.inspect.LiteralType):  # which page and example only tell so
        assert [value for value in field.type.values if str(value) not in words] == []


def test_geoos_target_8_describes_every_unit(rendered):
    page = flat(part(rendered["geoos.target.8"], "UNITS", r"\w"))
    for unit in (path for path in (ROOT / "units").glob("geoos*") if path.is_file()):
        (about,) = re.findall("^Description=(.*)$", unit.read_text(), re.MULTILINE)
        assert f"{unit.name} {about}" in page


# -- completions -----------------------------------------------------------------------------------

# Each sources the script as its shell would load it, and asks it what fits a line.
ASK = {
    "bash": """
        source "$1/$0.bash"; read -ra COMP_WORDS <<<"$2"; COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
        compopt() { echo "(files)"; }
        registered=$(complete -p "$0"); registered=${registered##*-F }
        "${registered%% *}" "$0"; printf '%s\\n' "${COMPREPLY[@]}"
    """,
    "zsh": """
        compdef() {}; compadd() { print -rl -- $completions; }; _path_files() { print "(files)"; }
        _describe() { print -rl -- ${(P)@[-1]} $completions_with_descriptions; }
        _arguments() { print -rl -- "$@"; }
        words=(${=2}); CURRENT=$#words
        source "$1/_$0"
        if [[ $0 = geoosctl ]]; then _geoosctl_completion; else _geoosd; fi
    """,
    "fish": 'source "$argv[2]/$argv[1].fish"; complete -C "$argv[3]"',
}
LINES = [
    ("geoosctl sta", ["start", "status"]),
    ("geoosctl logs --unit b", ["bridge", "broadcaster"]),
    ("geoosctl theme s", ["set", "show"]),
    ("geoosctl stop comp", ["compositor"]),
    ("geoosd b", ["bridge", "broadcaster"]),
    ("geoosd engine --check", ["--check-wanted"]),
]


@pytest.mark.parametrize("shell", ASK)
@pytest.mark.parametrize(("line", "expected"), LINES, ids=[line for line, _ in LINES])
def test_a_shell_completes(built, shell, line, expected):
    need(shell)
    program = line.split()[0]
    quiet = {"bash": ["--norc"], "zsh": ["-f"], "fish": ["--no-config"]}[shell]
    command = [shell, *quiet, "-c", ASK[shell], program, built / "completions", line]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        command, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    words = re.findall(r"^(-*\w[\w-]*)", done.stdout, re.MULTILINE)
    found = sorted(word for word in set(words) if word.startswith(line.split()[-1]))
    assert found == expected
