"""OpenVINO GenAI from the GGUF file itself, as a program: a static batch.

It computes every prompt anew, so a shared prompt is repeated: its whole jobs pay for
all prompts. Time to the first tokens (its own TTFT) counts as prefill. Prints one JSON
object a line, with the keys of `llama-batched-bench`.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
import openvino as ov
import openvino_genai as genai


def measure(pipeline, vocab: int, pp: int, tg: int, pl: int) -> dict:
    """Runs `pl` sequences of `pp` prompt tokens and `tg` new ones."""
    ids = [[(s * 7919 + i * 31 + 5) % vocab for i in range(pp)] for s in range(pl)]
    ids = np.array(ids, dtype=np.int64)
    prompt = genai.TokenizedInputs(ov.Tensor(ids), ov.Tensor(np.ones_like(ids)))
    config = genai.GenerationConfig()
    config.max_new_tokens, config.ignore_eos, config.do_sample = tg, True, False
    start = time.perf_counter()
    result = pipeline.generate(prompt, config)
    t = time.perf_counter() - start
    made = sum(len(tokens) for tokens in result.tokens)
    if made != pl * tg:
        raise SystemExit(f"OpenVINO made {made} tokens, expected {pl * tg}")
    t_pp = result.perf_metrics.get_ttft().mean / 1000
    t_tg = t - t_pp
    return {
        "pp": pp,
        "tg": tg,
        "pl": pl,
        "n_kv": pl * (pp + tg),
        "t_pp": t_pp,
        "speed_pp": pl * pp / t_pp,
        "t_tg": t_tg,
        "speed_tg": pl * (tg - 1) / t_tg if tg > 1 else 0.0,
        "t": t,
        "speed": pl * (pp + tg) / t,
        "setting": "default",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-m", "--model", required=True)
    parser.add_argument("-t", "--threads", type=int, required=True)
    parser.add_argument("--setting", choices=["default"], default="default")
    parser.add_argument(
        "--runs", required=True, help="JSON list of [pp, tg, pl, shared]"
    )
    args = parser.parse_args()
    pipeline = genai.LLMPipeline(args.model, "CPU", INFERENCE_NUM_THREADS=args.threads)
    vocab = 32000
    measure(pipeline, vocab, 16, 2, 1)
    for pp, tg, pl, _shared in json.loads(args.runs):
        print(json.dumps(measure(pipeline, vocab, pp, tg, pl)), flush=True)


if __name__ == "__main__":
    main()
