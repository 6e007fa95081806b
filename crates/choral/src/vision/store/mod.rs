//! Embeddings on disk: computed once, read for ever after.
//!
//! A store is a folder with three files:
//!
//! - `embeddings.bin`: little-endian f16 without a header, `[images, tokens, hidden]`;
//! - `filenames.txt`: one path a line, line i that of row i;
//! - `embeddings.json`: the [`Sidecar`], which says the shape, and of which model and
//!   which preparation the numbers are.
//!
//! The sidecar is replaced as a whole, after what it speaks of is on the disk; rows and
//! names that it does not speak of count for nothing. So a store is right at every
//! moment, whoever is killed, and goes on where it ended. Rows are added and never
//! changed; a store that is made anew grows beside the old one, and takes its place as a
//! whole (`replace`), under another identity ([`EmbeddingStore::identity`]).
//! [`StoreWriter`] writes, [`EmbeddingStore`] reads by mapping. Neither knows how
//! embeddings are made.

mod error;
mod names;
mod read;
mod replace;
mod sidecar;
#[cfg(test)]
mod tests;
mod write;

pub use error::StoreError;
pub use read::EmbeddingStore;
pub use sidecar::{Preprocessing, Sidecar, StoreModel};
pub use write::StoreWriter;

/// The file of numbers.
pub const EMBEDDINGS: &str = "embeddings.bin";

/// The file of names.
pub const FILENAMES: &str = "filenames.txt";

/// The file of what the numbers are.
pub const SIDECAR: &str = "embeddings.json";

/// The file that a writer has locked.
const LOCK: &str = ".embeddings.lock";

/// Bytes of a number.
const VALUE_BYTES: u64 = 2;
