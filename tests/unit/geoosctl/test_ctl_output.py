"""geoosctl.output, the screens of prompt, and the ways in which a run ends."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys

import click
import pytest

from geoosctl import cells, output
from geoosctl.commands import prompt
from geoosd.wire.messages import SessionEnded, TokenVisualizationUpdate


def test_nothing_that_steers_a_terminal_is_visible():
    assert output.visible("a\x1b[31m\x9b\x7f\u202eb\nc\td") == "a�[31m���b�c�d"
    assert output.visible("a\r\nb\tc\x07", lines=True) == "a\nb\tc�"
    assert output.visible("żółć 日本 😀") == "żółć 日本 😀"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-1, "0 s"),
        (7.4, "7 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (3600, "1 h"),
        (172800, "2 d"),
        (10**7, "115 d"),
    ],
)
def test_ago(seconds, words):
    assert output.ago(seconds) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [(0.0, "0"), (4.24, "4.2"), (25.0, "25"), (153.4, "153"), (12345, "12.3 k"), (1 / 3, "0.3")],
)
def test_number(value, words):
    assert output.number(value) == words
    assert output.number(float("nan")) == "–"


def test_a_table_is_aligned_whatever_its_colours():
    lines = output.table(
        ["A", "NUMBER"], [[output.colored("active"), "1"], ["x", "22"]], align="<>"
    )
    plain = [output.click.unstyle(line) for line in lines]
    assert plain == ["A       NUMBER", "active       1", "x           22"]


def test_a_table_fits_the_terminal(monkeypatch):
    head, rows = ["A", "LONG", "B"], [["1", "x" * 40, "2"], ["3", "y", "4"]]
    monkeypatch.setenv("COLUMNS", "80")
    assert output.table_within(head, rows, ["LONG"]) == output.table(head, rows)
    for width in (46, 45, 30, 12):
        monkeypatch.setenv("COLUMNS", str(width))
        lines = [click.unstyle(line) for line in output.table_within(head, rows, ["LONG"])]
        assert max(map(len, lines)) == min(width, 46)
    monkeypatch.setenv("COLUMNS", "3")  # no narrower than the heads
    assert click.unstyle(output.table_within(head, rows, ["LONG"])[1]) == "1  xxx…  2"


def test_of_several_columns_the_widest_is_cut_first(monkeypatch):
    head, rows = ["MODEL", "N", "END"], [["m" * 30, "1", "e" * 10]]
    for width, model, end in ((40, 25, 10), (27, 12, 10), (20, 7, 8), (13, 5, 3), (5, 5, 3)):
        monkeypatch.setenv("COLUMNS", str(width))
        row = click.unstyle(output.table_within(head, rows, ["MODEL", "END"])[1])
        assert [len(cell) for cell in row.split()] == [model, 1, end]


def test_a_table_is_aligned_by_columns_and_not_by_characters(monkeypatch):
    head = ["MODEL", "STATE"]
    rows = [["通义千问-7b", "ready"], ["gemma-🦄", "ready"], ["żo\u0301łć-2b", "ready"]]
    lines = [click.unstyle(line) for line in output.table(head, rows)]
    assert {cells.width(line[: line.index(line.split()[1])]) for line in lines} == {13}
    monkeypatch.setenv("COLUMNS", "14")
    cut = [click.unstyle(line) for line in output.table_within(head, rows, ["MODEL"])]
    assert cut[1:] == ["通义千…  ready", "gemma-…  ready", "żo\u0301łć-2b  ready"]


def test_further_lines_hang_below_the_first(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    lines = list(output.hanging(f"{'values':<20}", "one two three four five six seven eight nine"))
    assert lines == [
        "values              one two three four five six seven eight",
        " " * 20 + "nine",
    ]
    assert list(output.hanging("empty   ", "")) == ["empty   "]
    coloured = output.colored("warning") + ": "
    first, second = output.hanging(coloured, "思考" * 20)
    assert first == coloured + "思考" * 12 + "思"
    assert second == " " * 9 + "考" + "思考" * 7


def test_count():
    assert [output.count(number, "file") for number in (0, 1, 2)] == [
        "0 files",
        "1 file",
        "2 files",
    ]


def test_color_is_for_terminals(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert output.wants_color(True)
    assert not output.wants_color(False)
    monkeypatch.setenv("NO_COLOR", "1")
    assert not output.wants_color(True)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch):
    """Puts terminals in the place of stdout and stderr; called in the test, after pytest's own."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)

    def enter() -> tuple[Terminal, Terminal]:
        out, err = Terminal(), Terminal()
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)
        return out, err

    return enter


