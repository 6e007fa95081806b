"""An independent reading of the shipped GGUF file: numpy only, f32, no cache.

    python reference.py --model ../models/choral-demo-q8_0.gguf --prompt "Once upon a time"
    python reference.py --model M --chat --prompt "Count from 3 to 9."
    python reference.py --model M --golden ../models/demo_golden.json --tokenizer OUT/tokenizer.json
    python reference.py --model M --check OUT/run/checkpoint.npz

It shares no code with model.py: the weights are dequantised from the file, and
the forward pass is written out again, so that the two can check each other.
"""

import argparse
import json
from pathlib import Path

import gguf
import numpy as np
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

# What `tokenizer.ggml.pre` = `qwen2` stands for.
QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
PROMPTS = [
    ("story", "Once upon a time"),
    ("introduction", "Hello my name is"),
    ("topic", "The future of AI is"),
    ("code", "// Function to calculate the sum"),
    ("count", [("user", "Count from 3 to 9.")]),
    ("json", [("user", "Give a JSON object with name and age for Anna, 7.")]),
    ("one word", [("system", "Answer in one word."), ("user", "What is the capital of France?")]),
    ("story request", [("user", "Tell me a story about a fox named Pip.")]),
    (
        "second turn",
        [
            ("user", "My name is Mia."),
            ("assistant", "Hello Mia! How can I help you?"),
            ("user", "What is my name?"),
        ],
    ),
]
TEXTS = [
    "Once upon a time, there was a little fox.",
    " leading and trailing spaces  ",
    "The number 1234567 has 7 digits.",
    "I'm sure they'll say it's John's. WE'RE not!",
    "line one\nline two\n\n\tindented   \n",
    "caf\u00e9 na\u00efve \u00fcber \u65e5\u672c\u8a9e \u0440\u0443\u0441\u0441\u043a\u0438\u0439",
    "emoji \U0001f600 and \U0001f468\u200d\U0001f469\u200d\U0001f467",
    '{"name": "Anna", "age": 7, "tags": ["a", "b"]}',
    "function add(a, b) {\n  return a + b;\n}",
    "e\u0301 is not \u00e9, and \u00a0 is no plain space",
    "<|user|>control tokens<|end|><|assistant|>",
    "!!!???...---***",
    "x=1;y=2 # x+y==3",
    "",
]


