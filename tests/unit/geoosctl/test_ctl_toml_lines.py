"""The line of a key in a configuration."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoosctl import toml_lines
from geoosctl.commands.config import example_text

TEXT = '''# a comment = 1
[bridge]
listen = "127.0.0.1:1"  # here
"record" = "full"
system_prompt = """
listen = no key
"""
origins = [
  "a",
]

[[bridge.upstream]]
id = "one"
url = "x"
  [[ bridge.upstream ]]  # the second
id = "two"
[log]
log.level = "no"
engine = { mode = "x" }
'''


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ("bridge", 2),
        ("bridge.listen", 3),
        ("bridge.record", 4),
        ("bridge.system_prompt", 5),
        ("bridge.origins", 8),
        ("bridge.origins[0]", 8),
        ("bridge.upstream[0]", 12),
        ("bridge.upstream[0].url", 14),
        ("bridge.upstream[1].id", 16),
        ("bridge.upstream[1].nothing", 15),
        ("bridge.upstream[...].id", 13),
        ("log.engine.mode", 19),
        ("log.log.level", 18),
        ("compositor.fps", None),
    ],
)
def test_where_a_key_stands(key, line):
    assert toml_lines.line_of(TEXT, key) == line


@pytest.mark.parametrize(
    ("message", "key"),
    [
        ("cannot use f.toml: unknown key bridge.lisen; do you mean bridge.listen?", "bridge.lisen"),
        ("cannot use f.toml: bridge.upstream[1].url: 'x' is not an", "bridge.upstream[1].url"),
        ("cannot use f.toml: bridge.upstream[...].id: expected", "bridge.upstream[...].id"),
        ("cannot use f.toml: unknown key brigde; do you mean bridge?", "brigde"),
        ("cannot read f.toml", None),
    ],
)
def test_the_key_that_an_error_is_about(message, key):
    assert toml_lines.key_of(message) == key


def test_every_key_of_the_example_is_found():
    text = example_text()
    for section, table in tomllib.loads(text).items():
        for key in table:
            line = toml_lines.line_of(text, f"{section}.{key}")
            assert text.splitlines()[line - 1].startswith(f"{key} = ")


@given(st.text(max_size=200), st.text(max_size=20))
def test_any_text_has_a_line_of_its_own_or_none(text, key):
    line = toml_lines.line_of(text, key)
    assert line is None or 1 <= line <= len(text.splitlines())


@pytest.mark.parametrize(
    ("content", "line", "shown"),
    [
        ('[bridge]\n\nlisen = "x"\n', 3, '     3 | lisen = "x"'),
        ('[log]\nlevel = "loud"\n', 2, '     2 | level = "loud"'),
        ('[[bridge.upstream]]\nid = "a"\nurl = "ftp://x"\n', 3, '     3 | url = "ftp://x"'),
        ("[bridge\n", None, None),
    ],
)
def test_config_check_points_at_it(geoosctl, tmp_path, content, line, shown):
    import json

    (tmp_path / "g.toml").write_text(content)
    result = geoosctl("config", "check", str(tmp_path / "g.toml"))
    assert result.exit_code == 78
    assert result.stderr.splitlines()[1:] == ([shown] if shown else [])
    told = json.loads(geoosctl("--json", "config", "check", str(tmp_path / "g.toml")).stdout)
    assert told["line"] == line
