"""A made-up session of two models, the same on every machine: what the goldens of views show."""

from base64 import b64encode

import numpy as np

from geoosd.compositor.core.moment import moment
from geoosd.compositor.core.places import Places
from geoosd.compositor.core.scene import Scene
from geoosd.wire.messages import (
    NeuralData,
    NeuralStateUpdate,
    PackedAttention,
    TokenVisualizationUpdate,
)

WORDS = (
    "The map of a language model is a place where every word has its own cell , and a thought is a"
    " way from word to word : some are taken every day , others once in a life . What is remembered"
    " glows a little ; what is said now is bright ."
)
TEXT = WORDS.split()
LAYERS, HEADS = 4, 3
A_SECOND = 12
"""Tokens that each model says in it."""


def session():
    """Both models have said the same; of one there are attention and layer activations."""
    scene, places = Scene(8.0), Places()
    for position, word in enumerate(TEXT):
        now = position / A_SECOND
        for model in ("red", "blue"):
            token = said(model, word, position)
            places.place(token)
            scene.apply(token, 1e9 + now, now)
        scene.apply(inside("blue", position), 1e9 + now, now)
    return moment(scene, places, len(TEXT) / A_SECOND)


def said(model, word, position):
    """Words lie by their letters, the same for both; each is as probable as its length says."""
    number = sum((index + 1) * ord(letter) for index, letter in enumerate(word))
    probability = 1 / (1 + abs(len(word) - (3 if model == "red" else 5)))
    return TokenVisualizationUpdate(
        f" {word}",
        position,
        token_id=number * 211 % 60_000,
        model=model,
        session=model,
        choice=0,
        activation=probability,
        confidence=probability,
        entropy=2 - probability,
    )


def inside(name, position):
    """Attention that each head has of its own, and layers that do more with each."""
    positions = position + 1
    at = np.arange(positions)
    heads = np.arange(1, LAYERS * HEADS + 1)[:, None]
    weights = 0.9 ** ((position - at) * heads / 2) + 0.2 * (at % heads == 0)
    packed = np.rint(255 * np.sqrt(weights / weights.sum(axis=1, keepdims=True))).astype(np.uint8)
    return NeuralStateUpdate(
        session=name,
        sequence_position=position,
        data=NeuralData(
            layer_activations=[
                (layer + 1) * (1 + ((position * 7 + layer * 3) % 11) / 11) for layer in range(9)
            ],
            attention_weights=PackedAttention(
                LAYERS, HEADS, positions, 0, positions, b64encode(packed.tobytes()).decode()
            ),
        ),
        provenance={"attention_weights": "measured", "layer_activations": "measured"},
    )
