"""What the documents say exists: commands, files, links, configuration keys.

A line that says "coming" may name what is not there yet; nothing else may.
"""

import re
import shlex

import click
import msgspec
import pytest
from repository import ROOT, documents, name

import geoosctl.cli
from geoosd import __main__ as geoosd
from geoosd import config

README = ROOT / "README.md"
FOLDERS = ("geoosd/", "ctl/", "docs/", "etc/", "tests/", "units/", ".ci/", ".github/")
_CODE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")


def lines(path):
    """Number and text of the lines that promise something that is there."""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if "coming" not in line.lower():
            yield number, line


def make_targets():
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z-]+):", text, re.MULTILINE))


def geoosctl_verbs():
    main = pytest.importorskip("geoosctl.cli", reason="geoosctl is not there yet").main
    group = main if isinstance(main, click.Group) else None
    if group is None:
        group = next(
            value
            for value in vars(__import__("geoosctl.cli", fromlist=["main"])).values()
            if isinstance(value, click.Group)
        )
    return set(group.list_commands(click.Context(group)))


def mentioned(pattern):
    """What *pattern* finds in the documents' promises, with where."""
    for path in documents():
        for number, line in lines(path):
            for match in re.finditer(pattern, line):
                yield match[1], f"{name(path)}:{number}: {match[0]}"


def test_every_make_target_that_is_named_exists():
    targets = make_targets()
    found = list(mentioned(r"(?:`|^|sudo |\$ )make ([a-z][a-z-]*)"))
    assert found
    assert [where for target, where in found if target not in targets] == []


def test_every_target_is_declared_phony_and_explained():
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    (phony,) = re.findall(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    assert set(phony.split()) == make_targets()
    explained = set(re.findall(r"^([a-z-]+):.*## \S", text, re.MULTILINE))
    assert explained == make_targets()


def test_every_verb_of_geoosctl_that_is_named_exists():
    verbs = geoosctl_verbs()
    found = list(mentioned(r"(?:`|^|sudo |\$ )geoosctl (?:--\w+ )*([a-z][a-z-]*)"))
    assert [where for verb, where in found if verb not in verbs] == []


def parse(words):
    """As geoosctl would, without running it. Raises :class:`click.UsageError`."""
    command, context, label = geoosctl.cli.cli, None, "geoosctl"
    while command is not None:
        context = command.make_context(label, list(words), parent=context)
        words = [*context._protected_args, *context.args]
        if not isinstance(command, click.Group) or not words:
            return
        label, command, words = command.resolve_command(context, words)


WORDS = {"RATING": "3", "N": "3", "F": "3", "TREE": ".", "VIEW": "memory", "DIR/tree": "."}


def in_sentences():
    """What stands in a sentence as a command of geoosctl, with real words for the documents'."""
    for path in documents():
        for number, line in lines(path):
            for found in re.findall(r"`(?:sudo )?(geoosctl [^`|\[]+)`", line):
                for command in re.split(r"; then: |; | && (?:sudo )?", found):
                    words = shlex.split(command.split(" > ")[0], comments=True)
                    yield (
                        f"{name(path)}:{number}: {command}",
                        [WORDS.get(word, word) for word in words],
                    )


def test_every_command_in_a_sentence_can_be_given():
    wrong = []
    for where, words in in_sentences():
        try:
            assert words[0] == "geoosctl"
            parse(words[1:])
        except (click.exceptions.Exit, click.exceptions.NoArgsIsHelpError):
            continue  # `geoosctl --version`; a group by its name, `geoosctl theme`
        except click.MissingParameter:
            # A verb by its name alone is no command that somebody is told to type.
            if len(words) > 2 and words[-1].isupper():
                wrong.append(where)
        except click.UsageError as error:
            wrong.append(f"{where}: {error.message}")
    assert wrong == []
    with pytest.raises(click.UsageError):
        parse(["status", "--no-such-option"])


def test_every_command_of_geoosd_that_is_named_exists():
    found = list(mentioned(r"(?:`|^|\$ )geoosd ([a-z]+)"))
    assert found
    known = {"up", "help", *config.DAEMONS}
    assert [where for command, where in found if command not in known] == []
    assert all(command in geoosd._USAGE for command in known - {"help"})


@pytest.mark.parametrize("path", documents(), ids=name)
def test_every_file_that_is_named_exists(path):
    missing = []
    for number, line in lines(path):
        for code in _CODE.findall(line):
            inside = code.split()[0].partition("::")[0].rstrip(":,/")
            ours = code.startswith(FOLDERS) and not any(mark in code for mark in "*<{NAME")
            if ours and not (ROOT / inside).exists():
                missing.append(f"{name(path)}:{number}: {code}")
        for target in _LINK.findall(line):
            if "://" not in target and not (path.parent / target).exists():
                missing.append(f"{name(path)}:{number}: {target}")
    assert missing == []


def test_the_readme_opens_with_what_it_is():
    first = README.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("# Geometry OS")


def test_the_interfaces_name_every_configuration_key():
    text = (ROOT / "docs" / "interfaces.md").read_text(encoding="utf-8")
    raw = msgspec.structs.asdict(config.RawConfig())
    keys = {
        f"{section}.{key}"
        for section, struct in raw.items()
        for key in type(struct).__struct_fields__
    } | {f"bridge.upstream.{key}" for key in config.RawUpstream.__struct_fields__}
    assert sorted(key for key in keys if f"`{key}`" not in text) == []


def test_the_interfaces_show_the_defaults():
    text = (ROOT / "docs" / "interfaces.md").read_text(encoding="utf-8")
    for section, struct in msgspec.structs.asdict(config.RawConfig()).items():
        for key, value in msgspec.structs.asdict(struct).items():
            if isinstance(value, int | float | str) and value != "":
                shown = str(value).lower() if isinstance(value, bool) else str(value)
                row = f"| `{section}.{key}` | `"
                (found,) = [line for line in text.splitlines() if line.startswith(row)]
                assert shown in found.split("|")[2]


def test_the_documents_count_the_faults_as_the_tables_do():
    def rows(table):
        return (ROOT / table).read_text(encoding="utf-8").count("\n| ") - 2

    foreground, systemd = rows("docs/health/faults.md"), rows("docs/health/faults-systemd.md")
    assert f"[what it says of {foreground}\nfaults]" in README.read_text(encoding="utf-8")
    alerts = (ROOT / "docs/alerts.md").read_text(encoding="utf-8")
    assert f"each of {foreground} faults" in alerts
    assert f"of {systemd} more under systemd" in alerts
