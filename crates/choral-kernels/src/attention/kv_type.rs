//! What cached numbers can be kept as, and how many bytes that takes.

use super::BLOCK;
use crate::simd::LANES;
use std::fmt;

/// Numbers that share a scale in [`KvType::Q8_0`].
pub(super) const GROUP: usize = 32;

/// What a cached number is kept as. What is computed with it is always f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum KvType {
    /// As computed.
    F32,
    /// Rounded to the nearest half (ties to even); beyond 65504 infinite.
    F16,
    /// Rounded as by [`round_bf16`](crate::round_bf16).
    Bf16,
    /// Blocks of 32 numbers of a head (the last may be shorter): `amax / 127` as f16
    /// and int8, rounded as by ggml's `quantize_row_q8_0_ref`.
    Q8_0,
}

impl KvType {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::F32, Self::F16, Self::Bf16, Self::Q8_0];

    /// The name that [`std::str::FromStr`] takes.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::Q8_0 => "q8_0",
        }
    }

    /// Bytes of one key or one value of `head_dim` numbers, without padding.
    #[must_use]
    pub fn bytes(self, head_dim: usize) -> usize {
        self.bytes_of(head_dim, head_dim)
    }

    /// The same, with room for `stored` numbers.
    fn bytes_of(self, stored: usize, head_dim: usize) -> usize {
        match self {
            Self::F32 => 4 * stored,
            Self::F16 | Self::Bf16 => 2 * stored,
            Self::Q8_0 => stored + 2 * head_dim.div_ceil(GROUP),
        }
    }
}

impl fmt::Display for KvType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl std::str::FromStr for KvType {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|t| t.name() == name)
            .ok_or_else(|| format!("unknown cache type `{name}`, expected f32, f16, bf16 or q8_0"))
    }
}

/// Types of cached keys and values; any two go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvTypes {
    /// Of the keys.
    pub keys: KvType,
    /// Of the values.
    pub values: KvType,
}

impl KvTypes {
    /// The same for both.
    #[must_use]
    pub fn both(kind: KvType) -> Self {
        Self {
            keys: kind,
            values: kind,
        }
    }

    /// Bytes of one position's keys and values in one layer, without padding.
    #[must_use]
    pub fn position_bytes(self, kv_heads: usize, head_dim: usize) -> usize {
        kv_heads * (self.keys.bytes(head_dim) + self.values.bytes(head_dim))
    }

    /// Bytes of one block in one layer, as it lies in memory.
    #[must_use]
    pub fn block_bytes(self, kv_heads: usize, head_dim: usize) -> usize {
        let padded = head_dim.next_multiple_of(LANES);
        let position = self.keys.bytes(head_dim) + self.values.bytes_of(padded, head_dim);
        kv_heads * BLOCK * position
    }
}

impl fmt::Display for KvTypes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.keys == self.values {
            return self.keys.fmt(f);
        }
        write!(f, "{}, {}", self.keys, self.values)
    }
}
