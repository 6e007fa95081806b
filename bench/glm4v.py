"""Writes a model of GLM-4.6V-Flash's layer shapes with random weights.

The shapes are those of its `config.json`; the numbers of layers are chosen, and the
tokenizer, templates and settings of pictures come from another model of the family
(such as `models/choral-demo-vision`), since speed does not depend on what tokens mean.

    python bench/glm4v.py --like models/choral-demo-vision --layers 2 --blocks 2 OUT_DIR
"""

import argparse
import json
import shutil
import struct
from pathlib import Path

import numpy as np

WIDTH, FFN, HEADS, KV_HEADS, HEAD, VOCAB = 4096, 13696, 32, 2, 128, 151552
EYE, EYE_HEADS, PATCH, TABLE = 1536, 12, 14, 24


def tensors(layers, blocks):
    """Names and shapes, as published checkpoints have them."""
    yield "lm_head.weight", (VOCAB, WIDTH)
    text = "model.language_model."
    yield text + "embed_tokens.weight", (VOCAB, WIDTH)
    yield text + "norm.weight", (WIDTH,)
    for layer in range(layers):
        at = f"{text}layers.{layer}."
        for norm in ("input", "post_attention"):
            yield f"{at}{norm}_layernorm.weight", (WIDTH,)
        for norm in ("post_mlp", "post_self_attn"):
            yield f"{at}{norm}_layernorm.weight", (WIDTH,)
        for name, heads in (("q", HEADS), ("k", KV_HEADS), ("v", KV_HEADS)):
            yield f"{at}self_attn.{name}_proj.weight", (heads * HEAD, WIDTH)
            yield f"{at}self_attn.{name}_proj.bias", (heads * HEAD,)
        yield at + "self_attn.o_proj.weight", (WIDTH, HEADS * HEAD)
        yield at + "mlp.gate_up_proj.weight", (2 * FFN, WIDTH)
        yield at + "mlp.down_proj.weight", (WIDTH, FFN)
    eye = "model.visual."
    for block in range(blocks):
        at = f"{eye}blocks.{block}."
        yield at + "attn.qkv.weight", (3 * EYE, EYE)
        yield at + "attn.proj.weight", (EYE, EYE)
        yield at + "mlp.gate_proj.weight", (WIDTH, EYE)
        yield at + "mlp.up_proj.weight", (WIDTH, EYE)
        yield at + "mlp.down_proj.weight", (EYE, WIDTH)
        yield at + "norm1.weight", (EYE,)
        yield at + "norm2.weight", (EYE,)
    yield eye + "downsample.weight", (WIDTH, EYE, 2, 2)
    yield eye + "downsample.bias", (WIDTH,)
    yield eye + "embeddings.position_embedding.weight", (TABLE * TABLE, EYE)
    yield eye + "merger.proj.weight", (WIDTH, WIDTH)
    yield eye + "merger.post_projection_norm.weight", (WIDTH,)
    yield eye + "merger.post_projection_norm.bias", (WIDTH,)
    yield eye + "merger.gate_proj.weight", (FFN, WIDTH)
    yield eye + "merger.up_proj.weight", (FFN, WIDTH)
    yield eye + "merger.down_proj.weight", (WIDTH, FFN)
    yield eye + "patch_embed.proj.weight", (EYE, 3, 2, PATCH, PATCH)
    yield eye + "patch_embed.proj.bias", (EYE,)
    yield eye + "post_conv_layernorm.weight", (EYE,)
    yield eye + "post_layernorm.weight", (EYE,)


def write(path, named, seed):
    """One safetensors file in bf16: norms are ones, all else is drawn."""
    header, at = {}, 0
    named = list(named)
    for name, shape in named:
        size = 2 * int(np.prod(shape))
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    head = json.dumps(header).encode()
    rng = np.random.default_rng(seed)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(head)) + head)
        for name, shape in named:
            left = int(np.prod(shape))
            is_norm = "norm" in name and name.endswith("weight")
            while left:
                count = min(left, 1 << 24)
                drawn = np.ones(count, np.float32) if is_norm else rng.standard_normal(count, np.float32) * 0.02
                file.write((drawn.view(np.uint32) >> 16).astype("<u2").tobytes())
                left -= count


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--like", type=Path, required=True, help="model to take all but the weights from")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--blocks", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for file in args.like.iterdir():
        if file.suffix in (".json", ".jinja") and not file.name.startswith("model."):
            shutil.copy(file, args.out / file.name)
    config = json.loads((args.like / "config.json").read_text())
    config["text_config"].update(
        vocab_size=VOCAB, hidden_size=WIDTH, intermediate_size=FFN, num_hidden_layers=args.layers,
        num_attention_heads=HEADS, num_key_value_heads=KV_HEADS, head_dim=HEAD, partial_rotary_factor=0.5,
        attention_bias=True, max_position_embeddings=65536, tie_word_embeddings=False,
    )  # fmt: skip
    config["tie_word_embeddings"] = False
    for name in ("rope_scaling", "rope_parameters"):
        if name in config["text_config"]:
            config["text_config"][name].update(mrope_section=[8, 12, 12])
            config["text_config"][name].update(
                {key: 0.5 for key in ("partial_rotary_factor",) if key in config["text_config"][name]}
            )
    config["vision_config"].update(
        hidden_size=EYE, depth=args.blocks, num_heads=EYE_HEADS, intermediate_size=FFN, out_hidden_size=WIDTH,
        image_size=TABLE * PATCH,
    )  # fmt: skip
    if "num_attention_heads" in config["vision_config"]:
        config["vision_config"]["num_attention_heads"] = EYE_HEADS
    (args.out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    write(args.out / "model.safetensors", tensors(args.layers, args.blocks), args.seed)


if __name__ == "__main__":
    main()
