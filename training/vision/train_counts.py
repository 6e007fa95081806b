"""Teaches the decoder's first half to count, between the encoder's training and the answers.

    python train_counts.py --tokenizer OUT/tokenizer.json --eyes OUT/eyes.npz --out OUT --minutes 5

At the end of each of two pictures, heads that only training uses are asked how many there
are of each shape, of each colour and of both, from half-way through the decoder: 53 counts
a picture instead of the few digits that answers have, and no text to compute. Without this
the answers' training takes far longer to find out how to count. Of the encoder only the last
part learns on: what follows its blocks.
"""

import argparse
import time
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from tokenizers import Tokenizer

from glm4v import Config, count_loss, eye_loss, init, patches, plant_words, read, see
from optimiser import apply, init_state, learning_rate, load, save
from questions import sample_pair
from scenes import cell_labels, count_labels, draw, pack
from train_answers import STILL, Rows, head_embeddings, word_ids

EYES = 0.5  # weight of the encoder's own loss
# Height, width, pairs a step, share of the steps.
SIZES = ((168, 168, 16, 0.6), (224, 224, 12, 0.3), (448, 448, 3, 0.1))


@partial(jax.jit, static_argnums=(0, 1, 2, 3, 4, 5), donate_argnums=(6, 8))
def train_step(
    cfg, head_ids, end, begin, height, width, moving, still, state, scenes, labels, step, mult, lr
):
    rows, cols = height // cfg.patch, width // cfg.patch
    pictures = jnp.round(draw(scenes, height, width))
    counts, cells, positions = labels
    ground = scenes["ground"]

    def loss(moving):
        tokens = see(cfg, {**still, **moving}, patches(cfg, pictures), rows, cols)
        eyes, _ = eye_loss(cfg, moving, tokens, cells, ground)
        tokens = tokens.reshape(len(tokens) // 2, 2, *tokens.shape[1:])
        x = head_embeddings(cfg, moving, tokens, head_ids, end, begin)
        first = len(head_ids) + tokens.shape[2]
        _, middle = read(cfg, {**still, **moving}, x, positions)
        ends = middle[:, jnp.array([first, x.shape[1] - 1])].reshape(len(counts), -1)
        value, right = count_loss(cfg, moving, ends, counts, ground)
        return value + EYES * eyes, (value, right, eyes)

    (_, told), grads = jax.value_and_grad(loss, has_aux=True)(moving)
    moving, state = apply(moving, grads, state, step, mult, lr)
    return moving, state, told


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--eyes", type=Path, help="start from the encoder of train_eyes.py")
    parser.add_argument("--resume", type=Path, help="or from a whole model")
    parser.add_argument("--lr", type=float, default=0.02, help="peak rate of the matrices")
    parser.add_argument("--seed", type=int, default=5)
    args = parser.parse_args()
    tokenizer = Tokenizer.from_file(str(args.tokenizer))
    cfg = Config(vocab=tokenizer.get_vocab_size())
    params = init(cfg, args.seed)
    layers = tuple(f"language_model.layers.{i}." for i in range(cfg.layers // 2))
    if args.eyes:
        eyes = load(args.eyes)[0]
        params |= {n: v for n, v in eyes.items() if n.startswith(("visual.", "eyes."))}
        params = plant_words(params, word_ids(tokenizer))
    if args.resume:
        params |= load(args.resume)[0]
    moves = (*layers, "language_model.embed", "eyes.", "visual.")
    moving = {n: v for n, v in params.items() if n.startswith(moves) and not n.startswith(STILL)}
    still = {n: v for n, v in params.items() if n not in moving}
    state = init_state(moving)
    rng = np.random.default_rng(args.seed)
    rows = Rows(cfg, tokenizer, rng)
    args.out.mkdir(parents=True, exist_ok=True)
    share = np.array([s[3] for s in SIZES])
    start, step, pictures, recent = time.monotonic(), 0, 0, []
    while (elapsed := time.monotonic() - start) < args.minutes * 60:
        height, width, count, _ = SIZES[rng.choice(len(SIZES), p=share / share.sum())]
        pairs = [sample_pair(rng) for _ in range(count)]
        scenes = pack([s for pair in pairs for s in pair], rng, 0.15 if height >= 224 else 0.0)
        position = rows.head_positions(height // 28, width // 28)[0].astype(np.float32)
        cells = cell_labels(scenes, height // 28, width // 28)
        labels = (count_labels(scenes), cells, np.tile(position, (count, 1, 1)))
        mult = learning_rate(elapsed / (args.minutes * 60))
        step, pictures = step + 1, pictures + 2 * count
        moving, state, told = train_step(
            cfg,
            tuple(rows.head),
            rows.end,
            rows.begin,
            height,
            width,
            moving,
            still,
            state,
            scenes,
            labels,
            float(step),
            mult,
            args.lr,
        )
        recent.append([float(t) for t in told])
        if step % 50 == 0:
            value, right, eyes = np.mean(recent, 0)
            print(
                f"{step} {time.monotonic() - start:.0f}s loss {value:.4f} right {right:.3f} eyes {eyes:.3f}",
                flush=True,
            )
            recent = []
    info = {"step": step, "pictures": pictures, "seconds": round(time.monotonic() - start)}
    save(args.out / "counts.npz", {**still, **moving}, info)
    print(f"done: {info}")


if __name__ == "__main__":
    main()
