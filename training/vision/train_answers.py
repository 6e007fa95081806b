"""Teaches the whole model to answer questions about one picture and about two.

    python train_answers.py --tokenizer OUT/tokenizer.json --eyes OUT/eyes.npz --out OUT --minutes 45

Two pictures stand at the head of every row, and many questions behind them, each of which
sees the pictures and itself only (one about a single picture: the first one only), with
positions as if it stood there alone. The encoder's heads go on learning beside the answers.
Most rows have small pictures; in the second half some have the 336x336 and 448x448 pixels
that precomputed embeddings use.
"""

import argparse
import csv
import time
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from tokenizers import Tokenizer

from glm4v import Config, attend_packed, count_loss, eye_loss, init, patches, plant_words, read, see
from optimiser import apply, init_state, learning_rate, load, save
from questions import ONE, TWO, draw_from, sample_pair
from scenes import COLOURS, SHAPES, cell_labels, count_labels, draw, pack

# Height, width, rows a step, share of the steps in the first and in the second half.
SIZES = (
    (168, 168, 10, 0.55, 0.2),
    (224, 224, 8, 0.35, 0.2),
    (168, 224, 8, 0.05, 0.05),
    (224, 168, 8, 0.05, 0.05),
    (336, 336, 4, 0.0, 0.2),
    (448, 448, 3, 0.0, 0.3),
)
CHUNK, CHUNKS = 128, 3  # a question lies within one chunk of a row's text
TEXT = CHUNK * CHUNKS
EYES, COUNTS = 0.3, 1.0  # weights of the encoder's own loss and of that of counts
STILL = ("visual.patch_embed", "visual.post_conv", "visual.embeddings", "visual.blocks")
CHAINED = 0.12  # of the questions follow another one and its answer