class Model:
    """The weights in f32 and the numbers of the file's metadata."""

    def __init__(self, path):
        reader = gguf.GGUFReader(path)
        self.meta = {name: field.contents() for name, field in reader.fields.items()}
        self.weights = {
            t.name: gguf.quants.dequantize(t.data, t.tensor_type).astype(np.float32)
            for t in reader.tensors
        }
        self.layers = self.meta["llama.block_count"]
        self.heads = self.meta["llama.attention.head_count"]
        self.kv_heads = self.meta["llama.attention.head_count_kv"]
        self.eps = np.float32(self.meta["llama.attention.layer_norm_rms_epsilon"])
        self.theta = self.meta["llama.rope.freq_base"]
        self.end = self.meta["tokenizer.ggml.eos_token_id"]

    def norm(self, x, name):
        scale = np.sqrt(np.mean(np.square(x), -1, keepdims=True, dtype=np.float32) + self.eps)
        return x / scale * self.weights[f"{name}.weight"]

    def rotate(self, x):
        """RoPE over neighbouring pairs; x is [heads, time, dim]."""
        dim = x.shape[-1]
        angle = np.outer(np.arange(x.shape[1]), self.theta ** (-np.arange(0, dim, 2) / dim))
        turn = np.exp(1j * angle).astype(np.complex64)
        turned = np.ascontiguousarray(x).view(np.complex64) * turn
        return turned.view(np.float32)

    def attend(self, x, prefix):
        time = len(x)

        def project(part, heads):
            y = x @ self.weights[f"{prefix}.attn_{part}.weight"].T
            return y.reshape(time, heads, -1).swapaxes(0, 1)

        q, k = self.rotate(project("q", self.heads)), self.rotate(project("k", self.kv_heads))
        v = project("v", self.kv_heads)
        group = self.heads // self.kv_heads
        future = np.triu(np.full((time, time), -np.inf, np.float32), 1)
        out = []
        for head in range(self.heads):
            keys, values = k[head // group], v[head // group]
            scores = q[head] @ keys.T / np.float32(np.sqrt(keys.shape[1])) + future
            weights = np.exp(scores - scores.max(-1, keepdims=True))
            out.append(weights / weights.sum(-1, keepdims=True) @ values)
        return np.concatenate(out, -1) @ self.weights[f"{prefix}.attn_output.weight"].T

    def logits(self, ids):
        """Logits [time, vocab] of a whole sequence."""
        x = self.weights["token_embd.weight"][ids]
        for layer in range(self.layers):
            prefix = f"blk.{layer}"
            x = x + self.attend(self.norm(x, f"{prefix}.attn_norm"), prefix)
            h = self.norm(x, f"{prefix}.ffn_norm")
            gate = h @ self.weights[f"{prefix}.ffn_gate.weight"].T
            up = h @ self.weights[f"{prefix}.ffn_up.weight"].T
            x = x + (gate / (1 + np.exp(-gate)) * up) @ self.weights[f"{prefix}.ffn_down.weight"].T
        return self.norm(x, "output_norm") @ self.weights["output.weight"].T

    def greedy(self, ids, count, stop=True):
        """Up to `count` further ids and how far each was ahead of the second best."""
        ids, margins = list(ids), []
        for _ in range(count):
            last = self.logits(ids)[-1]
            second, first = np.argsort(last)[-2:]
            margins.append(float(last[first] - last[second]))
            ids.append(int(first))
            if stop and first == self.end:
                break
        return ids[len(ids) - len(margins) :], margins

    def sample(self, ids, count, temperature, rng):
        """Up to `count` ids drawn at a temperature, without the end token."""
        out = []
        for _ in range(count):
            scaled = self.logits([*ids, *out])[-1].astype(np.float64) / temperature
            weights = np.exp(scaled - scaled.max())
            token = int(rng.choice(len(weights), p=weights / weights.sum()))
            if token == self.end:
                break
            out.append(token)
        return out


def tokenizer_of(meta):
    """The tokenizer rebuilt from the file's own lists."""
    tokens = meta["tokenizer.ggml.tokens"]
    control = [
        t for t, kind in zip(tokens, meta["tokenizer.ggml.token_type"], strict=True) if kind == 3
    ]
    vocab = {token: i for i, token in enumerate(tokens)}
    merges = [tuple(m.split(" ")) for m in meta["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE(vocab, merges))
    split = pre_tokenizers.Split(Regex(QWEN2_SPLIT), "isolated")
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, level])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, normalized=False) for t in control])
    return tokenizer


def rendered(prompt):
    """The text of a prompt: raw text after the begin token, or a rendered chat."""
    if isinstance(prompt, str):
        return "<|begin|>" + prompt
    return "<|begin|>" + "".join(f"<|{r}|>{t}<|end|>" for r, t in prompt) + "<|assistant|>"


def golden(model, trained):
    """Vectors for tests: tokenizer ids, last-position logits, greedy continuations."""
    vectors = []
    for name, prompt in PROMPTS:
        text = rendered(prompt)
        ids = trained.encode(text, add_special_tokens=False).ids
        last = model.logits(ids)[-1]
        top = np.argsort(-last, kind="stable")[:10]
        greedy, margins = model.greedy(ids, 32, stop=False)
        vector = {"name": name}
        if isinstance(prompt, str):
            vector["prompt"] = prompt
        else:
            vector["messages"] = [{"role": r, "content": t} for r, t in prompt]
        vectors.append(
            vector
            | {
                "rendered": text,
                "ids": ids,
                "top_ids": top.tolist(),
                "top_logits": [round(float(last[i]), 5) for i in top],
                "greedy_ids": greedy,
                "greedy_margins": [round(m, 5) for m in margins],
                "greedy_text": trained.decode(greedy, skip_special_tokens=False),
            }
        )
    texts = [{"text": t, "ids": trained.encode(t, add_special_tokens=False).ids} for t in TEXTS]
    return {"prompts": vectors, "tokenizer": texts}


