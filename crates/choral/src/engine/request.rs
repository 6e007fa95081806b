//! What goes into the engine and what comes out, by vLLM's names.

use crate::sampling::SamplingParams;
use crate::vision::ImageEmbedding;
use serde::Serialize;

pub use crate::sampling::{PositionLogprobs, TokenLogprob};

/// The text or the tokens to continue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prompt {
    /// Text; tokenised with the model's own BOS rules, and with special tokens
    /// written in it taken for what they are, unless [`Request::parse_special`] is off.
    Text(String),
    /// Token ids, used as they are.
    Tokens(Vec<u32>),
}

impl From<&str> for Prompt {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Prompt {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Vec<u32>> for Prompt {
    fn from(token_ids: Vec<u32>) -> Self {
        Self::Tokens(token_ids)
    }
}

/// A low-rank adapter that a request runs with, and how much of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Lora {
    /// The name that it was given when the engine was built.
    pub name: String,
    /// Multiplies what it changes; 1 is what it was trained for.
    pub scale: f32,
}

impl Lora {
    /// An adapter as it was trained.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            scale: 1.0,
        }
    }

    /// The same adapter at another scale.
    #[must_use]
    pub fn scaled(mut self, scale: f32) -> Self {
        self.scale = scale;
        self
    }
}

impl From<&str> for Lora {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

/// One prompt and how to continue it.
#[derive(Debug, Clone)]
pub struct Request {
    /// The caller's name for it, given back in the output.
    pub request_id: String,
    /// What to continue.
    pub prompt: Prompt,
    /// How.
    pub params: SamplingParams,
    /// Whether the text of a special token in a prompt's text is that token; on unless
    /// said. Off, it is text like any other: for prompts that strangers write. Has no
    /// bearing on prompts that are tokens.
    pub parse_special: bool,
    /// Report the last prompt position's logits and hidden norms.
    pub diagnostics: bool,
    /// Adapters that change the model for this request; none unless said. Their order
    /// does not matter.
    pub lora: Vec<Lora>,
    /// Pictures, in the order of the prompt's placeholders (`<|image|>`), one for each:
    /// the engine puts as many tokens in its place as the picture has.
    pub images: Vec<ImageEmbedding>,
}

/// What a request would come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestSize {
    /// Tokens of the prompt, those that the tokenizer adds included.
    pub num_prompt_tokens: usize,
    /// Most tokens of each answer: what was asked for, or what the context has room for.
    pub max_new_tokens: usize,
}

impl Request {
    /// A request without a name, with the default parameters.
    pub fn new(prompt: impl Into<Prompt>) -> Self {
        Self {
            request_id: String::new(),
            prompt: prompt.into(),
            params: SamplingParams::default(),
            parse_special: true,
            diagnostics: false,
            lora: Vec::new(),
            images: Vec::new(),
        }
    }

    /// The same request by another name.
    #[must_use]
    pub fn with_id(mut self, request_id: impl Into<String>) -> Self {
        self.request_id = request_id.into();
        self
    }

    /// The same request with other parameters.
    #[must_use]
    pub fn with_params(mut self, params: SamplingParams) -> Self {
        self.params = params;
        self
    }

    /// The same request with one adapter more.
    #[must_use]
    pub fn with_lora(mut self, lora: impl Into<Lora>) -> Self {
        self.lora.push(lora.into());
        self
    }

    /// The same request with one picture more.
    #[must_use]
    pub fn with_image(mut self, image: ImageEmbedding) -> Self {
        self.images.push(image);
        self
    }

    /// The same request with these pictures more.
    #[must_use]
    pub fn with_images(mut self, images: impl IntoIterator<Item = ImageEmbedding>) -> Self {
        self.images.extend(images);
        self
    }

    /// The same request, taking the text of special tokens for text.
    #[must_use]
    pub fn without_special_tokens(mut self) -> Self {
        self.parse_special = false;
        self
    }

    /// The same request, reporting [`PromptDiagnostics`] as well.
    #[must_use]
    pub fn with_diagnostics(mut self) -> Self {
        self.diagnostics = true;
        self
    }
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// An end-of-sequence token, a stop token or a stop string.
    Stop,
    /// `max_tokens` or the context length was reached.
    Length,
    /// The sequence failed; see the error beside it.
    Error,
    /// The caller went away or asked for it.
    Cancelled,
}

/// What made an answer stop, where it was not the model's own end token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum StopReason {
    /// One of `stop_token_ids`.
    Token(u32),
    /// One of `stop`.
    Text(String),
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CompletionOutput {
    /// Which of the `n` answers.
    pub index: u32,
    /// The text, detokenised; without the prompt.
    pub text: String,
    /// The tokens drawn, with the one that ended the answer.
    pub token_ids: Vec<u32>,
    /// Sum of the drawn tokens' log-probabilities, if they were asked for.
    pub cumulative_logprob: Option<f32>,
    /// One entry a token, if they were asked for.
    pub logprobs: Option<Vec<PositionLogprobs>>,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// The stop token or string that ended it, if one did.
    pub stop_reason: Option<StopReason>,
    /// The seed that this answer's random stream was keyed with.
    pub seed: u64,
    /// What went wrong, when `finish_reason` is `Error`.
    pub error: Option<String>,
}

/// When things happened to one request, in seconds. What did not happen is 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct RequestMetrics {
    /// From submission to the first step that ran it.
    pub queue_s: f64,
    /// From submission to the first token (TTFT).
    pub time_to_first_token_s: f64,
    /// From submission to the end.
    pub e2e_s: f64,
    /// Mean gap between tokens of one answer (ITL).
    pub mean_inter_token_s: f64,
}

/// Diagnostics of the last prompt position.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PromptDiagnostics {
    /// All logits, before any sampling.
    pub last_logits: Vec<f32>,
    /// Embedding output, layers 1 to n - 1, after the final norm.
    pub hidden_l2: Vec<f32>,
}

/// Everything that came of one request.
#[derive(Debug, Clone, PartialEq)]
pub struct RequestOutput {
    /// The request's name.
    pub request_id: String,
    /// The prompt's text, when it was given as text.
    pub prompt: Option<String>,
    /// The prompt's tokens, as they were run.
    pub prompt_token_ids: Vec<u32>,
    /// One entry a prompt token (the first has none), if asked for.
    pub prompt_logprobs: Option<Vec<Option<PositionLogprobs>>>,
    /// The answers, by index.
    pub outputs: Vec<CompletionOutput>,
    /// Prompt tokens that came from the prefix cache.
    pub num_cached_tokens: u32,
    /// When things happened.
    pub metrics: RequestMetrics,
    /// What `Request::diagnostics` asked for.
    pub diagnostics: Option<PromptDiagnostics>,
}
