//! Parts of decoders: each knows its weights' values and nothing of families.

mod attention;
mod embedding;
mod linear;
mod mlp;
mod moe;
mod norm;
mod rope;

pub use attention::{Attention, AttentionScratch};
pub use embedding::Embedding;
pub use linear::Linear;
pub(crate) use linear::add;
pub use mlp::{Mlp, MlpScratch};
pub use moe::{Moe, MoeScratch, SharedExpert};
pub use norm::Norm;
pub use rope::Rope;