def update(text: str, role: str | None = None) -> TokenVisualizationUpdate:
    return TokenVisualizationUpdate(text, 0, role=role)  # type: ignore[arg-type]


def test_on_a_terminal_the_answer_is_clean_and_summed_up(terminal):
    out, err = terminal()
    screen, answer = prompt._screen(several=False), prompt.Answer("gem\x1bma")
    answer.progress = "queued, position 2"
    screen.progress(answer)
    for token in (update("hm", "reasoning"), update("\x1b[2Jyes\r\n")):
        screen.token(answer, answer.add(token), token.current_token)
    screen.progress(answer)
    answer.ended = SessionEnded("s", tokens_per_second=25.31, time_to_first_token=0.314)
    screen.end(answer)
    screen.close()
    assert out.getvalue() == "\x1b[2mhm\x1b[0m�[2Jyes\n"
    assert "queued, position 2 …\r\x1b[K" in err.getvalue()
    assert "gem�ma · 2 tokens · 25.3 tok/s · first token after 0.31 s" in err.getvalue()


def test_an_answer_that_breaks_off_ends_its_line(terminal):
    out, _ = terminal()
    screen, answer = prompt._screen(several=False), prompt.Answer("m")
    screen.token(answer, answer.add(update("half")), "half")
    screen.close()
    assert out.getvalue() == "half\n"


def test_several_models_stand_side_by_side(terminal, monkeypatch):
    out, _ = terminal()
    monkeypatch.setenv("COLUMNS", "60")
    screen = prompt._screen(several=True)
    left, right = prompt.Answer("left\x1b"), prompt.Answer("right")
    left.progress = "queued"
    screen.progress(left)
    for answer, text in ((left, "one"), (right, "two\x1b[2J")):
        screen.token(answer, answer.add(update(text)), text)
    right.add(update("hm", "reasoning"))
    left.ended = SessionEnded("1")
    screen.end(left)
    screen.close()
    last = out.getvalue().splitlines()[-4:]
    assert any("left�" in line and "right" in line for line in last)
    assert any("one" in line and "two�[2J" in line for line in last)


def run(*args: str, **options) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "geoosctl", *args]
    return subprocess.Popen(command, **options)


def test_a_closed_pipe_is_quiet():
    reader, writer = os.pipe()
    os.close(reader)
    process = run("config", "example", stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (141, b"")


def test_a_terminal_that_lacks_a_character_shows_a_question_mark(runtime_dir):
    environ = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    process = run("health", stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environ)
    said, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (3, b"")
    assert said == b"unknown: geoos is not running\n? geoosd up\n"


def test_an_interrupt_is_quiet(control, tmp_path):
    import signal

    control.answers["io.geoos.Control.GetLogs"] = None
    process = run("logs", "-f", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    control.called.wait(30)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert errors.strip() == b""


def test_colour_on_a_real_terminal(runtime_dir, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    leader, follower = pty.openpty()
    process = run("status", stdout=follower, stderr=follower)
    os.close(follower)
    assert process.wait(30) == 3
    assert b"\x1b[1mstopped" in os.read(leader, 4096)
    os.close(leader)


def test_verbs_are_loaded_only_when_used():
    code = (
        "import sys, geoosctl.cli\n"
        "heavy = {'trio', 'rich', 'httpx', 'numpy', 'prometheus_client', 'structlog'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "assert not any(name.startswith('geoosctl.commands.') for name in sys.modules)\n"
        "import geoosctl.commands.state\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
