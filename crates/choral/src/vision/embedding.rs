//! What an encoder makes of a picture: rows that stand in a prompt where tokens would.

use super::VisionError;
use half::f16;
use half::slice::HalfFloatSliceExt;
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// Tells one embedding from another: the first half of the SHA-256 of its shape and
/// values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContentHash(pub u128);

/// A picture's tokens. Cheap to clone: the rows are shared.
///
/// Two embeddings are equal when their contents are.
#[derive(Clone)]
pub struct ImageEmbedding(Arc<Inner>);

struct Inner {
    rows: usize,
    columns: usize,
    hidden: usize,
    values: Values,
    hash: ContentHash,
}

enum Values {
    F32(Box<[f32]>),
    F16(Box<[f16]>),
}

impl Values {
    fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::F16(values) => values.len(),
        }
    }
}

impl ImageEmbedding {
    /// `values` is `[rows * columns, hidden]`, row-major: a picture's tokens from the
    /// upper left, row after row, each `hidden` numbers wide.
    ///
    /// # Errors
    /// If there is no token, the number of values is another, or one is not finite.
    pub fn new(
        rows: usize,
        columns: usize,
        hidden: usize,
        values: Vec<f32>,
    ) -> Result<Self, VisionError> {
        let values = Values::F32(values.into_boxed_slice());
        Self::checked(rows, columns, hidden, values)
    }

    /// The same from little-endian f16, as files hold them; kept as that.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn from_f16(
        rows: usize,
        columns: usize,
        hidden: usize,
        bytes: &[u8],
    ) -> Result<Self, VisionError> {
        let (pairs, rest) = bytes.as_chunks();
        if !rest.is_empty() {
            return Err(VisionError::Shape {
                rows,
                columns,
                hidden,
                expected: "two bytes a value".to_owned(),
                found: pairs.len(),
            });
        }
        let values = pairs.iter().map(|&pair| f16::from_le_bytes(pair));
        Self::checked(rows, columns, hidden, Values::F16(values.collect()))
    }

    fn checked(
        rows: usize,
        columns: usize,
        hidden: usize,
        values: Values,
    ) -> Result<Self, VisionError> {
        let expected = rows
            .checked_mul(columns)
            .and_then(|n| n.checked_mul(hidden));
        match expected {
            Some(expected) if expected > 0 && expected == values.len() => {}
            expected => {
                return Err(VisionError::Shape {
                    rows,
                    columns,
                    hidden,
                    expected: match expected {
                        Some(0) => "at least one".to_owned(),
                        Some(expected) => expected.to_string(),
                        None => "fewer".to_owned(),
                    },
                    found: values.len(),
                });
            }
        }
        let finite = match &values {
            Values::F32(values) => values.iter().all(|value| value.is_finite()),
            Values::F16(values) => values.iter().all(|value| value.is_finite()),
        };
        if !finite {
            return Err(VisionError::NotFinite { image: 0 });
        }
        let hash = hash(rows, columns, hidden, &values);
        Ok(Self(Arc::new(Inner {
            rows,
            columns,
            hidden,
            values,
            hash,
        })))
    }

    /// Rows of tokens: the picture's height in merged patches.
    pub fn rows(&self) -> usize {
        self.0.rows
    }

    /// Tokens in a row: the picture's width in merged patches.
    pub fn columns(&self) -> usize {
        self.0.columns
    }

    /// Positions that the picture takes in a prompt.
    pub fn num_tokens(&self) -> usize {
        self.0.rows * self.0.columns
    }

    /// Numbers of a token: the width of the text model.
    pub fn hidden_size(&self) -> usize {
        self.0.hidden
    }

    /// Bytes of its numbers, as they are kept.
    pub fn num_bytes(&self) -> usize {
        match &self.0.values {
            Values::F32(values) => size_of_val::<[f32]>(values),
            Values::F16(values) => size_of_val::<[f16]>(values),
        }
    }

    /// Where its numbers are, which clones share.
    pub(crate) fn place(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }

    /// What tells it from other pictures; the same for the same numbers, however they
    /// are kept.
    pub fn content_hash(&self) -> ContentHash {
        self.0.hash
    }

    /// Writes token `token`'s numbers to `row`.
    ///
    /// # Panics
    /// If there is no such token or `row` is not [`hidden_size`](Self::hidden_size) long.
    pub fn copy_token(&self, token: usize, row: &mut [f32]) {
        let range = token * self.0.hidden..(token + 1) * self.0.hidden;
        match &self.0.values {
            Values::F32(values) => row.copy_from_slice(&values[range]),
            Values::F16(values) => values[range].convert_to_f32_slice(row),
        }
    }

    /// All numbers: `[num_tokens, hidden_size]`.
    pub fn to_f32(&self) -> Vec<f32> {
        match &self.0.values {
            Values::F32(values) => values.to_vec(),
            Values::F16(values) => values.to_f32_vec(),
        }
    }

    /// All numbers rounded to f16, little-endian: what [`from_f16`](Self::from_f16) takes.
    /// What is too great for f16 becomes its greatest number.
    pub fn to_f16(&self) -> Vec<u8> {
        let bytes = |values: &[f16]| values.iter().flat_map(|v| v.to_le_bytes()).collect();
        match &self.0.values {
            Values::F32(values) => bytes(&round(values)),
            Values::F16(values) => bytes(values),
        }
    }

    /// The same picture with its numbers as f16, as if it had been kept in a file.
    #[must_use]
    pub fn rounded_to_f16(&self) -> Self {
        let Values::F32(values) = &self.0.values else {
            return self.clone();
        };
        let Inner {
            rows,
            columns,
            hidden,
            ..
        } = *self.0;
        let values = Values::F16(round(values));
        let hash = hash(rows, columns, hidden, &values);
        Self(Arc::new(Inner {
            rows,
            columns,
            hidden,
            values,
            hash,
        }))
    }
}

