//! BERT, and RoBERTa with XLM-RoBERTa: encoders with learned positions, and a layer norm
//! after each part.
//!
//! RoBERTa differs in where positions begin: behind the padding token's number.
//! Sources: Hugging Face `modeling_bert.py` and `modeling_xlm_roberta.py`.

use super::EncoderFamily;
use crate::model::{EncoderSpec, Hyper, Key, ModelError, Names, Role};

pub(super) static BERT: EncoderFamily = EncoderFamily {
    name: "bert",
    hf: &["BertModel", "BertForMaskedLM"],
    gguf: &["bert"],
    names: Names {
        hf_root: "model",
        gguf: GGUF,
        hf: &[
            (Role::Embedding, "bert.embeddings.word_embeddings"),
            (Role::Positions, "bert.embeddings.position_embeddings"),
            (Role::TokenTypes, "bert.embeddings.token_type_embeddings"),
            (Role::EmbeddingNorm, "bert.embeddings.LayerNorm"),
            (Role::Q, "bert.encoder.layer.{l}.attention.self.query"),
            (Role::K, "bert.encoder.layer.{l}.attention.self.key"),
            (Role::V, "bert.encoder.layer.{l}.attention.self.value"),
            (
                Role::AttentionOutput,
                "bert.encoder.layer.{l}.attention.output.dense",
            ),
            (
                Role::PostAttentionNorm,
                "bert.encoder.layer.{l}.attention.output.LayerNorm",
            ),
            (Role::FfnUp, "bert.encoder.layer.{l}.intermediate.dense"),
            (Role::FfnDown, "bert.encoder.layer.{l}.output.dense"),
            (Role::PostFfnNorm, "bert.encoder.layer.{l}.output.LayerNorm"),
        ],
    },
    hf_defaults: r#"{"layer_norm_eps": 1e-12}"#,
    spec: EncoderSpec::read,
};

pub(super) static ROBERTA: EncoderFamily = EncoderFamily {
    name: "roberta",
    hf: &[
        "RobertaModel",
        "RobertaForMaskedLM",
        "XLMRobertaModel",
        "XLMRobertaForMaskedLM",
    ],
    // llama.cpp converts it to `bert`, with the first positions left out.
    gguf: &[],
    names: Names {
        hf_root: "model",
        gguf: &[],
        hf: &[
            (Role::Embedding, "roberta.embeddings.word_embeddings"),
            (Role::Positions, "roberta.embeddings.position_embeddings"),
            (Role::TokenTypes, "roberta.embeddings.token_type_embeddings"),
            (Role::EmbeddingNorm, "roberta.embeddings.LayerNorm"),
            (Role::Q, "roberta.encoder.layer.{l}.attention.self.query"),
            (Role::K, "roberta.encoder.layer.{l}.attention.self.key"),
            (Role::V, "roberta.encoder.layer.{l}.attention.self.value"),
            (
                Role::AttentionOutput,
                "roberta.encoder.layer.{l}.attention.output.dense",
            ),
            (
                Role::PostAttentionNorm,
                "roberta.encoder.layer.{l}.attention.output.LayerNorm",
            ),
            (Role::FfnUp, "roberta.encoder.layer.{l}.intermediate.dense"),
            (Role::FfnDown, "roberta.encoder.layer.{l}.output.dense"),
            (
                Role::PostFfnNorm,
                "roberta.encoder.layer.{l}.output.LayerNorm",
            ),
        ],
    },
    hf_defaults: r#"{"layer_norm_eps": 1e-12, "pad_token_id": 1}"#,
    spec: roberta,
};

/// llama.cpp's names, where they are not those of decoders.
const GGUF: &[(Role, &str)] = &[
    (Role::PostAttentionNorm, "blk.{l}.attn_output_norm"),
    (Role::PostFfnNorm, "blk.{l}.layer_output_norm"),
];

fn roberta(hyper: &Hyper<'_>) -> Result<EncoderSpec, ModelError> {
    const POSITIONS: Key = Key::hf("max_position_embeddings");
    let mut spec = EncoderSpec::read(hyper)?;
    // Positions count from the one behind the padding token's.
    let pad = Key::hf("pad_token_id");
    let first = hyper.bounded(pad, 0..=spec.max_context)? + 1;
    if first >= spec.max_context {
        let expected = format!("more than the {first} positions before the first");
        return Err(hyper.invalid(POSITIONS, expected, spec.max_context));
    }
    spec.first_position = first;
    spec.max_context -= first;
    Ok(spec)
}
