"""Records what llama.cpp's quantiser does: errors of rows, and types of tensors.

Needs numpy, gguf and llama-cpp-python. Writes errors.json and mixtures.json beside
itself; models whose weights rows are taken from are given as arguments (GGUF, F16 or
BF16).

    python make.py tinyllama-F16.gguf qwen2-BF16.gguf
"""

import base64
import ctypes
import json
import sys
import tempfile
from pathlib import Path

import gguf
import llama_cpp.llama_cpp as llama
import numpy as np

HERE = Path(__file__).parent
TYPES = "Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_NL IQ4_XS F16 BF16".split()
# Numbers of `enum llama_ftype`.
MIXTURES = dict(
    F32=0, F16=1, BF16=32, Q8_0=7, Q6_K=18, Q5_K_M=17, Q5_K_S=16, Q5_1=9, Q5_0=8, Q4_K_M=15,
    Q4_K_S=14, Q4_1=3, Q4_0=2, IQ4_NL=25, IQ4_XS=30, Q3_K_L=13, Q3_K_M=12, Q3_K_S=11, Q2_K=10,
)  # fmt: skip


def ggml():
    folder = Path(llama.__file__).parent / "lib"
    library = ctypes.CDLL(str(folder / "libggml-base.so"))
    floats = ctypes.POINTER(ctypes.c_float)
    library.ggml_quantize_chunk.restype = ctypes.c_size_t
    library.ggml_quantize_chunk.argtypes = [
        ctypes.c_int, floats, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, floats,
    ]  # fmt: skip
    return library


def rmse(library, name, row):
    """Root mean square of what quantising with `ggml_quantize_chunk` changes."""
    kind = getattr(gguf.GGMLQuantizationType, name)
    row = np.ascontiguousarray(row, dtype=np.float32)
    length, size = gguf.GGML_QUANT_SIZES[kind]
    out = np.zeros(row.size // length * size, dtype=np.uint8)
    pointer = row.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
    library.ggml_quantize_chunk(int(kind), pointer, out.ctypes.data, 0, 1, row.size, None)
    back = gguf.quants.dequantize(out, kind).reshape(-1).astype(np.float64)
    return float(np.sqrt(np.mean((back - row) ** 2)))


def rows(models):
    random = np.random.default_rng(20240717)
    n = 1024
    yield "gaussian", random.normal(0, 0.02, n)
    yield "gaussian, large", random.normal(0, 30, n)
    yield "laplacian", random.laplace(0, 0.02, n)
    yield "gaussian, shifted", random.normal(0.05, 0.02, n)
    yield "uniform", random.uniform(-1, 1, n)
    outliers = random.normal(0, 0.02, n)
    outliers[random.integers(0, n, 12)] *= 15
    yield "gaussian with outliers", outliers
    sparse = random.normal(0, 0.02, n) * (random.uniform(size=n) < 0.2)
    sparse[256:320] = 0
    yield "mostly zero", sparse
    yield "all negative", -np.abs(random.normal(0, 0.02, n))
    yield "ramp", np.linspace(-1, 1, n)
    for path in models:
        for tensor in gguf.GGUFReader(path).tensors:
            if tensor.name in ("blk.1.ffn_gate.weight", "token_embd.weight"):
                values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).reshape(-1)
                yield f"{Path(path).stem} {tensor.name}", values[:n]


def errors(models):
    library = ggml()
    result = []
    for name, row in rows(models):
        row = row.astype(np.float16)
        found = {kind: rmse(library, kind, row.astype(np.float32)) for kind in TYPES}
        encoded = base64.b64encode(row.tobytes()).decode()
        result.append({"name": name, "values_f16_b64": encoded, "rmse": found})
    return result


