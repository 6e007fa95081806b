"""Reads the head of a GGUF file: how many weights a step multiplies with and reads.

Owns the little of the format that this takes, with the standard library alone, so
that `run.py` needs no packages. Source of the layout and of the sizes of blocks:
ggml's docs/gguf.md and ggml-common.h.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import BinaryIO

#: GGUF value types of a fixed size: struct letter.
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9

#: ggml tensor type: (weights, bytes) of a block.
BLOCKS = {
    0: (1, 4), 1: (1, 2), 30: (1, 2),  # F32, F16, BF16
    2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34),  # Q4_0 .. Q8_0
    10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210),  # Q2_K .. Q6_K
    20: (32, 18), 23: (256, 136), 39: (32, 17),  # IQ4_NL, IQ4_XS, MXFP4
}  # fmt: skip


@dataclass(frozen=True)
class Weights:
    """What one step over a model multiplies with."""

    #: Weights of the layers' matrices, and of the head.
    layers: int
    head: int
    #: Bytes of both in the file: what one step reads.
    bytes: int


def _read(file: BinaryIO, letter: str) -> int:
    (value,) = struct.unpack("<" + letter, file.read(struct.calcsize("<" + letter)))
    return value


def _skip_value(file: BinaryIO, kind: int) -> None:
    if kind == STRING:
        file.seek(_read(file, "Q"), 1)
    elif kind == ARRAY:
        item, count = _read(file, "I"), _read(file, "Q")
        if item in SCALARS:
            file.seek(struct.calcsize("<" + SCALARS[item]) * count, 1)
        else:
            for _ in range(count):
                _skip_value(file, item)
    else:
        file.seek(struct.calcsize("<" + SCALARS[kind]), 1)


def read_weights(path: Path) -> Weights:
    """Counts the matrices of `path`. Raises `ValueError` if it is no GGUF file."""
    tensors = {}
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise ValueError(f"{path}: not a GGUF file")
        _version, num_tensors, num_keys = (_read(file, c) for c in "IQQ")
        for _ in range(num_keys):
            file.seek(_read(file, "Q"), 1)
            _skip_value(file, _read(file, "I"))
        for _ in range(num_tensors):
            name = file.read(_read(file, "Q")).decode()
            dims = [_read(file, "Q") for _ in range(_read(file, "I"))]
            kind, _offset = _read(file, "I"), _read(file, "Q")
            if len(dims) == 2:
                if kind not in BLOCKS:
                    raise ValueError(f"{path}: tensor {name} has unknown type {kind}")
                tensors[name] = (prod(dims), kind)
    head_name = "output.weight" if "output.weight" in tensors else "token_embd.weight"
    layers = {n: t for n, t in tensors.items() if n.startswith("blk.")}
    used = [*layers.values(), tensors[head_name]]
    return Weights(
        layers=sum(count for count, _ in layers.values()),
        head=tensors[head_name][0],
        bytes=sum(n // BLOCKS[kind][0] * BLOCKS[kind][1] for n, kind in used),
    )
