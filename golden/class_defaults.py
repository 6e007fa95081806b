"""What classes of transformers take where a config.json states sizes only.

    python golden/class_defaults.py > golden/class_defaults.json

For each class that choral reads: a config.json of sizes, and every field that the
class then has and that bears on the result. `windows` is how far each layer sees, put
together from `sliding_window` and `layer_types` as the class's model does it.
"""
import json
import transformers

SIZES = {
    "vocab_size": 64,
    "hidden_size": 2048,
    "intermediate_size": 96,
    "num_hidden_layers": 30,
    "num_attention_heads": 32,
    "max_position_embeddings": 8192,
}
GPT2_SIZES = {"vocab_size": 64, "n_embd": 64, "n_layer": 3, "n_head": 4, "n_positions": 128}
CLASSES = {
    "BertModel": "BertConfig",
    "Gemma2ForCausalLM": "Gemma2Config",
    "Gemma3ForCausalLM": "Gemma3TextConfig",
    "Glm4ForCausalLM": "Glm4Config",
    "Glm4vForConditionalGeneration": "Glm4vTextConfig",
    "GlmForCausalLM": "GlmConfig",
    "GPT2LMHeadModel": "GPT2Config",
    "GptOssForCausalLM": "GptOssConfig",
    "GraniteForCausalLM": "GraniteConfig",
    "LlamaForCausalLM": "LlamaConfig",
    "MistralForCausalLM": "MistralConfig",
    "MixtralForCausalLM": "MixtralConfig",
    "Olmo2ForCausalLM": "Olmo2Config",
    "Phi3ForCausalLM": "Phi3Config",
    "Qwen2ForCausalLM": "Qwen2Config",
    "Qwen2MoeForCausalLM": "Qwen2MoeConfig",
    "Qwen3ForCausalLM": "Qwen3Config",
    "Qwen3MoeForCausalLM": "Qwen3MoeConfig",
    "RobertaModel": "RobertaConfig",
    "SmolLM3ForCausalLM": "SmolLM3Config",
    "Starcoder2ForCausalLM": "Starcoder2Config",
    "XLMRobertaModel": "XLMRobertaConfig",
}
# Training, text, and what only code that trains or generates reads; sizes, which are
# given; parts of `windows`.
LEFT_OUT = {
    "architectures", "chunk_size_feed_forward", "dtype", "id2label", "label2id", "is_encoder_decoder",
    "model_type", "output_attentions", "output_hidden_states", "problem_type", "return_dict",
    "transformers_version", "use_cache", "bos_token_id", "eos_token_id", "initializer_range",
    "pretraining_tp", "output_router_logits", "router_aux_loss_coef", "router_jitter_noise",
    "layer_types", "sliding_window", "max_window_layers", "use_sliding_window",
    "_sliding_window_pattern", "_name_or_path", "add_cross_attention", "summary_type", "summary_use_proj", "summary_activation",
    "summary_proj_to_labels", "summary_first_dropout", "classifier_dropout", "type_vocab_size",
    "reorder_and_upcast_attn",
}


def windows(config):
    layers = config.num_hidden_layers
    width = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None) or ["sliding_attention"] * layers
    return [width if kind == "sliding_attention" else None for kind in kinds]


def row(name, class_name, extra):
    kind = getattr(transformers, class_name)
    sizes = dict(GPT2_SIZES if class_name == "GPT2Config" else SIZES, **extra)
    config = kind(**sizes)
    fields = {}
    for key, value in config.to_dict().items():
        dropped = key.endswith(("_pdrop", "_dropout", "_dropout_prob"))
        if key not in LEFT_OUT and key not in sizes and not dropped:
            fields[key] = value
    if name not in ("BertModel", "RobertaModel", "XLMRobertaModel"):
        fields.pop("pad_token_id", None)
        fields["windows"] = windows(config)
    return {"class": name, "config": sizes, "fields": fields}


rows = [row(name, class_name, {}) for name, class_name in CLASSES.items()]
# Windows that are off unless a file turns them on.
for name in ["Qwen2ForCausalLM", "Qwen2MoeForCausalLM", "Qwen3ForCausalLM", "Qwen3MoeForCausalLM"]:
    rows.append(row(name, CLASSES[name], {"use_sliding_window": True}))
rows.append(row("SmolLM3ForCausalLM", "SmolLM3Config", {"use_sliding_window": True, "sliding_window": 64}))
lines = ",\n".join("  " + json.dumps(row, sort_keys=True) for row in rows)
print(f'{{"transformers": "{transformers.__version__}", "rows": [\n{lines}\n]}}')
