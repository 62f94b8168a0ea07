"""Have symmetry-analysis.md show what is measured now: ``python docs/health/build.py``.

Its first fenced block is replaced; what it means stands below and is written by people.
tests/policy/test_policy_structure.py fails when the tree has outgrown it.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
REPORT = Path(__file__).with_name("symmetry-analysis.md")


def measured() -> str:
    """The report, without where the tree lies and how long it took."""
    command = [Path(sys.executable).with_name("geoosctl"), "structure", "--debug", ROOT]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={"COLUMNS": "80"}
    )
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    kept = [line for line in lines if line != str(ROOT) and not line.startswith("cache: ")]
    return "\n".join(kept).strip()


def main() -> None:
    """Write the file."""
    text = REPORT.read_text(encoding="utf-8")
    block = f"```\n{measured()}\n```"
    text = re.sub(r"```\n.*?\n```", lambda _: block, text, count=1, flags=re.DOTALL)
    REPORT.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
