"""Pictures by both backends, beside a copy of the same frame.

The copy is the floor that memory bandwidth sets: it goes through so many frames that caches do not
help. ``lit`` cells were each lit by a token of their own; these are CPU-milliseconds of NumPy from
the scene to pixels. ``first`` is the first picture of a view, the others are drawn again and again,
as for somebody who keeps asking: plan and lit tiles are made anew each time, the ground is not.
``tokens`` are said in each frame of a stream that has run for a minute, so that the newest 8,192
(or with one token a frame 1,680) are alight; these are milliseconds from plan to pixels: of CPU
for NumPy and for a software adapter, which is named as such and shows that the path works, not how
fast a GPU is; of time for a GPU. ``view`` is a frame of each view from the scene to pixels with its
words, beside making a JPEG of it.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
from measure import Pace, Result, Skipped, Turn, alternate, at_most, cpu_cost, ratio, value

from geoosd.compositor.adapters import trial
from geoosd.compositor.adapters.backends import open_wgpu
from geoosd.compositor.adapters.encode import encode
from geoosd.compositor.adapters.lettering import lettered
from geoosd.compositor.adapters.render_numpy import NumpyBackend
from geoosd.compositor.core import frame, palette, views
from geoosd.compositor.core.look import Look
from geoosd.compositor.core.moment import Moment, moment
from geoosd.compositor.core.places import Places
from geoosd.compositor.core.plan import Backend, BackendError
from geoosd.compositor.core.scene import Scene
from geoosd.wire.messages import (
    NeuralData,
    NeuralStateUpdate,
    PackedAttention,
    Theme,
    TokenVisualizationUpdate,
)

NAME = "compositor"
_THEME = Path(__file__).parents[2] / "etc" / "themes" / "aurora.json"
_CASES = dict.fromkeys((512, 1024, 2048, 4096), (0, 1, 17, 170, 1000))
_STREAMS = (0, 1, 17, 170, 1000)
_TARGETS = {(1024, 0): 0.2, (1024, 1): 5.0}
_VOCABULARY = 262_144
_FIRST = """
from geoosd.compositor.adapters.encode import encode
from geoosd.compositor.adapters import trial
from geoosd.compositor.adapters.backends import open_wgpu
from geoosd.compositor.adapters.render_numpy import render
from geoosd.compositor.adapters.trial import session
encode(render(next(session(17, 1024, 1024))), "jpeg")
"""
_COPIED = 256 << 20
"""Bytes of frames: several times the largest caches."""


def lit(count: int) -> tuple[Scene, Places]:
    """A scene in which *count* tokens have just been said, the same on every machine."""
    scene, places = Scene(8.0), Places()
    for position in range(count):
        token = TokenVisualizationUpdate(
            "t",
            position,
            token_id=(position + 1) * 40_503 % _VOCABULARY,
            model="bench",
            session="bench",
            activation=0.7,
        )
        places.place(token)
        scene.apply(token, 0.0, 0.0)
    return scene, places


def picture(
    backend: NumpyBackend | None, scene: Scene, places: Places, table: palette.Lut, side: int
) -> object:
    """One picture, as for a snapshot, not encoded; by a new renderer if none is given."""
    return (backend or NumpyBackend()).draw(frame.plan(scene, places, table, (side, side), 0.04))


def copying(side: int) -> Callable[[], None]:
    """Copies a frame of that size, from and to other memory every time."""
    frames = [np.full((side, side, 4), 7, np.uint8) for _ in range(_COPIED // (4 * side * side))]
    pairs = itertools.cycle(itertools.pairwise(frames))

    def copy() -> None:
        source, target = next(pairs)
        np.copyto(target, source)

    return copy


def drawing(backend: Backend, tokens: int, side: int, clock: Callable[[], float]) -> Turn:
    """Draws one frame after the other of a running stream; milliseconds of a frame by *clock*."""
    plans = itertools.cycle(list(itertools.islice(trial.session(tokens, side, side), 4)))
    backend.draw(next(plans))

    def turn() -> float:
        began = clock()
        for _ in range(3):
            backend.draw(next(plans))
        return (clock() - began) * 1000 / 3

    return turn


def streams(pace: Pace) -> Iterator[Result]:
    """Sizes and tokens a frame, by both backends."""
    backends: dict[str, Backend] = {"NumPy": NumpyBackend()}
    try:
        gpu = open_wgpu("")
        backends["wgpu in software" if "CPU" in gpu.adapter else "wgpu"] = gpu
    except BackendError as error:
        yield Skipped(f"{NAME}, streams: wgpu", str(error))
    for side, tokens in itertools.product(_CASES, _STREAMS):
        turns: dict[str, Turn] = {"copy": partial(cpu_cost, copying(side), 0.02)}
        for name, backend in backends.items():
            clock = time.perf_counter if name == "wgpu" else time.process_time
            turns[name] = drawing(backend, tokens, side, clock)
        measured = alternate(turns, pace.rounds)
        for name in backends:
            yield ratio(
                f"{NAME}, {side} x {side}, stream: {tokens} a frame, {name} / copy",
                " ms",
                measured[name],
                measured["copy"],
                "lower",
            )
        if bound := _TARGETS.get((side, tokens)):
            group = f"{NAME}, {side} x {side}, stream: {tokens} a frame, NumPy, CPU"
            yield value(group, " ms", measured["NumPy"], at_most(bound))
    for backend in backends.values():
        backend.close()


def session() -> Moment:
    """A session of 400 tokens, with attention of 18 × 4 heads and 18 layers, over a memory of
    3,000 cells."""
    scene, places = lit(3000)
    random = np.random.default_rng(5)
    for position in range(400):
        now = position / 30
        token = TokenVisualizationUpdate(
            f" word{position % 97}", position, token_id=int(random.zipf(1.3)) * 7919 % _VOCABULARY,
            model="bench", session="bench", choice=0, activation=float(random.random()),
            entropy=1.0,
        )  # fmt: skip
        places.place(token)
        scene.apply(token, now, now)
        positions = min(position + 1, 128)
        heads = random.integers(0, 256, 18 * 4 * positions, np.uint8).tobytes()
        state = NeuralStateUpdate(
            session="bench", sequence_position=position,
            data=NeuralData(
                layer_activations=random.random(18).tolist(),
                attention_weights=PackedAttention(
                    18, 4, position + 1, 0, positions, b64encode(heads).decode()
                ),
            ),
        )  # fmt: skip
        scene.apply(state, now, now)
    return moment(scene, places, now)


def every_view(pace: Pace) -> Iterator[Result]:
    """A frame of each view with its words, as for the page or a stream, and one as a JPEG."""
    width, height = 1280, 720
    theme = msgspec.json.decode(_THEME.read_bytes(), type=Theme)
    taken, drawn = session(), np.zeros((height, width, 4), np.uint8)

    def frame_of(backend: NumpyBackend, name: str) -> None:
        nonlocal drawn
        look = Look(name, width, height, labels=True)
        drawn = backend.draw(lettered(views.draw(replace(taken), look, theme)))

    for name in views.VIEWS:
        work = partial(frame_of, NumpyBackend(), name)
        work()
        turns: dict[str, Turn] = {
            "frame": partial(cpu_cost, work, pace.seconds / 4),
            "jpeg": partial(cpu_cost, partial(encode, drawn, "jpeg"), pace.seconds / 10),
        }
        measured = alternate(turns, pace.rounds)
        group = f"{NAME}, {width} x {height}, view"
        ours, jpeg = measured["frame"], measured["jpeg"]
        yield ratio(f"{group}: {name} / its JPEG", " ms", ours, jpeg, "lower")


def first_picture() -> float:
    """Seconds from the start of a process to its first picture, encoded."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", _FIRST], check=True)
    return time.perf_counter() - began


