"""Several answers side by side on a terminal, drawn by rich while they grow, whole at the end.

As many columns as are wide enough to read, in as many rows as that takes. While they grow each
shows its newest lines, so that the picture always fits the screen; it is drawn some times a second,
not at each token.
"""

from __future__ import annotations

from typing import Any, Final

from rich.console import Console
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from geoosctl import cells, output
from geoosctl.answers import Answer

NARROWEST: Final = 28
"""Characters that a column needs with its frame; a narrower terminal has one column."""

_FRAME: Final = 4
_BORDERS: Final = 2


class Columns:
    """The screen of ``prompt`` for several models; :meth:`close` leaves the whole answers on it."""

    def __init__(self, console: Console | None = None) -> None:
        self._answers: list[Answer] = []
        self._console = console or Console()
        self._live = Live(
            console=self._console,
            get_renderable=self.picture,
            refresh_per_second=12,
            vertical_overflow="crop",
            transient=True,
        )
        self._live.start()

    def progress(self, answer: Answer) -> None:
        """It is on its way."""
        self._note(answer)

    def token(self, answer: Answer, role: str, text: str) -> None:
        """It has grown."""
        self._note(answer)

    def end(self, answer: Answer) -> None:
        """It is over."""
        self._note(answer)

    def close(self) -> None:
        """Leave the whole answers on the screen."""
        self._live.stop()
        if self._answers:
            self._console.print(self._grid(None))

    def picture(self) -> Any:
        """What there is, in the size of the screen as it is now."""
        rows = -(-len(self._answers) // self._columns()) or 1
        # The last line stays free for the cursor.
        return self._grid(max(1, (self._console.height - 1) // rows - _BORDERS))

    def _note(self, answer: Answer) -> None:
        if all(each is not answer for each in self._answers):
            self._answers.append(answer)

    def _columns(self) -> int:
        return max(1, min(len(self._answers), self._console.width // NARROWEST))

    def _grid(self, lines: int | None) -> Any:
        """All answers; *lines* of text each, or the whole of it."""
        answers = list(self._answers)
        columns = self._columns()
        width = self._console.width // columns - _FRAME
        bodies = [self._newest(each, width, lines) for each in answers]
        height = max((len(body.split("\n")) for body in bodies), default=0) + _BORDERS
        grid = Table.grid(expand=True)
        for _ in range(columns):
            grid.add_column(ratio=1, overflow="fold")
        panels = [
            _panel(each, body, width, self._name(each, answers), height if lines else None)
            for each, body in zip(answers, bodies, strict=True)
        ]
        for start in range(0, len(panels), columns):
            row = panels[start : start + columns]
            grid.add_row(*row, *[""] * (columns - len(row)))
        return grid

    def _newest(self, answer: Answer, width: int, lines: int | None) -> Text:
        """The last *lines* of an answer, or the whole of it."""
        if lines is None:
            return _body(answer, None)
        wrapped = _body(answer, lines * width).wrap(self._console, max(1, width), overflow="fold")
        return Text("\n").join(wrapped[-lines:])

    def _name(self, answer: Answer, answers: list[Answer]) -> str:
        """The model; with its upstream where another answer is of a model of that name."""
        alike = sum(each.label == answer.label for each in answers) > 1
        name = f"{answer.upstream}/{answer.label}" if alike and answer.upstream else answer.label
        return output.visible(name)


def _panel(answer: Answer, body: Text, width: int, name: str, height: int | None) -> Panel:
    failed = answer.ended is not None and answer.ended.error
    return Panel(
        body,
        title=Text(cells.shorten(name, width), "bold not dim"),
        subtitle=_state(answer, width),
        height=height,
        border_style="red" if failed else "dim",
    )


def _body(answer: Answer, enough: int | None) -> Text:
    """The text, or about its last *enough* characters; what is not the answer itself is dim."""
    chosen: list[tuple[str, str]] = []
    length = 0
    for role, part in reversed(answer.parts):
        chosen.append((role, part))
        length += len(part)
        if enough is not None and length > enough:
            break
    body = Text(overflow="fold")
    for role, part in reversed(chosen):
        body.append(output.visible(part, lines=True), "dim" if role == "reasoning" else "")
    if answer.ended is not None and answer.ended.error:
        body.append("\n" if answer.parts else "")
        body.append(output.visible(answer.ended.error), "red")
    elif not answer.parts:
        body.append("no text" if answer.ended else output.visible(answer.progress), "dim")
    return body


def _state(answer: Answer, width: int) -> Text:
    """Below an answer: its numbers, as many of them as there is room for."""
    parts = answer.numbers()
    while parts and len(" · ".join(parts)) > width:
        parts.pop()
    return Text(output.visible(" · ".join(parts)), "dim")
