#!/usr/bin/env python3
"""Makes adapters with random weights for golden models, and what PEFT computes with them.

    python golden/make_lora.py golden/models golden/lora
    python golden/make_lora.py golden/models golden/lora --gguf

The first needs torch, transformers and peft; the second gguf and llama-cpp-python, and
what the first made. Weights are seeded. Logits are those of the last position of some
of the model's golden prompts, computed in float32 with eager attention and no cache.
"""

import argparse
import base64
import json
import pathlib
import tempfile

import numpy

ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
MLP = ["gate_proj", "up_proj", "down_proj"]

# Model, adapter, and PEFT's settings.
ADAPTERS = {
    ("tinyllama", "attention"): {"r": 8, "lora_alpha": 16, "target_modules": ATTENTION},
    ("tinyllama", "patterns"): {
        "r": 4,
        "lora_alpha": 6,
        "target_modules": ATTENTION + MLP,
        "use_rslora": True,
        "rank_pattern": {"q_proj": 6, "layers.1.mlp.down_proj": 2, ".*gate_proj": 5},
        "alpha_pattern": {"layers.0.*up_proj": 3, "v_proj": 12},
    },
    ("qwen3", "all"): {"r": 8, "lora_alpha": 8, "target_modules": "all-linear"},
    ("phi3", "fused"): {
        "r": 4,
        "lora_alpha": 8,
        "target_modules": ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"],
    },
    ("gpt2", "conv1d"): {
        "r": 4,
        "lora_alpha": 8,
        "target_modules": ["c_attn", "c_proj", "c_fc"],
        "fan_in_fan_out": True,
    },
}
PROMPTS = 3


def b64(row):
    return base64.b64encode(numpy.asarray(row, "<f4").tobytes()).decode()


def prompts_of(folder):
    golden = json.loads((folder / "golden.json").read_text())
    return {name: p["ids"] for name, p in list(golden["prompts"].items())[:PROMPTS]}


