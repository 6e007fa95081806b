//! What is refused before it runs. What goes wrong later is part of the output.

use super::batch::BLOCK_TOKENS;
use crate::sampling::ParamError;
use crate::text::{TemplateError, TokenizerError};

/// Why an engine could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A limit is out of its range.
    #[error("`{field}` is {found}, expected {expected}")]
    Config {
        /// The limit's name.
        field: &'static str,
        /// What would have been accepted.
        expected: String,
        /// What was given.
        found: usize,
    },
    /// The system gave no thread.
    #[error("cannot start the engine's threads")]
    Thread(#[from] std::io::Error),
}

/// Why a request was not accepted. Nothing of it has run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// As many requests are waiting as may wait. Try again later, or use
    /// [`submit_wait`](super::Engine::submit_wait).
    #[error("the queue is full: {capacity} requests are waiting")]
    Overloaded {
        /// How many may wait.
        capacity: usize,
    },
    /// The prompt fills the context.
    #[error(
        "the prompt has {num_tokens} tokens, which leaves no room for an answer in a context of \
         {max_model_len}"
    )]
    PromptTooLong {
        /// Length of the prompt in tokens.
        num_tokens: usize,
        /// Length of the context in tokens.
        max_model_len: usize,
    },
    /// There is nothing to continue.
    #[error("the prompt is empty: it has no tokens")]
    EmptyPrompt,
    /// A prompt token is not one of the model's.
    #[error("prompt token {index} is {token_id}, expected an id below {vocab_size}")]
    UnknownToken {
        /// Where it stands in the prompt.
        index: usize,
        /// What stands there.
        token_id: u32,
        /// How many tokens the model knows.
        vocab_size: usize,
    },
    /// No adapter has this name.
    #[error("unknown adapter `{name}`{}", known_adapters(known))]
    UnknownAdapter {
        /// The name.
        name: String,
        /// The names that there are.
        known: Vec<String>,
    },
    /// There are not as many pictures as the prompt has places for.
    #[error(
        "the prompt has {placeholders} `{placeholder}` for {images} images, expected one for each"
    )]
    ImageCount {
        /// The text of the token that stands for a picture.
        placeholder: String,
        /// How many of it the prompt has.
        placeholders: usize,
        /// How many pictures came with it.
        images: usize,
    },
    /// A picture's embedding was made for another model.
    #[error("image {index} is {found} numbers wide, expected {expected}")]
    ImageWidth {
        /// Which of the prompt's pictures, from 0.
        index: usize,
        /// The embedding's width.
        found: usize,
        /// The model's width.
        expected: usize,
    },
    /// Pictures were given to a model that reads text only.
    #[error("the prompt has {images} images, but the model reads text only")]
    NoImages {
        /// How many pictures came with it.
        images: usize,
    },
    /// A sampling parameter cannot be honoured.
    #[error(transparent)]
    Params(#[from] ParamError),
    /// The request could not run even with the whole KV cache to itself.
    #[error(
        "prompt and answer may take {needed} KV blocks of {BLOCK_TOKENS} tokens, but the cache \
         has {available}; lower `max_tokens` or give the cache more memory"
    )]
    TooManyBlocks {
        /// Blocks that it may come to hold.
        needed: usize,
        /// Blocks that there are.
        available: usize,
    },
    /// Text was given to an engine that knows only tokens.
    #[error("{what} is text, but this engine was started without a tokenizer")]
    NoTokenizer {
        /// Which part of the request.
        what: &'static str,
    },
    /// The prompt's text could not be tokenised.
    #[error("the prompt cannot be tokenised")]
    Tokenizer(#[from] TokenizerError),
    /// The engine has been shut down, or has failed.
    #[error("the engine has been shut down")]
    ShutDown,
}

fn known_adapters(known: &[String]) -> String {
    if known.is_empty() {
        ": the engine was built without adapters".to_owned()
    } else {
        format!(", expected one of: {}", known.join(", "))
    }
}

/// Why messages could not be made into a prompt.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChatError {
    /// The template refuses them, or the model's own is broken.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The text could not be tokenised.
    #[error("the rendered messages cannot be tokenised")]
    Tokenizer(#[from] TokenizerError),
    /// The engine was started without a tokenizer.
    #[error("messages are text, but this engine was started without a tokenizer")]
    NoTokenizer,
}
