"""The view of confidence: the map by colour, and the text as it was written."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import msgspec
import numpy as np

from geoosd.compositor.core import frame, palette
from geoosd.compositor.core.aim import view_of, within
from geoosd.compositor.core.cartography import ground, map_coordinates, seen, trail
from geoosd.compositor.core.field import key_of_token
from geoosd.compositor.core.look import Box, Drawing, Flow, Label, Look, Rgb
from geoosd.compositor.core.moment import Moment
from geoosd.compositor.core.panels import card, heat
from geoosd.compositor.core.plan import FramePlan, Overlay, Splats, dust, stars
from geoosd.compositor.core.thoughts import Thought
from geoosd.compositor.core.view import View
from geoosd.compositor.core.wording import words
from geoosd.wire.messages import Theme

SURENESS: Final = ("#ff6a55", "#ff9a5c", "#ffc978", "#f4e9d8", "#b5dcff", "#6fbcff", "#3f93ff")
"""From unsure to sure, in even steps; amber to blue is told apart by colour-blind people too."""
ON_LIGHT: Final = ("#b3261e", "#a2430c", "#7d5200", "#5a5248", "#35597a", "#1d57a6", "#0a3fbd")
"""The same on a light theme, where those would not be legible."""


def confidence(taken: Moment, look: Look, theme: Theme) -> Drawing:
    """How sure the model was of its newest tokens: their places by colour, and the text.

    Colours are of each token's own probability (``activation``); the messages' ``confidence`` is a
    mean over the tokens before as well.
    """
    told = [thought for thought in taken.newest if thought.token.activation is not None]
    room, box = _beside(look)
    whole = view_of(taken, look, (round(room.width), round(room.height)))
    view = within(whole, room, look)
    unit = view.unit
    known = seen(*taken.remembered, view, {})
    run = frame.successions(taken)[-1:]
    lines = [replace(each, level=each.level * 0.4) for each in (trail(one, view) for one in run)]
    labels, overlays = _card(box, theme, unit, told)
    if look.labels:
        right = room.right - 60 * unit
        labels += [
            each for each in words(told, view, theme) if each.x < right and each.y < room.bottom
        ]
    plan = FramePlan(
        view,
        _lut(theme),
        _stars(told, view),
        dust(known.x, known.y, 0.6 * frame.depth(known.weight), known.tint, view, known.spread),
        lines,
        ground(taken.districts, taken.in_use, view),
        overlays,
    )
    return Drawing(plan, labels, [_text(taken, box.inset(22 * unit), theme, unit)])


def _stars(told: list[Thought], view: View) -> Splats:
    """The tokens' places: the newer the brighter, the last probability of each as its tint."""
    newest = {key_of_token(thought.token): thought.token.activation or 0.0 for thought in told}
    keys, sure = np.array(list(newest), np.uint64), np.array(list(newest.values()), np.float64)
    x, y = view.to_pixels(*(part + 0.5 for part in map_coordinates(keys)))
    # Tint 0 is for what is remembered only; a glow that reaches further than its tint would show.
    step = 1 + np.minimum(sure * len(SURENESS), len(SURENESS) - 1).astype(np.uint8)
    light = stars(x, y, np.linspace(0.4, 1.0, len(keys)), step.astype(np.uint8), view)
    return replace(light, halo=light.halo * 1.1, far=0.0, radius=light.radius * 1.7)


def _card(
    box: Box, theme: Theme, unit: float, told: list[Thought]
) -> tuple[list[Label], list[Overlay]]:
    """The card beside the map, its title and its legend."""
    inner = box.inset(22 * unit)
    text, muted = palette.rgb(theme.text), palette.rgb(theme.muted)
    title = "How sure the model was of each token"
    labels = [Label(inner.left, inner.top, title, 20 * unit, text, "lt")]
    overlays = [card(box, theme, unit)]
    if not told:
        absent = "absent: no source has sent probabilities"
        labels.append(Label(inner.left, inner.top + 38 * unit, absent, 15 * unit, muted, "lt"))
        return labels, overlays
    scale = Box(inner.left + 16 * unit, inner.top + 37 * unit, 150 * unit, 11 * unit)
    middle = scale.top + scale.height / 2
    colors = np.array([palette.rgb(color) for color in sureness(theme)], np.uint8)
    overlays.append(heat(np.arange(7)[None, :] / 6, scale, np.repeat(colors, 37, axis=0)))
    room = (inner.right - scale.right) / unit - 24
    what = next((each for each in _legends(told) if 7 * len(each) < room), "")
    labels += [
        Label(inner.left, middle, "0", 14 * unit, text),
        Label(scale.right + 7 * unit, middle, "1", 14 * unit, text),
        Label(scale.right + 24 * unit, middle, what, 14 * unit, muted),
    ]
    return labels, overlays


def _legends(told: list[Thought]) -> list[str]:
    """What colours say, the longest first: with the mean entropy of what the tokens were chosen
    from, where it is known."""
    known = [each.token.entropy for each in told if each.token.entropy is not None]
    plain = ["probability of the token", "probability"]
    if not known:
        return plain
    bits = f"{sum(known) / len(known):.1f} bits"
    return [f"{plain[0]} · {bits} of choice each", f"{plain[1]} · {bits} each", *plain]


def _beside(look: Look) -> tuple[Box, Box]:
    """Room for a map, and for a card beside it or, in an upright picture, below."""
    gap = 20 * View(0, 0, 1, look.width, look.height).unit
    if look.width >= look.height:
        wide = look.width * 0.6
        card_box = Box(wide, gap, look.width - wide - gap, look.height - 2 * gap)
        return Box(0, 0, wide, look.height), card_box
    high = look.height * 0.55
    card_box = Box(gap, high, look.width - 2 * gap, look.height - high - gap)
    return Box(0, 0, look.width, high), card_box


def _lut(theme: Theme) -> palette.Lut:
    """Colours that :data:`SURENESS` can tint: the theme's background, and light without hue."""
    dark = palette.is_dark(theme)
    ramp = [theme.background, "#1b2130", "#4d5669", "#98a2b5", "#ffffff"] if dark else theme.ramp
    tints = ["#8fa3c8", *sureness(theme)]
    return palette.lut(msgspec.structs.replace(theme, ramp=ramp, tints=tints))


def _text(taken: Moment, inner: Box, theme: Theme, unit: float) -> Flow:
    """The newest stream's text; each token in the colour of its probability."""
    newest = list(taken.streams.values())[-1:]
    pieces: list[tuple[str, Rgb, float]] = []
    for thought in newest[0] if newest else ():
        sure = thought.token.activation
        color = palette.rgb(theme.muted) if sure is None else _sure(sure, theme)
        pieces.append((thought.token.current_token, color, 1.0))
    top = 68 * unit
    box = Box(inner.left, inner.top + top, inner.width, inner.height - top)
    return Flow(box, 30 * unit, 17 * unit, pieces)


def sureness(theme: Theme) -> tuple[str, ...]:
    """The colours of :data:`SURENESS` that are legible on *theme*'s background."""
    return SURENESS if palette.is_dark(theme) else ON_LIGHT


def _sure(probability: float, theme: Theme) -> Rgb:
    colors = sureness(theme)
    return palette.rgb(colors[min(int(probability * len(colors)), len(colors) - 1)])