fn round(values: &[f32]) -> Box<[f16]> {
    let most = f16::MAX.to_f32();
    let round = |value: &f32| f16::from_f32(value.clamp(-most, most));
    values.iter().map(round).collect()
}

/// Hashes numbers as f32, so that f16 and the f32 that they become are the same.
fn hash(rows: usize, columns: usize, hidden: usize, values: &Values) -> ContentHash {
    let mut sha = Sha256::new();
    for size in [rows, columns, hidden] {
        sha.update((size as u64).to_le_bytes());
    }
    // In pieces: a picture may be tens of megabytes.
    let mut bytes = Vec::with_capacity(4 * 4096);
    let mut update = |piece: &mut dyn Iterator<Item = f32>| {
        bytes.clear();
        // -0 is 0 to all that computes with it, but not to its bits: it stays itself.
        bytes.extend(piece.flat_map(f32::to_le_bytes));
        sha.update(&bytes);
    };
    match values {
        Values::F32(values) => {
            for piece in values.chunks(4096) {
                update(&mut piece.iter().copied());
            }
        }
        Values::F16(values) => {
            for piece in values.chunks(4096) {
                update(&mut piece.iter().map(|value| value.to_f32()));
            }
        }
    }
    let digest = sha.finalize();
    let (half, _) = digest.split_at(16);
    let half = half.try_into().expect("sixteen bytes");
    ContentHash(u128::from_le_bytes(half))
}

impl PartialEq for ImageEmbedding {
    fn eq(&self, other: &Self) -> bool {
        self.0.hash == other.0.hash
    }
}

impl Eq for ImageEmbedding {}

impl std::fmt::Debug for ImageEmbedding {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("ImageEmbedding")
            .field("rows", &self.0.rows)
            .field("columns", &self.0.columns)
            .field("hidden", &self.0.hidden)
            .field("hash", &format_args!("{:032x}", self.0.hash.0))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn embedding(values: Vec<f32>) -> ImageEmbedding {
        ImageEmbedding::new(1, 2, 2, values).unwrap()
    }

    #[test]
    fn an_embedding_is_what_its_numbers_are_however_they_are_kept() {
        let floats = embedding(vec![1.0, -0.5, 0.25, 1e-7]);
        let rounded = floats.rounded_to_f16();
        assert_ne!(floats, rounded);
        let read = ImageEmbedding::from_f16(1, 2, 2, &floats.to_f16()).unwrap();
        assert_eq!(rounded, read);
        assert_eq!(embedding(read.to_f32()), read);
        let mut token = [0.0; 2];
        read.copy_token(1, &mut token);
        // 1e-7 in f16 is a multiple of 2^-24.
        assert_eq!(token, [0.25, 2.0 * 2.0_f32.powi(-24)]);
    }

    #[test]
    fn the_same_numbers_in_another_shape_are_another_picture() {
        let values = vec![1.0, 2.0, 3.0, 4.0];
        let wide = ImageEmbedding::new(1, 2, 2, values.clone()).unwrap();
        let high = ImageEmbedding::new(2, 1, 2, values).unwrap();
        assert_ne!(wide, high);
    }

    #[test]
    fn what_f16_cannot_hold_becomes_its_greatest_number() {
        let rounded = embedding(vec![1e6, -1e6, 0.0, 1.0]).rounded_to_f16();
        assert_eq!(rounded.to_f32(), [65504.0, -65504.0, 0.0, 1.0]);
    }

    #[test]
    fn what_is_no_embedding_says_why() {
        let error = |rows, columns, values: Vec<f32>| {
            let made = ImageEmbedding::new(rows, columns, 2, values);
            made.unwrap_err().to_string()
        };
        assert_eq!(
            error(1, 2, vec![0.0; 3]),
            "an embedding of 1 x 2 tokens of width 2 has 3 values, expected 4"
        );
        assert!(error(0, 2, vec![]).ends_with("expected at least one"));
        assert!(error(usize::MAX, 2, vec![0.0]).ends_with("expected fewer"));
        assert!(error(1, 1, vec![0.0, f32::NAN]).contains("not finite"));
        let odd = ImageEmbedding::from_f16(1, 1, 1, &[0, 0, 0]).unwrap_err();
        assert!(odd.to_string().ends_with("expected two bytes a value"));
    }
}
