//! What a model of the mock says: a function of the conversation and nothing else.
//!
//! Owns the digest of a conversation, its text, tool calls and counts of tokens. Knows
//! no vendor: each turns its request into an [`Asked`] first, so that the same
//! conversation gets the same answer from all of them. Tests ask [`chat_answer`] and
//! [`prompt_answer`] what a client must have received.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::schema;

#[cfg(test)]
mod tests;

/// Words of the last user's text that an answer repeats.
const ECHOED_WORDS: usize = 24;
/// The most words that a `words=N` marker may ask for.
const MAX_EXTRA_WORDS: usize = 1_000_000;
/// Tokens that a message costs beside its words, as chat templates do.
const TOKENS_PER_MESSAGE: u64 = 4;

/// The text that answers a conversation of `(role, text)`, from any vendor's chat.
///
/// A system prompt is the first turn, `("system", ...)`, also for vendors that send it
/// apart. Without limits of length and without stop strings.
pub fn chat_answer(turns: &[(&str, &str)]) -> String {
    let turns: Vec<Turn> = turns
        .iter()
        .map(|(role, text)| Turn::new(role, text))
        .collect();
    plain_text(&turns, 0)
}

/// The text that a plain completion of `prompt` gets.
pub fn prompt_answer(prompt: &str) -> String {
    plain_text(&[Turn::new("prompt", prompt)], 0)
}

/// What stands in a turn's text for an image: what [`chat_answer`] must be given.
pub fn image_tag(bytes: &[u8]) -> String {
    format!("<image {}>", short_digest(bytes))
}

/// How a past call of a tool stands in a turn's text.
pub(crate) fn call_text(name: &str, arguments: &Value) -> String {
    format!("<call {name} {arguments}>")
}

/// One message, as all vendors have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Turn {
    pub(crate) role: String,
    pub(crate) text: String,
}

impl Turn {
    pub(crate) fn new(role: &str, text: &str) -> Self {
        Self {
            role: role.to_owned(),
            text: text.to_owned(),
        }
    }
}

/// A function that the model may call.
#[derive(Clone, Debug)]
pub(crate) struct Tool {
    pub(crate) name: String,
    pub(crate) schema: Value,
}

/// Whether tools are called. `Auto` calls those that the last turn, a user's, names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum ToolChoice {
    Never,
    #[default]
    Auto,
    Required,
    Named(String),
}

/// What the answer must look like.
#[derive(Clone, Debug, Default)]
pub(crate) enum Shape {
    #[default]
    Text,
    JsonObject,
    Schema(Value),
}

/// A request without its vendor.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    pub(crate) turns: Vec<Turn>,
    pub(crate) max_tokens: Option<u64>,
    pub(crate) stop: Vec<String>,
    pub(crate) tools: Vec<Tool>,
    pub(crate) tool_choice: ToolChoice,
    pub(crate) shape: Shape,
}

/// Why an answer ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Finish {
    Stop,
    StopString(String),
    Length,
    ToolCalls,
}

/// A call of a tool; `arguments` fit its schema.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Call {
    pub(crate) digest: String,
    pub(crate) name: String,
    pub(crate) arguments: Value,
}

/// An answer. `tokens` joined are its text.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) tokens: Vec<String>,
    pub(crate) calls: Vec<Call>,
    pub(crate) finish: Finish,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        self.tokens.concat()
    }

    /// Tokens that were generated, those of tool calls too.
    pub(crate) fn num_tokens(&self) -> u64 {
        let calls: usize = self
            .calls
            .iter()
            .map(|call| tokens(&call.arguments.to_string()).len() + 2)
            .sum();
        (self.tokens.len() + calls) as u64
    }
}

impl Asked {
    /// Tokens of the prompt.
    pub(crate) fn num_prompt_tokens(&self) -> u64 {
        self.turns
            .iter()
            .map(|turn| tokens(&turn.text).len() as u64 + TOKENS_PER_MESSAGE)
            .sum()
    }

    /// Names the conversation, in ids.
    pub(crate) fn digest(&self) -> String {
        digest(&self.turns, 0)
    }

    /// Choice number `choice` of the answers.
    pub(crate) fn answer(&self, choice: u32) -> Answer {
        let calls = self.calls(choice);
        if !calls.is_empty() {
            return Answer {
                tokens: Vec::new(),
                calls,
                finish: Finish::ToolCalls,
            };
        }
        let mut text = match &self.shape {
            Shape::Text => plain_text(&self.turns, choice),
            Shape::JsonObject => json!({
                "digest": digest(&self.turns, choice),
                "answer": last_words(&self.turns),
            })
            .to_string(),
            Shape::Schema(schema) => {
                schema::instance(schema, &digest(&self.turns, choice)).to_string()
            }
        };
        let mut finish = Finish::Stop;
        let first_stop = self
            .stop
            .iter()
            .filter(|stop| !stop.is_empty())
            .filter_map(|stop| text.find(stop.as_str()).map(|at| (at, stop)))
            .min_by_key(|(at, _)| *at);
        if let Some((at, stop)) = first_stop {
            finish = Finish::StopString(stop.clone());
            text.truncate(at);
        }
        let mut tokens: Vec<String> = tokens(&text).into_iter().map(str::to_owned).collect();
        if let Some(max) = self.max_tokens
            && (tokens.len() as u64) > max
        {
            tokens.truncate(max as usize);
            finish = Finish::Length;
        }
        Answer {
            tokens,
            calls,
            finish,
        }
    }

