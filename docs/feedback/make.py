"""Make docs/feedback.md's tables anew: ``python docs/feedback/make.py [--first N] [--out FILE]``.

Starts geoos in a directory of its own with the embedded engine, has it go on with every beginning
of ``beginnings.json`` (``geoosctl batch``, temperature 0, 40 tokens), rates each answer by the rule
below (``geoosctl feedback add``), and puts in what ``geoosctl feedback summary`` and ``list`` say.
A minute on two cores.

The rule: 1 star; 3 more where what is right comes at once (in the first 30 characters), 2 where it
comes later; 1 more where the answer does not repeat itself (no four words come twice).
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "tests"))
from integration.stack import running  # noqa: E402

AT_ONCE = 30
TOKENS = 40


def main() -> None:
    """Ask, rate, write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--first", type=int, metavar="N", help="the first N beginnings alone")
    parser.add_argument("--out", type=Path, default=HERE.parent / "feedback.md")
    chosen = parser.parse_args()
    beginnings = json.loads((HERE / "beginnings.json").read_text(encoding="utf-8"))[: chosen.first]
    with (
        tempfile.TemporaryDirectory(prefix="geoos-feedback-") as name,
        running(Path(name), engine=True) as geoos,
    ):
        geoos.environ["COLUMNS"] = "100"
        ctl = geoos.told
        groups = defaultdict(list)
        for beginning, answer in answers(ctl, Path(name), beginnings):
            stars, why = rated(beginning["right"], answer["text"])
            ctl("feedback", "add", answer["session"], str(stars), f"{beginning['about']}: {why}")
            groups[beginning["about"]].append(stars)
        blocks = {
            "geoosctl feedback summary": ctl("feedback", "summary"),
            "geoosctl feedback list --limit 5": ctl("feedback", "list", "--limit", "5"),
            "by what was asked": "\n".join(
                f"{about:<10}  {sum(given) / len(given):4.2f}  {len(given):2} answers"
                for about, given in groups.items()
            ),
        }
    write(chosen.out, blocks)


def rated(right: list[str], text: str) -> tuple[int, str]:
    """Stars, and why."""
    whole = "|".join(rf"(?<!\w){re.escape(each)}(?!\w)" for each in right)
    found = re.search(whole, text)
    at = found.start() if found else -1
    words = re.findall(r"\w+", text.lower())
    phrases = Counter(zip(words, words[1:], words[2:], words[3:], strict=False))
    again = bool(phrases) and max(phrases.values()) > 1
    stars = 1 + (0 if at < 0 else 3 if at < AT_ONCE else 2) + (not again)
    place = "not right" if at < 0 else "right at once" if at < AT_ONCE else "right later"
    return stars, f"{place}, {'repeats itself' if again else 'does not repeat itself'}"


def answers(
    ctl: Any, directory: Path, beginnings: list[dict[str, Any]]
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Each beginning with its answer."""
    asked, told = directory / "prompts.jsonl", directory / "answers.jsonl"
    parameters = {"temperature": 0, "max_tokens": TOKENS}
    lines = [
        json.dumps({"id": number, "prompt": each["prompt"], "parameters": parameters})
        for number, each in enumerate(beginnings)
    ]
    asked.write_text("\n".join(lines), encoding="utf-8")
    ctl("batch", str(asked), "--out", str(told), "--concurrency", "1")
    for line in told.read_text(encoding="utf-8").splitlines():
        answer = json.loads(line)
        yield beginnings[answer["id"]], answer


def write(path: Path, blocks: dict[str, str]) -> None:
    """Put each block in place of that under its name."""
    text = path.read_text(encoding="utf-8")
    for name, block in blocks.items():
        pattern = rf"(<!-- {re.escape(name)} -->\n```text\n).*?(\n```)"
        trimmed = "\n".join(line.rstrip() for line in block.strip().splitlines())
        text, count = re.subn(pattern, lambda m: m[1] + trimmed + m[2], text, flags=re.DOTALL)  # noqa: B023
        if count != 1:
            sys.exit(f"{path} has no block: {name}")
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
