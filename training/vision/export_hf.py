"""Writes a checkpoint as a Hugging Face folder of `Glm4vForConditionalGeneration`.

    python export_hf.py --checkpoint OUT/model.npz --tokenizer OUT/tokenizer.json \
        --model ../../models/choral-demo-vision

Weights become bfloat16 under their published names; the heads that only training uses
stay behind. The chat template writes what GLM-4.1V's writes, for the roles known here.
"""

import argparse
import json
import struct
from pathlib import Path

import ml_dtypes
import numpy as np
from tokenizers import Tokenizer

from glm4v import MEAN, STD, Config

TEMPLATE = (
    "[gMASK]<sop>"
    "{%- for message in messages -%}"
    "{%- if message.role == 'user' -%}<|user|>{{ '\\n' }}"
    "{%- elif message.role == 'assistant' -%}<|assistant|>{{ '\\n' }}"
    "{%- elif message.role == 'system' -%}<|system|>{{ '\\n' }}"
    "{%- else -%}{{ raise_exception('unknown role ' + message.role) }}"
    "{%- endif -%}"
    "{%- if message.content is string -%}{{ message.content }}"
    "{%- else -%}"
    "{%- for part in message.content -%}"
    "{%- if part.type == 'image' or part.type == 'image_url' -%}"
    "<|begin_of_image|><|image|><|end_of_image|>"
    "{%- elif part.type == 'text' -%}{{ part.text }}"
    "{%- else -%}{{ raise_exception('unknown part ' + part.type) }}"
    "{%- endif -%}"
    "{%- endfor -%}"
    "{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}<|assistant|>{{ '\\n' }}{%- endif -%}"
)
CONTEXT = 2048


def published(cfg, params):
    """The checkpoint's arrays under the names and in the shapes of published weights."""
    arrays = {}
    for name, value in sorted(params.items()):
        value = np.asarray(value, np.float32)
        if name.startswith("eyes."):
            continue
        if name == "visual.patch_embed.proj.weight":
            # Both frames of a still picture are the same: each kernel has half of it.
            kernel = value.reshape(-1, 3, 1, cfg.patch, cfg.patch) / 2
            value = np.concatenate([kernel, kernel], 2)
        elif name == "visual.downsample.weight":
            value = value.reshape(cfg.width, cfg.merge, cfg.merge, -1).transpose(0, 3, 1, 2)
        elif name.startswith("language_model.") and "mlp.up_proj" in name:
            continue
        elif name.startswith("language_model.") and "mlp.gate_proj" in name:
            up = np.asarray(params[name.replace("gate_proj", "up_proj")])
            name, value = name.replace("gate_proj", "gate_up_proj"), np.concatenate([value, up])
        arrays[name if name == "lm_head.weight" else "model." + name] = value
    return arrays


def write_safetensors(path, arrays):
    header, body, at = {"__metadata__": {"format": "pt"}}, [], 0
    for name, value in arrays.items():
        raw = np.ascontiguousarray(value).astype(ml_dtypes.bfloat16).tobytes()
        header[name] = {
            "dtype": "BF16",
            "shape": list(value.shape),
            "data_offsets": [at, at + len(raw)],
        }
        body.append(raw)
        at += len(raw)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(body))


