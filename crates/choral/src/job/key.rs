//! What identifies a row from one run of a job to the next.

use crate::sampling::SEED_BITS;
use sha2::{Digest, Sha256};
use std::fmt;

/// A row's name: its `custom_id`, or its place in the file.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RowKey {
    /// The row's own `custom_id`.
    Id(String),
    /// The row's number, from 0.
    Row(u64),
}

impl RowKey {
    /// The seed of a row that brings none: the first 53 bits of SHA-256 over
    /// `choral row seed`, the job's seed (8 bytes, little-endian) and the key as it
    /// displays, with a byte between that tells the two kinds apart.
    ///
    /// Depends on nothing else, so a job with the same seed gives the same answers
    /// whatever the order or number of its rows, if they have ids.
    pub fn seed(&self, job_seed: u64) -> u64 {
        let hash = Sha256::new()
            .chain_update(b"choral row seed")
            .chain_update(job_seed.to_le_bytes());
        (self.digest(hash) >> (u128::BITS - SEED_BITS)) as u64
    }

    /// Distinct for distinct keys, as far as anybody will ever see.
    pub(crate) fn fingerprint(&self) -> u128 {
        self.digest(Sha256::new())
    }

    /// The first 16 bytes of the hash over the key.
    fn digest(&self, hash: Sha256) -> u128 {
        let kind = match self {
            Self::Id(_) => b'i',
            Self::Row(_) => b'r',
        };
        let digest = hash
            .chain_update([kind])
            .chain_update(self.to_string())
            .finalize();
        let first = digest.first_chunk().expect("SHA-256 has 32 bytes");
        u128::from_be_bytes(*first)
    }
}

impl fmt::Display for RowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => f.write_str(id),
            Self::Row(row) => write!(f, "row-{row}"),
        }
    }
}
