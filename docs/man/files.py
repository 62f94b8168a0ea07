"""geoos.toml(5) from the Structs of geoosd.config and the words of ``geoosctl config example``;
geoos.target(8) from the units themselves."""

from __future__ import annotations

import configparser
from pathlib import Path
from typing import Any

import msgspec
import roff
from msgspec import NODEFAULT, inspect

from geoosctl.commands.config import ABOUT, toml
from geoosd import config

ROOT = Path(__file__).resolve().parents[2]


# -- geoos.toml(5) ---------------------------------------------------------------------------------


def geoos_toml() -> list[str]:
    """The body of geoos.toml(5)."""
    sections = {name: type(value) for name, value in _sections().items()}
    example = ROOT / "etc" / "examples" / "several-servers.toml"
    return [
        roff.section("SYNOPSIS", roff.bold("/etc/geoos/geoos.toml") + "\n"),
        roff.section("DESCRIPTION", roff.paragraphs(_ABOUT_TOML)),
        *(_table(name, f"[{name}]", struct) for name, struct in sections.items()),
        _table("bridge.upstream", "[[bridge.upstream]]", config.RawUpstream),
        roff.section("CREDENTIALS", roff.paragraphs(_ABOUT_KEYS)),
        roff.section("EXAMPLE", roff.example(example.read_text(encoding="utf-8").splitlines())),
        roff.section("FILES", *roff.entries(_FILES)),
    ]


_ABOUT_TOML = """\
All daemons read one file in TOML: what `--config` names, else `$GEOOS_CONFIG`, else
`/etc/geoos/geoos.toml` where that exists. Every key has a default, so that the file may be empty or
absent. `--set` <SECTION.KEY=VALUE> on a daemon's command line wins over the file.

A key that is not known here is refused, and so is a value of another kind; the message names the
key and the nearest one that is known. `geoosctl config check` verifies a file, `geoosctl config
show` prints what it amounts to, and `geoosctl config example` prints one with every key.

`geoosctl reload` brings an edited file into force, in every daemon or, where it is wrong, in none.
What takes a restart, such as an address, is said.
"""
_ABOUT_KEYS = """\
Secrets do not stand in this file. `api_key_credential` names a file that holds the key alone, in
the directory of the credentials (systemd.exec(5), `LoadCredential=`). The drop-in
`credentials.conf` in /usr/local/share/doc/geoos/drop-ins shows how; in the foreground set
`CREDENTIALS_DIRECTORY`.
"""
_FILES = (
    ("/etc/geoos/geoos.toml", "The configuration. make install never overwrites it."),
    ("/etc/geoos/geoos.toml.new", "That of a newer version, where it differs."),
    ("/etc/geoos/themes", "Themes of your own, one a file."),
    ("/usr/local/share/doc/geoos/examples", "Examples."),
)


def _sections() -> dict[str, Any]:
    raw = config.RawConfig()
    return {name: getattr(raw, name) for name in raw.__struct_fields__}


def _table(name: str, title: str, struct: type[msgspec.Struct]) -> str:
    info = inspect.type_info(struct)
    assert isinstance(info, inspect.StructType)
    keys = [_key(name, each) for each in info.fields if f"{name}.{each.name}" != "bridge.upstream"]
    return roff.section(title, roff.paragraphs(ABOUT[name]), *keys)


def _key(table: str, field: inspect.Field) -> str:
    path = f"{table}.{field.encode_name}"
    facts = "; ".join(part for part in (_kind(field.type), _default(field)) if part)
    about = f"{ABOUT[path]} ({facts[:1].upper()}{facts[1:]}.)"
    return roff.tagged(roff.bold(field.encode_name), about)


def _default(field: inspect.Field) -> str:
    made = field.default_factory() if field.default_factory is not NODEFAULT else field.default
    if made is NODEFAULT:
        return "must be given"
    return "not set by default" if made is None else f"default {toml(made)}"


_NAMES: dict[type[inspect.Type], str] = {
    inspect.BoolType: "boolean",
    inspect.IntType: "whole number",
    inspect.FloatType: "number",
    inspect.StrType: "string",
}


