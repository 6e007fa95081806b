"""The shipped model's architecture in JAX: a small Llama decoder.

Pre-norm blocks of RMSNorm, grouped-query attention with rotary positions and
a SwiGLU feed-forward. The output matrix is not the token embedding: rows as
small as an output matrix wants would drown in the residual stream after one block.
RoPE rotates neighbouring pairs (2i, 2i+1), which is the layout GGUF files of
the `llama` architecture use, so Q and K are exported without a permutation.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np


@dataclass(frozen=True)
class Config:
    """The shape of the model; every row length is a multiple of 256."""

    vocab: int = 4096
    width: int = 256
    layers: int = 5
    heads: int = 8
    kv_heads: int = 4
    head_dim: int = 32
    ffn: int = 512
    context: int = 2048
    rope_theta: float = 10000.0
    eps: float = 1e-5


def init(cfg, seed):
    """Random weights; matrices are stored [out, in], as in GGUF."""
    rng = np.random.default_rng(seed)

    def matrix(rows, cols, std):
        return jnp.asarray(rng.normal(0.0, std, (rows, cols)), jnp.float32)

    std = cfg.width**-0.5
    out_std = std / (2 * cfg.layers) ** 0.5
    q_dim, kv_dim = cfg.heads * cfg.head_dim, cfg.kv_heads * cfg.head_dim
    layers = [
        {
            "attn_norm": jnp.ones(cfg.width),
            "attn_q": matrix(q_dim, cfg.width, std),
            "attn_k": matrix(kv_dim, cfg.width, std),
            "attn_v": matrix(kv_dim, cfg.width, std),
            "attn_output": matrix(cfg.width, q_dim, out_std),
            "ffn_norm": jnp.ones(cfg.width),
            "ffn_gate": matrix(cfg.ffn, cfg.width, std),
            "ffn_up": matrix(cfg.ffn, cfg.width, std),
            "ffn_down": matrix(cfg.width, cfg.ffn, out_std),
        }
        for _ in range(cfg.layers)
    ]
    return {
        "token_embd": matrix(cfg.vocab, cfg.width, 1.0),
        "layers": layers,
        "output_norm": jnp.ones(cfg.width),
        "output": matrix(cfg.vocab, cfg.width, 0.02),
    }


def plant_copying(cfg, params, seed):
    """Starts the model off with the circuit that copies from the context.

    A small model finds this circuit (Olsson et al. 2022, "induction heads") only
    after many millions of tokens, and names, lists and JSON fields depend on it.
    In layer 0, one head looks at the previous token and notes its code (32 signs,
    part of the embedding) in the residual stream. In layer 1, two heads look for
    positions whose note equals their own token's code, fetch 32 numbers each of
    the token found there, and write them where the output matrix expects them.
    Training is free to change all of it.
    """
    rng = np.random.default_rng(seed)
    width, dim = cfg.width, cfg.head_dim
    code, fetched = slice(0, 32), slice(32, 96)  # what is noted, what is fetched
    target, note, constant = slice(96, 160), slice(160, 192), width - 1
    embed = np.array(params["token_embd"])
    output = np.array(params["output"])
    embed[:, code] = rng.choice([-1.0, 1.0], (cfg.vocab, 32))
    embed[:, target] = embed[:, note] = 0.0
    embed[:, constant] = 4.0
    output[:, target] = 0.1 * embed[:, fetched]

    first = {name: np.array(value) for name, value in params["layers"][0].items()}
    freq = cfg.rope_theta ** (-np.arange(0, dim, 2) / dim)
    strength = 1.8
    fast = 8  # the dimensions that RoPE turns fast enough to tell neighbours apart
    first["attn_k"][:dim] = first["attn_q"][:dim] = 0.0
    first["attn_k"][0:fast:2, constant] = strength
    first["attn_q"][0:fast:2, constant] = strength * np.cos(freq[: fast // 2])  # one back
    first["attn_q"][1:fast:2, constant] = -strength * np.sin(freq[: fast // 2])
    first["attn_v"][:dim] = np.eye(width)[code]
    first["attn_output"][:, :dim] = np.eye(width)[:, note]

    second = {name: np.array(value) for name, value in params["layers"][1].items()}
    group = cfg.heads // cfg.kv_heads
    slow = slice(dim // 2, dim)  # the pairs that RoPE hardly turns
    for n in range(2):
        q = second["attn_q"][n * group * dim :][:dim]
        k, v = second["attn_k"][n * dim :][:dim], second["attn_v"][n * dim :][:dim]
        q[:], k[:] = 0.0, 0.0
        q[slow] = 2.4 * np.eye(width)[code][n * 16 :][:16]
        k[slow] = 2.4 * np.eye(width)[note][n * 16 :][:16]
        v[:] = np.eye(width)[fetched][n * 32 :][:32]
        out = second["attn_output"][:, n * group * dim :][:, :dim]
        out[:] = np.eye(width)[:, target][:, n * 32 :][:, :32]

    jaxed = [
        {name: jnp.asarray(a, jnp.float32) for name, a in layer.items()}
        for layer in (first, second)
    ]
    return {
        **params,
        "token_embd": jnp.asarray(embed),
        "output": jnp.asarray(output),
        "layers": jaxed + params["layers"][2:],
    }


def rms_norm(x, weight, eps):
    return x * jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + eps) * weight


def rope_tables(cfg, length):
    """Cosines and sines, each [length, head_dim / 2]."""
    freq = cfg.rope_theta ** (-np.arange(0, cfg.head_dim, 2) / cfg.head_dim)
    angle = np.arange(length)[:, None] * freq[None, :]
    return jnp.asarray(np.cos(angle), jnp.float32), jnp.asarray(np.sin(angle), jnp.float32)


def rope(x, cos, sin):
    """Rotates pairs (2i, 2i+1) of the last axis of x [batch, heads, time, head_dim]."""
    pairs = x.reshape(*x.shape[:-1], -1, 2)
    a, b = pairs[..., 0], pairs[..., 1]
    return jnp.stack([a * cos - b * sin, a * sin + b * cos], -1).reshape(x.shape)


def attention(q, k, v, segments, block):
    """Causal attention inside each document, one block of queries at a time.

    q is [batch, kv_heads, group, time, head_dim]; k and v lack the group axis.
    Later keys are never multiplied: a block sees only the keys before its end.
    """
    time, dim = q.shape[3], q.shape[4]
    block = min(block, time)
    outputs = []
    for start in range(0, time, block):
        end = start + block
        scores = jnp.einsum("bkgtd,bksd->bkgts", q[:, :, :, start:end], k[:, :, :end])
        causal = jnp.arange(start, end)[:, None] >= jnp.arange(end)[None, :]
        same = segments[:, start:end, None] == segments[:, None, :end]
        mask = (causal[None] & same)[:, None, None]
        probs = jax.nn.softmax(jnp.where(mask, scores * dim**-0.5, -1e30), -1)
        outputs.append(jnp.einsum("bkgts,bksd->bkgtd", probs, v[:, :, :end]))
    return jnp.concatenate(outputs, 3)


def forward(cfg, params, tokens, segments, block=128):
    """Logits [batch, time, vocab] for tokens [batch, time]."""
    batch, time = tokens.shape
    cos, sin = rope_tables(cfg, time)
    group = cfg.heads // cfg.kv_heads

    def split(x, heads):
        return x.reshape(batch, time, heads, cfg.head_dim).transpose(0, 2, 1, 3)

    x = params["token_embd"][tokens]
    for layer in params["layers"]:
        h = rms_norm(x, layer["attn_norm"], cfg.eps)
        q = rope(split(h @ layer["attn_q"].T, cfg.heads), cos, sin)
        k = rope(split(h @ layer["attn_k"].T, cfg.kv_heads), cos, sin)
        v = split(h @ layer["attn_v"].T, cfg.kv_heads)
        q = q.reshape(batch, cfg.kv_heads, group, time, cfg.head_dim)
        a = attention(q, k, v, segments, block)
        a = a.reshape(batch, cfg.heads, time, cfg.head_dim).transpose(0, 2, 1, 3)
        x = x + a.reshape(batch, time, -1) @ layer["attn_output"].T
        h = rms_norm(x, layer["ffn_norm"], cfg.eps)
        gate = jax.nn.silu(h @ layer["ffn_gate"].T)
        x = x + (gate * (h @ layer["ffn_up"].T)) @ layer["ffn_down"].T
    return rms_norm(x, params["output_norm"], cfg.eps) @ params["output"].T


def loss(cfg, params, tokens, segments, block=128):
    """Mean cross-entropy in nats of the next token; tokens is [batch, time + 1].

    The first token of a document is not predicted from the one before it.
    """
    logits = forward(cfg, params, tokens[:, :-1], segments[:, :-1], block)
    target = tokens[:, 1:]
    weight = (segments[:, 1:] == segments[:, :-1]).astype(jnp.float32)
    picked = jnp.sum(logits * jax.nn.one_hot(target, cfg.vocab), -1)
    nll = jax.nn.logsumexp(logits, -1) - picked
    return jnp.sum(nll * weight) / jnp.maximum(jnp.sum(weight), 1.0)
