//! What an engine is made of and how much it takes on.

use super::batch::Executor;
use super::core::OnStep;
use super::error::StartError;
use crate::builder::ModelInfo;
use crate::text::Tokenizer;
use crate::vision::ImageEncoder;
use std::sync::Arc;

/// Most sequences that are run together unless another number is asked for. A step
/// of that many rows reads each weight once for all of them; more rows only make
/// every one of them wait longer.
pub(crate) const DEFAULT_SEQS: usize = 256;

/// Tokens in a step unless another number is asked for: enough rows for prompts
/// to be bound by arithmetic, few enough to keep decoding rows moving.
pub(crate) const DEFAULT_BATCHED_TOKENS: usize = 512;

/// The model as the engine sees it.
pub struct EngineParts {
    /// Computes steps.
    pub executor: Box<dyn Executor>,
    /// Between text and tokens. Without one, prompts are tokens and answers have
    /// no text.
    pub tokenizer: Option<Tokenizer>,
    /// The tokens by which the model ends an answer.
    pub end_token_ids: Vec<u32>,
    /// Length of the context: most tokens of prompt and answer together.
    pub max_model_len: usize,
    /// How the model takes pictures; `None` if it reads text only.
    pub images: Option<ImageInput>,
    /// What the model is, for whoever holds the engine.
    pub info: Option<Arc<ModelInfo>>,
}

/// How a model takes pictures.
#[derive(Debug, Clone)]
pub struct ImageInput {
    /// The token that stands for a picture in a prompt.
    pub placeholder_id: u32,
    /// Its text.
    pub placeholder: String,
    /// Numbers of a token of a picture's embedding.
    pub hidden_size: usize,
    /// Makes embeddings; without one they come from elsewhere.
    pub encoder: Option<Arc<ImageEncoder>>,
}

/// Limits and switches of an [`Engine`](super::Engine).
pub struct EngineConfig {
    /// Most sequences in one step.
    pub max_num_seqs: usize,
    /// Most tokens in one step; at least `max_num_seqs`.
    pub max_num_batched_tokens: usize,
    /// Most tokens of one sequence in one step: a long prompt is computed in
    /// chunks of this size, between which others go on.
    pub prefill_chunk: usize,
    /// Most rows of logits in one step that are computed for `prompt_logprobs`.
    pub max_prompt_logit_rows: usize,
    /// Keep what was computed, and compute a prefix that comes again only once.
    pub prefix_caching: bool,
    /// Most requests that wait for their first step.
    pub queue_capacity: usize,
    /// Called on the engine thread after every step, which waits for it.
    pub on_step: Option<OnStep>,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            max_num_seqs: DEFAULT_SEQS,
            max_num_batched_tokens: DEFAULT_BATCHED_TOKENS,
            prefill_chunk: DEFAULT_BATCHED_TOKENS,
            max_prompt_logit_rows: 64,
            prefix_caching: true,
            queue_capacity: 1024,
            on_step: None,
        }
    }
}

impl EngineConfig {
    pub(super) fn validate(&self, parts: &EngineParts) -> Result<(), StartError> {
        let at_least = |field, least: usize, found: usize| {
            if found >= least {
                Ok(())
            } else {
                let expected = format!("at least {least}");
                Err(StartError::Config {
                    field,
                    expected,
                    found,
                })
            }
        };
        at_least("max_num_seqs", 1, self.max_num_seqs)?;
        // Decoding rows alone must not fill a step.
        at_least(
            "max_num_batched_tokens",
            self.max_num_seqs,
            self.max_num_batched_tokens,
        )?;
        at_least("prefill_chunk", 1, self.prefill_chunk)?;
        at_least("max_prompt_logit_rows", 1, self.max_prompt_logit_rows)?;
        at_least("queue_capacity", 1, self.queue_capacity)?;
        at_least("max_model_len", 1, parts.max_model_len)?;
        at_least("vocab_size", 1, parts.executor.vocab_size())?;
        at_least("num_blocks", 1, parts.executor.num_blocks())?;
        let kinds = parts.executor.kv_kinds();
        let groups = kinds.iter().map(|kind| kind.groups).min();
        at_least("kv_kinds", 1, groups.unwrap_or(0))?;
        // Positions and block ids are 32 bits wide.
        for (field, found) in [
            ("max_num_batched_tokens", self.max_num_batched_tokens),
            ("max_model_len", parts.max_model_len),
            ("num_blocks", parts.executor.num_blocks()),
        ] {
            let most = i32::MAX as usize;
            if found > most {
                let expected = format!("at most {most}");
                return Err(StartError::Config {
                    field,
                    expected,
                    found,
                });
            }
        }
        Ok(())
    }
}
