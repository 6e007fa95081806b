//! Everything that knows characters.
//!
//! [`Tokenizer`] turns text into ids and back, [`Detokenizer`] does the latter
//! while ids are being generated, [`StopMatcher`] ends a text at a stop string,
//! and [`ChatTemplate`] writes a conversation the way a model expects it. All of
//! them take files and text from strangers: wrong input is an error, never a
//! panic, a hang or an exhausted memory. Knows nothing of tensors or scheduling.

mod detokenizer;
mod diversity;
pub(crate) mod jinja;
mod stop;
mod template;
mod tokenizer;

pub use detokenizer::Detokenizer;
pub use diversity::distinct_n;
pub use jinja::{DateTime, RenderLimits};
pub use stop::{StopMatcher, StopPush};
pub use template::{ChatTemplate, TemplateError, TemplateInput, parse_tool_arguments};
pub use tokenizer::{EncodeOptions, Tokenizer, TokenizerError};
