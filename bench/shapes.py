"""Shapes of published models: what speed depends on.

Owns the numbers that say how large a model is. Knows nothing of files or engines;
`models.py` fills them with random weights, `peers/hf_transformers.py` does so in memory.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    """A decoder of the Llama family, in the words of its GGUF metadata."""

    arch: str
    layers: int
    embed: int
    heads: int
    kv_heads: int
    ff: int
    vocab: int
    context: int
    rope_base: float
    eps: float
    #: Whether the head is the embedding table.
    tied: bool
    #: Whether queries, keys and values have biases.
    bias: bool


SHAPES = {
    # TinyLlama/TinyLlama-1.1B-Chat-v1.0, config.json. Its context is 2048; more is
    # room for measurements and changes no weight.
    "tinyllama": Shape(
        "llama", 22, 2048, 32, 4, 5632, 32000, 8192, 10000.0, 1e-5, False, False
    ),
    # Qwen/Qwen2.5-0.5B, config.json.
    "qwen05": Shape(
        "qwen2", 24, 896, 14, 2, 4864, 151936, 32768, 1e6, 1e-6, True, True
    ),
}


def shape_of(file_name: str) -> str:
    """The shape that a file of `models.py` has, by its name; empty if none."""
    return next((name for name in SHAPES if file_name.startswith(name + "-")), "")
