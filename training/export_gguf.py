"""Writes a training checkpoint as a GGUF file of the `llama` architecture.

    python export_gguf.py --checkpoint OUT/run/checkpoint.npz --tokenizer OUT/tokenizer.json \
        --model ../models/choral-demo-q8_0.gguf

Matrices become Q8_0, norms stay F32. The model was trained with rotary positions over
neighbouring pairs, so Q and K are written as they are.
"""

import argparse
import json
from pathlib import Path

import gguf
import numpy as np
from tokenizers import Tokenizer

from make_data import BEGIN, END, PAD
from make_tokens import CONTROL

CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{% if message['role'] not in ['system', 'user', 'assistant'] %}"
    "{{ raise_exception('unknown role ' + message['role']) }}"
    "{% endif %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] | trim + '<|end|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
DESCRIPTION = (
    "A demonstration model for choral: short stories, counting, lists, small sums and a few kinds "
    "of questions. Trained from scratch on text made by the scripts in choral's training folder."
)


def add_metadata(writer, cfg):
    writer.add_name("choral demo")
    writer.add_description(DESCRIPTION)
    writer.add_license("mit")
    writer.add_languages(["en"])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_vocab_size(cfg["vocab"])
    writer.add_context_length(cfg["context"])
    writer.add_embedding_length(cfg["width"])
    writer.add_block_count(cfg["layers"])
    writer.add_feed_forward_length(cfg["ffn"])
    writer.add_head_count(cfg["heads"])
    writer.add_head_count_kv(cfg["kv_heads"])
    writer.add_key_length(cfg["head_dim"])
    writer.add_value_length(cfg["head_dim"])
    writer.add_layer_norm_rms_eps(cfg["eps"])
    writer.add_rope_freq_base(cfg["rope_theta"])
    writer.add_rope_dimension_count(cfg["head_dim"])


def add_tokenizer(writer, path):
    spec = json.loads(path.read_text(encoding="utf-8"))["model"]
    tokenizer = Tokenizer.from_file(str(path))
    tokens = [tokenizer.id_to_token(i) for i in range(tokenizer.get_vocab_size())]
    control, normal = gguf.TokenType.CONTROL, gguf.TokenType.NORMAL
    merges = [m if isinstance(m, str) else " ".join(m) for m in spec["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types([control if t in CONTROL else normal for t in tokens])
    writer.add_token_merges(merges)
    writer.add_bos_token_id(tokens.index(BEGIN))
    writer.add_eos_token_id(tokens.index(END))
    writer.add_eot_token_id(tokens.index(END))
    writer.add_pad_token_id(tokens.index(PAD))
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(CHAT_TEMPLATE)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True, help="checkpoint.npz of train.py")
    parser.add_argument("--tokenizer", type=Path, required=True, help="tokenizer.json")
    parser.add_argument("--model", type=Path, required=True, help="the GGUF file to write")
    args = parser.parse_args()
    checkpoint = np.load(args.checkpoint)
    meta = json.loads(str(checkpoint["meta"]))

    writer = gguf.GGUFWriter(args.model, "llama")
    add_metadata(writer, meta["config"])
    add_tokenizer(writer, args.tokenizer)
    q8_0 = gguf.GGMLQuantizationType.Q8_0
    for name in checkpoint.files:
        if name == "meta":
            continue
        value = checkpoint[name]
        if value.ndim == 2:
            writer.add_tensor(f"{name}.weight", gguf.quants.quantize(value, q8_0), raw_dtype=q8_0)
        else:
            writer.add_tensor(f"{name}.weight", value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    meta.pop("config")
    print(f"{args.model.name}: {args.model.stat().st_size} bytes, {meta}")


if __name__ == "__main__":
    main()
