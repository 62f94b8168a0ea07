"""The rules of alerts as people write them."""

import pytest

from geoosd.wire.alerting import DEFAULT, QUANTITIES, alert, parse


@pytest.mark.parametrize("text", DEFAULT)
def test_a_rule_is_written_as_it_is_read(text):
    assert parse(text).name == text
    assert parse(text.replace(" ", "")).name == text


def test_beyond_is_strictly_beyond():
    assert parse("pas < 0.85").is_beyond(0.849)
    assert not parse("pas < 0.85").is_beyond(0.85)
    assert parse("upstream_failures > 3").is_beyond(4)
    assert not parse("upstream_failures > 3").is_beyond(3)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("pas", "is not a rule such as"),
        ("pas << 3", "is not a rule such as"),
        ("pas < -1", "is not a rule such as"),
        ("upstream_failure > 3", "do you mean upstream_failures?"),
        ("xyz > 3", "there are pas, "),
    ],
)
def test_what_is_no_rule_is_said(text, says):
    with pytest.raises(ValueError, match=says.replace("?", r"\?")):
        parse(text)


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_every_quantity_has_words_and_a_command(quantity):
    told = alert(parse(f"{quantity} > 1"), 2.0, 5.0)
    assert told.summary.endswith(": 2, alert at > 1")
    assert told.remedy.startswith("geoosctl ")
    assert (told.rule, told.since) == (f"{quantity} > 1", 5.0)
