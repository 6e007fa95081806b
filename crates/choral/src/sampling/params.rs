//! What a caller may ask of sampling, by the names that vLLM gave them.
//!
//! The names, defaults and meanings only; [`validate`](SamplingParams::validate)
//! has the ranges, [the module above](super) the order of application.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How the tokens of one request are chosen and when they end.
///
/// The defaults are choral's command-line defaults. Every field that is set is
/// honoured; [`validate`](Self::validate) refuses what cannot be.
///
/// ```
/// use choral::sampling::SamplingParams;
///
/// let params = SamplingParams { temperature: 0.7, min_p: 0.05, ..SamplingParams::default() };
/// assert!(params.validate(32_000).is_ok());
///
/// let params = SamplingParams { top_p: 1.5, ..SamplingParams::default() };
/// let error = params.validate(32_000).unwrap_err();
/// assert_eq!(error.to_string(), "`top_p` is 1.5, expected above 0 and at most 1");
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SamplingParams {
    /// Answers per prompt, 1 to [`MAX_N`](Self::MAX_N). Choice `i` draws from the
    /// random stream `(seed, i)`.
    pub n: u32,
    /// Most new tokens per answer; `None`: until the context is full, which ends an
    /// answer in any case, with the same finish reason.
    pub max_tokens: Option<u32>,
    /// The model's end-of-sequence tokens and `stop_token_ids` are banned before
    /// this many new tokens; at most `max_tokens`. A stop string that is complete
    /// within them does not end the answer; one that only begins there does.
    pub min_tokens: u32,
    /// Divides the logits: below 1 favours likely tokens, above 1 evens them out.
    /// 0 is greedy: the likeliest token (the lowest id of equals), and the
    /// filters below have no say.
    pub temperature: f32,
    /// Keeps exactly the `k` most likely tokens; 0 is off.
    pub top_k: u32,
    /// Keeps the smallest set of most likely tokens whose probabilities sum to at
    /// least `p`, the token that crosses it included; above 0, 1 is off.
    pub top_p: f32,
    /// Keeps tokens at least this likely relative to the likeliest; 0 is off, at
    /// most 1.
    pub min_p: f32,
    /// Locally typical sampling (Meister et al., 2022): keeps the smallest set of
    /// tokens, those with a surprise nearest to the entropy first, whose
    /// probabilities sum to at least this; above 0, 1 is off.
    pub typical_p: f32,
    /// Hugging Face's repetition penalty: divides positive and multiplies
    /// negative logits of tokens that occur in prompt or answer, once however
    /// often they occur; above 0, 1 is off, below 1 rewards repetition.
    pub repetition_penalty: f32,
    /// How far back the three penalties look. `repetition_penalty` looks at the
    /// last `n` tokens of prompt and answer together, the other two at the last
    /// `n` tokens of the answer. `None`: at all of them; 0: at none.
    pub repeat_last_n: Option<u32>,
    /// OpenAI's frequency penalty: subtracted from a token's logit once per
    /// occurrence in the answer (not in the prompt); negative rewards.
    pub frequency_penalty: f32,
    /// OpenAI's presence penalty: subtracted once if the token occurs in the
    /// answer; negative rewards.
    pub presence_penalty: f32,
    /// Added to the logits of single tokens, after the penalties and before the
    /// temperature.
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
    /// alternatives (0: the chosen one only). They are the model's own: natural
    /// logarithms of the softmax of its logits, before everything above.
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
