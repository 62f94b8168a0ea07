"""The commands that docs/operations.md shows, so that tests can run them."""

import re

from conftest import ROOT


def runbook(heading):
    """The commands under *heading*, without their comments."""
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    section = re.split(r"^#{2,3} ", text.partition(f"{heading}\n")[2], flags=re.MULTILINE)[0]
    lines = "\n".join(re.findall(r"^```\n(.*?)^```", section, re.MULTILINE | re.DOTALL))
    return [line.partition(" # ")[0].strip() for line in lines.splitlines() if line]
