//! The distribution that a token is drawn from, as pieces to compose.
//!
//! [`edit`] changes single logits, [`Candidates`] narrows them with [`Filter`]s
//! and draws. [`Sampler`](super::Sampler) is these pieces in a fixed order.
//! Knows nothing of sequences, seeds or stopping.

mod candidates;
pub mod edit;
mod filter;
pub(crate) mod select;

pub(crate) use candidates::check_row;
pub use candidates::{Candidates, Remaining};
pub use filter::Filter;