def run(pace: Pace) -> Iterator[Result]:
    """Sizes and numbers of lit cells, streams, the first picture."""
    first_pictures = alternate({"first": first_picture}, pace.rounds)["first"]
    yield value(f"{NAME}: time to the first picture", " s", first_pictures, at_most(1.0))
    yield from lit_cells(pace)
    yield from streams(pace)
    yield from every_view(pace)


def lit_cells(pace: Pace) -> Iterator[Result]:
    """Sizes and numbers of lit cells, by NumPy."""
    table = palette.lut(msgspec.json.decode(_THEME.read_bytes(), type=Theme))
    for side, counts in _CASES.items():
        turns: dict[str, Turn] = {"copy": partial(cpu_cost, copying(side), pace.seconds / 10)}
        for count in counts:
            work = partial(picture, NumpyBackend(), *lit(count), table, side)
            work()
            turns[str(count)] = partial(cpu_cost, work, pace.seconds / 4)
        turns["first"] = partial(
            cpu_cost, partial(picture, None, *lit(17), table, side), pace.seconds / 4
        )
        measured = alternate(turns, pace.rounds)
        group = f"{NAME}, {side} x {side}"
        first, copy = measured["first"], measured["copy"]
        yield ratio(f"{group}: 17 lit, first / copy", " ms", first, copy, "lower")
        for count in counts:
            ours = measured[str(count)]
            yield ratio(f"{group}: {count} lit / copy", " ms", ours, measured["copy"], "lower")
            if bound := _TARGETS.get((side, count)):
                yield value(f"{group}: {count} lit, CPU", " ms", ours, at_most(bound))
