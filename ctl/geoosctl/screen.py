"""``geoosctl watch`` in a terminal: the map on the left, the thought stream on the right.

It draws ten times a second on the terminal's other page (xterm's 1049), and leaves the first one as
it was. Needs colours, 60 columns and 12 rows; without them ``watch`` prints the text alone.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from geoosctl import cells, output
from geoosctl.glow import Glow, Text

_COLUMNS, _ROWS = 60, 12
_FRAME_SECONDS: Final = 0.1
_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[0m\x1b[?25h\x1b[?1049l"
_HOME, _CLEAR_LINE, _CLEAR_BELOW = "\x1b[H", "\x1b[K", "\x1b[J"

Say = Callable[[str], None]
Messages = Callable[[Say], Iterator[dict[str, Any]]]


def fits() -> bool:
    """Whether standard output is a terminal that can show the map."""
    terminal = sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    if not output.wants_color(terminal):
        return False
    size = _size()
    return size.columns >= _COLUMNS and size.lines >= _ROWS


def _size() -> os.terminal_size:
    try:
        return os.get_terminal_size(sys.stdout.fileno())
    except OSError:
        return os.terminal_size((0, 0))


def run(messages: Messages) -> None:
    """Show *messages*, which are read in a thread, until interrupted; raises what they raise."""
    screen = Screen(true_color=os.environ.get("COLORTERM", "") in ("truecolor", "24bit"))
    heard: queue.SimpleQueue[dict[str, Any] | str | Exception] = queue.SimpleQueue()

    def listen() -> None:
        try:
            for message in messages(heard.put):
                heard.put(message)
        except Exception as error:  # noqa: BLE001 - it is raised where it can be said
            heard.put(error)

    threading.Thread(target=listen, daemon=True).start()
    sys.stdout.write(_ENTER)
    try:
        while True:
            _take_all(screen, heard)
            size = _size()
            sys.stdout.write(screen.frame(size.columns, size.lines, time.monotonic()))
            sys.stdout.flush()
    finally:
        sys.stdout.write(_LEAVE)
        sys.stdout.flush()


def _take_all(screen: Screen, heard: queue.SimpleQueue[dict[str, Any] | str | Exception]) -> None:
    """Take what comes until the next frame is due."""
    due = time.monotonic() + _FRAME_SECONDS
    while (left := due - time.monotonic()) > 0:
        try:
            found = heard.get(timeout=left)
        except queue.Empty:
            return
        if isinstance(found, Exception):
            raise found
        if isinstance(found, str):
            screen.said = found
        else:
            screen.take(found, time.monotonic())


class Screen:
    """What is to be seen; ``said`` is the line at the bottom."""

    def __init__(self, *, true_color: bool) -> None:
        self.said = "connecting"
        self._glow = Glow(true_color=true_color)
        self._text = Text()
        self._session: object = self  # nobody's: the first one has its head too
        self._tokens = 0
        self._missed = 0

    def take(self, message: dict[str, Any], now: float) -> None:
        """Note a message; *now* is of one monotonic clock."""
        payload = message["payload"]
        match message["message_type"]:
            case "Hello":
                self.said = ""
                self._use_theme(payload.get("theme"))
            case "ThemeChanged":
                self._use_theme(payload["theme"])
            case "Snapshot":
                self._glow.clear()
                for token in payload.get("tokens") or ():
                    self._take_token(token, now)
            case "TokenVisualizationUpdate":
                self._tokens += 1
                self._take_token(payload, now)
            case "Gap":
                self._missed += payload["dropped"]
            case _:
                pass

    def _use_theme(self, theme: dict[str, Any] | None) -> None:
        if theme is not None:
            self._glow.use_theme(theme)

    def _take_token(self, token: dict[str, Any], now: float) -> None:
        self._glow.take(token, now)
        session = token.get("session")
        if session != self._session:
            self._session = session
            head = f"── {token.get('model') or 'a model'} ──"
            self._text.begin(output.visible(head))
        self._text.add(output.visible(token["current_token"], lines=True))

    def frame(self, columns: int, rows: int, now: float) -> str:
        """One frame for a terminal of that size."""
        rows -= 1
        width = min(columns // 2, 2 * rows)
        text = self._text.lines(columns - width - 2, rows)
        text += [""] * (rows - len(text))
        lines = self._glow.lines(width, rows, now)
        body = "".join(
            f"{left}  {right}{_CLEAR_LINE}\r\n" for left, right in zip(lines, text, strict=True)
        )
        missed = f", {self._missed} missed" if self._missed else ""
        status = self.said or f"{output.count(self._tokens, 'token')}{missed}; Ctrl-C ends"
        return (
            f"{_HOME}{body}\x1b[2m{cells.head(status, columns)}\x1b[0m{_CLEAR_LINE}{_CLEAR_BELOW}"
        )
