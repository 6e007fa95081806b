//! How a stored matrix is kept in memory, and how its rows get there.
//!
//! The one place that knows both sides: element types of files
//! ([`Dtype`]) and packed layouts of kernels ([`Format`]).

use super::tensors::{Rows, Shape};
use super::{ModelError, Numeric};
use choral_formats::Dtype;
use choral_formats::dequant::{CodesMut, split_codes};
use choral_kernels::Compute;
use choral_kernels::matmul::{self, Element, Format, Input, PackedMatrix, RowCodes, Source};

/// What a matrix becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    /// Numbers of that type.
    Float(Element),
    /// The file's integers and scales, multiplied with activations of that kind.
    Codes(Format, Input),
}

/// The packed format of a quantised type; `None` for floats and for types that are
/// kept as floats.
pub(super) fn format(dtype: Dtype) -> Option<Format> {
    Some(match dtype {
        Dtype::Q8_0 => Format::Q8_0,
        Dtype::Q4_0 => Format::Q4_0,
        Dtype::Q4_1 => Format::Q4_1,
        Dtype::Q5_0 => Format::Q5_0,
        Dtype::Q5_1 => Format::Q5_1,
        Dtype::Q2_K => Format::Q2K,
        Dtype::Q3_K => Format::Q3K,
        Dtype::Q4_K => Format::Q4K,
        Dtype::Q5_K => Format::Q5K,
        Dtype::Q6_K => Format::Q6K,
        Dtype::IQ4_NL => Format::Iq4Nl,
        Dtype::IQ4_XS => Format::Iq4Xs,
        Dtype::MXFP4 => Format::Mxfp4,
        _ => return None,
    })
}

impl Kept {
    /// How `numeric` keeps a matrix stored as `dtype`.
    pub(super) fn of(dtype: Dtype, numeric: Numeric) -> Self {
        match (format(dtype), numeric) {
            (_, Numeric::F32) => Self::Float(Element::F32),
            (None, _) => Self::Float(Element::Bf16),
            (Some(format), Numeric::Bf16) => Self::Codes(format, Input::Bf16),
            (Some(format), Numeric::Q8) => Self::Codes(format, Input::Int8),
        }
    }

    /// Bytes of an `[n, k]` matrix. Saturates.
    pub(super) fn bytes(self, [n, k]: [usize; 2]) -> u64 {
        let bytes = match self {
            Self::Float(element) => PackedMatrix::float_bytes(element, n, k),
            Self::Codes(format, _) => format.bytes(n, k),
        };
        bytes as u64
    }
}

/// Takes the bytes of a row apart.
///
/// # Panics
/// If the type is not of `format`, or `out` is of another width: the loader
/// checked both.
pub(super) fn read_codes(dtype: Dtype, row: &[u8], out: &mut RowCodes) {
    let mut parts = CodesMut {
        codes: &mut out.codes,
        d: &mut out.d,
        m: &mut out.m,
        scales: &mut out.scales,
        minima: &mut out.minima,
    };
    split_codes(dtype, row, &mut parts).expect("type and width were checked");
}

/// A part of a matrix to be packed.
pub(super) struct Part<'a> {
    pub(super) rows: Rows<'a>,
    /// `[n, k]`.
    pub(super) shape: Shape,
    pub(super) kept: Kept,
}

/// Packs the rows of all parts as one matrix.
///
/// # Errors
/// If there is no memory for it.
pub(super) fn pack(compute: &Compute, parts: &[Part<'_>]) -> Result<PackedMatrix, ModelError> {
    // One closure of each kind a part: which one is called depends on how it is kept.
    let floats: Vec<_> = parts
        .iter()
        .map(|part| move |row: usize, out: &mut [f32]| part.rows.floats(row, out))
        .collect();
    let codes: Vec<_> = parts
        .iter()
        .map(|part| move |row: usize, out: &mut RowCodes| part.rows.codes(row, out))
        .collect();
    let sources: Vec<_> = parts
        .iter()
        .enumerate()
        .map(|(i, part)| matmul::Part {
            rows: part.shape[0],
            source: match part.kept {
                Kept::Float(element) => Source::Float {
                    element,
                    row: &floats[i],
                },
                Kept::Codes(format, input) => Source::Codes {
                    format,
                    input,
                    row: &codes[i],
                },
            },
        })
        .collect();
    let packed = PackedMatrix::pack(compute, parts[0].shape[1], &sources);
    packed.ok_or_else(|| ModelError::NoMemory {
        what: "packed weights",
        bytes: parts.iter().map(|part| part.kept.bytes(part.shape)).sum(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use choral_formats::dequantize;

    /// Bytes of many patterns. Scales of f16 types come out as any numbers; those
    /// that are not finite are skipped.
    fn bytes(len: usize, seed: u64) -> Vec<u8> {
        let mut state = seed;
        (0..len)
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                (state >> 56) as u8
            })
            .collect()
    }

    #[test]
    fn codes_and_scales_say_what_the_dequantiser_says() {
        let quantised: Vec<Dtype> = Dtype::ALL
            .iter()
            .copied()
            .filter(|&dtype| format(dtype).is_some())
            .collect();
        assert_eq!(quantised.len(), 13);
        for dtype in quantised {
            let (format, mut compared) = (format(dtype).expect("it has one"), 0);
            for seed in 0..200 {
                let k = 512;
                let raw = bytes(dtype.bytes_for(k).expect("whole blocks"), seed);
                let mut expected = vec![0.0; k];
                dequantize(dtype, &raw, &mut expected).expect("a type that can be read");
                let mut row = RowCodes::default();
                row.resize(format, k);
                read_codes(dtype, &raw, &mut row);
                let shape = format.shape();
                for (i, expected) in expected.into_iter().enumerate() {
                    let (block, group) = (i / shape.block, i / shape.group);
                    let f16 = |bits| half::f16::from_bits(bits).to_f32();
                    let d = match dtype {
                        Dtype::MXFP4 => half::bf16::from_bits(row.d[block]).to_f32(),
                        _ => f16(row.d[block]),
                    };
                    let signed = matches!(dtype, Dtype::Q3_K | Dtype::Q6_K | Dtype::IQ4_XS);
                    let scale = match row.scales.get(group) {
                        None => d,
                        Some(&s) if signed => d * f32::from(s as i8),
                        Some(&s) => d * f32::from(s),
                    };
                    let minimum = match (row.m.get(block), row.minima.get(group)) {
                        (Some(&m), Some(&integer)) => -f16(m) * f32::from(integer),
                        (Some(&m), None) => f16(m),
                        _ => 0.0,
                    };
                    let found = scale * format.integer(row.codes[i]) as f32 + minimum;
                    if expected.is_finite() {
                        assert_eq!(found, expected, "{dtype} [{i}]");
                        compared += 1;
                    }
                }
            }
            assert!(compared > 50_000, "{dtype}: {compared} compared");
        }
    }
}
