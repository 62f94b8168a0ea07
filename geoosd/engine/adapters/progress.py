"""Shows how far the model file is: a bar on a terminal, else a line for every quarter."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

_STEPS = 4


@contextlib.contextmanager
def shown(what: str, say: Callable[[str], None]) -> Iterator[Callable[[int, int], None]]:
    """Gives a function for (bytes done, bytes in all) that may be called often, from one thread.

    *say* gets a text such as ``putting the model together: 25 %``, also on a terminal.
    """
    quarter = -1

    def tell(done: int, total: int) -> None:
        nonlocal quarter
        if (now := _STEPS * done // max(total, 1)) > quarter:
            quarter = now
            say(f"{what}: {100 * now // _STEPS} %")

    if not sys.stderr.isatty():
        yield tell
        return
    columns = (TextColumn(what), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)

        def draw(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)
            tell(done, total)

        yield draw