def shape_of_a_model(arch, layers, heads, kv_heads, *, width=256, experts=0, tied=False, fused=False):
    """A file with the names and shapes of a family; zeros for weights."""
    ffn = width
    kv = max(32, width // heads * kv_heads)
    tensors = {"token_embd.weight": (512, width), "output_norm.weight": (width,)}
    if not tied:
        tensors["output.weight"] = (512, width)
    for i in range(layers):
        layer = {"attn_norm.weight": (width,), "ffn_norm.weight": (width,)}
        layer["attn_output.weight"] = (width, width)
        if fused:
            layer["attn_qkv.weight"] = (width + 2 * kv, width)
            layer["ffn_up.weight"] = (2 * ffn, width)
            layer["ffn_down.weight"] = (width, ffn)
        else:
            layer["attn_q.weight"] = (width, width)
            layer["attn_k.weight"] = (kv, width)
            layer["attn_v.weight"] = (kv, width)
            each = (experts,) if experts else ()
            suffix = "_exps" if experts else ""
            layer[f"ffn_gate{suffix}.weight"] = (*each, ffn, width)
            layer[f"ffn_up{suffix}.weight"] = (*each, ffn, width)
            layer[f"ffn_down{suffix}.weight"] = (*each, width, ffn)
            if experts:
                layer["ffn_gate_inp.weight"] = (experts, width)
        tensors |= {f"blk.{i}.{name}": shape for name, shape in layer.items()}
    settings = {
        "block_count": layers,
        "context_length": 512,
        "embedding_length": width,
        "feed_forward_length": ffn,
        "attention.head_count": heads,
        "attention.head_count_kv": kv_heads,
    }
    if experts:
        settings |= {"expert_count": experts, "expert_used_count": 2}
    return {"architecture": arch, "settings": settings, "tensors": tensors}


MODELS = {
    "grouped heads": shape_of_a_model("llama", 26, 8, 2),
    "own heads": shape_of_a_model("llama", 17, 4, 4),
    "tied": shape_of_a_model("qwen2", 24, 8, 4, tied=True),
    "eight experts": shape_of_a_model("llama", 10, 8, 2, experts=8),
    "four experts": shape_of_a_model("llama", 16, 8, 2, experts=4),
    "fused": shape_of_a_model("phi3", 20, 8, 8, fused=True),
    "eighty layers": shape_of_a_model("llama", 80, 8, 1, width=256),
    "narrow rows": shape_of_a_model("llama", 9, 4, 2, width=96),
    "rows of no block": shape_of_a_model("llama", 2, 4, 2, width=72),
}


def write(model, path):
    writer = gguf.GGUFWriter(path, model["architecture"])
    for name, value in model["settings"].items():
        writer.add_uint32(f"{model['architecture']}.{name}", value)
    writer.add_float32(f"{model['architecture']}.attention.layer_norm_rms_epsilon", 1e-5)
    writer.add_tokenizer_model("no_vocab")
    writer.add_vocab_size(512)
    for name, shape in model["tensors"].items():
        kind = np.float32 if len(shape) == 1 or "gate_inp" in name else np.float16
        writer.add_tensor(name, np.zeros(shape, dtype=kind))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def mixtures():
    result = []
    with tempfile.TemporaryDirectory() as folder:
        source, target = f"{folder}/source.gguf", f"{folder}/target.gguf"
        for name, model in MODELS.items():
            write(model, source)
            types = {}
            for mixture, number in MIXTURES.items():
                params = llama.llama_model_quantize_default_params()
                params.ftype, params.nthread = number, 1
                code = llama.llama_model_quantize(source.encode(), target.encode(), ctypes.byref(params))
                assert code == 0, (name, mixture)
                tensors = gguf.GGUFReader(target).tensors
                # Those of each type that is not the commonest of matrices.
                by_type = {}
                for tensor in tensors:
                    by_type.setdefault(tensor.tensor_type.name, []).append(tensor.name)
                most = max((k for k in by_type if k != "F32"), key=lambda k: len(by_type[k]), default="F32")
                by_type.pop("F32", None)
                if most != "F32":
                    by_type[most] = "others"
                types[mixture] = by_type
            result.append({"name": name, **model, "types": types})
    return result


if __name__ == "__main__":
    (HERE / "errors.json").write_text(json.dumps({"rows": errors(sys.argv[1:])}, indent=1) + "\n")
    (HERE / "mixtures.json").write_text(json.dumps({"models": mixtures()}, separators=(",", ":")) + "\n")
