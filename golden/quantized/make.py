"""Makes the folders beside it: small matrices in the quantised forms of Hugging Face
directories, and what they stand for (`expected.safetensors`, f32, by module).

Needs numpy, ml_dtypes (whose 8-bit floats are the reference) and safetensors. Codes,
scales and zeros are drawn first and packed as AutoGPTQ (`qlinear_cuda_old.py`, `pack`),
GPTQModel (`convert_gptq_v2_to_v1_format`) and AutoAWQ (`WQLinear_GEMM.from_linear`)
pack them; expected values never pass through a packed form.
"""

import json
import pathlib
import shutil

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

HERE = pathlib.Path(__file__).parent
rng = np.random.default_rng(4)


def write(name, config, tensors, expected):
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    config = {"model_type": "llama", "quantization_config": config}
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    own = lambda tensors: {name: np.ascontiguousarray(x) for name, x in tensors.items()}
    save_file(own(tensors), folder / "model.safetensors")
    save_file(own(expected), folder / "expected.safetensors")


def floats(dtype, n, k):
    x = (rng.standard_normal((n, k)) * 40).astype(dtype)
    assert np.isfinite(x.astype(np.float32)).all()
    return x


def fp8():
    e4m3, e5m2, f32 = ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2, np.float32
    # Blocks, whole ones and parts.
    w, s = floats(e4m3, 24, 80), rng.uniform(1e-3, 2e-3, (2, 3)).astype(f32)
    each = s.repeat(16, axis=0)[:24].repeat(32, axis=1)[:, :80]
    plain = rng.standard_normal((4, 8)).astype(ml_dtypes.bfloat16)
    write(
        "fp8_block",
        {"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [16, 32]},
        {"m.weight": w, "m.weight_scale_inv": s, "plain.weight": plain},
        {"m": w.astype(f32) * each},
    )
    # One scale, one for each row, and the other float.
    one = np.array([0.003], f32).astype(ml_dtypes.bfloat16)
    rows = rng.uniform(1e-3, 2e-3, (16, 1)).astype(f32)
    a, b, c = floats(e4m3, 16, 40), floats(e4m3, 16, 40), floats(e5m2, 16, 40)
    tensors = {
        "one.weight": a, "one.weight_scale": one, "one.input_scale": one,
        "rows.weight": b, "rows.weight_scale": rows,
        "e5m2.weight": c, "e5m2.weight_scale": np.array(0.5, f32),
    }
    expected = {
        "one": a.astype(f32) * one.astype(f32),
        "rows": b.astype(f32) * rows,
        "e5m2": c.astype(f32) * f32(0.5),
    }
    write("fp8", {"quant_method": "fp8", "activation_scheme": "static"}, tensors, expected)
    group = {"targets": ["Linear"], "weights": {"num_bits": 8, "type": "float", "strategy": "channel"}}
    config = {
        "quant_method": "compressed-tensors", "format": "float-quantized",
        "config_groups": {"group_0": group},
    }
    write("fp8_compressed", config, {k: v for k, v in tensors.items() if "rows" in k},
          {"rows": expected["rows"]})


def pack_rows(codes, bits):
    """AutoGPTQ's packing of the first axis."""
    codes = codes.astype(np.uint64)
    out = np.zeros((codes.shape[0] // 32 * bits, codes.shape[1]), np.uint64)
    if bits in (2, 4, 8):
        per_word = 32 // bits
        for i in range(codes.shape[0]):
            out[i // per_word] |= codes[i] << np.uint64(bits * (i % per_word))
    else:
        row = 0
        for i in range(0, codes.shape[0], 32):
            for j in range(10):
                out[row] |= codes[i + j] << np.uint64(3 * j)
            out[row] |= codes[i + 10] << np.uint64(30)
            row += 1
            out[row] |= (codes[i + 10] >> np.uint64(2)) & np.uint64(1)
            for j in range(10):
                out[row] |= codes[i + 11 + j] << np.uint64(3 * j + 1)
            out[row] |= codes[i + 21] << np.uint64(31)
            row += 1
            out[row] |= (codes[i + 21] >> np.uint64(1)) & np.uint64(3)
            for j in range(10):
                out[row] |= codes[i + 22 + j] << np.uint64(3 * j + 2)
            row += 1
    return (out & np.uint64(0xFFFFFFFF)).astype(np.uint32)


def gptq(name, bits, group, *, sym, act=False, v2=False, index=True, by_gptqmodel=False):
    n, k = 32, 64
    size = k if group == -1 else group
    groups = k // size
    codes = rng.integers(0, 2**bits, (k, n))
    scales = rng.uniform(1e-3, 2e-2, (groups, n)).astype(np.float16)
    zeros = np.full((groups, n), 2 ** (bits - 1))
    if not sym:
        # Version 1 of three bits has no zero of nought.
        zeros = rng.integers(1 if bits == 3 and not v2 else 0, 2**bits, (groups, n))
    g_idx = np.arange(k) // size
    if act:
        g_idx = rng.permutation(g_idx)
    weight = scales[g_idx].astype(np.float32) * (codes - zeros[g_idx]).astype(np.float32)
    if by_gptqmodel:
        assert bits == 3
        off = np.array([0x24924924, 0x92492492, 0x49249249], np.uint32)
        qzeros = pack_rows(zeros.T, bits).T - np.resize(off, n * bits // 32)
    elif bits == 3:
        qzeros = pack_rows((zeros if v2 else zeros - 1).T, bits).T
    else:
        qzeros = pack_rows(zeros.T, bits).T
        if not v2:
            qzeros = qzeros - np.uint32(0xFFFFFFFF // (2**bits - 1))
    tensors = {
        "m.qweight": pack_rows(codes, bits).view(np.int32),
        "m.qzeros": np.ascontiguousarray(qzeros).view(np.int32),
        "m.scales": scales,
    }
    if index:
        tensors["m.g_idx"] = g_idx.astype(np.int32)
    config = {"quant_method": "gptq", "bits": bits, "group_size": group, "sym": sym, "desc_act": act}
    if v2:
        config["checkpoint_format"] = "gptq_v2"
    if by_gptqmodel:
        config |= {"checkpoint_format": "gptq", "meta": {"quantizer": ["gptqmodel:2.2.0"]}}
    write(name, config, tensors, {"m": weight.T})


def pack_awq(values):
    """AutoAWQ's packing of the second axis."""
    out = np.zeros((values.shape[0], values.shape[1] // 8), np.uint32)
    for column in range(out.shape[1]):
        for i, at in enumerate([0, 2, 4, 6, 1, 3, 5, 7]):
            out[:, column] |= values[:, 8 * column + at].astype(np.uint32) << np.uint32(4 * i)
    return out.view(np.int32)


def awq():
    n, k, group = 16, 64, 32
    codes = rng.integers(0, 16, (k, n))
    zeros = rng.integers(0, 16, (k // group, n))
    scales = rng.uniform(1e-3, 2e-2, (k // group, n)).astype(np.float16)
    each = lambda x: x.repeat(group, axis=0)
    weight = each(scales).astype(np.float32) * (codes - each(zeros)).astype(np.float32)

    write(
        "awq",
        {"quant_method": "awq", "bits": 4, "group_size": group, "version": "gemm", "zero_point": True},
        {"m.qweight": pack_awq(codes), "m.qzeros": pack_awq(zeros), "m.scales": scales},
        {"m": weight.T},
    )


if __name__ == "__main__":
    fp8()
    gptq("gptq_4", 4, 32, sym=True)
    gptq("gptq_4_act", 4, 16, sym=False, act=True)
    gptq("gptq_4_v2", 4, 32, sym=False, v2=True, index=False)
    gptq("gptq_8", 8, -1, sym=True)
    gptq("gptq_3", 3, 32, sym=False)
    gptq("gptq_2", 2, 32, sym=False)
    awq()
    gptq("gptq_3_model", 3, 32, sym=False, by_gptqmodel=True)