    fn calls(&self, choice: u32) -> Vec<Call> {
        let last = self.turns.last();
        let named = |tool: &&Tool| match &self.tool_choice {
            ToolChoice::Never => false,
            ToolChoice::Named(name) => tool.name == *name,
            ToolChoice::Auto | ToolChoice::Required => {
                last.is_some_and(|turn| turn.role == "user" && turn.text.contains(&tool.name))
            }
        };
        let mut tools: Vec<&Tool> = self.tools.iter().filter(named).collect();
        if tools.is_empty() && self.tool_choice == ToolChoice::Required {
            tools.extend(self.tools.first());
        }
        let digest = digest(&self.turns, choice);
        tools
            .into_iter()
            .enumerate()
            .map(|(index, tool)| Call {
                digest: format!("{digest}{index:02}"),
                name: tool.name.clone(),
                arguments: schema::instance(&tool.schema, &digest),
            })
            .collect()
    }
}

/// The words of `text`, each with the white space before it.
pub(crate) fn tokens(text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut start = 0;
    let mut in_word = false;
    for (at, letter) in text.char_indices() {
        if letter.is_whitespace() && in_word {
            pieces.push(&text[start..at]);
            start = at;
        }
        in_word = !letter.is_whitespace();
    }
    if start < text.len() {
        pieces.push(&text[start..]);
    }
    pieces
}

/// A plausible log-probability of a token, always the same one.
pub(crate) fn logprob(token: &str, rank: u64) -> f64 {
    let fraction = f64::from(Sha256::digest(token.as_bytes())[0]) / 256.0;
    -0.01 - fraction - rank as f64 * 1.5
}

/// A vector of norm 1 that depends on `text` alone.
pub(crate) fn embedding(text: &str, dimensions: usize) -> Vec<f32> {
    let mut values = Vec::with_capacity(dimensions);
    let mut counter = 0u32;
    while values.len() < dimensions {
        let mut hash = Sha256::new();
        hash.update(counter.to_le_bytes());
        hash.update(text.as_bytes());
        for byte in hash.finalize() {
            values.push(f32::from(byte) - 127.5);
        }
        counter += 1;
    }
    values.truncate(dimensions);
    let norm = values.iter().map(|value| value * value).sum::<f32>().sqrt();
    values.into_iter().map(|value| value / norm).collect()
}

/// Twelve hexadecimal digits of the SHA-256 of `bytes`.
pub(crate) fn short_digest(bytes: &[u8]) -> String {
    let mut hex = hex_digest(bytes);
    hex.truncate(12);
    hex
}

/// The SHA-256 of `bytes`, in hexadecimal.
pub(crate) fn hex_digest(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    Sha256::digest(bytes)
        .iter()
        .fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
}

fn digest(turns: &[Turn], choice: u32) -> String {
    // Separators keep ("user", "ab") apart from ("user", "a"), ("", "b").
    let mut bytes = Vec::new();
    for turn in turns {
        bytes.extend_from_slice(turn.role.as_bytes());
        bytes.push(0x1f);
        bytes.extend_from_slice(turn.text.as_bytes());
        bytes.push(0x1e);
    }
    let digest = short_digest(&bytes);
    if choice == 0 {
        digest
    } else {
        format!("{digest}.{choice}")
    }
}

fn plain_text(turns: &[Turn], choice: u32) -> String {
    let mut text = format!("Answer {} to: {}", digest(turns, choice), last_words(turns));
    for number in 0..extra_words(turns) {
        text.push_str(" word");
        text.push_str(&number.to_string());
    }
    text
}

fn last_words(turns: &[Turn]) -> String {
    let asked = turns
        .iter()
        .rev()
        .find(|turn| turn.role == "user")
        .or(turns.last());
    let text = asked.map_or("", |turn| turn.text.as_str());
    text.split_whitespace()
        .take(ECHOED_WORDS)
        .collect::<Vec<_>>()
        .join(" ")
}

/// `[[mock:words=N]]` makes an answer N words longer, for streams worth interrupting.
fn extra_words(turns: &[Turn]) -> usize {
    let asked = turns.last().map_or("", |turn| turn.text.as_str());
    let Some((_, rest)) = asked.split_once("[[mock:words=") else {
        return 0;
    };
    let number = rest
        .split("]]")
        .next()
        .and_then(|number| number.parse().ok());
    number.unwrap_or(0).min(MAX_EXTRA_WORDS)
}
