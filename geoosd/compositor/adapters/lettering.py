"""Words over pictures, by Pillow and the font that comes with it. Blocks; for a worker thread.

That font knows Latin letters. Text with others is set in DejaVu Sans where it is installed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final, TypeAlias

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from geoosd.compositor.core.look import Drawing, Flow, Label, Rgb
from geoosd.compositor.core.plan import FramePlan, Overlay

Piece: TypeAlias = tuple[str, Rgb, float]

_LEADING: Final = 1.5
"""From one line of running text to the next, in sizes."""
_FINE: Final = 3
"""Words are drawn so many times as large and then reduced: small sizes keep their spacing."""
_WIDER: Final = "DejaVuSans.ttf"
_MISSING: Final = "\uffff"


def lettered(drawing: Drawing) -> FramePlan:
    """The plan of *drawing* with its words."""
    plan = drawing.plan
    return replace(plan, overlays=[*plan.overlays, *letter(drawing)])


def letter(drawing: Drawing) -> list[Overlay]:
    """What the words of *drawing* are as overlays, in their order."""
    return [*_labels(drawing.labels), *(_flow(flow) for flow in drawing.flows if flow.pieces)]


def _labels(labels: Iterable[Label]) -> Iterator[Overlay]:
    for label in labels:
        if label.text and label.opacity > 0:
            left, top, pixels = _line(
                label.text, max(6, round(label.size)), label.color, label.anchor,
                round(label.opacity * 100), label.halo,
            )  # fmt: skip
            yield Overlay(round(label.x) + left, round(label.y) + top, pixels)


@lru_cache(maxsize=32)
def _font(size: int, wide: bool = False) -> Any:
    if wide:
        try:
            return ImageFont.truetype(_WIDER, size)
        except OSError:
            pass
    return ImageFont.load_default(size)


@lru_cache(maxsize=4096)
def _has(letter_: str) -> bool:
    """Whether the font that comes with Pillow can draw it."""
    font = _font(16)
    return letter_.isspace() or bytes(font.getmask(letter_)) != bytes(font.getmask(_MISSING))


def _font_for(text: str, size: int) -> Any:
    return _font(size, not all(_has(each) for each in text))


@lru_cache(maxsize=512)
def _line(
    text: str, size: int, color: Rgb, anchor: str, opacity: int, halo: Rgb | None
) -> tuple[int, int, Any]:
    """Where its pixels begin, relative to the anchor, and the pixels."""
    font = _font_for(text, size * _FINE)
    around = max(1, round(size * _FINE / 7)) if halo else 0
    left, top, right, bottom = font.getbbox(text, anchor=anchor, stroke_width=around)
    # Whole pixels of the picture, so that reducing it blurs nothing.
    left, top = (int(edge // _FINE) * _FINE for edge in (left, top))
    width = max(1, -int(-(right - left) // _FINE)) * _FINE
    height = max(1, -int(-(bottom - top) // _FINE)) * _FINE
    at = (-left, -top)
    image = Image.new("L", (width, height))
    ImageDraw.Draw(image).text(at, text, 255, font, anchor)
    face = _reduced(image)
    pixels = np.empty((*face.shape, 4), np.uint8)
    share = np.ones(face.shape)
    alpha = face
    if halo:
        image = Image.new("L", (width, height))
        ImageDraw.Draw(image).text(at, text, 255, font, anchor, stroke_width=around)
        alpha = _reduced(image)
        share = face / np.maximum(alpha, 1)
    below = np.array(halo or color)
    pixels[..., :3] = np.rint(below + (np.array(color) - below) * share[..., None])
    pixels[..., 3] = np.rint(alpha * (opacity / 100))
    return left // _FINE, top // _FINE, pixels


def _reduced(image: Image.Image) -> Any:
    return np.array(image.reduce(_FINE), np.float64)


def _flow(flow: Flow) -> Overlay:
    """Running text: broken at spaces, the end of it if it is too long."""
    width, height = max(1, round(flow.box.width)), max(1, round(flow.box.height))
    size = max(6, round(flow.most))
    lines = _wrapped(flow.pieces, size, width)
    while len(lines) * size * _LEADING > height and size - 2 >= flow.least:
        size -= 2
        lines = _wrapped(flow.pieces, size, width)
    high = size * _LEADING
    lines = lines[-max(1, int(height / high)) :]
    pixels = np.zeros((height, width, 4), np.uint8)
    for number, line in enumerate(lines):
        x, top = 0.0, round(number * high)
        for text, color, opacity in line:
            _set(pixels, text, round(x), top, (size, color, opacity))
            x += _width(text, size)
    return Overlay(round(flow.box.left), round(flow.box.top), pixels)


def _set(pixels: Any, text: str, x: int, y: int, how: tuple[int, Rgb, float]) -> None:
    """Put a piece of a line where there is nothing yet."""
    size, color, opacity = how
    left, top, word = _line(text, size, color, "la", round(opacity * 100), None)
    x, y = max(0, x + left), max(0, y + top)
    word = word[: max(0, pixels.shape[0] - y), : max(0, pixels.shape[1] - x)]
    place = pixels[y : y + word.shape[0], x : x + word.shape[1]]
    np.copyto(place, word, where=word[..., 3:] > place[..., 3:])


@lru_cache(maxsize=8192)
def _width(text: str, size: int) -> float:
    return float(_font_for(text, size * _FINE).getlength(text)) / _FINE


def _wrapped(pieces: Sequence[Piece], size: int, width: int) -> list[list[Piece]]:
    """The pieces by line. A word may be several pieces: it goes to the next line as a whole."""
    lines: list[list[Piece]] = [[]]
    used = 0.0
    for word in _words(pieces):
        wide = sum(_width(text.rstrip(), size) for text, _, _ in word)
        if word[0][0] == "\n" or (used + wide > width and used > 0):
            lines.append([])
            used = 0.0
        for text, color, opacity in word:
            line = text.strip("\n") if used else text.lstrip("\n ")
            if line:
                lines[-1].append((line, color, opacity))
                used += _width(line, size)
    return lines


def _words(pieces: Sequence[Piece]) -> Iterator[list[Piece]]:
    """Runs of pieces that belong together; a line break is a word of its own."""
    word: list[Piece] = []
    for text, color, opacity in pieces:
        for part in _parts(text):
            if word and (part[0] in " \n" or word[-1][0] == "\n"):
                yield word
                word = []
            word.append((part, color, opacity))
    if word:
        yield word


def _parts(text: str) -> Iterator[str]:
    """A token's text cut before each space and around each line break."""
    part = ""
    for each in text.replace("\t", "  ").replace("\r", ""):
        if part and (each in " \n" or part == "\n"):
            yield part
            part = ""
        part += each
    if part:
        yield part
