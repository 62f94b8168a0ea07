"""The times that system tests noted, as a table: ``measured.py REPORT.xml`` (pytest --junitxml)."""

import sys
from xml.etree import ElementTree

for each in ElementTree.parse(sys.argv[1]).iter("property"):
    print(f"| {each.get('name')} | {each.get('value')} |")
