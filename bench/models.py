"""Makes GGUF files of real shapes with random weights, for speed and nothing else.

    models.py OUT_DIR [--shapes tinyllama,qwen05] [--types Q8_0,Q4_K_M,...]

Speed depends on shapes and types, not on what the weights are; so nothing has to be
downloaded. Vocabularies are made up too: they have the right size, single bytes, and
words that nobody wants to read. Files that are there are kept.

Needs `numpy` and `gguf`, and for other types than F16 and BF16 `llama-cpp-python`,
whose quantiser (llama.cpp's own) then defines what is in the file: run it with the
Python of the llama venv.
"""

from __future__ import annotations

import argparse
import ctypes
import os
from pathlib import Path

import gguf
import numpy as np
from shapes import SHAPES, Shape

FLOATS = {
    "F16": gguf.GGMLQuantizationType.F16,
    "BF16": gguf.GGMLQuantizationType.BF16,
}
TYPES = [*FLOATS, "Q8_0", "Q4_0", "Q4_K_M", "Q5_K_M", "Q6_K", "Q2_K"]

#: Standard deviation of weights: activations stay finite through all layers.
DEVIATION = 0.02


def byte_characters() -> list[str]:
    """How GPT-2's byte-level BPE writes each of the 256 bytes."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(b) if b in printable else chr(next(others)) for b in range(256)]


def add_vocabulary(writer: gguf.GGUFWriter, shape: Shape) -> None:
    """A tokenizer of the model's kind and size."""
    normal, unknown, control, unused, byte = 1, 2, 3, 5, 6
    if shape.arch == "llama":
        tokens = ["<unk>", "<s>", "</s>", *(f"<0x{b:02X}>" for b in range(256))]
        types = [unknown, control, control, *[byte] * 256]
        tokens += ["▁", *map(chr, range(33, 127))]
        tokens += [f"▁w{i}" for i in range(shape.vocab - len(tokens))]
        types += [normal] * (shape.vocab - len(types))
        writer.add_tokenizer_model("llama")
        writer.add_token_scores([-float(i) for i in range(shape.vocab)])
        bos, eos = 1, 2
    else:
        characters = byte_characters()
        letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
        pairs = [(a, b) for a in letters for b in letters]
        tokens = [*characters, *(a + b for a, b in pairs)]
        types = [normal] * len(tokens)
        padding = shape.vocab - len(tokens) - 1
        tokens += [f"[PAD{i}]" for i in range(padding)] + ["<|endoftext|>"]
        types += [unused] * padding + [control]
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("qwen2")
        writer.add_token_merges([f"{a} {b}" for a, b in pairs])
        bos = eos = shape.vocab - 1
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_bos_token_id(bos)
    writer.add_eos_token_id(eos)


def write_floats(path: Path, shape: Shape, kind: str) -> None:
    """Writes the model in F16 or BF16; the same weights each time."""
    writer = gguf.GGUFWriter(path, shape.arch)
    writer.add_name(path.stem)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.embed)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.ff)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_rope_dimension_count(shape.embed // shape.heads)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_layer_norm_rms_eps(shape.eps)
    writer.add_vocab_size(shape.vocab)
    file_type = {"F16": gguf.LlamaFileType.MOSTLY_F16, "BF16": gguf.LlamaFileType.MOSTLY_BF16}
    writer.add_file_type(file_type[kind])
    add_vocabulary(writer, shape)

    random = np.random.default_rng(1)

    def matrix(name: str, rows: int, columns: int) -> None:
        values = random.standard_normal((rows, columns), dtype=np.float32) * DEVIATION
        stored = gguf.quants.quantize(values, FLOATS[kind])
        writer.add_tensor(f"{name}.weight", stored, raw_dtype=FLOATS[kind])

    def vector(name: str, size: int, mean: float) -> None:
        values = random.standard_normal(size, dtype=np.float32) * DEVIATION + mean
        writer.add_tensor(name, values.astype(np.float32))

    d, kv = shape.embed, shape.embed // shape.heads * shape.kv_heads
    matrix("token_embd", shape.vocab, d)
    vector("output_norm.weight", d, 1.0)
    if not shape.tied:
        matrix("output", shape.vocab, d)
    for layer in range(shape.layers):
        block = f"blk.{layer}."
        vector(block + "attn_norm.weight", d, 1.0)
        vector(block + "ffn_norm.weight", d, 1.0)
        for name, rows in (("attn_q", d), ("attn_k", kv), ("attn_v", kv)):
            matrix(block + name, rows, d)
            if shape.bias:
                vector(f"{block}{name}.bias", rows, 0.0)
        matrix(block + "attn_output", d, d)
        matrix(block + "ffn_gate", shape.ff, d)
        matrix(block + "ffn_up", shape.ff, d)
        matrix(block + "ffn_down", d, shape.ff)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def quantise(source: Path, target: Path, kind: str) -> None:
    """Has llama.cpp quantise `source`."""
    import llama_cpp

    @llama_cpp.llama_log_callback
    def quiet(_level: int, _text: bytes, _user: ctypes.c_void_p) -> None:
        """Takes a line for every tensor."""

    llama_cpp.llama_log_set(quiet, ctypes.c_void_p(0))
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{kind}")
    params.nthread = os.cpu_count() or 1
    code = llama_cpp.llama_model_quantize(
        os.fsencode(source), os.fsencode(target), ctypes.byref(params)
    )
    if code != 0:
        raise SystemExit(f"llama.cpp cannot quantise {source} to {kind}: code {code}")


def make(path: Path, write) -> None:
    """Calls `write` on a temporary name, so that half a file is never taken for one."""
    if path.exists():
        print(f"{path}: there already")
        return
    half = path.with_suffix(".half")
    write(half)
    half.rename(path)
    print(f"{path}: {path.stat().st_size / 1e6:.0f} MB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out_dir", type=Path)
    parser.add_argument("--shapes", default=",".join(SHAPES))
    parser.add_argument("--types", default=",".join(TYPES))
    args = parser.parse_args()
    args.out_dir.mkdir(parents=True, exist_ok=True)
    kinds = args.types.split(",")
    if unknown := set(kinds) - set(TYPES) or set(args.shapes.split(",")) - set(SHAPES):
        raise SystemExit(f"unknown: {unknown}; types {TYPES}, shapes {list(SHAPES)}")
    for name in args.shapes.split(","):
        shape = SHAPES[name]
        for kind in (k for k in kinds if k in FLOATS):
            path = args.out_dir / f"{name}-{kind}.gguf"
            make(path, lambda half, kind=kind: write_floats(half, shape, kind))
        quantised = [k for k in kinds if k not in FLOATS]
        missing = [k for k in quantised if not (args.out_dir / f"{name}-{k}.gguf").exists()]
        if missing:
            source = args.out_dir / f"{name}-F16.gguf"
            make(source, lambda half: write_floats(half, shape, "F16"))
        for kind in missing:
            path = args.out_dir / f"{name}-{kind}.gguf"
            make(path, lambda half, kind=kind: quantise(source, half, kind))


if __name__ == "__main__":
    main()
