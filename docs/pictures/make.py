"""The pictures of docs/views.md and of the README, from a real model's session: ``make pictures``.

Starts geoos in a directory of its own with the embedded engine, lays the model's vocabulary out by
meaning, has it write about a dozen things, and takes each view with ``geoosctl snapshot``, and the
page in a Chromium. Servers tell nothing of attention and layers; for those :mod:`gemma` runs the
same model file in NumPy and sends what it sees to ``ingest.sock``, as any producer may. A few
minutes on two cores. ``make pictures ARGS="memory page"`` makes those alone.
"""

from __future__ import annotations

import json
import socket
import struct
import subprocess
import sys
import tempfile
import time
from base64 import b64encode
from pathlib import Path
from typing import Any

import numpy as np
from gemma import Gemma, Step

from geoosd.engine.adapters import assets

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "tests"))
from integration.stack import Stack, running  # noqa: E402

IMAGES = HERE.parent / "images"
ENOUGH = 15_000
"""Bytes of one message's attention, before base64: 16 KiB are allowed in all."""
STARTS = (
    "The history of mathematics begins with",
    "A good recipe for bread needs",
    "The old lighthouse keeper looked at the sea and",
    "In quantum mechanics, the wave function",
    "Once upon a time in a small village in the mountains,",
    "The most important rivers of Europe are",
    "def fibonacci(n):",
    "The human brain consists of",
    "Music theory teaches that a chord",
    "My favourite places in Paris are",
    "The economy of Japan in the nineteenth century",
    "Dear Sir or Madam, I am writing to",
)
LAST = "The geometry of thought is"
MODEL, IN_NUMPY = "gemma-3-270m", "gemma-3-270m in NumPy"


def main() -> None:
    """Make them all."""
    only = set(sys.argv[1:])
    model = assets.shipped_model()
    if model is None:
        sys.exit("the shipped model is not installed: make .venv/.dev")
    path = assets.provide(model, assets.cache_dir(), lambda done, total: None)
    # What is lit stays long enough to be taken in several views.
    settings = ["compositor.decay_seconds=40"]
    with (
        tempfile.TemporaryDirectory(prefix="geoos-pictures-") as name,
        running(Path(name), engine=True, settings=settings) as geoos,
    ):
        shot = Shot(geoos)
        shot.lay_out(path)
        shot.page(LAST, only)
        if only == {"page"}:
            return
        for start in STARTS:
            shot.prompt(start, 160)
        shot.prompt(LAST, 220)
        for view, options in (
            ("activation", ("--labels", "--zoom", "1.4")),
            ("memory", ("--labels", "--zoom", "1.4")),
            ("confidence", ("--labels", "--zoom", "1.3")),
        ):
            shot.take(view, options, only)
        look_inside(shot.directory / "run" / "ingest.sock", Gemma(path))
        for view in ("attention", "layers"):
            shot.take(view, (), only)
        shot.prompt(LAST, 220)
        shot.take("models", ("--labels", "--zoom", "1.1"), only)


def look_inside(ingest: Path, gemma: Gemma) -> None:
    """Have the model write once more, and tell what it looked at."""
    session, model = "numpy", IN_NUMPY
    with socket.socket(socket.AF_UNIX) as geoos:
        geoos.connect(str(ingest))

        def send(kind: str, **payload: Any) -> None:
            message = {"message_type": kind, "timestamp": time.time(), "payload": payload}
            data = json.dumps(message).encode()
            geoos.sendall(struct.pack("<I", len(data)) + data)

        send("SessionStarted", session=session, model=model)
        prompt = gemma.encode("The most beautiful idea in mathematics is that")
        for position, step in enumerate(gemma.write(prompt, 110, seed=3, temperature=0.8)):
            send(
                "TokenVisualizationUpdate", session=session, model=model, choice=0,
                current_token=step.text, token_id=step.token, sequence_position=position,
                activation=step.probability, confidence=step.probability, entropy=step.entropy,
            )  # fmt: skip
            send(
                "NeuralStateUpdate", session=session, sequence_position=position,
                data={"layer_activations": step.norms, "attention_weights": packed(step)},
                provenance={"layer_activations": "measured", "attention_weights": "measured"},
            )  # fmt: skip
        send("SessionEnded", session=session)
        geoos.shutdown(socket.SHUT_WR)
        if said := geoos.makefile("rb").read():
            sys.exit(f"geoos could not take this: {said!r}")


def packed(step: Step) -> dict[str, Any]:
    """Attention as messages carry it: square roots in bytes, the newest positions."""
    layers, heads, positions = step.attention.shape
    rest = min(positions, ENOUGH * 3 // 4 // (layers * heads))
    data = np.rint(np.sqrt(step.attention[:, :, positions - rest :]) * 255).astype(np.uint8)
    return {
        "layers": layers, "heads": heads, "positions": positions, "first": 0, "rest": rest,
        "u8": b64encode(data.tobytes()).decode(),
    }  # fmt: skip


class Shot:
    """A running geoos."""

    def __init__(self, geoos: Stack) -> None:
        self.directory, self.ctl, self.url = geoos.directory, geoos.told, geoos.page

    def lay_out(self, path: Path) -> None:
        """Have tokens of like meaning lie together, in both engines the same."""
        layout = str(self.directory / "layout.i32")
        print(self.ctl("map", "build", str(path), "--out", layout).strip(), flush=True)
        for model in (MODEL, IN_NUMPY):
            self.ctl("map", "adopt", model, layout)

    def prompt(self, text: str, tokens: int) -> None:
        """Have the model continue *text*."""
        wanted = (f"max_tokens={tokens}", "temperature=0.8", "seed=7")
        self.ctl("prompt", text, *(each for one in wanted for each in ("--param", one)))
        print(f"written: {text} …", flush=True)

    def page(self, prompt: str, only: set[str]) -> None:
        """The README's picture: the page, a while after somebody has typed *prompt*."""
        if only and "page" not in only:
            return
        script = HERE.parents[1] / "tests" / "web" / "screenshot.py"
        path = IMAGES / "shell.png"
        subprocess.run(
            [
                sys.executable, script, self.url, path,
                "--prompt", prompt, "--after", "5", "--scale", "1.5",
            ],
            check=True, timeout=120,
        )  # fmt: skip
        print(path, flush=True)

    def take(self, view: str, options: tuple[str, ...], only: set[str]) -> None:
        """One picture, 1280 × 720, sharp on dense screens."""
        if only and view not in only:
            return
        path = IMAGES / f"view-{view}.webp"
        size = ("--width", "1280", "--height", "720", "--dpr", "1.5")
        print(self.ctl("snapshot", str(path), "--view", view, *size, *options).strip(), flush=True)


if __name__ == "__main__":
    main()
