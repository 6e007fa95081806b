"""One optimiser step for a flat dict of parameters, and their checkpoints.

Hidden matrices are optimised by Muon, whose iteration and schedule `../train.py` owns;
embeddings, the output matrix, norms and biases by Adam.
"""

import json
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np

sys.path.append(str(Path(__file__).resolve().parent.parent))
from train import learning_rate, orthogonalise  # noqa: E402

__all__ = ["apply", "init_state", "learning_rate", "load", "save"]

ADAM_LR = {"embed_tokens": 2e-3, "lm_head": 2e-3, "position_embedding": 2e-3, "eyes": 2e-3}
OTHER_LR = 1e-3
MOMENTUM, B1, B2, DECAY = 0.95, 0.9, 0.98, 0.01


def by_adam(name, value):
    return value.ndim != 2 or any(part in name for part in ADAM_LR)


def init_state(params):
    zero = lambda v: jnp.zeros_like(v)  # noqa: E731
    return {n: (zero(v), zero(v) if by_adam(n, v) else jnp.zeros(())) for n, v in params.items()}


def apply(params, grads, state, step, mult, lr):
    """New parameters and state; `mult` scales every rate, `lr` is Muon's."""
    norm = jnp.sqrt(sum(jnp.sum(g * g) for g in grads.values()))
    clip = jnp.minimum(1.0, 5.0 / (norm + 1e-6))
    new, after = {}, {}
    for name, p in params.items():
        g, (m, v) = grads[name] * clip, state[name]
        if by_adam(name, p):
            rate = next((r for part, r in ADAM_LR.items() if part in name), OTHER_LR) * mult
            m, v = B1 * m + (1 - B1) * g, B2 * v + (1 - B2) * g * g
            mean, square = m / (1 - B1**step), v / (1 - B2**step)
            new[name] = p - rate * mean / (jnp.sqrt(square) + 1e-8)
        else:
            m = MOMENTUM * m + g
            direction = orthogonalise(g + MOMENTUM * m)
            scale = max(1.0, p.shape[0] / p.shape[1]) ** 0.5
            new[name] = p * (1 - lr * mult * DECAY) - lr * mult * scale * direction
        after[name] = (m, v)
    return new, after


def save(path, params, info):
    """Writes the weights atomically."""
    part = path.with_suffix(".part.npz")
    np.savez(part, meta=json.dumps(info), **{n: np.asarray(v) for n, v in params.items()})
    part.replace(path)


def load(path):
    """The weights that `save` wrote, and its info."""
    file = np.load(path)
    params = {n: jnp.asarray(file[n]) for n in file.files if n != "meta"}
    return params, json.loads(str(file["meta"]))
