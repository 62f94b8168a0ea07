"""The commands that the documents show, and which test runs each.

Whoever shows a command that fits nothing in :data:`ELSEWHERE` has it run on a machine with the
installed units, by tests/system/test_system_docs.py.
"""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

PROGRAMS = (
    "geoosctl", "geoosd", "sudo", "systemctl", "journalctl", "make", "varlinkctl", "printf", "git",
    "promtool", "prometheus", ".venv/bin/", ".ci/run", "python", "GEOOS_", "HYPOTHESIS_", "curl",
)  # fmt: skip

IN_A_CLONE = "tests/integration/test_shown_commands.py"
MAKE = "tests/policy/test_policy_makefile.py"

ELSEWHERE = {
    r"make run.*|\.venv/bin/.*|GEOOS_RUNTIME_DIR=.*": IN_A_CLONE,
    r"(printf|varlinkctl|promtool|prometheus) .*": IN_A_CLONE,
    r"(sudo )?make install": "tests/system/test_system_install.py",
    r"(HYPOTHESIS_PROFILE=\S+ |GEOOS_REQUIRE=\S+ )?(sudo )?make [a-z-]+( ARGS=.*)?|\.ci/run": MAKE,
    r"systemctl --user .*": "tests/system/test_system_user.py",
    r"journalctl -o cat .*": "tests/system/test_system_journal.py",  # with format = "json"
}
"""What does not fit a machine with the installed units, and where it is run; the first counts."""


def commands(path):
    """The commands in the fenced blocks of a document, each on one line, without comments."""
    text = path.read_text(encoding="utf-8")
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        if language not in ("", "sh", "console"):
            continue
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith(PROGRAMS):
                yield re.split(r"\s+#\s|\s{4,}", line)[0].strip()


def elsewhere(command):
    """The test that runs *command* but on a machine with the installed units; None if that does."""
    return next((where for what, where in ELSEWHERE.items() if re.fullmatch(what, command)), None)


def shown():
    """Each document and command, without repeats."""
    for path in DOCUMENTS:
        for command in dict.fromkeys(commands(path)):
            yield path, command


def run_by(where):
    """What the test module *where* has to run."""
    return list(dict.fromkeys(command for _, command in shown() if elsewhere(command) == where))


def code(path, language):
    """The fenced blocks of *language* in a document."""
    text = path.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
