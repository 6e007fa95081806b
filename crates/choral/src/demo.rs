//! The small model that ships with choral.

/// A GGUF file of a few million parameters, for demonstrations: it tells short
/// stories, counts, lists and answers the few kinds of question it was trained on.
/// Data, training and limits: `models/README.md`.
pub static MODEL: &[u8] = include_bytes!("../../../models/choral-demo-q8_0.gguf");

/// What messages call it.
pub const NAME: &str = "choral-demo";
