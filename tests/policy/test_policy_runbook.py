"""The runbook answers each alert and has each subject; the threat model's tests exist."""

import ast
import re

import pytest
from repository import ROOT, parse

RUNBOOK = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
RULES = (ROOT / "etc" / "prometheus" / "geoos.rules.yml").read_text(encoding="utf-8")
SUBJECTS = [
    "Start and stop in the foreground",
    "Under systemd",
    "Is it well?",
    "When something is wrong",
    "Alerts",
    "Tuning",
    "Capacity",
    "Upgrade",
    "GPU",
    "Configuration",
    "Backup and restore",
]


@pytest.mark.parametrize("alert", re.findall(r"- alert: (\w+)", RULES))
def test_each_alert_has_diagnosis_and_remedy(alert):
    (row,) = re.findall(rf"^\| `{alert}` \|(.*)\|$", RUNBOOK, re.MULTILINE)
    cells = [cell.strip() for cell in row.split(" | ")]
    assert len(cells) == 3
    assert all(len(cell) > 10 for cell in cells)


def test_no_alert_is_made_up():
    named = set(re.findall(r"`(Geoos\w+)`", RUNBOOK))
    assert named == set(re.findall(r"- alert: (\w+)", RULES))


@pytest.mark.parametrize("subject", SUBJECTS)
def test_each_subject_has_a_section(subject):
    assert re.search(rf"^## {re.escape(subject)}$", RUNBOOK, re.MULTILINE)


def test_each_threat_names_tests_that_are_there():
    text = (ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8")
    table = text.partition("## Who might try what")[2].partition("## Which test")[0]
    tries = text.partition("## Which test tries it")[2].partition("## What is left")[0]
    rows = re.findall(r"^\| (\d+) \|", table, re.MULTILINE)
    assert len(rows) >= 10
    named = re.split(r"^(\d+)\. ", tries.strip(), flags=re.MULTILINE)[1:]
    assert named[::2] == rows
    for tests in named[1::2]:
        found = re.findall(r"`(tests/[\w/.]+)::(\w+)`", tests)
        assert found
        for file, test in found:
            defined = {node.name for node in ast.walk(parse(ROOT / file)) if hasattr(node, "name")}
            assert test in defined, f"{file}::{test}"
