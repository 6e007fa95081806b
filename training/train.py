"""Trains the shipped model within a wall-clock budget, on a CPU.

    python train.py --data OUT/tokens.npz --out OUT/run --minutes 32

The learning rate follows the elapsed fraction of the budget: a short warm-up,
a constant stretch, then a linear decay to zero, so that the run ends cleanly
whatever the machine's speed. Hidden matrices are optimised by Muon (Jordan
2024: momentum orthogonalised by a Newton-Schulz iteration), the embedding, the
output matrix and the norms by Adam. A checkpoint is written every few minutes;
`--resume` starts a new budget from one, with a fresh optimiser and schedule.
"""

import argparse
import csv
import json
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from model import Config, init, loss, plant_copying

# Peak rates of Adam; that of Muon is an argument.
EMBED_LR, OUTPUT_LR, NORM_LR = 2e-3, 1.5e-3, 1e-3
MUON_MOMENTUM = 0.95
ADAM_B1, ADAM_B2 = 0.9, 0.98
WEIGHT_DECAY = 0.01
SHORT, MIDDLE, LONG = 256, 512, 2048
MIDDLE_FROM = 0.75  # from this fraction of the budget on, sequences are longer,
LONG_FROM = 0.85  # and from this one on, every second step is of the full context.


def learning_rate(fraction):
    """The multiplier of every rate at an elapsed fraction of the budget."""
    if fraction < 0.02:
        return 0.1 + 0.9 * fraction / 0.02
    return min(1.0, max(0.0, 1.0 - fraction) / 0.6)


def orthogonalise(g):
    """Five Newton-Schulz steps towards the nearest semi-orthogonal matrices."""
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = g.shape[-2] > g.shape[-1]
    x = g.swapaxes(-1, -2) if tall else g
    x = x / (jnp.linalg.norm(x, axis=(-2, -1), keepdims=True) + 1e-7)
    for _ in range(5):
        s = x @ x.swapaxes(-1, -2)
        x = a * x + (b * s + c * (s @ s)) @ x
    return x.swapaxes(-1, -2) if tall else x


def is_hidden_matrix(path, value):
    return value.ndim == 2 and jax.tree_util.keystr(path[:1]) == "['layers']"


def init_state(params):
    zeros = lambda p: jnp.zeros_like(p)  # noqa: E731
    return {"m": jax.tree.map(zeros, params), "v": jax.tree.map(zeros, params)}


def update(path, p, g, m, v, step, mult, muon_lr):
    """One parameter's optimiser step; returns the new value, m and v."""
    if is_hidden_matrix(path, p):
        m = MUON_MOMENTUM * m + g
        direction = orthogonalise(g + MUON_MOMENTUM * m)
        scale = max(1.0, p.shape[0] / p.shape[1]) ** 0.5
        lr = muon_lr * mult
        return p * (1.0 - lr * WEIGHT_DECAY) - lr * scale * direction, m, v
    name = jax.tree_util.keystr(path[-1:])
    lr = {"['token_embd']": EMBED_LR, "['output']": OUTPUT_LR}.get(name, NORM_LR) * mult
    m = ADAM_B1 * m + (1.0 - ADAM_B1) * g
    v = ADAM_B2 * v + (1.0 - ADAM_B2) * g * g
    mean = m / (1.0 - ADAM_B1**step)
    square = v / (1.0 - ADAM_B2**step)
    return p - lr * mean / (jnp.sqrt(square) + 1e-8), m, v


@partial(jax.jit, static_argnums=(0, 1), donate_argnums=(2, 3))
def train_step(cfg, micro, params, state, tokens, segments, step, mult, muon_lr):
    """One step over tokens [micro * batch, time + 1], in `micro` equal parts."""
    block = 128 if tokens.shape[1] <= 1024 else 256
    value_and_grad = jax.value_and_grad(partial(loss, cfg, block=block))
    parts = (
        tokens.reshape(micro, -1, tokens.shape[1]),
        segments.reshape(micro, -1, segments.shape[1]),
    )

    def body(carry, part):
        total, grads = carry
        value, g = value_and_grad(params, *part)
        return (total + value / micro, jax.tree.map(lambda a, b: a + b / micro, grads, g)), None

    zero = (jnp.zeros(()), jax.tree.map(jnp.zeros_like, params))
    (value, grads), _ = jax.lax.scan(body, zero, parts)
    new = jax.tree_util.tree_map_with_path(
        lambda path, *leaf: update(path, *leaf, step, mult, muon_lr),
        params,
        grads,
        state["m"],
        state["v"],
    )
    pick = lambda i: jax.tree.map(lambda t: t[i], new, is_leaf=lambda t: isinstance(t, tuple))  # noqa: E731
    return pick(0), {"m": pick(1), "v": pick(2)}, value


eval_loss = jax.jit(loss, static_argnums=(0,))


