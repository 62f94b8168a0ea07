"""``make bench``: run the benchmarks, show a table, write bench.json.

    python tests/bench/run.py [--quick] [--only NAME] [--output FILE] [--publish]

Takes about six minutes, with ``--quick`` two. Nothing of the system is changed, all traffic stays
on the loopback interface (but for pip's, once), and what is started is ended. :mod:`.measure` says
how it is measured, :mod:`.compare` compares two results; docs/measurements has the committed one,
which ``--publish`` writes anew, with its table.

Ends with 0, whatever the numbers are; 64 for arguments that cannot be used.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import machine
import measure
import report
from measure import Pace, Result, Skipped
from processes import Missing

ROOT = Path(__file__).resolve().parents[2]
PUBLISHED = ROOT / "docs" / "measurements"
BENCHMARKS = (
    "sse",
    "tokens",
    "hilbert",
    "state",
    "compositor",
    "start",
    "structure",
    "proxy",
    "cancel",
    "pipeline",
    "control",
    "return",
    "crowd",
    "fanout",
)
_BEGIN, _END = "<!-- table: make bench ARGS=--publish -->", "<!-- end of table -->"


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    """What the command line asks for; argparse's exit code 2 is 64 here (sysexits.h)."""
    parser = argparse.ArgumentParser(prog="run.py", description="Benchmarks beside peers.")
    parser.add_argument("--quick", action="store_true", help="about a minute, and noisier")
    parser.add_argument("--only", action="append", choices=BENCHMARKS, help="may be repeated")
    parser.add_argument("--output", type=Path, default=Path("bench.json"))
    parser.add_argument("--publish", action="store_true", help="write docs/measurements too")
    try:
        return parser.parse_args(arguments)
    except SystemExit as end:
        raise SystemExit(64 if end.code else 0) from None


def run_all(names: Sequence[str], pace: Pace) -> list[Result]:
    """The results of each benchmark; how long it took goes to stderr."""
    results: list[Result] = []
    for name in names:
        print(f"{name} ...", end=" ", file=sys.stderr, flush=True)
        began = time.monotonic()
        try:
            results += importlib.import_module(f"bench_{name}").run(pace)
        except Missing as missing:
            results.append(Skipped(name, str(missing)))
        print(f"{time.monotonic() - began:.0f} s", file=sys.stderr)
    return measure.results_of(results)


def with_table(text: str, table: str) -> str:
    """*text* with *table* between its two marks. Raises ValueError without them."""
    head, _, rest = text.partition(_BEGIN)
    _, mark, tail = rest.partition(_END)
    if not mark:
        raise ValueError(f"cannot find {_BEGIN} and {_END}")
    return f"{head}{_BEGIN}\n{table}\n{_END}{tail}"


def publish(document: dict[str, Any]) -> None:
    """Write what docs/measurements holds."""
    text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
    (PUBLISHED / "bench.json").write_text(text, encoding="utf-8")
    readme = PUBLISHED / "README.md"
    table = report.markdown(report.results_of(document))
    readme.write_text(with_table(readme.read_text(encoding="utf-8"), table), encoding="utf-8")


def main(arguments: Sequence[str]) -> int:
    """Run what *arguments* ask for."""
    asked = parsed(arguments)
    # The daemons of a benchmark are children with a session of their own: end them on SIGTERM too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    # As installed: what is started keeps what it has compiled.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    made = datetime.now(UTC).isoformat(timespec="seconds")
    described = machine.described()
    pace = measure.QUICK if asked.quick else measure.FULL
    results = run_all(asked.only or BENCHMARKS, pace)
    print(report.table(results))
    print(f"on {described['cpu']}, {described['cores']} cores, Python {described['python']}")
    document = report.document(results, described, made, "quick" if asked.quick else "full")
    asked.output.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", "utf-8")
    print(f"written: {asked.output}")
    if asked.publish:
        publish(document)
        print(f"written: {PUBLISHED.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT / "tests"))  # for integration.stack
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main(sys.argv[1:]))
    sys.exit(130)
