#!/usr/bin/env python3
"""Makes a small model with random weights, and what transformers computes with it.

    python golden/make_model.py granite golden/models/granite
    python golden/make_model.py llama golden/models/llama_gptq --quantized gptq

Needs torch, transformers and safetensors. Weights are seeded, and scaled so that
attention, rotation, windows and routing matter to the logits. Everything is computed
in float32 with eager attention and no cache: with `--quantized` from the weights that
the codes stand for.
"""

import argparse
import base64
import json
import pathlib

import numpy
import safetensors.torch
import torch
import transformers

from quantized import make as packing

COMMON = {
    "vocab_size": 320,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}

# Class, and the settings in which a family differs.
FAMILIES = {
    "llama": (transformers.LlamaConfig, {}),
    "granite": (
        transformers.GraniteConfig,
        {
            "embedding_multiplier": 6.0,
            "attention_multiplier": 0.4,
            "residual_multiplier": 0.6,
            "logits_scaling": 4.0,
            "tie_word_embeddings": True,
        },
    ),
    "starcoder2": (
        transformers.Starcoder2Config,
        {"use_bias": True, "sliding_window": 24, "tie_word_embeddings": True},
    ),
    "qwen2_moe": (
        transformers.Qwen2MoeConfig,
        {
            "num_experts": 6,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 32,
            "shared_expert_intermediate_size": 64,
            "norm_topk_prob": False,
        },
    ),
    "glm": (
        transformers.GlmConfig,
        {"head_dim": 32, "partial_rotary_factor": 0.5, "attention_bias": True},
    ),
    "phi4_mini": (
        transformers.Phi3Config,
        {
            "head_dim": 16,
            "partial_rotary_factor": 0.75,
            "original_max_position_embeddings": 256,
            "tie_word_embeddings": True,
            "rope_scaling": {
                "type": "longrope",
                "short_factor": [1.0, 1.05, 1.1, 1.2, 1.3, 1.5],
                "long_factor": [1.0, 1.5, 2.0, 2.5, 3.5, 5.0],
            },
        },
    ),
}

# Settings of `quantization_config`.
METHODS = {
    "fp8": {
        "quant_method": "fp8",
        "fmt": "e4m3",
        "activation_scheme": "dynamic",
        "weight_block_size": [32, 32],
    },
    "gptq": {"quant_method": "gptq", "bits": 4, "group_size": 32, "sym": True, "desc_act": False},
    "awq": {
        "quant_method": "awq",
        "bits": 4,
        "group_size": 32,
        "version": "gemm",
        "zero_point": True,
    },
}
GROUP = 32

# Prompt name, and how many tokens.
PROMPTS = {"one": 1, "short": 13, "long": 120, "longer": 300}
GREEDY = 32


def scale_weights(model, seed, gain):
    """Random weights whose logits depend on every part."""
    generator = torch.Generator().manual_seed(seed)
    for name, weight in model.named_parameters():
        noise = torch.randn(weight.shape, generator=generator)
        if weight.ndim == 1:
            weight.data = noise * 0.2 + (1.0 if name.endswith("weight") else 0.0)
        elif "embed" in name or "lm_head" in name:
            weight.data = noise
        else:
            weight.data = noise * (gain / weight.shape[-1] ** 0.5)
    # What is stored is what is computed with.
    for weight in model.parameters():
        weight.data = weight.data.to(torch.bfloat16).to(torch.float32)


def each(scales):
    """A value for each weight of a group, for `[groups, n]`."""
    return scales.repeat(GROUP, axis=0)


