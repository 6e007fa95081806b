"""Teaches the image encoder to see, before it learns to talk.

    python train_eyes.py --out OUT --minutes 25

Every cell of 28x28 pixels is asked for the shape and the colour of the thing that has
its centre there, if any: a far denser signal than answers are, and one that is the same
for every picture size. The pictures are windows of larger ones, so that shapes of 12 to 58
pixels' radius are seen at the price of small pictures.
"""

import argparse
import csv
import time
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from glm4v import Config, eye_loss, init, patches, plant_neighbours, see
from optimiser import apply, init_state, learning_rate, load, save
from scenes import SHAPES, cell_labels, draw, pack, sample_crowd

# Height, width, pictures a step, share of the steps.
# Height, width, pictures a step, share of the steps, largest zoom.
SIZES = ((168, 168, 32, 0.8, 2.67), (224, 224, 20, 0.2, 2.0))
BARRED = 0.15  # of the square pictures of 224 pixels have black bars, as padding makes them


@partial(jax.jit, static_argnums=(0, 1, 2), donate_argnums=(3, 4))
def train_step(cfg, height, width, params, state, scenes, window, labels, step, mult, lr):
    def loss(params):
        pictures = jnp.round(draw(scenes, height, width, *window))
        rows, cols = height // cfg.patch, width // cfg.patch
        tokens = see(cfg, params, patches(cfg, pictures), rows, cols)
        return eye_loss(cfg, params, tokens, labels, scenes["ground"])

    (value, wrong), grads = jax.value_and_grad(loss, has_aux=True)(params)
    params, state = apply(params, grads, state, step, mult, lr)
    return params, state, value, wrong


def batch_of(rng, height, width, count, zoom):
    """Packed scenes, the window (zoom and corner) and the labels of its cells [count, cells]."""
    corner = rng.uniform(0, 1 - 1 / zoom, 2)
    barred = BARRED if height == width == 224 else 0.0
    scenes = pack([sample_crowd(rng) for _ in range(count)], rng, barred, most=16)
    labels = cell_labels(scenes, height // 28, width // 28, zoom, corner)
    return scenes, (np.float32(zoom), corner.astype(np.float32)), labels


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--lr", type=float, default=0.02, help="peak rate of the matrices")
    parser.add_argument("--resume", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    cfg = Config()
    params = plant_neighbours(cfg, init(cfg, args.seed))
    if args.resume:
        params |= load(args.resume)[0]
    seen_names = [n for n in params if n.startswith(("visual.", "eyes."))]
    rest = {n: v for n, v in params.items() if n not in seen_names}
    params = {n: params[n] for n in seen_names}
    state = init_state(params)
    rng = np.random.default_rng(args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    share = np.array([s[3] for s in SIZES])
    start = last_save = time.monotonic()
    step = pictures = 0
    recent = {}
    with open(args.out / "loss_eyes.csv", "w", newline="") as file:
        log = csv.writer(file)
        log.writerow(["step", "pictures", "seconds", "rate", "size", "zoom", "loss", "wrong"])
        while (elapsed := time.monotonic() - start) < args.minutes * 60:
            height, width, count, _, largest = SIZES[rng.choice(len(SIZES), p=share / share.sum())]
            zoom = float(largest ** rng.uniform(0, 1))
            scenes, window, labels = batch_of(rng, height, width, count, zoom)
            mult = learning_rate(elapsed / (args.minutes * 60))
            step += 1
            pictures += count
            params, state, value, wrong = train_step(
                cfg,
                height,
                width,
                params,
                state,
                scenes,
                window,
                labels,
                float(step),
                mult,
                args.lr,
            )
            recent.setdefault((height, width, round(2 * zoom) / 2), []).append(
                (float(value), float(wrong))
            )
            if step % 50 == 0:
                seconds = round(time.monotonic() - start)
                for (h, w, z), values in sorted(recent.items()):
                    a, b = np.mean(values, 0)
                    log.writerow(
                        [
                            step,
                            pictures,
                            seconds,
                            f"{mult:.4f}",
                            f"{h}x{w}",
                            z,
                            f"{a:.4f}",
                            f"{b:.4f}",
                        ]
                    )
                    print(f"{step} {seconds}s {h}x{w} zoom {z}: {a:.4f} {b:.3f}", flush=True)
                file.flush()
                recent = {}
            if time.monotonic() - last_save > 120:
                save(
                    args.out / "eyes.npz", {**rest, **params}, {"step": step, "pictures": pictures}
                )
                last_save = time.monotonic()
    info = {"step": step, "pictures": pictures, "seconds": round(time.monotonic() - start)}
    save(args.out / "eyes.npz", {**rest, **params}, info)
    print(f"done: {info}, {len(SHAPES)} shapes")


if __name__ == "__main__":
    main()