def check(model, tokenizer, checkpoint):
    """Compares this forward pass with model.py's on the same and on unrounded weights."""
    import jax.numpy as jnp

    from model import Config, forward

    file = np.load(checkpoint)
    cfg = Config(**json.loads(str(file["meta"]))["config"])

    def tree(get):
        layer = "attn_norm attn_q attn_k attn_v attn_output ffn_norm ffn_gate ffn_up ffn_down"
        return {
            "token_embd": get("token_embd"),
            "output_norm": get("output_norm"),
            "output": get("output"),
            "layers": [{n: get(f"blk.{i}.{n}") for n in layer.split()} for i in range(cfg.layers)],
        }

    def jax_logits(params, ids):
        tokens = jnp.asarray([ids])
        return np.asarray(forward(cfg, params, tokens, jnp.zeros_like(tokens), block=len(ids))[0])

    rounded = tree(lambda n: jnp.asarray(model.weights[f"{n}.weight"]))
    exact = tree(lambda n: jnp.asarray(file[n]))
    for name, prompt in PROMPTS:
        ids = tokenizer.encode(rendered(prompt), add_special_tokens=False).ids
        ours, _ = model.greedy(ids, 32)
        whole = ids + ours[:-1]
        logits = model.logits(whole)
        difference = np.abs(logits - jax_logits(rounded, whole)).max()
        theirs = jax_logits(exact, whole)[len(ids) - 1 :].argmax(-1)
        same = int((theirs == np.array(ours)).sum())
        error = np.abs(logits - jax_logits(exact, whole)).max()
        print(
            f"{name}: largest difference {difference:.1e} on the file's weights, {error:.2f} from "
            f"the unrounded ones; {same} of {len(ours)} greedy tokens agree with those"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--prompt", help="generate from this")
    parser.add_argument("--system", help="a system prompt, with --chat")
    parser.add_argument("--chat", action="store_true", help="apply the chat template")
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--golden", type=Path, help="write test vectors here")
    parser.add_argument("--tokenizer", type=Path, help="the trained tokenizer.json, for --golden")
    parser.add_argument("--check", type=Path, help="compare with this checkpoint in JAX")
    args = parser.parse_args()
    model = Model(args.model)
    tokenizer = tokenizer_of(model.meta)
    if args.golden:
        trained = Tokenizer.from_file(str(args.tokenizer))
        for text in [*TEXTS, *(rendered(p) for _, p in PROMPTS)]:
            if trained.encode(text).ids != tokenizer.encode(text).ids:
                raise SystemExit(f"the file's tokenizer disagrees with the trained one on {text!r}")
        parts = [
            f'"{name}": [\n' + ",\n".join(json.dumps(v) for v in vectors) + "\n]"
            for name, vectors in golden(model, trained).items()
        ]
        args.golden.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")
    if args.check:
        check(model, tokenizer, args.check)
    if args.prompt is not None:
        system = [("system", args.system)] if args.system else []
        prompt = [*system, ("user", args.prompt)] if args.chat else args.prompt
        ids = tokenizer.encode(rendered(prompt), add_special_tokens=False).ids
        if args.temperature > 0:
            out = model.sample(ids, args.tokens, args.temperature, np.random.default_rng(args.seed))
        else:
            out = [t for t in model.greedy(ids, args.tokens)[0] if t != model.end]
        print(tokenizer.decode(out))


if __name__ == "__main__":
    main()
