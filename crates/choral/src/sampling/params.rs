//! What a caller may ask of sampling, by the names that vLLM gave them.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How the tokens of one request are chosen and when they end.
///
/// The defaults are choral's command-line defaults. Every field that is set is
/// honoured; [`SamplingParams::validate`](crate::sampling::SamplingParams) refuses
/// what cannot be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SamplingParams {
    /// Answers per prompt. Choice `i` draws from the random stream `(seed, i)`.
    pub n: u32,
    /// Most new tokens per answer; `None`: until the context is full.
    pub max_tokens: Option<u32>,
    /// End-of-sequence and stop tokens are banned before this many new tokens.
    pub min_tokens: u32,
    /// Divides the logits; 0 is greedy.
    pub temperature: f32,
    /// Keeps the `k` most likely tokens; 0 is off.
    pub top_k: u32,
    /// Keeps the smallest set of tokens whose probability reaches `p`; 1 is off.
    pub top_p: f32,
    /// Keeps tokens at least this likely relative to the likeliest; 0 is off.
    pub min_p: f32,
    /// Locally typical sampling (Meister et al., 2022); 1 is off.
    pub typical_p: f32,
    /// Hugging Face's repetition penalty: divides positive and multiplies
    /// negative logits of tokens already seen; 1 is off.
    pub repetition_penalty: f32,
    /// How many of the last tokens (prompt and answer) the three penalties look
    /// at; `None`: all of them for repetition, the answer only for the other two.
    pub repeat_last_n: Option<u32>,
    /// OpenAI's frequency penalty: subtracted once per occurrence.
    pub frequency_penalty: f32,
    /// OpenAI's presence penalty: subtracted once if the token occurred.
    pub presence_penalty: f32,
    /// Added to the logits of single tokens.
    pub logit_bias: BTreeMap<u32, f32>,
    /// When set, only these tokens may be drawn.
    pub allowed_token_ids: Option<Vec<u32>>,
    /// Tokens that may never be drawn.
    pub banned_token_ids: Vec<u32>,
    /// Absent: fresh entropy, and the seed used is reported.
    pub seed: Option<u64>,
    /// Strings that end the answer; they are not part of the text unless
    /// `include_stop_str_in_output`.
    pub stop: Vec<String>,
    /// Tokens that end the answer, beside the model's own.
    pub stop_token_ids: Vec<u32>,
    /// Keep the stop string in the text.
    pub include_stop_str_in_output: bool,
    /// Do not end at the model's end-of-sequence tokens.
    pub ignore_eos: bool,
    /// Leave special tokens out of the text.
    pub skip_special_tokens: bool,
    /// Report log-probabilities of the chosen token and of this many
    /// alternatives (0: the chosen one only).
    pub logprobs: Option<u32>,
    /// The same for every prompt token. Such a request does not use the prefix
    /// cache, for it needs the logits of every position.
    pub prompt_logprobs: Option<u32>,
}

impl Default for SamplingParams {
    fn default() -> Self {
        Self {
            n: 1,
            max_tokens: None,
            min_tokens: 0,
            temperature: 0.8,
            top_k: 40,
            top_p: 0.9,
            min_p: 0.0,
            typical_p: 1.0,
            repetition_penalty: 1.0,
            repeat_last_n: None,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            logit_bias: BTreeMap::new(),
            allowed_token_ids: None,
            banned_token_ids: Vec::new(),
            seed: None,
            stop: Vec::new(),
            stop_token_ids: Vec::new(),
            include_stop_str_in_output: false,
            ignore_eos: false,
            skip_special_tokens: true,
            logprobs: None,
            prompt_logprobs: None,
        }
    }
}