def as_fp8(weight):
    n, k = weight.shape
    blocks = weight.reshape(n // 32, 32, k // 32, 32)
    scales = blocks.abs().amax((1, 3)) / 448.0
    wide = scales.repeat_interleave(32, 0).repeat_interleave(32, 1)
    codes = (weight / wide).to(torch.float8_e4m3fn)
    return {"weight": codes, "weight_scale_inv": scales}, codes.float() * wide


def as_gptq(weight):
    columns = weight.numpy().T
    k, n = columns.shape
    groups = columns.reshape(k // GROUP, GROUP, n)
    scales = (numpy.abs(groups).max(1) / 7).astype(numpy.float16)
    wide = each(scales).astype(numpy.float32)
    codes = numpy.clip(numpy.round(columns / wide) + 8, 0, 15).astype(numpy.int64)
    zeros = numpy.full((k // GROUP, n), 8)
    qzeros = packing.pack_rows(zeros.T, 4).T - numpy.uint32(0x11111111)
    tensors = {
        "qweight": packing.pack_rows(codes, 4).view(numpy.int32),
        "qzeros": numpy.ascontiguousarray(qzeros).view(numpy.int32),
        "scales": scales,
        "g_idx": (numpy.arange(k) // GROUP).astype(numpy.int32),
    }
    return tensors, wide * (codes - 8).astype(numpy.float32)


def as_awq(weight):
    columns = weight.numpy().T
    k, n = columns.shape
    groups = columns.reshape(k // GROUP, GROUP, n)
    low, high = groups.min(1), groups.max(1)
    scales = ((high - low) / 15).astype(numpy.float16)
    zeros = numpy.clip(numpy.round(-low / scales.astype(numpy.float32)), 0, 15).astype(numpy.int64)
    wide = each(scales).astype(numpy.float32)
    codes = numpy.clip(numpy.round(columns / wide) + each(zeros), 0, 15).astype(numpy.int64)
    tensors = {
        "qweight": packing.pack_awq(codes),
        "qzeros": packing.pack_awq(zeros),
        "scales": scales,
    }
    return tensors, wide * (codes - each(zeros)).astype(numpy.float32)


def quantize(model, method):
    """Replaces the layers' matrices by what their codes stand for; gives the tensors."""
    tensors = {}
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and ".layers." in name:
            found, weight = {"fp8": as_fp8, "gptq": as_gptq, "awq": as_awq}[method](
                module.weight.data
            )
            if not torch.is_tensor(weight):
                weight = torch.from_numpy(weight.T.copy())
            module.weight.data = weight
            for part, value in found.items():
                if not torch.is_tensor(value):
                    value = torch.from_numpy(numpy.ascontiguousarray(value))
                tensors[f"{name}.{part}"] = value.contiguous()
    return tensors


def store_quantized(folder, tensors, method):
    """Puts them in the place of a saved model's matrices."""
    file = folder / "model.safetensors"
    modules = {name.rsplit(".", 1)[0] for name in tensors}
    plain = safetensors.torch.load_file(file)
    plain = {k: v for k, v in plain.items() if k.rsplit(".", 1)[0] not in modules}
    safetensors.torch.save_file(plain | tensors, file, metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = METHODS[method]
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


@torch.no_grad()
def values(model, ids):
    out = model(torch.tensor([ids]), output_hidden_states=True, use_cache=False)
    logits = out.logits[0].double()
    last = logits[-1]
    top = torch.topk(last, 32)
    logprobs = torch.log_softmax(logits, -1)
    packed = last.float().numpy().astype("<f4").tobytes()
    given = [0.0] + [logprobs[i - 1, ids[i]].item() for i in range(1, len(ids))]
    answer, margins = [], []
    context = list(ids)
    for _ in range(GREEDY):
        step = model(torch.tensor([context]), use_cache=False).logits[0, -1]
        best = torch.topk(step, 2)
        answer.append(best.indices[0].item())
        margins.append((best.values[0] - best.values[1]).item())
        context.append(answer[-1])
    return {
        "text": None,
        "add_special_tokens": True,
        "ids": ids,
        "last": {
            "top_ids": top.indices.tolist(),
            "top_logits": top.values.tolist(),
            "mean": last.mean().item(),
            "std": last.std(correction=0).item(),
            "logits_f32_b64": base64.b64encode(packed).decode(),
        },
        "prompt_logprobs": given,
        "hidden": [
            {"layer": i, "l2_last": h[0, -1].double().norm().item()}
            for i, h in enumerate(out.hidden_states)
        ],
        "greedy": {"ids": answer, "margins": margins},
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("family", choices=sorted(FAMILIES))
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--quantized", choices=sorted(METHODS))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--gain", type=float, default=1.4, help="lower: less sharp attention")
    args = parser.parse_args()

    kind, own = FAMILIES[args.family]
    config = kind(**{**COMMON, **own}, attn_implementation="eager")
    torch.manual_seed(args.seed)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    scale_weights(model, args.seed, args.gain)
    tensors = quantize(model, args.quantized) if args.quantized else {}

    always_long = None
    if (getattr(config, "rope_parameters", None) or {}).get("rope_type") == "longrope":
        # What an engine computes that takes the long factors for short prompts too.
        rope = {**own["rope_scaling"], "short_factor": own["rope_scaling"]["long_factor"]}
        long_config = kind(**{**COMMON, **own, "rope_scaling": rope}, attn_implementation="eager")
        always_long = transformers.AutoModelForCausalLM.from_config(
            long_config, dtype=torch.float32
        ).eval()
        always_long.load_state_dict(model.state_dict())

    rng = numpy.random.default_rng(args.seed)
    prompts = {}
    for name, length in PROMPTS.items():
        ids = [1] + rng.integers(3, COMMON["vocab_size"], length - 1).tolist()
        prompts[name] = values(model, ids)
        if always_long:
            prompts[name]["alt_long_factors"] = values(always_long, ids)
    golden = {
        "name": args.folder.name,
        "model_type": config.model_type,
        "made_with": f"transformers {transformers.__version__}, torch {torch.__version__}",
        "prompts": prompts,
    }
    args.folder.mkdir(parents=True, exist_ok=True)
    model.to(torch.bfloat16).save_pretrained(args.folder / "hf")
    if tensors:
        store_quantized(args.folder / "hf", tensors, args.quantized)
    (args.folder / "golden.json").write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()
