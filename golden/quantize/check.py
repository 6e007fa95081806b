"""Holds `choral quantize` against llama.cpp, file by file.

Needs numpy, gguf and llama-cpp-python. For every Hugging Face folder of a golden set
and every type:

- `choral quantize FOLDER FILE --type TYPE`, which llama.cpp must load;
- *types*: every tensor has the type that llama.cpp's own quantiser gives it;
- *error*: root mean square of what quantising changed, over all tensors that changed,
  as a ratio to that of llama.cpp's quantiser on the same weights; and the worst tensor;
- both programs make the same ids of the golden prompts; *other tokens* are prompts of
  which both make others than the folder's tokenizer, whose rules GGUF cannot say;
- *logits*: largest difference of the last logits of choral (`--numeric f32`) and
  llama.cpp on the same file, in standard deviations of the logits. llama.cpp rounds
  activations, to 8 bits for quantised files, and where two experts are nearly equal
  that may swap them: *but swapped* is without a quarter of the prompts of such models;
- *exact*: the same for choral on the file and llama.cpp on its dequantised floats,
  where neither rounds; those floats are gguf-py's, checked.

    python check.py --choral target/release/choral --set GOLDEN [--models a,b] [--types X,Y]

Prints a row for each file and the worst of each type, as Markdown tables, and ends
with status 1 if a bound is broken.
"""

from __future__ import annotations

import argparse
import base64
import ctypes
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import gguf
import llama_cpp.llama_cpp as llama
import numpy as np
from make import MIXTURES

MODELS = (
    "tinyllama llama3 llama_k256 llama_v5cfg mistral_nowin qwen2 qwen2_k256 qwen3 qwen3_moe mixtral olmo2 "
    "smollm3 gemma2 gemma3_text phi3 glm4 gpt2"
)
TYPES = "F32 F16 BF16 Q8_0 Q6_K Q5_K_M Q4_K_M Q4_0"
#: llama.cpp looks GELU up in a table of half precision.
TABLED = ("gemma", "gpt2", "starcoder2")
#: Of the error of llama.cpp's quantiser, over a file.
MOST_ERROR = 1.02
#: Largest difference of logits, in standard deviations, where nothing is rounded, and
#: where llama.cpp rounds activations as it does for files of a type.
EXACT = 1e-3
ROUNDED = {"F32": EXACT, "F16": 1e-2, "BF16": 8e-2}
INT8 = 0.2
#: Where two experts are nearly equal, rounding may swap them, and all that follows.
MOST_SWAPPED = 1 / 4


@llama.llama_log_callback
def quiet(_level, _text, _user):
    """Takes llama.cpp's messages."""


def run(choral, *words, text=None):
    done = subprocess.run([choral, *map(str, words)], input=text, capture_output=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, words))}: {done.stderr.decode()[-300:]}")
    return done.stdout


class Peer:
    """A file in llama.cpp."""

    def __init__(self, path):
        params = llama.llama_model_default_params()
        params.n_gpu_layers = 0
        self.model = llama.llama_model_load_from_file(str(path).encode(), params)
        if not self.model:
            raise RuntimeError(f"llama.cpp does not load {path}")
        self.vocab = llama.llama_model_get_vocab(self.model)
        self.size = llama.llama_vocab_n_tokens(self.vocab)

    def close(self):
        llama.llama_model_free(self.model)

    def tokenize(self, text, add_special):
        data = text.encode()
        ids = (llama.llama_token * (len(data) + 8))()
        count = llama.llama_tokenize(self.vocab, data, len(data), ids, len(ids), add_special, True)
        return list(ids[:count])

    def logits(self, ids):
        params = llama.llama_context_default_params()
        # LongRoPE goes by the context's size, which is the model's in choral too.
        params.n_ctx = llama.llama_model_n_ctx_train(self.model)
        params.n_batch = params.n_ubatch = params.n_ctx
        params.n_threads = params.n_threads_batch = 1
        params.type_k = params.type_v = llama.GGML_TYPE_F32
        params.flash_attn_type = 0
        context = llama.llama_init_from_model(self.model, params)
        tokens = (llama.llama_token * len(ids))(*ids)
        assert llama.llama_decode(context, llama.llama_batch_get_one(tokens, len(ids))) == 0
        row = np.ctypeslib.as_array(llama.llama_get_logits_ith(context, -1), (self.size,)).copy()
        llama.llama_free(context)
        return row


def llama_quantize(source, target, mixture):
    params = llama.llama_model_quantize_default_params()
    params.ftype, params.nthread, params.allow_requantize = MIXTURES[mixture], 1, True
    code = llama.llama_model_quantize(str(source).encode(), str(target).encode(), ctypes.byref(params))
    assert code == 0, f"llama_model_quantize: {code}"


def tensors(path):
    """Values and type of every tensor."""
    found = {}
    for tensor in gguf.GGUFReader(path).tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        found[tensor.name] = (values.reshape(-1).astype(np.float64), tensor.tensor_type.name)
    return found


def errors(source, ours, theirs):
    """Error of ours over that of theirs: of all tensors, and of the worst."""
    sums, worst = [0.0, 0.0], (0.0, "")
    for name, (values, _) in source.items():
        a = float(np.sum((ours[name][0] - values) ** 2))
        b = float(np.sum((theirs[name][0] - values) ** 2))
        sums = [sums[0] + a, sums[1] + b]
        if b > 0:
            worst = max(worst, ((a / b) ** 0.5, name))
        elif a > 0:
            worst = (np.inf, name)
    ratio = (sums[0] / sums[1]) ** 0.5 if sums[1] else 1.0 if not sums[0] else np.inf
    return ratio, worst


