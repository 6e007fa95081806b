"""The vision model's architecture in JAX: GLM-4.1V's, at small sizes.

Follows `Glm4vForConditionalGeneration` of Hugging Face transformers: patches of 14x14
pixels, an RMSNorm, a learned position table sampled bicubically, blocks with a rotation
by row and column, 2x2 patches joined into one token, the merger; then a decoder with
four norms a layer, a rotation of half of each head, and positions of time, row and
column. Parameters are named as in the published checkpoints, matrices are [out, in].
Two pieces exist only while training: one kernel for both (equal) frames of a patch, and
the `eyes.*` heads, which name what has its centre in a cell of 28x28 pixels and, from the
decoder's middle at the end of a picture, how many there are of each kind.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)  # CLIP's
STD = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)


@dataclass(frozen=True)
class Config:
    """The sizes; the feed-forward of a vision block is as wide as a text token."""

    vocab: int = 656
    patch: int = 14
    merge: int = 2
    table: int = 24  # the position table's side
    eye_width: int = 128
    eye_layers: int = 4
    eye_heads: int = 4
    merger: int = 384
    width: int = 192
    layers: int = 4
    heads: int = 6
    kv_heads: int = 3
    ffn: int = 512
    sections: tuple = (2, 3, 3)  # of the rotated pairs: by time, by row, by column
    rotary: float = 0.5
    theta: float = 10000.0
    eps: float = 1e-5
    shapes: int = 5
    colours: int = 8
    grounds: int = 5
    most: int = 8  # things in a picture that the counting heads can tell

    @property
    def kinds(self):
        """Of what is counted: shapes, colours, and shapes of a colour."""
        return self.shapes + self.colours + self.shapes * self.colours

    @property
    def head_dim(self):
        return self.width // self.heads


def init(cfg, seed):
    """Random weights, as a flat dict of name to array."""
    rng = np.random.default_rng(seed)
    params = {}

    def matrix(name, out, into, gain=1.0):
        params[name] = jnp.asarray(rng.normal(0, gain * into**-0.5, (out, into)), jnp.float32)

    def vector(name, size, value=1.0):
        params[name] = jnp.full(size, value, jnp.float32)

    eye, width, kv = cfg.eye_width, cfg.width, cfg.kv_heads * cfg.head_dim
    matrix("visual.patch_embed.proj.weight", eye, 3 * cfg.patch**2)
    vector("visual.patch_embed.proj.bias", eye, 0.0)
    vector("visual.post_conv_layernorm.weight", eye)
    table = rng.normal(0, 0.02, (cfg.table**2, eye))
    params["visual.embeddings.position_embedding.weight"] = jnp.asarray(table, jnp.float32)
    small = (2 * cfg.eye_layers) ** -0.5
    for i in range(cfg.eye_layers):
        name = f"visual.blocks.{i}."
        vector(name + "norm1.weight", eye)
        vector(name + "norm2.weight", eye)
        matrix(name + "attn.qkv.weight", 3 * eye, eye)
        matrix(name + "attn.proj.weight", eye, eye, small)
        matrix(name + "mlp.gate_proj.weight", width, eye)
        matrix(name + "mlp.up_proj.weight", width, eye)
        matrix(name + "mlp.down_proj.weight", eye, width, small)
    vector("visual.post_layernorm.weight", eye)
    matrix("visual.downsample.weight", width, cfg.merge**2 * eye)
    vector("visual.downsample.bias", width, 0.0)
    matrix("visual.merger.proj.weight", width, width)
    vector("visual.merger.post_projection_norm.weight", width)
    vector("visual.merger.post_projection_norm.bias", width, 0.0)
    matrix("visual.merger.gate_proj.weight", cfg.merger, width)
    matrix("visual.merger.up_proj.weight", cfg.merger, width)
    matrix("visual.merger.down_proj.weight", width, cfg.merger)
    matrix("eyes.shape.weight", cfg.shapes + 1, width)
    matrix("eyes.colour.weight", cfg.colours, width)
    matrix("eyes.kind.weight", cfg.shapes * cfg.colours + 1, width)
    matrix("eyes.cell_ground.weight", cfg.grounds, width)
    matrix("eyes.count.weight", cfg.kinds * (cfg.most + 1), width)
    matrix("eyes.ground.weight", cfg.grounds, width)

    matrix("language_model.embed_tokens.weight", cfg.vocab, width, width**0.5 * 0.5)
    for i in range(cfg.layers):
        name = f"language_model.layers.{i}."
        vector(name + "input_layernorm.weight", width)
        vector(name + "post_attention_layernorm.weight", width)
        vector(name + "post_self_attn_layernorm.weight", width, 0.5)
        vector(name + "post_mlp_layernorm.weight", width, 0.5)
        for part, size in (("q", width), ("k", kv), ("v", kv)):
            matrix(f"{name}self_attn.{part}_proj.weight", size, width)
            vector(f"{name}self_attn.{part}_proj.bias", size, 0.0)
        matrix(name + "self_attn.o_proj.weight", width, width)
        matrix(name + "mlp.gate_proj.weight", cfg.ffn, width)  # joined with up on export
        matrix(name + "mlp.up_proj.weight", cfg.ffn, width)
        matrix(name + "mlp.down_proj.weight", width, cfg.ffn)
        if i < cfg.layers // 2:
            # The lower half starts out looking everywhere alike, which is good for counting.
            params[name + "self_attn.q_proj.weight"] *= 0.1
            continue
        # The upper half's queries start out like the keys, so that a token first looks at
        # its like (Trockman and Kolter 2023, "Mimetic initialization").
        key = params[name + "self_attn.k_proj.weight"].reshape(cfg.kv_heads, 1, cfg.head_dim, width)
        query = params[name + "self_attn.q_proj.weight"].reshape(
            cfg.kv_heads, -1, cfg.head_dim, width
        )
        query = (0.8 * key + 0.4 * query).reshape(width, width)
        params[name + "self_attn.q_proj.weight"] = query
    vector("language_model.norm.weight", width)
    matrix("lm_head.weight", cfg.vocab, width, 0.3)
    return params


def plant_neighbours(cfg, params):
    """Starts the encoder's heads off looking at neighbouring patches, as a convolution does.

    From random weights an encoder finds this only after very many pictures. One channel
    of the position table is a constant; each head's queries and keys turn it into a
    pointer to the patch above, below, left or right, at a distance that
    differs by layer. Training is free to change all of it.
    """
    width, dim, last = cfg.eye_width, cfg.eye_width // cfg.eye_heads, cfg.eye_width - 1
    new = {n: np.array(v) for n, v in params.items() if n.startswith("visual.")}
    constant, strength, quarter = 4.0, 5.0, dim // 4
    new["visual.post_conv_layernorm.weight"][last] = 0.0
    new["visual.embeddings.position_embedding.weight"][:, last] = constant
    freq = cfg.theta ** (-np.arange(0, dim // 2, 2) / (dim // 2))
    for i in range(cfg.eye_layers):
        new[f"visual.blocks.{i}.attn.proj.weight"][last] = 0.0
        new[f"visual.blocks.{i}.mlp.down_proj.weight"][last] = 0.0
        qkv = new[f"visual.blocks.{i}.attn.qkv.weight"]
        qkv[: 2 * width] *= 0.3
        distance = (1, 2, 3, 1)[i % 4]
        for head, (down, right) in enumerate(((-1, 0), (1, 0), (0, -1), (0, 1))):
            for axis, offset in enumerate((down * distance, right * distance)):
                for j in range(3):
                    a = head * dim + axis * quarter + j
                    b = a + dim // 2  # the other half of the rotated pair
                    size = (strength * dim**0.5) ** 0.5 / constant
                    qkv[a, last] = size * np.cos(freq[j] * offset)
                    qkv[b, last] = size * np.sin(freq[j] * offset)
                    qkv[width + a, last], qkv[width + b, last] = size, 0.0
    return params | {n: jnp.asarray(v) for n, v in new.items()}


def plant_words(params, words):
    """Starts the words for shapes and colours off near what the encoder says for them.

    words: for each head of the encoder, the token ids of each thing that it names.
    """
    embed = np.array(params["language_model.embed_tokens.weight"])
    output = np.array(params["lm_head.weight"])
    for head, named in words.items():
        rows = np.array(params[f"eyes.{head}.weight"])
        rows = rows - rows.mean(0)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        for row, ids in zip(rows, named, strict=False):
            embed[ids] += 5.0 * row
            output[ids] += 0.5 * row
    return params | {
        "language_model.embed_tokens.weight": jnp.asarray(embed),
        "lm_head.weight": jnp.asarray(output),
    }


def rms_norm(x, weight, eps):
    return x * jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + eps) * weight


def cubic(size, count):
    """Weights [count, size] that sample `size` points bicubically at `count` cell centres.

    As torch's grid_sample with align_corners=False and padding_mode="border" does it.
    """
    a, weights = -0.75, np.zeros((count, size))
    for i in range(count):
        at = (i + 0.5) / count * size - 0.5
        base = int(np.floor(at))
        for step in range(-1, 3):
            d = abs(at - (base + step))
            near = ((a + 2) * d - (a + 3)) * d * d + 1
            far = ((d - 5) * d + 8) * d * a - 4 * a
            weights[i, min(max(base + step, 0), size - 1)] += near if d <= 1 else far
    return weights.astype(np.float32)


def merge_order(rows, cols, merge):
    """Row and column of every patch, in the order in which 2x2 of them join: [patches] each."""
    grid = np.arange(rows * cols).reshape(rows // merge, merge, cols // merge, merge)
    order = grid.transpose(0, 2, 1, 3).reshape(-1)
    return order // cols, order % cols


def patches(cfg, pictures):
    """Pictures [batch, H, W, 3] in 0..255 as [batch, patches, 3 * 14 * 14], normalised."""
    batch, height, width, _ = pictures.shape
    p, m = cfg.patch, cfg.merge
    x = (pictures / 255.0 - MEAN) / STD
    x = x.reshape(batch, height // p // m, m, p, width // p // m, m, p, 3)
    x = x.transpose(0, 1, 4, 2, 5, 7, 3, 6)
    return x.reshape(batch, -1, 3 * p * p)


def see(cfg, params, x, rows, cols):
    """Image tokens [batch, rows * cols / 4, width] for patches of a grid of rows x cols."""
    get = lambda name: params["visual." + name]  # noqa: E731
    batch, count, _ = x.shape
    row, col = merge_order(rows, cols, cfg.merge)
    x = x @ get("patch_embed.proj.weight").T + get("patch_embed.proj.bias")
    x = rms_norm(x, get("post_conv_layernorm.weight"), cfg.eps)
    table = get("embeddings.position_embedding.weight")
    sample = cubic(cfg.table, rows)[row][:, :, None] * cubic(cfg.table, cols)[col][:, None, :]
    x = x + sample.reshape(count, -1) @ table

    dim = cfg.eye_width // cfg.eye_heads
    freq = cfg.theta ** (-np.arange(0, dim // 2, 2) / (dim // 2))
    angle = np.concatenate([row[:, None] * freq, col[:, None] * freq], 1)
    cos, sin = (jnp.asarray(f(angle), jnp.float32) for f in (np.cos, np.sin))

    def rotate(t):
        a, b = jnp.split(t, 2, -1)
        return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], -1)

    for i in range(cfg.eye_layers):
        name = f"blocks.{i}."
        h = rms_norm(x, get(name + "norm1.weight"), cfg.eps) @ get(name + "attn.qkv.weight").T
        q, k, v = h.reshape(batch, count, 3, cfg.eye_heads, dim).transpose(2, 0, 3, 1, 4)
        scores = jnp.einsum("bhqd,bhkd->bhqk", rotate(q), rotate(k)) * dim**-0.5
        h = jnp.einsum("bhqk,bhkd->bqhd", jax.nn.softmax(scores, -1), v)
        x = x + h.reshape(batch, count, -1) @ get(name + "attn.proj.weight").T
        h = rms_norm(x, get(name + "norm2.weight"), cfg.eps)
        gate = jax.nn.silu(h @ get(name + "mlp.gate_proj.weight").T)
        up = gate * (h @ get(name + "mlp.up_proj.weight").T)
        x = x + up @ get(name + "mlp.down_proj.weight").T
    x = rms_norm(x, get("post_layernorm.weight"), cfg.eps)
    x = x.reshape(batch, count // cfg.merge**2, -1)
    x = x @ get("downsample.weight").T + get("downsample.bias")
    x = x @ get("merger.proj.weight").T
    x = x - jnp.mean(x, -1, keepdims=True)
    x = x * jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + 1e-5)  # LayerNorm's own epsilon
    x = x * get("merger.post_projection_norm.weight") + get("merger.post_projection_norm.bias")
    x = jax.nn.gelu(x, approximate=False)
    gate = jax.nn.silu(x @ get("merger.gate_proj.weight").T)
    return (gate * (x @ get("merger.up_proj.weight").T)) @ get("merger.down_proj.weight").T


def eye_loss(cfg, params, tokens, cells, ground):
    """How badly the cells are named, per thing: cross-entropy above the least possible.

    tokens [batch, cells, width]; cells as `scenes.cell_labels` makes them; ground [batch].
    Also returns how far the parts of things are off, summed over cells, per thing.
    """
    things = jnp.maximum(jnp.sum(cells["colour"]), 1.0)
    logits = {n: jax.nn.log_softmax(tokens @ params[f"eyes.{n}.weight"].T) for n in cells}
    total = sum(
        jnp.sum(jax.scipy.special.xlogy(part, part) - part * logits[n]) for n, part in cells.items()
    )
    wrong = jnp.sum(jnp.abs(jnp.exp(logits["kind"]) - cells["kind"])) / 2
    back = jax.nn.log_softmax(tokens @ params["eyes.cell_ground.weight"].T)
    back = -jnp.mean(jnp.take_along_axis(back, ground[:, None, None], -1))
    return total / things + back, wrong / things


def count_loss(cfg, params, ends, counts, ground):
    """Cross-entropy of the counts and of the background, a picture.

    ends [pictures, width]: the decoder's middle at each picture's end; counts [pictures,
    kinds]. Kinds that are there weigh as much as the many that are not.
    """
    x = rms_norm(ends, 1.0, cfg.eps)
    logits = (x @ params["eyes.count.weight"].T).reshape(len(ends), cfg.kinds, cfg.most + 1)
    nll = -jnp.take_along_axis(jax.nn.log_softmax(logits), counts[..., None], -1)[..., 0]
    there = counts > 0
    right = jnp.sum((jnp.argmax(logits, -1) == counts) & there) / jnp.sum(there)
    value = jnp.sum(nll * there) / jnp.sum(there) + jnp.sum(nll * ~there) / jnp.sum(~there)
    logits = jax.nn.log_softmax(x @ params["eyes.ground.weight"].T)
    return value - jnp.mean(jnp.take_along_axis(logits, ground[:, None], -1)), right


def attend_causally(q, k, v):
    """Attention of one sequence a row: q [batch, kv heads, group, time, dim], k and v without group."""
    time = q.shape[3]
    bias = jnp.where(np.tri(time, dtype=bool), 0.0, -1e9)
    probs = jax.nn.softmax(jnp.einsum("bkgtd,bksd->bkgts", q, k) + bias, -1)
    return jnp.einsum("bkgts,bksd->bkgtd", probs, v)


def attend_packed(head, ahead, own):
    """Attention of rows with a common head of `head` tokens and chunks of text behind it.

    ahead [batch, text, head]: which of the head a text token sees; own [batch, chunks,
    size, size]: which tokens of its chunk. Nothing is computed for other chunks.
    """
    chunks, size = own.shape[1:3]

    def attend(q, k, v):
        batch, heads, group, time, dim = q.shape
        text = q[:, :, :, head:]
        split = (batch, heads, chunks, size, dim)
        near_k, near_v = k[:, :, head:].reshape(split), v[:, :, head:].reshape(split)
        parts = text.reshape(batch, heads, group, chunks, size, dim)
        far = jnp.einsum("bkgtd,bksd->bkgts", text, k[:, :, :head])
        far = jnp.where(ahead[:, None, None], far, -1e9)
        far = far.reshape(batch, heads, group, chunks, size, head)
        near = jnp.einsum("bkgntd,bknsd->bkgnts", parts, near_k)
        near = jnp.where(own[:, None, None], near, -1e9)
        probs = jax.nn.softmax(jnp.concatenate([far, near], -1), -1)
        far = probs[..., :head].reshape(batch, heads, group, chunks * size, head)
        out = jnp.einsum("bkgts,bksd->bkgtd", far, v[:, :, :head])
        near = jnp.einsum("bkgnts,bknsd->bkgntd", probs[..., head:], near_v)
        out = out + near.reshape(out.shape)
        first = attend_causally(q[:, :, :, :head], k[:, :, :head], v[:, :, :head])
        return jnp.concatenate([first, out], 3)

    return attend


def read(cfg, params, x, positions, attend=attend_causally):
    """Final hidden states, and those between the layers' halves, [batch, time, width] each.

    x: embeddings [batch, time, width]; positions [batch, 3, time] (time, row, column).
    """
    batch, time, _ = x.shape
    dim, group = cfg.head_dim, cfg.heads // cfg.kv_heads
    turned = int(dim * cfg.rotary)
    freq = cfg.theta ** (-np.arange(0, turned, 2) / turned)
    which = np.repeat(np.arange(3), cfg.sections)
    angle = positions[:, which].transpose(0, 2, 1) * jnp.asarray(freq, jnp.float32)
    cos, sin = jnp.cos(angle)[:, None], jnp.sin(angle)[:, None]

    def heads(t, count):
        return t.reshape(batch, time, count, dim).transpose(0, 2, 1, 3)

    def rotate(t):
        pairs = t[..., :turned].reshape(*t.shape[:-1], -1, 2)
        a, b = pairs[..., 0], pairs[..., 1]
        pairs = jnp.stack([a * cos - b * sin, b * cos + a * sin], -1)
        return jnp.concatenate([pairs.reshape(*t.shape[:-1], turned), t[..., turned:]], -1)

    for i in range(cfg.layers):
        if i == cfg.layers // 2:
            middle = x
        get = lambda name, i=i: params[f"language_model.layers.{i}.{name}"]  # noqa: E731
        linear = lambda t, n, get=get: t @ get(n + ".weight").T + get(n + ".bias")  # noqa: E731
        h = rms_norm(x, get("input_layernorm.weight"), cfg.eps)
        q = rotate(heads(linear(h, "self_attn.q_proj"), cfg.heads))
        k = rotate(heads(linear(h, "self_attn.k_proj"), cfg.kv_heads))
        v = heads(linear(h, "self_attn.v_proj"), cfg.kv_heads)
        q = q.reshape(batch, cfg.kv_heads, group, time, dim) * dim**-0.5
        h = attend(q, k, v).transpose(0, 3, 1, 2, 4).reshape(batch, time, -1)
        h = h @ get("self_attn.o_proj.weight").T
        x = x + rms_norm(h, get("post_self_attn_layernorm.weight"), cfg.eps)
        h = rms_norm(x, get("post_attention_layernorm.weight"), cfg.eps)
        h = jax.nn.silu(h @ get("mlp.gate_proj.weight").T) * (h @ get("mlp.up_proj.weight").T)
        h = h @ get("mlp.down_proj.weight").T
        x = x + rms_norm(h, get("post_mlp_layernorm.weight"), cfg.eps)
    return rms_norm(x, params["language_model.norm.weight"], cfg.eps), middle
