"""The API reference is what the code says."""

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from geoosctl.cli import cli

ROOT = Path(__file__).resolve().parents[2]
API = ROOT / "docs" / "api"
NAMES = ("geoosctl.schema.json", "http.md", "messages.md", "messages.schema.json", "varlink.md")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    where = tmp_path_factory.mktemp("api")
    subprocess.run([sys.executable, "-B", API / "build.py", where], check=True)
    return where


def test_nothing_else_is_made(made):
    assert sorted(path.name for path in made.iterdir()) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_committed_is_current(made, name):
    committed = (API / name).read_text(encoding="utf-8")
    assert committed == (made / name).read_text(encoding="utf-8"), "python docs/api/build.py"


@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith(".json")])
def test_schemas_are_schemas(name):
    schema = json.loads((API / name).read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$defs"]


def leaves(group, prefix=""):
    for name in group.list_commands(None):
        command = group.get_command(None, name)
        if hasattr(command, "list_commands"):
            if command.invoke_without_command:
                yield f"{prefix}{name}"
            yield from leaves(command, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}"


def test_every_verb_has_a_schema_and_a_place_in_the_table():
    schema = json.loads((API / "geoosctl.schema.json").read_text(encoding="utf-8"))
    known = {name.removeprefix("verb: ") for name in schema["$defs"] if name.startswith("verb: ")}
    assert known == set(leaves(cli))
    text = (ROOT / "docs" / "geoosctl-json.md").read_text(encoding="utf-8")
    assert [name for name in known if f"`{name}" not in text] == []


def test_every_method_is_in_the_reference():
    text = (API / "varlink.md").read_text(encoding="utf-8")
    for path in (ROOT / "geoosd" / "wire").glob("io.geoos.*.varlink"):
        assert path.read_text(encoding="utf-8").strip() in text
