//! Which job a record is of.

use crate::job::id::Settings;
use crate::job::shard::Shard;
use sha2::{Digest as _, Sha256};

/// Files whose names a [`Description`] holds.
const MAX_NAMES: usize = 8;

/// Which job a record is to be of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Description {
    /// The files that rows are read from. A record of other files is not taken over
    /// unless told to.
    pub inputs: Vec<String>,
    /// Which of their rows are the job's, if not all.
    pub shard: Option<Shard>,
    /// What all answers depend on.
    pub settings: Settings,
}

impl Description {
    /// A job over those files. Of thousands it keeps the first names, and a digest.
    pub fn new(inputs: Vec<String>, shard: Option<Shard>, settings: Settings) -> Self {
        let mut names = inputs;
        if names.len() > MAX_NAMES {
            let all = names.join("\n");
            let num_more = names.len() - MAX_NAMES + 1;
            names.truncate(MAX_NAMES - 1);
            names.push(format!("and {num_more} more ({})", digest(&all)));
        }
        Self {
            inputs: names,
            shard,
            settings,
        }
    }
}

/// The first half of SHA-256, as hexadecimal digits.
fn digest(text: &str) -> String {
    let digest = Sha256::digest(text);
    let first = digest.first_chunk().expect("SHA-256 has 32 bytes");
    format!("{:032x}", u128::from_be_bytes(*first))
}