def randomise(model, seed):
    """Random A and B, as bf16 has them, that change a module by about half of what it is."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    for name, weight in model.named_parameters():
        if "lora_" not in name:
            continue
        noise = torch.randn(weight.shape, generator=generator)
        size = 0.6 / weight.shape[1] ** 0.5 if "lora_A" in name else 0.08
        weight.data = (noise * size).to(torch.bfloat16).to(torch.float32)


def load(folder):
    import torch
    import transformers

    return transformers.AutoModelForCausalLM.from_pretrained(
        folder / "hf", dtype=torch.float32, attn_implementation="eager"
    ).eval()


def last_logits(model, prompts):
    import torch

    with torch.no_grad():
        rows = {n: model(torch.tensor([p]), use_cache=False).logits[0, -1] for n, p in prompts.items()}
    return {name: b64(row.float().numpy()) for name, row in rows.items()}


def save(model, folder, name):
    """As `save_pretrained` has it, without what differs from machine to machine."""
    import safetensors.torch
    import torch

    with tempfile.TemporaryDirectory() as temporary:
        model.save_pretrained(temporary, selected_adapters=[name])
        source = pathlib.Path(temporary)
        source = source if (source / "adapter_config.json").exists() else source / name
        config = json.loads((source / "adapter_config.json").read_text())
        tensors = safetensors.torch.load_file(source / "adapter_model.safetensors")
    config["base_model_name_or_path"] = folder.parent.name
    if isinstance(config.get("target_modules"), list):
        config["target_modules"].sort()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=1) + "\n")
    tensors = {k: v.to(torch.bfloat16).contiguous() for k, v in tensors.items()}
    safetensors.torch.save_file(tensors, folder / "adapter_model.safetensors", {"format": "pt"})


def with_peft(models, out):
    import peft
    import torch
    import transformers

    made_with = f"peft {peft.__version__}, transformers {transformers.__version__}, torch {torch.__version__}"
    for name in sorted({model for model, _ in ADAPTERS}):
        prompts = prompts_of(models / name)
        golden = {"made_with": made_with, "prompts": prompts, "logits": {}}
        golden["logits"]["base"] = last_logits(load(models / name), prompts)
        own = [(adapter, s) for (model, adapter), s in ADAPTERS.items() if model == name]
        model = None
        for at, (adapter, settings) in enumerate(own):
            config = peft.LoraConfig(task_type="CAUSAL_LM", init_lora_weights=False, **settings)
            alone = peft.get_peft_model(load(models / name), config, adapter_name=adapter)
            randomise(alone, 10 + at)
            save(alone, out / name / adapter, adapter)
            golden["logits"][adapter] = last_logits(alone, prompts)
        if len(own) > 1:
            (first, settings), (second, others) = own
            both = load(models / name)
            both = peft.PeftModel.from_pretrained(both, out / name / first, adapter_name=first)
            both.load_adapter(out / name / second, adapter_name=second)
            both.base_model.set_adapter([first, second])
            for module in both.modules():
                if isinstance(module, peft.tuners.lora.LoraLayer) and first in module.scaling:
                    module.scaling[first] *= 0.5
            golden["logits"][f"{first}:0.5+{second}"] = last_logits(both.eval(), prompts)
        (out / name / "golden.json").write_text(json.dumps(golden, indent=1) + "\n")
    experts(models, out, made_with)


def experts(models, out, made_with):
    """An adapter of experts, whose product is added to the weights: PEFT has names for
    them that transformers has no modules for any more."""
    import safetensors.torch
    import torch

    name, rank, alpha = "qwen3_moe", 4, 6
    prompts = prompts_of(models / name)
    model = load(models / name)
    config = model.config
    generator = torch.Generator().manual_seed(30)
    tensors = {}

    def delta(module, n, k):
        a = torch.randn(rank, k, generator=generator) * 0.6 / k**0.5
        b = torch.randn(n, rank, generator=generator) * 0.15
        a, b = (x.to(torch.bfloat16) for x in (a, b))
        tensors[f"base_model.model.{module}.lora_A.weight"] = a
        tensors[f"base_model.model.{module}.lora_B.weight"] = b
        return alpha / rank * (b.float() @ a.float())

    hidden, size = config.hidden_size, config.moe_intermediate_size
    for index, layer in enumerate(model.model.layers):
        at = f"model.layers.{index}"
        q = layer.self_attn.q_proj.weight
        q.data += delta(f"{at}.self_attn.q_proj", *q.shape)
        router = layer.mlp.gate.weight
        router.data += delta(f"{at}.mlp.gate", *router.shape)
        for expert in range(0, config.num_experts, 2):
            both = layer.mlp.experts.gate_up_proj.data[expert]
            both[:size] += delta(f"{at}.mlp.experts.{expert}.gate_proj", size, hidden)
            both[size:] += delta(f"{at}.mlp.experts.{expert}.up_proj", size, hidden)
            down = layer.mlp.experts.down_proj.data[expert]
            down += delta(f"{at}.mlp.experts.{expert}.down_proj", hidden, size)
    golden = {"made_with": made_with, "prompts": prompts, "logits": {}}
    golden["logits"]["base"] = last_logits(load(models / name), prompts)
    golden["logits"]["experts"] = last_logits(model, prompts)
    folder = out / name / "experts"
    folder.mkdir(parents=True, exist_ok=True)
    settings = {"peft_type": "LORA", "r": rank, "lora_alpha": alpha, "bias": "none"}
    (folder / "adapter_config.json").write_text(json.dumps(settings, indent=1) + "\n")
    safetensors.torch.save_file(tensors, folder / "adapter_model.safetensors", {"format": "pt"})
    (out / name / "golden.json").write_text(json.dumps(golden, indent=1) + "\n")


GGUF_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
}


def bf16_tensors(path):
    """A safetensors file of bf16 tensors, as f32."""
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    header.pop("__metadata__", None)
    for name, entry in header.items():
        assert entry["dtype"] == "BF16"
        start, end = entry["data_offsets"]
        bits = numpy.frombuffer(raw[8 + length :][start:end], "<u2").astype("<u4") << 16
        yield name, bits.view("<f4").reshape(entry["shape"])


def with_llama_cpp(models, out):
    """The adapter `attention` as llama.cpp's converter writes it, and what llama.cpp
    computes with it and the dequantised weights of a model of Q8_0."""
    import gguf
    import llama_cpp

    folder = out / "tinyllama"
    hf = json.loads((models / "tinyllama/hf/config.json").read_text())
    heads = {"attn_q": hf["num_attention_heads"], "attn_k": hf["num_key_value_heads"]}
    config = json.loads((folder / "attention/adapter_config.json").read_text())
    adapter = folder / "attention.gguf"
    writer = gguf.GGUFWriter(adapter, "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(config["lora_alpha"]))
    for name, tensor in bf16_tensors(folder / "attention/adapter_model.safetensors"):
        parts = name.removeprefix("base_model.model.model.layers.").split(".")
        module = GGUF_NAMES[".".join(parts[1:3])]
        kind = parts[3].removeprefix("lora_").lower()
        if kind == "b" and module in heads:
            n, k = tensor.shape
            halves = tensor.reshape(heads[module], 2, n // heads[module] // 2, k)
            tensor = halves.swapaxes(1, 2).reshape(n, k)
        writer.add_tensor(f"blk.{parts[0]}.{module}.weight.lora_{kind}", numpy.ascontiguousarray(tensor))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

    source = gguf.GGUFReader(models / "tinyllama/gguf/tinyllama-Q8_0.gguf")
    with tempfile.TemporaryDirectory() as temporary:
        plain = pathlib.Path(temporary) / "f32.gguf"
        writer = gguf.GGUFWriter(plain, "llama")
        for field in source.fields.values():
            if field.name.startswith("GGUF.") or field.name == "general.architecture":
                continue
            sub = field.types[1] if len(field.types) > 1 else None
            writer.add_key_value(field.name, field.contents(), field.types[0], sub)
        for tensor in source.tensors:
            values = gguf.dequantize(tensor.data, tensor.tensor_type)
            writer.add_tensor(tensor.name, values.astype("<f4"))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        prompts = prompts_of(models / "tinyllama")
        logits = {}
        for name, lora, scale in [("base", None, 1.0), ("1", adapter, 1.0), ("0.5", adapter, 0.5)]:
            llama = llama_cpp.Llama(
                str(plain),
                lora_path=lora and str(lora),
                lora_scale=scale,
                n_ctx=512,
                type_k=0,
                type_v=0,
                flash_attn=False,
                logits_all=True,
                verbose=False,
            )
            rows = {}
            for prompt, ids in prompts.items():
                llama.reset()
                llama.eval(ids)
                rows[prompt] = b64(llama.scores[len(ids) - 1])
            logits[name] = rows
    golden = {
        "made_with": f"llama-cpp-python {llama_cpp.__version__}",
        "prompts": prompts,
        "logits": logits,
    }
    (folder / "gguf_golden.json").write_text(json.dumps(golden, indent=1) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--gguf", action="store_true")
    args = parser.parse_args()
    (with_llama_cpp if args.gguf else with_peft)(args.models, args.out)


if __name__ == "__main__":
    main()