def score(choral, path, prompts):
    lines = "".join(json.dumps({"name": k, "ids": v["ids"]}) + "\n" for k, v in prompts.items())
    words = ["debug", "score", "--model", path, "--input", "-", "--logits", "full", "--numeric", "f32"]
    rows = [json.loads(line) for line in run(choral, *words, text=lines.encode()).splitlines()]
    decode = lambda text: np.frombuffer(base64.b64decode(text), "<f4")
    return {row["name"]: decode(row["last_logits_b64"]) for row in rows}


def distances(ours, peer, prompts):
    """Largest difference of a logit, in standard deviations, and where; the largest first."""
    found = []
    for name, prompt in prompts.items():
        theirs = peer.logits(prompt["ids"])
        found.append((float(np.abs(ours[name] - theirs).max() / theirs.std()), name))
    return sorted(found, reverse=True)


def tokens_differ(choral, path, peer, prompts):
    """Prompts of which the programs make different ids, and those of which both make
    others than the folder's tokenizer, because GGUF cannot say its rules."""
    named = {k: v for k, v in prompts.items() if v.get("text") is not None}
    rows = [{"text": v["text"], "add_special": v["add_special_tokens"]} for v in named.values()]
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    ours = [json.loads(line)["ids"] for line in run(choral, "tokenize", "--model", path, "--jsonl", text=text).splitlines()]
    differ, both = [], []
    for (name, prompt), ids in zip(named.items(), ours, strict=True):
        if ids != peer.tokenize(prompt["text"], prompt["add_special_tokens"]):
            differ.append(name)
        elif ids != prompt["ids"]:
            both.append(name)
    return differ, both


def check(options, model, mixture, folder, source):
    """Prints a row of the table; its numbers, and what is wrong with them."""
    golden = json.loads((options.set / "models" / model / "golden.json").read_text())
    prompts = golden["prompts"]
    ours, theirs, floats = (folder / f"{name}.gguf" for name in ("ours", "theirs", "floats"))
    hf = options.set / "models" / model / "hf"
    made = json.loads(run(options.choral, "quantize", hf, ours, "--type", mixture, "--overwrite", "--json"))
    llama_quantize(source, theirs, mixture)
    a, b, values = tensors(ours), tensors(theirs), tensors(source)
    wrong = [f"{n}: {a[n][1]}, llama.cpp {b[n][1]}" for n in b if a[n][1] != b[n][1]]
    ratio, (worst, where) = errors(values, a, b)
    if max(ratio, worst) > MOST_ERROR:
        wrong.append(f"error {ratio:.4f} of llama.cpp's, {worst:.4f} in {where}")
    run(options.choral, "quantize", ours, floats, "--type", "F32", "--overwrite", "--allow-requantize")
    for name, (dequantised, _) in tensors(floats).items():
        if not np.array_equal(dequantised.astype(np.float32), a[name][0].astype(np.float32)):
            wrong.append(f"{name}: dequantised otherwise than by gguf-py")
    logits = score(options.choral, ours, prompts)
    peer, exact = Peer(ours), Peer(floats)
    differ, both = tokens_differ(options.choral, ours, peer, prompts)
    rounded, exactly = distances(logits, peer, prompts), distances(logits, exact, prompts)
    peer.close()
    exact.close()
    tabled = 3.0 if model.startswith(TABLED) else 1.0
    has_experts = any("_exps." in name for name in a) and mixture != "F32"
    swapped = int(len(prompts) * MOST_SWAPPED) if has_experts else 0
    bound = ROUNDED.get(mixture, INT8) * (tabled if mixture == "F32" else 1)
    wrong += [f"logits of `{name}` are {d:.2g} off" for d, name in rounded[swapped:] if d > bound]
    wrong += [f"exact logits of `{name}` are {d:.2g} off" for d, name in exactly if d > EXACT * tabled]
    wrong += [f"tokens of {name}" for name in differ]
    numbers = (ratio, worst, rounded[0][0], rounded[swapped][0], exactly[0][0])
    others = ", ".join(both) or "none"
    print(f"| {model} | {mixture} | {made['bits_per_weight']:.2f} | {shown(numbers)} | {others} |", flush=True)
    return numbers, wrong


def shown(numbers):
    ratio, worst, *distances = numbers
    return " | ".join([f"{ratio:.4f}", f"{worst:.4f}", *(f"{d:.1e}" for d in distances)])


def summary(rows):
    """The worst of every type."""
    print("\n| type | models | error | worst tensor | logits | but swapped | exact |")
    print("|---|---|---|---|---|---|---|")
    for mixture, numbers in rows.items():
        print(f"| {mixture} | {len(numbers)} | {shown([max(column) for column in zip(*numbers, strict=True)])} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--choral", required=True)
    parser.add_argument("--set", type=Path, required=True)
    parser.add_argument("--models", default=MODELS.replace(" ", ","))
    parser.add_argument("--types", default=TYPES.replace(" ", ","))
    options = parser.parse_args()
    llama.llama_log_set(quiet, ctypes.c_void_p(0))
    llama.llama_backend_init()
    failures, rows = 0, {}
    print("| model | type | bits | error | worst tensor | logits | but swapped | exact | other tokens |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for model in options.models.split(","):
            source = folder / "source.gguf"
            hf = options.set / "models" / model / "hf"
            try:
                run(options.choral, "quantize", hf, source, "--type", "F32", "--overwrite")
                for mixture in options.types.split(","):
                    numbers, wrong = check(options, model, mixture, folder, source)
                    rows.setdefault(mixture, []).append(numbers)
                    for line in wrong:
                        print(f"{model} {mixture}: {line}", file=sys.stderr, flush=True)
                    failures += len(wrong)
            except (RuntimeError, AssertionError, KeyError) as error:
                print(f"{model}: {error}", file=sys.stderr, flush=True)
                failures += 1
    summary(rows)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
