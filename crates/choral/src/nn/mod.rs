//! Parts of decoders: each knows its weights' values and nothing of families.

mod embedding;
mod linear;
mod rope;

pub use embedding::Embedding;
pub use linear::Linear;
pub(crate) use linear::add;
pub use rope::Rope;
