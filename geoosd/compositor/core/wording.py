"""Words for the map: the texts of tokens beside their stars, as many as find room."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from geoosd.compositor.core import palette
from geoosd.compositor.core.cartography import map_coordinates
from geoosd.compositor.core.field import key_of_token
from geoosd.compositor.core.look import Label
from geoosd.compositor.core.thoughts import Thought
from geoosd.compositor.core.view import View
from geoosd.wire.messages import Theme

MOST: Final = 24
"""Words in one map."""
_CANDIDATES: Final = 60


def words(thoughts: Sequence[Thought], view: View, theme: Theme) -> list[Label]:
    """The texts of *thoughts* beside their stars, the newest first, fainter with age."""
    newest: dict[int, str] = {}
    for thought in reversed(thoughts):
        newest.setdefault(key_of_token(thought.token), thought.token.current_token)
    some = list(newest.items())[:_CANDIDATES]
    return placed(
        [(key, text, 1.0 - 0.6 * age / max(1, len(some))) for age, (key, text) in enumerate(some)],
        view,
        theme,
    )


def placed(wanted: Sequence[tuple[int, str, float]], view: View, theme: Theme) -> list[Label]:
    """Labels for (key, text, opacity), the first come first, where they hide no other."""
    size = 15 * view.unit
    keys = np.array([key for key, _, _ in wanted], np.uint64)
    x, y = view.to_pixels(*(part + 0.5 for part in map_coordinates(keys)))
    labels: list[Label] = []
    taken: list[tuple[float, float, float]] = []
    for (_, text, opacity), left, middle in zip(wanted, x.tolist(), y.tolist(), strict=True):
        line = shown(text)[:24]
        left += max(9 * view.unit, min(0.9 * view.scale, 18 * view.unit))
        right = left + 0.6 * size * len(line)
        inside = left > 0 and right < view.width and size < middle < view.height - size
        free = all(
            abs(middle - other) > 1.15 * size or right < begin or left > end
            for begin, end, other in taken
        )
        if line and inside and free:
            taken.append((left - 0.4 * size, right + size, middle))
            labels.append(
                Label(
                    left, middle, line, size, palette.rgb(theme.text), "lm", opacity,
                    palette.rgb(theme.background),
                )
            )  # fmt: skip
            if len(labels) == MOST:
                break
    return labels


def shown(text: str) -> str:
    """A token as one line: white space is made visible where there is nothing else."""
    line = " ".join(text.split())
    return line or {" ": "space", "\n": "newline"}.get(text[:1], "")