class Stream:
    """Cuts one long token stream into [batch, time + 1] windows, in order."""

    def __init__(self, tokens, begin):
        self.tokens, self.begin, self.at, self.epoch = tokens, begin, 0, 0

    def take(self, batch, length):
        need = batch * length + 1
        if self.at + need > len(self.tokens):
            self.at, self.epoch = 0, self.epoch + 1
        flat = self.tokens[self.at : self.at + need]
        self.at += batch * length
        rows = np.stack([flat[i * length : i * length + length + 1] for i in range(batch)])
        rows = rows.astype(np.int32)
        return rows, np.cumsum(rows == self.begin, 1).astype(np.int32)


def save(path, params, cfg, info):
    """Writes the weights under their GGUF names, atomically."""
    flat = {name: value for name, value in params.items() if name != "layers"}
    for i, layer in enumerate(params["layers"]):
        flat.update({f"blk.{i}.{name}": value for name, value in layer.items()})
    part = path.with_suffix(".part.npz")
    meta = json.dumps({"config": asdict(cfg), **info})
    np.savez(part, meta=meta, **{k: np.asarray(v) for k, v in flat.items()})
    part.replace(path)


def load(path, cfg):
    """The weights that `save` wrote, and how far the run had come."""
    file = np.load(path)
    names = {n.split(".")[2] for n in file.files if n.startswith("blk.0.")}
    layers = [
        {name: jnp.asarray(file[f"blk.{i}.{name}"]) for name in sorted(names)}
        for i in range(cfg.layers)
    ]
    top = {name: jnp.asarray(file[name]) for name in ("token_embd", "output_norm", "output")}
    return top | {"layers": layers}, json.loads(str(file["meta"]))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="tokens.npz of make_tokens.py")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for checkpoints and the log"
    )
    parser.add_argument("--minutes", type=float, required=True, help="wall-clock budget")
    parser.add_argument("--batch", type=int, default=4096, help="tokens a step")
    parser.add_argument("--micro", type=int, default=2, help="parts that a step is computed in")
    parser.add_argument("--muon-lr", type=float, default=0.015, help="peak rate of the matrices")
    parser.add_argument("--resume", type=Path, help="start from this checkpoint's weights")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()

    data = np.load(args.data)
    begin = int(data["begin"])
    short, long = Stream(data["short"], begin), Stream(data["long"], begin)
    held = Stream(data["held_out"], begin).take(8, MIDDLE)
    cfg = Config(vocab=int(data["vocab"]))
    params = plant_copying(cfg, init(cfg, args.seed), args.seed)
    done = {"step": 0, "tokens": 0}
    if args.resume:
        params, done = load(args.resume, cfg)
        short.at = done["tokens"]
    state = init_state(params)
    args.out.mkdir(parents=True, exist_ok=True)

    count = sum(p.size for p in jax.tree.leaves(params))
    print(
        f"{count} parameters, {len(short.tokens)} + {len(long.tokens)} tokens of data", flush=True
    )
    start = last_save = time.monotonic()
    budget = args.minutes * 60
    step, seen = done["step"], done["tokens"]
    recent = []
    with open(args.out / "loss.csv", "w", newline="") as file:
        log = csv.writer(file)
        log.writerow(["step", "tokens", "seconds", "lr", "train_loss", "held_out_loss"])
        while (elapsed := time.monotonic() - start) < budget:
            fraction = elapsed / budget
            is_long = fraction >= LONG_FROM and step % 2 == 1
            length = LONG if is_long else MIDDLE if fraction >= MIDDLE_FROM else SHORT
            rows, segments = (long if is_long else short).take(args.batch // length, length)
            step += 1
            mult = learning_rate(fraction)
            params, state, value = train_step(
                cfg,
                args.micro,
                params,
                state,
                rows,
                segments,
                float(step - done["step"]),
                mult,
                args.muon_lr,
            )
            seen += args.batch
            recent.append(float(value))
            if step % 50 == 0:
                validation = float(eval_loss(cfg, params, *held))
                train = sum(recent) / len(recent)
                recent = []
                seconds = time.monotonic() - start
                log.writerow(
                    [step, seen, round(seconds), f"{mult:.4f}", f"{train:.4f}", f"{validation:.4f}"]
                )
                file.flush()
                rate = (seen - done["tokens"]) / seconds
                print(
                    f"step {step} tokens {seen} {seconds:.0f}s {rate:.0f} tok/s "
                    f"train {train:.4f} held-out {validation:.4f} epochs {short.epoch} {long.epoch}",
                    flush=True,
                )
            if time.monotonic() - last_save > 180:
                save(args.out / "checkpoint.npz", params, cfg, {"step": step, "tokens": seen})
                last_save = time.monotonic()
    info = {"step": step, "tokens": seen, "seconds": round(time.monotonic() - start)}
    validation = float(eval_loss(cfg, params, *held))
    save(args.out / "checkpoint.npz", params, cfg, {**info, "held_out_loss": validation})
    print(f"done: {info}, held-out {validation:.4f}", flush=True)


if __name__ == "__main__":
    main()
