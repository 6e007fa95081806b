//! How many rows an input has, and which: the same for all shards of a job.

use super::id::{Identity, Settings};
use super::row::Row;
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex, PoisonError};

/// A number of rows, and a sum over what they are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Copy, Serialize, Deserialize)]
pub struct Census {
    /// Rows.
    pub num_rows: u64,
    /// The sum of their ids, without any settings.
    #[serde(with = "digits")]
    pub sum: u128,
}

/// Counts rows on the thread that reads them.
#[derive(Debug, Clone)]
pub struct Counter {
    identity: Identity,
    census: Arc<Mutex<Census>>,
}

impl Default for Counter {
    fn default() -> Self {
        Self {
            identity: Identity::new(&Settings::new(), 0),
            census: Arc::default(),
        }
    }
}

impl Counter {
    /// Counts a row, whichever shard's it is.
    pub fn count(&self, row: &Row) {
        let id = self.identity.of(row);
        let mut census = self.census.lock().unwrap_or_else(PoisonError::into_inner);
        census.num_rows += 1;
        census.sum = census.sum.wrapping_add(id.0);
    }

    /// The rows that were counted.
    pub fn census(&self) -> Census {
        *self.census.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// 128 bits as hexadecimal digits, for JSON numbers are shorter.
mod digits {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(sum: &u128, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{sum:032x}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u128, D::Error> {
        let text = String::deserialize(from)?;
        u128::from_str_radix(&text, 16).map_err(serde::de::Error::custom)
    }
}