def _kind(info: inspect.Type) -> str:
    """What a value may be, in words."""
    if isinstance(info, inspect.UnionType):  # "or nothing"; TOML has no null
        (info,) = (each for each in info.types if not isinstance(each, inspect.NoneType))
    if isinstance(info, inspect.LiteralType):
        return ""  # the key's own words name them; a test holds them to it
    if isinstance(info, inspect.ListType):
        return "array of strings"
    return _NAMES[type(info)] + _range(info)


def _range(info: inspect.Type) -> str:
    low, high = getattr(info, "ge", None), getattr(info, "le", None)
    above = getattr(info, "gt", None)
    if low is not None and high is not None:
        return f" from {low} to {high}"
    if low is not None:
        return f", at least {low}"
    return f" above {above}" if above is not None else ""


# -- geoos.target(8) -------------------------------------------------------------------------------


def geoos_target() -> list[str]:
    """The body of geoos.target(8)."""
    units = sorted(path for path in (ROOT / "units").glob("geoos*.*") if path.is_file())
    dropins = sorted((ROOT / "units" / "drop-ins").glob("*.conf"))
    return [
        roff.section("SYNOPSIS", roff.paragraphs(", ".join(f"`{path.name}`" for path in units))),
        roff.section("DESCRIPTION", roff.paragraphs(_ABOUT_TARGET)),
        roff.section("UNITS", *roff.entries((path.name, _description(path)) for path in units)),
        roff.section(
            "DROP-INS",
            roff.paragraphs(_ABOUT_DROP_INS),
            *roff.entries((path.name, _comments(path)) for path in dropins),
        ),
        roff.section("USERS", roff.paragraphs(_ABOUT_USERS)),
        roff.section("FILES", *roff.entries(_PLACES)),
    ]


_ABOUT_TARGET = """\
`geoos.target` is the one switch for all daemons of geoos. `systemctl enable --now geoos.target`
starts them now and at every boot, and returns when all but the engine are ready. Their sockets are
there first: whoever connects early is served as soon as the daemon is up, and nothing is lost while
one restarts.

`geoosctl start`, `geoosctl stop` and `geoosctl restart` do the same, wait for the end, and say what
became of each daemon; `geoosctl status` shows each unit, how often it was restarted, how it last
ended and its last error. A daemon that was stopped by name, with `systemctl stop` too, stays down
until it is started, since its sockets go down with it; `systemctl mask` keeps it from starting.

A daemon that ends by itself is started again at once, and up to 8 times in 30 seconds. One that
gives no sign of life for 10 seconds is ended, with the stacks of all its threads in the journal.
One that ends with 78, because its configuration cannot be used or a port is taken, stays down until
it is started. `geoos-engine.service` is skipped where another model server answers (geoos.toml(5),
`[engine]`).

The same units are there for a user without root: `systemctl --user start geoos.target`.
"""
_ABOUT_DROP_INS = """\
The daemons reach no other machine and no device. Copies of these in /etc/systemd/system/<UNIT>`.d/`
widen that; they are in /usr/local/share/doc/geoos/drop-ins.
"""
_ABOUT_USERS = """\
Each daemon runs as a user of its own, `geoos-`<DAEMON>, in the group `geoos`. Members of `geoos`
may look and prompt; who is in `geoos-admin` as well may change something. Add a person with
`usermod -aG geoos` <USER>.
"""
_PLACES = (
    ("/etc/geoos/geoos.toml", "The configuration: geoos.toml(5)."),
    ("/run/geoos", "The sockets."),
    ("/var/lib/geoos/DAEMON", "The state of a daemon, private to it."),
    (
        "/var/cache/geoos/engine",
        "The embedded model; `systemctl clean --what=cache geoos-engine` frees it.",
    ),
    ("/opt/geoos", "The program."),
)


def _description(unit: Path) -> str:
    parsed = configparser.ConfigParser(
        strict=False, interpolation=None, comment_prefixes=("#", ";"), allow_no_value=True
    )
    parsed.read(unit, encoding="utf-8")
    return parsed["Unit"]["Description"]


def _comments(dropin: Path) -> str:
    """What a drop-in says about itself, without the line that shows how to copy it."""
    lines = dropin.read_text(encoding="utf-8").splitlines()[1:]
    return " ".join(line.removeprefix("# ") for line in lines if line.startswith("#"))
