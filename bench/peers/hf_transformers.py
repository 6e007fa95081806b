"""transformers in bf16 on the CPU, as a program: a static batch of equal lengths.

Random weights are made in memory, of one of the shapes in `shapes.py`, or read from a
folder with config.json and safetensors. A shared prompt is computed once and its cache
repeated. Decoding is the loop of `generate` without its sampling and stopping, which
can only flatter this peer. Prints one JSON object a line, with the keys of
`llama-batched-bench`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from shapes import SHAPES, Shape
from transformers import AutoModelForCausalLM, DynamicCache, LlamaConfig, Qwen2Config


def configuration(shape: Shape):
    kind = {"llama": LlamaConfig, "qwen2": Qwen2Config}[shape.arch]
    return kind(
        vocab_size=shape.vocab,
        hidden_size=shape.embed,
        intermediate_size=shape.ff,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        max_position_embeddings=shape.context,
        rms_norm_eps=shape.eps,
        tie_word_embeddings=shape.tied,
    )


def load(model: str):
    """`model` is a shape's name or a folder."""
    torch.manual_seed(1)
    if model in SHAPES:
        torch.set_default_dtype(torch.bfloat16)
        made = AutoModelForCausalLM.from_config(configuration(SHAPES[model]))
    else:
        made = AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16)
    return made.to(torch.bfloat16).eval()


@torch.inference_mode()
def measure(model, pp: int, tg: int, pl: int, shared: bool) -> dict:
    """Runs `pl` sequences of `pp` prompt tokens and `tg` new ones."""
    rows = 1 if shared else pl
    vocab = model.config.vocab_size
    prompt = torch.tensor(
        [[(s * 7919 + i * 31 + 5) % vocab for i in range(pp)] for s in range(rows)]
    )
    start = time.perf_counter()
    cache = DynamicCache(config=model.config)
    out = model(prompt, past_key_values=cache, use_cache=True, logits_to_keep=1)
    last = out.logits[:, -1].argmax(-1)
    if shared and pl > 1:
        cache.batch_repeat_interleave(pl)
        last = last.repeat(pl)
    t_pp = time.perf_counter() - start
    start = time.perf_counter()
    # The first new token is the prompt's.
    for _ in range(tg - 1):
        out = model(last[:, None], past_key_values=cache, use_cache=True)
        last = out.logits[:, -1].argmax(-1)
    t_tg = time.perf_counter() - start
    prompts = pp * rows
    return {
        "pp": pp,
        "tg": tg,
        "pl": pl,
        "n_kv": prompts + pl * tg,
        "t_pp": t_pp,
        "speed_pp": prompts / t_pp,
        "t_tg": t_tg,
        "speed_tg": pl * (tg - 1) / t_tg if tg > 1 else 0.0,
        "t": t_pp + t_tg,
        "speed": (prompts + pl * tg) / (t_pp + t_tg),
        "setting": "bf16",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-m", "--model", required=True, help="a shape, or a folder")
    parser.add_argument("-t", "--threads", type=int, required=True)
    parser.add_argument("--setting", choices=["bf16"], default="bf16")
    parser.add_argument(
        "--runs", required=True, help="JSON list of [pp, tg, pl, shared]"
    )
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model = load(args.model)
    # The first steps choose kernels and touch memory: they are not counted.
    measure(model, 16, 3, 1, False)
    for pp, tg, pl, shared in json.loads(args.runs):
        print(json.dumps(measure(model, pp, tg, pl, shared)), flush=True)


if __name__ == "__main__":
    main()