def config(cfg, token):
    stops = [token["<|endoftext|>"], token["<|user|>"], token["<|observation|>"]]
    return {
        "architectures": ["Glm4vForConditionalGeneration"],
        "model_type": "glm4v",
        "text_config": {
            "model_type": "glm4v_text",
            "vocab_size": cfg.vocab,
            "hidden_size": cfg.width,
            "intermediate_size": cfg.ffn,
            "num_hidden_layers": cfg.layers,
            "num_attention_heads": cfg.heads,
            "num_key_value_heads": cfg.kv_heads,
            "head_dim": cfg.head_dim,
            "hidden_act": "silu",
            "rms_norm_eps": cfg.eps,
            "attention_bias": True,
            "attention_dropout": 0.0,
            "partial_rotary_factor": cfg.rotary,
            "rope_theta": cfg.theta,
            "rope_scaling": {"type": "default", "mrope_section": list(cfg.sections)},
            "max_position_embeddings": CONTEXT,
            "initializer_range": 0.02,
            "tie_word_embeddings": False,
            "eos_token_id": stops,
            "pad_token_id": stops[0],
            "use_cache": True,
            "torch_dtype": "bfloat16",
        },
        "vision_config": {
            "model_type": "glm4v_vision",
            "hidden_size": cfg.eye_width,
            "depth": cfg.eye_layers,
            "num_heads": cfg.eye_heads,
            "intermediate_size": cfg.merger,
            "out_hidden_size": cfg.width,
            "hidden_act": "silu",
            "hidden_dropout_prob": 0.0,
            "attention_dropout": 0.0,
            "attention_bias": False,
            "image_size": cfg.table * cfg.patch,
            "patch_size": cfg.patch,
            "temporal_patch_size": 2,
            "spatial_merge_size": cfg.merge,
            "in_channels": 3,
            "rms_norm_eps": cfg.eps,
            "initializer_range": 0.02,
        },
        "image_start_token_id": token["<|begin_of_image|>"],
        "image_end_token_id": token["<|end_of_image|>"],
        "video_start_token_id": token["<|begin_of_video|>"],
        "video_end_token_id": token["<|end_of_video|>"],
        "image_token_id": token["<|image|>"],
        "video_token_id": token["<|video|>"],
        "tie_word_embeddings": False,
        "eos_token_id": stops,
        "pad_token_id": stops[0],
        "torch_dtype": "bfloat16",
        "transformers_version": "4.57.1",
    }


def tokenizer_config(token):
    added = {
        str(i): {
            "content": name,
            "lstrip": False,
            "normalized": False,
            "rstrip": False,
            "single_word": False,
            "special": True,
        }
        for name, i in token.items()
    }
    return {
        "added_tokens_decoder": added,
        "additional_special_tokens": list(token),
        "bos_token": None,
        "eos_token": "<|endoftext|>",
        "pad_token": "<|endoftext|>",
        "unk_token": None,
        "clean_up_tokenization_spaces": False,
        "do_lower_case": False,
        "model_max_length": CONTEXT,
        "padding_side": "left",
        "processor_class": "Glm4vProcessor",
        "tokenizer_class": "PreTrainedTokenizerFast",
    }


PREPROCESSOR = {
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [round(float(m), 8) for m in MEAN],
    "image_std": [round(float(s), 8) for s in STD],
    "image_processor_type": "Glm4vImageProcessor",
    "merge_size": 2,
    "patch_size": 14,
    "temporal_patch_size": 2,
    "processor_class": "Glm4vProcessor",
    "resample": 3,
    "rescale_factor": 1 / 255,
    "size": {"shortest_edge": 112 * 112, "longest_edge": 28 * 28 * 15000},
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True, help="the folder to write")
    args = parser.parse_args()
    checkpoint = np.load(args.checkpoint)
    params = {n: checkpoint[n] for n in checkpoint.files if n != "meta"}
    tokenizer = Tokenizer.from_file(str(args.tokenizer))
    cfg = Config(vocab=tokenizer.get_vocab_size())
    added = sorted(tokenizer.get_added_tokens_decoder().items())
    token = {t.content: i for i, t in added}
    generation = {
        "do_sample": False,
        "eos_token_id": config(cfg, token)["eos_token_id"],
        "pad_token_id": token["<|endoftext|>"],
        "transformers_version": "4.57.1",
    }
    args.model.mkdir(parents=True, exist_ok=True)
    files = {
        "config.json": config(cfg, token),
        "generation_config.json": generation,
        "preprocessor_config.json": PREPROCESSOR,
        "tokenizer_config.json": tokenizer_config(token),
        "special_tokens_map.json": {"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"},
    }
    for name, value in files.items():
        (args.model / name).write_text(json.dumps(value, indent=2) + "\n")
    (args.model / "chat_template.jinja").write_text(TEMPLATE)
    (args.model / "tokenizer.json").write_bytes(args.tokenizer.read_bytes())
    arrays = published(cfg, params)
    write_safetensors(args.model / "model.safetensors", arrays)
    count = sum(a.size for a in arrays.values())
    size = sum(f.stat().st_size for f in args.model.iterdir())
    print(f"{count} parameters, {size} bytes in all, {json.loads(str(checkpoint['meta']))}")


if __name__ == "__main__":
    main()
