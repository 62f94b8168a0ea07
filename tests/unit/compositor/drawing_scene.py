"""A scene with some of everything, for the tests of views."""

from base64 import b64encode
from pathlib import Path

import msgspec
import numpy as np

from geoosd.compositor.core.moment import moment
from geoosd.compositor.core.places import Places
from geoosd.compositor.core.scene import Scene
from geoosd.wire.messages import (
    NeuralData,
    NeuralStateUpdate,
    PackedAttention,
    Theme,
    TokenVisualizationUpdate,
)

THEMES = Path(__file__).parents[3] / "etc" / "themes"
LAYERS, HEADS = 3, 2


def theme(name="aurora"):
    return msgspec.json.decode((THEMES / f"{name}.json").read_bytes(), type=Theme)


class World:
    """Tokens and what comes with them, one after the other."""

    def __init__(self):
        self.scene, self.places, self.now = Scene(8.0), Places(), 0.0

    def token(self, text="a", position=0, **fields):
        self.now += 0.04
        token = TokenVisualizationUpdate(text, position, **{"model": "m", "token_id": 7} | fields)
        self.places.place(token)
        self.scene.apply(token, 1e9 + self.now, self.now)

    def state(self, **data):
        update = NeuralStateUpdate(
            session="s", sequence_position=data.pop("position", None), data=NeuralData(**data),
            provenance={"attention_weights": "measured", "layer_activations": "measured"},
        )  # fmt: skip
        self.scene.apply(update, 1e9 + self.now, self.now)

    def moment(self):
        return moment(self.scene, self.places, self.now)


def attention(positions, keep=None, first=0):
    """Attention that falls off with distance, differently for each head."""
    kept = positions if keep is None else keep
    distance = np.arange(kept, 0, -1) - 1
    scale = np.arange(1, LAYERS * HEADS + 1)[:, None]
    weights = np.exp(-distance[None, :] / scale)
    packed = np.rint(np.sqrt(weights) * 255).astype(np.uint8)
    return PackedAttention(
        LAYERS, HEADS, positions, first, kept - first, b64encode(packed.tobytes()).decode()
    )


def filled(tokens=40, models=("m",)):
    world = World()
    for model in models:
        for number in range(tokens):
            world.token(
                f" w{number}", number, token_id=number * 7919 % 60_000, model=model,
                session="s" if model == "m" else model, choice=0,
                activation=(number % 10) / 10, confidence=(number % 10) / 10, entropy=1.0,
            )  # fmt: skip
            if model == "m":
                world.state(
                    position=number, attention_weights=attention(number + 4),
                    layer_activations=[float(number + layer) for layer in range(12)],
                )  # fmt: skip
    return world
