"""How many whole answers are right on fresh pictures, by kind of question and by size.

    python score.py --checkpoint OUT/model.npz --tokenizer OUT/tokenizer.json --rows 40

Pictures of 224x224 pixels, drawn with sharp edges as PNG files are, are scaled as choral
scales them. An answer counts as right when every token of the expected answer is the most
likely one behind those before it, which is when the greedy answer is the expected one.
The weights are rounded to bfloat16, as they are shipped.
"""

import argparse
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
from PIL import Image
from tokenizers import Tokenizer

from glm4v import Config
from optimiser import load
from scenes import draw
from train_answers import Rows, answers


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def right_tokens(cfg, head_ids, end, begin, params, pictures, ground, arrays):
    return answers(cfg, head_ids, end, begin, params, pictures, ground, arrays)[1][1]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=40, help="pairs of pictures of each size")
    parser.add_argument("--sizes", default="224,336,448")
    parser.add_argument("--seed", type=int, default=4321)
    args = parser.parse_args()
    tokenizer = Tokenizer.from_file(str(args.tokenizer))
    cfg = Config(vocab=tokenizer.get_vocab_size())
    params = {
        n: jnp.asarray(np.asarray(v).astype(ml_dtypes.bfloat16), jnp.float32)
        for n, v in load(args.checkpoint)[0].items()
    }
    table, sizes = {}, [int(s) for s in args.sizes.split(",")]
    for size in sizes:
        rows = Rows(cfg, tokenizer, np.random.default_rng(args.seed))
        for _ in range(args.rows // 4):
            scenes, arrays, kinds = rows.make(size, size, 4, barred=0.0)
            scenes["soft"][:] = 1.0
            pictures = np.round(np.asarray(draw(scenes, 224, 224))).astype(np.uint8)
            scaled = [Image.fromarray(p).resize((size, size), 3) for p in pictures]
            pictures = np.stack([np.asarray(p) for p in scaled]).astype(np.float32)
            right = np.asarray(
                right_tokens(
                    cfg,
                    tuple(rows.head),
                    rows.end,
                    rows.begin,
                    params,
                    pictures,
                    scenes["ground"],
                    arrays,
                )
            )
            for b, number, kind in kinds:
                exact = bool(np.all(right[b][arrays["segment"][b] == number]))
                good, asked = table.setdefault(kind, {}).get(size, (0, 0))
                table[kind][size] = (good + exact, asked + 1)
    print("| whole answer right | " + " | ".join(f"{s}x{s}" for s in sizes) + " | asked of each |")
    for kind, row in sorted(table.items()):
        cells = [f"{100 * row[s][0] / row[s][1]:.0f} %" for s in sizes]
        print(f"| {kind} | {' | '.join(cells)} | {row[sizes[0]][1]} |")


if __name__ == "__main__":
    main()
