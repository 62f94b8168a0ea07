"""Every configuration and every theme that is shipped can be used."""

import json

import msgspec
import pytest
from repository import ROOT, files, name

from geoosd import config
from geoosd.wire.messages import Theme

CONFIGURATIONS = [
    path for path in files() if path.suffix == ".toml" and path.is_relative_to(ROOT / "etc")
]
THEMES = [path for path in files() if path.parent == ROOT / "etc" / "themes"]


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=name)
def test_a_shipped_configuration_loads(path):
    assert config.load(path).source == path


@pytest.mark.parametrize("path", THEMES, ids=name)
def test_a_shipped_theme_is_whole(path):
    theme = msgspec.json.decode(path.read_bytes(), type=Theme)
    assert theme.name == path.stem
    assert sorted(json.loads(path.read_bytes())) == sorted(Theme.__struct_fields__)


def luminance(colour):
    """Relative luminance (WCAG 2.2) of ``#rrggbb``."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one, other):
    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("path", THEMES, ids=name)
def test_a_theme_can_be_read(path):
    theme = msgspec.json.decode(path.read_bytes(), type=Theme)
    assert contrast(theme.text, theme.background) >= 7
    assert contrast(theme.muted, theme.background) >= 3
    assert contrast(theme.accent, theme.background) >= 3
    assert theme.ramp[0] == theme.background


def test_there_are_themes():
    assert {path.stem for path in THEMES} >= {"aurora", "ember", "paper"}
