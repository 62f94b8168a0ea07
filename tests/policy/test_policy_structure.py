"""The committed report on our own tree is about this tree, not about one of long ago."""

import re

from repository import ROOT

from geoosd.structure.analysis import analyze


def test_the_report_is_about_this_tree():
    text = (ROOT / "docs" / "health" / "symmetry-analysis.md").read_text(encoding="utf-8")
    (told,) = re.findall(r"^  files (\d+), tests", text, re.MULTILINE)
    (score,) = re.findall(r"^PAS (\d\.\d+) ", text, re.MULTILINE)
    report = analyze(ROOT).report
    assert abs(report.counts["files"] - int(told)) < 0.1 * int(told), "python docs/health/build.py"
    assert abs(report.score - float(score)) < 0.01, "python docs/health/build.py"
