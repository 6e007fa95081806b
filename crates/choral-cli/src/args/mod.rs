//! What the commands share of the command line: words in, typed options out.
//!
//! [`normalize`] and [`env`] see the words and the environment before clap does;
//! [`model`] and [`sampling`] are groups of options that a command flattens into
//! its own. Nothing here loads a model or prints.

pub(crate) mod conversation;
pub(crate) mod env;
pub(crate) mod images;
pub(crate) mod lora;
pub(crate) mod model;
pub(crate) mod models;
pub(crate) mod normalize;
pub(crate) mod provider;
pub(crate) mod sampling;
pub(crate) mod template;

pub(crate) use conversation::ConversationArgs;
pub(crate) use images::ImageArgs;
pub(crate) use lora::LoraArgs;
pub(crate) use model::ModelArgs;
pub(crate) use models::ModelsArgs;
pub(crate) use provider::ProviderArgs;
