"""Gemma 3 in plain NumPy, from the GGUF that the embedded engine serves: real attention.

Servers do not tell what goes on inside a model; this does, for the pictures of docs/views.md. It is
the same computation, in the same weights, a token at a time. Formulas: "Gemma 3 Technical Report"
(2025); RMS norm, RoPE, grouped queries, sliding-window attention in five of six layers.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize

SPACE = "\u2581"


class Step(NamedTuple):
    """One token that the model wrote. ``attention`` is layers × heads × positions: what it looked
    at when it chose this token; ``norms`` how large each layer's output was; ``probability`` and
    ``entropy`` (bits) of the distribution that the token was drawn from."""

    token: int
    text: str
    probability: float
    entropy: float
    attention: np.ndarray
    norms: list[float]
    positions: int


class Gemma:
    """The weights, and the keys and values of one context."""

    def __init__(self, path: Path) -> None:
        reader = GGUFReader(path)

        def value(key: str) -> Any:
            return reader.fields[key].contents()

        self.layers = int(value("gemma3.block_count"))
        self.width = int(value("gemma3.embedding_length"))
        self.heads = int(value("gemma3.attention.head_count"))
        self.size = int(value("gemma3.attention.key_length"))
        self.window = int(value("gemma3.attention.sliding_window"))
        self.epsilon = float(value("gemma3.attention.layer_norm_rms_epsilon"))
        self.base = float(value("gemma3.rope.freq_base"))
        self.words: list[str] = value("tokenizer.ggml.tokens")
        self.ids = {word: index for index, word in enumerate(self.words)}
        self.weights = {
            tensor.name: dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
            for tensor in reader.tensors
        }
        self.keys: list[list[np.ndarray]] = [[] for _ in range(self.layers)]
        self.values: list[list[np.ndarray]] = [[] for _ in range(self.layers)]

    def encode(self, text: str) -> list[int]:
        """Token ids of *text*, by longest match: no model's own way, but valid input for it."""
        rest, ids = text.replace(" ", SPACE), [2]
        while rest:
            size = next(n for n in range(min(len(rest), 24), 0, -1) if rest[:n] in self.ids)
            ids.append(self.ids[rest[:size]])
            rest = rest[size:]
        return ids

    def text(self, token: int) -> str:
        """What a token says."""
        return self.words[token].replace(SPACE, " ")

    def write(
        self, prompt: list[int], count: int, *, seed: int, temperature: float
    ) -> Iterator[Step]:
        """Continue *prompt* by *count* tokens."""
        chance = np.random.default_rng(seed)
        for token in prompt[:-1]:
            self._forward(token)
        token = prompt[-1]
        for _ in range(count):
            logits, attention, norms = self._forward(token)
            scaled = (logits - logits.max()) / temperature
            probabilities = np.exp(scaled) / np.exp(scaled).sum()
            # Of the most likely ones that make up 95 %.
            order = np.argsort(-probabilities)
            kept = order[: int(np.searchsorted(np.cumsum(probabilities[order]), 0.95)) + 1]
            token = int(chance.choice(kept, p=probabilities[kept] / probabilities[kept].sum()))
            plain = np.exp(logits - logits.max())
            plain /= plain.sum()
            entropy = float(-(plain * np.log2(np.maximum(plain, 1e-30))).sum())
            yield Step(
                token, self.text(token), float(plain[token]), entropy, attention, norms,
                attention.shape[2],
            )  # fmt: skip

    def _forward(self, token: int) -> tuple[np.ndarray, np.ndarray, list[float]]:
        """Logits of the next token, attention (layers × heads × positions), norm by layer."""
        weights = self.weights
        position = len(self.keys[0])
        x = weights["token_embd.weight"][token] * np.float32(self.width**0.5)
        attention, norms = [], []
        for layer in range(self.layers):
            part = f"blk.{layer}."
            everywhere = (layer + 1) % 6 == 0
            base = self.base if everywhere else 10_000.0
            h = self._norm(x, part + "attn_norm")
            query = (weights[part + "attn_q.weight"] @ h).reshape(self.heads, self.size)
            key = weights[part + "attn_k.weight"] @ h
            query = self._rope(self._norm(query, part + "attn_q_norm"), position, base)
            key = self._rope(self._norm(key, part + "attn_k_norm"), position, base)
            self.keys[layer].append(key)
            self.values[layer].append(weights[part + "attn_v.weight"] @ h)
            first = 0 if everywhere else max(0, position + 1 - self.window)
            scores = query @ np.stack(self.keys[layer][first:]).T / np.float32(self.size**0.5)
            shares = np.exp(scores - scores.max(axis=1, keepdims=True))
            shares /= shares.sum(axis=1, keepdims=True)
            whole = np.zeros((self.heads, position + 1), np.float32)
            whole[:, first:] = shares
            attention.append(whole)
            seen = (shares @ np.stack(self.values[layer][first:])).ravel()
            seen = weights[part + "attn_output.weight"] @ seen
            x = x + self._norm(seen, part + "post_attention_norm")
            h = self._norm(x, part + "ffn_norm")
            gate = weights[part + "ffn_gate.weight"] @ h
            gate = 0.5 * gate * (1 + np.tanh(0.7978845608 * (gate + 0.044715 * gate**3)))
            h = weights[part + "ffn_down.weight"] @ (gate * (weights[part + "ffn_up.weight"] @ h))
            x = x + self._norm(h, part + "post_ffw_norm")
            norms.append(float(np.linalg.norm(x)))
        logits = weights["token_embd.weight"] @ self._norm(x, "output_norm")
        return logits, np.stack(attention), norms

    def _norm(self, x: np.ndarray, name: str) -> np.ndarray:
        scale = np.sqrt((x * x).mean(-1, keepdims=True) + np.float32(self.epsilon))
        return x / scale * self.weights[f"{name}.weight"]

    @staticmethod
    def _rope(x: np.ndarray, position: int, base: float) -> np.ndarray:
        half = x.shape[-1] // 2
        angle = position * base ** (-np.arange(half, dtype=np.float32) / half)
        cosine, sine = np.cos(angle), np.sin(angle)
        left, right = x[..., :half], x[..., half:]
        turned = (left * cosine - right * sine, right * cosine + left * sine)
        return np.concatenate(turned, axis=-1).astype(np.float32)
