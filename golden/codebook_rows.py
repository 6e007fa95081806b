"""Makes codebook_rows.json: random blocks of ggml's codebook and ternary types, and
what gguf-py (pip install gguf) makes of them.

The blocks are bytes of a linear congruential generator, so that only its seed is
stored; the values of the first block are stored in full, those of all blocks as a
hash (FNV-1a, 64 bits, over little-endian f32). The number of blocks is enough for
nearly every entry of every codebook to occur.
"""

import base64
import json

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize

TYPES = ["IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "TQ1_0", "TQ2_0"]
SCALE_AT_END = {"IQ1_M", "TQ1_0", "TQ2_0"}
NUM_BLOCKS = 512


def lcg(seed, count):
    out = bytearray()
    for _ in range(count):
        seed = (seed * 6364136223846793005 + 1442695040888963407) % 2**64
        out.append(seed >> 56)
    return out


def fnv1a(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return value


cases = []
for seed, name in enumerate(TYPES):
    kind = GGMLQuantizationType[name]
    _, size = GGML_QUANT_SIZES[kind]
    raw = np.frombuffer(lcg(seed, NUM_BLOCKS * size), dtype=np.uint8).reshape(-1, size).copy()
    # A finite scale: the top bit of its exponent is off.
    raw[:, size - 1 if name in SCALE_AT_END else 1] &= 0xBF
    values = dequantize(raw, kind).astype("<f4")
    assert np.isfinite(values).all()
    cases.append({
        "type": name,
        "seed": seed,
        "num_blocks": NUM_BLOCKS,
        "first_block_f32_b64": base64.b64encode(values[0].tobytes()).decode(),
        "fnv1a_f32": f"{fnv1a(values.tobytes()):016x}",
    })
with open("codebook_rows.json", "w") as file:
    json.dump({"types": cases}, file, indent=1)
    file.write("\n")