class Rows:
    """Makes rows: pictures, questions, answers, positions, and who may see what."""

    def __init__(self, cfg, tokenizer, rng):
        self.cfg, self.tokenizer, self.rng = cfg, tokenizer, rng
        token = tokenizer.token_to_id
        self.begin, self.end = token("<|begin_of_image|>"), token("<|end_of_image|>")
        self.user, self.assistant = token("<|user|>"), token("<|assistant|>")
        self.newline = tokenizer.encode("\n").ids
        self.head = [token("[gMASK]"), token("<sop>"), self.user, *self.newline, self.begin]

    def encode(self, text):
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def head_positions(self, rows, cols):
        """Positions of the head of a row, and where text goes on after one or two pictures."""
        start = len(self.head)
        parts = [np.tile(np.arange(start), (3, 1))]
        after = []
        for picture in range(2):
            row, col = np.divmod(np.arange(rows * cols), cols)
            parts.append(start + np.stack([np.zeros_like(row), row, col]))
            start += max(rows, cols)
            marks = 2 if picture == 0 else 1  # the end of one, the begin of the next
            parts.append(np.tile(start + np.arange(marks), (3, 1)))
            after.append(start + 1)
            start += marks
        return np.concatenate(parts, 1), after

    def make(self, height, width, count, barred=0.15):
        rng = self.rng
        rows, cols = height // 28, width // 28
        head, after = self.head_positions(rows, cols)
        pairs = [sample_pair(rng) for _ in range(count)]
        barred = barred if height == width >= 224 else 0.0
        scenes = pack([s for pair in pairs for s in pair], rng, barred)
        cells = cell_labels(scenes, rows, cols)
        counts = count_labels(scenes)
        ids = np.zeros((count, TEXT), np.int32)
        target = np.full((count, TEXT), -1, np.int32)
        segment = np.full((count, TEXT), -1, np.int32)
        before = np.full((count, TEXT), -2, np.int32)  # the segment that a chained one follows
        single = np.zeros((count, TEXT), bool)
        at = np.zeros((count, TEXT), np.int32)
        kinds = []
        for b, pair in enumerate(pairs):
            filled, number, last, missed = 0, 0, None, 0
            while filled < TEXT:
                chained = last is not None and rng.random() < CHAINED
                one = last[0] if chained else rng.random() < 0.4
                kind = draw_from(rng, ONE if one else TWO)
                question, answer = kind(rng, pair[0]) if one else kind(rng, *pair)
                asked = (self.newline if chained else []) + self.encode(question)
                asked = [*asked, self.assistant, *self.newline]
                told = [*self.encode(answer), self.user]
                size = len(asked) + len(told)
                if filled % CHUNK + size > CHUNK:
                    missed, last = missed + 1, None
                    if missed == 3:  # nothing short enough: on to the next chunk
                        filled, missed = (filled // CHUNK + 1) * CHUNK, 0
                    continue
                place = slice(filled, filled + size)
                ids[b, place] = asked + told
                first = filled + len(asked) - 1
                target[b, first : first + len(told)] = told
                segment[b, place] = number
                before[b, place] = number - 1 if chained else -2
                single[b, place] = one
                start = last[1] if chained else after[0 if one else 1]
                at[b, place] = start + np.arange(size)
                kinds.append((b, number, kind.__name__))
                filled, number = filled + size, number + 1
                last = None if chained or filled % CHUNK == 0 else (one, start + size)
        positions = np.concatenate(
            [np.tile(head, (count, 1, 1)), np.tile(at[:, None], (1, 3, 1))], 2
        ).astype(np.float32)
        arrays = {
            "ids": ids,
            "target": target,
            "segment": segment,
            "before": before,
            "single": single,
            "positions": positions,
            "cells": cells,
            "counts": counts,
        }
        return scenes, arrays, kinds


def word_ids(tokenizer):
    """The tokens that are a shape's or a colour's name, in any spelling of the questions."""
    vocabulary = tokenizer.get_vocab()

    def ids(word):
        spelt = [word, word + "s", word.capitalize(), word.capitalize() + "s"]
        spelt += ["\u0120" + s for s in spelt]  # as byte-level BPE writes a space
        return [vocabulary[s] for s in spelt if s in vocabulary]

    return {"shape": [ids(w) for w in SHAPES], "colour": [ids(w) for w in COLOURS]}


def head_embeddings(cfg, params, tokens, head_ids, end, begin):
    """Embeddings of what stands before the text, for image tokens [rows, 2, size, width]."""
    embed = params["language_model.embed_tokens.weight"]

    def fixed(ids):
        return jnp.broadcast_to(embed[jnp.array(ids)], (len(tokens), len(ids), cfg.width))

    parts = [fixed(head_ids), tokens[:, 0], fixed([end, begin]), tokens[:, 1], fixed([end])]
    return jnp.concatenate(parts, 1)


def answers(cfg, head_ids, end, begin, params, pictures, ground, arrays):
    """The loss, which of the predicted tokens are right [batch, TEXT], and of the counts.

    pictures [2 * batch, height, width, 3] in 0..255; ground [2 * batch].
    """
    count = arrays["ids"].shape[0]
    grid = pictures.shape[1] // cfg.patch, pictures.shape[2] // cfg.patch
    tokens = see(cfg, params, patches(cfg, pictures), *grid)
    eyes, _ = eye_loss(cfg, params, tokens, arrays["cells"], ground)
    size = tokens.shape[1]
    tokens = tokens.reshape(count, 2, size, -1)
    x = head_embeddings(cfg, params, tokens, head_ids, end, begin)
    x = jnp.concatenate([x, params["language_model.embed_tokens.weight"][arrays["ids"]]], 1)
    first = len(head_ids) + size + 1  # where the first picture and the mark of its end end
    head = x.shape[1] - TEXT
    segment, single = arrays["segment"], arrays["single"]
    split = lambda a: a.reshape(count, CHUNKS, CHUNK)  # noqa: E731
    asking, asked_of = split(segment)[..., None], split(segment)[:, :, None]
    own = (asking == asked_of) | (split(arrays["before"])[..., None] == asked_of)
    own &= np.tri(CHUNK, dtype=bool)
    ahead = (jnp.arange(head) < first) | ~single[:, :, None]
    attend = attend_packed(head, ahead, own)
    hidden, middle = read(cfg, params, x, arrays["positions"], attend)
    hidden = hidden[:, head:]
    ends = middle[:, jnp.array([first - 1, head - 1])].reshape(2 * count, -1)
    counting, counted = count_loss(cfg, params, ends, arrays["counts"], ground)
    logits = hidden @ params["lm_head.weight"].T
    target = arrays["target"]
    asked = target >= 0
    picked = jnp.take_along_axis(logits, jnp.maximum(target, 0)[..., None], -1)[..., 0]
    nll = jnp.where(asked, jax.nn.logsumexp(logits, -1) - picked, 0.0)
    value = jnp.sum(nll) / jnp.sum(asked)
    right = ~asked | (jnp.argmax(logits, -1) == target)
    return value + EYES * eyes + COUNTS * counting, (value, right, counted)


@partial(jax.jit, static_argnums=(0, 1, 2, 3, 4, 5, 6), donate_argnums=(7, 8))
def train_step(
    cfg, head_ids, end, begin, frozen, height, width, params, state, scenes, arrays, step, mult, lr
):
    still = {n: v for n, v in params.items() if frozen and n.startswith(STILL)}
    moving = {n: v for n, v in params.items() if n not in still}

    pictures = jnp.round(draw(scenes, height, width))

    def loss(moving):
        every = {**moving, **still}
        return answers(cfg, head_ids, end, begin, every, pictures, scenes["ground"], arrays)

    (_, (value, right, counted)), grads = jax.value_and_grad(loss, has_aux=True)(moving)
    kept = {n: s for n, s in state.items() if n in still}
    moving, state = apply(moving, grads, {n: state[n] for n in moving}, step, mult, lr)
    return {**moving, **still}, {**state, **kept}, value, right, counted


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--eyes", type=Path, help="start from the encoder of train_eyes.py")
    parser.add_argument("--resume", type=Path, help="start from this checkpoint's weights")
    parser.add_argument(
        "--frozen", action="store_true", help="leave the encoder's blocks as they are"
    )
    parser.add_argument("--large-from", type=float, default=0.5, help="fraction of the budget")
    parser.add_argument("--lr", type=float, default=0.015, help="peak rate of the matrices")
    parser.add_argument("--seed", type=int, default=2)
    args = parser.parse_args()
    tokenizer = Tokenizer.from_file(str(args.tokenizer))
    cfg = Config(vocab=tokenizer.get_vocab_size())
    params = init(cfg, args.seed)
    if args.eyes:
        eyes = load(args.eyes)[0]
        params |= {n: v for n, v in eyes.items() if n.startswith(("visual.", "eyes."))}
        params = plant_words(params, word_ids(tokenizer))
    if args.resume:
        params |= load(args.resume)[0]
    print(sum(v.size for v in params.values()), "parameters", flush=True)
    state = init_state(params)
    rng = np.random.default_rng(args.seed)
    rows = Rows(cfg, tokenizer, rng)
    fixed = (cfg, tuple(rows.head), rows.end, rows.begin)
    args.out.mkdir(parents=True, exist_ok=True)
    start = last_save = time.monotonic()
    step = pairs = questions = 0
    losses, tally, sizes = [], {}, {}
    with open(args.out / "loss_answers.csv", "w", newline="") as file:
        log = csv.writer(file)
        log.writerow(["step", "pairs", "questions", "seconds", "rate", "loss", "exact"])
        while (elapsed := time.monotonic() - start) < args.minutes * 60:
            fraction = elapsed / (args.minutes * 60)
            share = np.array([s[3 if fraction < args.large_from else 4] for s in SIZES])
            height, width, count, *_ = SIZES[rng.choice(len(SIZES), p=share / share.sum())]
            scenes, arrays, kinds = rows.make(height, width, count)
            mult = learning_rate(fraction)
            step, pairs, questions = step + 1, pairs + count, questions + len(kinds)
            params, state, value, right, counted = train_step(
                *fixed,
                args.frozen,
                height,
                width,
                params,
                state,
                scenes,
                arrays,
                float(step),
                mult,
                args.lr,
            )
            losses.append((float(value), float(counted)))
            right = np.asarray(right)
            for b, number, kind in kinds:
                exact = bool(np.all(right[b][arrays["segment"][b] == number]))
                for table, key in ((tally, kind), (sizes, (height, width))):
                    good, total = table.get(key, (0, 0))
                    table[key] = (good + exact, total + 1)
            if step % 50 == 0:
                seconds = round(time.monotonic() - start)
                good, total = np.sum(list(tally.values()), 0)
                mean, count_right = np.mean(losses, 0)
                log.writerow(
                    [step, pairs, questions, seconds, f"{mult:.4f}", f"{mean:.4f}"]
                    + [f"{good / total:.4f}"]
                )
                file.flush()
                show = lambda t: " ".join(f"{k}:{100 * g // n}" for k, (g, n) in sorted(t.items()))  # noqa: E731
                print(
                    f"{step} {seconds}s loss {mean:.4f} counted {count_right:.3f} exact {good / total:.3f}"
                )
                print("  ", show(tally), "|", show(sizes), flush=True)
                losses, tally, sizes = [], {}, {}
            if time.monotonic() - last_save > 120:
                info = {"step": step, "pairs": pairs, "questions": questions}
                save(args.out / "model.npz", params, info)
                last_save = time.monotonic()
    seconds = round(time.monotonic() - start)
    info = {"step": step, "pairs": pairs, "questions": questions, "seconds": seconds}
    save(args.out / "model.npz", params, info)
    print(f"done: {info}")


if __name__ == "__main__":
    main()
