//! Quantised weights as they lie in memory: the integers of the file, in the
//! order in which kernels read them.
//!
//! Owns the packed layouts of every quantised type and what their integers mean.
//! Knows nothing of how files lay them out: rows come as plain [`RowCodes`].
//!
//! **Layout.** A group is 16 outputs. Codes of a group and 32 `k` are eight
//! vectors of 64 bytes; vector `j` holds `k = 4 j .. 4 j + 4` of output 0, then of
//! output 1, ...: one lane of a dot product is one output. Narrow codes share
//! bytes with their neighbours, so that a register is emptied before the next one
//! is loaded: two nibbles are those of `j` and `j + 1`, four two-bit fields those of
//! `j` to `j + 3`. Scales lie apart, in the
//! precision of the file, one vector of 16 outputs each.
//!
//! Read on in `format` (what integers mean), `codes` and `scales` (how they lie).

mod codes;
mod format;
mod scales;

pub(super) use codes::Codes;
pub use format::{Format, RowCodes, Shape};
pub(super) use scales::{Scales, Vector};

use super::float::TileBf16;
use super::int8::Int8Multiply;
use super::unpack::Unpack;
use super::{Span, TILE_K};
use crate::Compute;
use crate::arena::Array;
#[cfg(target_arch = "x86_64")]
use crate::isa::Avx512Bf16;
use crate::isa::Isa;
use crate::shared::SharedSlice;
use crate::simd::{Int8, LANES};
use crate::work::Tally;
use codes::{Bytes, Fives, Nibbles, Sixes, Threes, Twos};
use format::{E2M1_DOUBLED, IQ4};
use scales::{Bf16Scale, F16Scale, F16ScaleMin, ScaleMin8, ScaleMin16, Signed};
use std::ops::Range;

/// What a code's integer is, as kernels compute it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The code, minus two to the power of this; codes are below 128.
    Offset(u32),
    /// The code.
    Plain,
    /// The code as a signed byte.
    SignedByte,
    /// An entry of a table.
    Table(&'static [i8; 16]),
}

impl Meaning {
    /// Whether kernels take the integers as signed bytes.
    pub(super) const fn is_signed(self) -> bool {
        matches!(self, Self::SignedByte | Self::Table(_))
    }
}

/// A packed layout, complete.
pub(super) trait Layout {
    type Codes: Codes;
    type Scales: Scales;
    /// Parts of 32 under one [`Scales`].
    const PARTS: usize;
    /// Two scales in a part, or one.
    const HALVES: bool;
    const MINIMA: bool;
    const MEANING: Meaning;

    /// Vector `J` of a part, as the integers that products take.
    #[inline(always)]
    fn integers<I: Int8, const J: usize>(int8: I, codes: &Self::Codes) -> I::B {
        let codes = codes.vector::<I, J>(int8);
        match Self::MEANING {
            Meaning::Table(table) => int8.table(codes, table),
            _ => codes,
        }
    }
}

macro_rules! layouts {
    ($($name:ident: $codes:ty, $scales:ty, $parts:literal, $halves:literal, $minima:literal, $meaning:expr;)*) => {
        $(
            pub(super) struct $name;

            impl Layout for $name {
                type Codes = $codes;
                type Scales = $scales;
                const PARTS: usize = $parts;
                const HALVES: bool = $halves;
                const MINIMA: bool = $minima;
                const MEANING: Meaning = $meaning;
            }
        )*

        /// Packed weights of one part of a matrix.
        #[derive(Debug)]
        pub(super) enum QuantTiles {
            $($name(Packed<<$name as Layout>::Codes, <$name as Layout>::Scales>),)*
        }

        impl QuantTiles {
            /// Packs `[n, k]`; `None` if there is no memory for it.
            pub(super) fn pack(
                compute: &Compute,
                format: Format,
                n: usize,
                k: usize,
                row: &(dyn Fn(usize, &mut RowCodes) + Sync),
            ) -> Option<Self> {
                Some(match format {
                    $(Format::$name => Self::$name(Packed::pack(compute, format, n, k, row)?),)*
                })
            }

            /// Bytes held.
            pub(super) fn bytes(&self) -> usize {
                match self {
                    $(Self::$name(packed) => {
                        size_of_val(&*packed.codes) + size_of_val(&*packed.scales)
                    })*
                }
            }

            /// Bytes of some groups' parts of 32.
            pub(super) fn bytes_of(&self, groups: usize, parts: usize) -> usize {
                match self {
                    $(Self::$name(packed) => packed.bytes_of(groups, parts),)*
                }
            }

            /// Runs one task with int8 activations.
            pub(super) fn multiply_int8(&self, isa: Isa, span: &Span<'_>) {
                match self {
                    $(Self::$name(packed) => {
                        isa.run_int8(Int8Multiply::<$name> { span, packed });
                    })*
                }
            }

            /// Writes the weights of some groups and parts of 32 as bf16 tiles:
            /// `[groups, parts]`.
            pub(super) fn unpack(
                &self,
                isa: Isa,
                groups: Range<usize>,
                parts: Range<usize>,
                out: &mut [TileBf16],
                tally: &Tally,
            ) {
                match self {
                    $(Self::$name(packed) => {
                        tally.unpack(out.len());
                        isa.run_int8(Unpack::<$name, false> { packed, groups, parts, out });
                    })*
                }
            }

            /// As [`unpack`](Self::unpack), in the pairs of `bf16_dot`.
            #[cfg(target_arch = "x86_64")]
            pub(super) fn unpack_pairs(
                &self,
                token: Avx512Bf16,
                groups: Range<usize>,
                parts: Range<usize>,
                out: &mut [TileBf16<true>],
                tally: &Tally,
            ) {
                match self {
                    $(Self::$name(packed) => {
                        tally.unpack(out.len());
                        token.run_int8(Unpack::<$name, true> { packed, groups, parts, out });
                    })*
                }
            }
        }
    };
}

// The layout `$l` of a format, as a type.
macro_rules! with_layout {
    ($format:expr, $l:ident => $body:expr) => {
        with_layout!(@ $format, $l => $body; Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 Q2K Q3K Q4K Q5K Q6K Iq4Nl Iq4Xs Mxfp4)
    };
    (@ $format:expr, $l:ident => $body:expr; $($name:ident)*) => {
        match $format {
            $(Format::$name => {
                type $l = $name;
                $body
            })*
        }
    };
}

impl Format {
    /// Bytes that a packed `[n, k]` part takes. Saturates.
    #[must_use]
    pub fn bytes(self, n: usize, k: usize) -> usize {
        let groups = n.div_ceil(LANES);
        with_layout!(self, L => {
            let parts = groups.saturating_mul(k / TILE_K);
            let supers = groups.saturating_mul(k / self.shape().block);
            parts
                .saturating_mul(size_of::<<L as Layout>::Codes>())
                .saturating_add(supers.saturating_mul(size_of::<<L as Layout>::Scales>()))
        })
    }
}

layouts! {
    Q8_0: Bytes, F16Scale, 1, false, false, Meaning::SignedByte;
    Q4_0: Nibbles, F16Scale, 1, false, false, Meaning::Offset(3);
    Q4_1: Nibbles, F16ScaleMin, 1, false, true, Meaning::Plain;
    Q5_0: Fives, F16Scale, 1, false, false, Meaning::Offset(4);
    Q5_1: Fives, F16ScaleMin, 1, false, true, Meaning::Plain;
    Q2K: Twos, ScaleMin16, 8, true, true, Meaning::Plain;
    Q3K: Threes, Signed<16>, 8, true, false, Meaning::Offset(2);
    Q4K: Nibbles, ScaleMin8, 8, false, true, Meaning::Plain;
    Q5K: Fives, ScaleMin8, 8, false, true, Meaning::Plain;
    Q6K: Sixes, Signed<16>, 8, true, false, Meaning::Offset(5);
    Iq4Nl: Nibbles, F16Scale, 1, false, false, Meaning::Table(&IQ4);
    Iq4Xs: Nibbles, Signed<8>, 8, false, false, Meaning::Table(&IQ4);
    Mxfp4: Nibbles, Bf16Scale, 1, false, false, Meaning::Table(&E2M1_DOUBLED);
}

/// Codes `[groups, k / 32]` and scales `[groups, k / block]`.
#[derive(Debug)]
pub(super) struct Packed<C, S> {
    pub(super) codes: Array<C>,
    pub(super) scales: Array<S>,
    /// Parts of 32 in a row.
    pub(super) depth: usize,
}

impl<C, S> Packed<C, S> {
    /// Bytes of some groups' parts, with their share of the scales.
    pub(super) fn bytes_of(&self, groups: usize, parts: usize) -> usize {
        let scales = size_of_val(&*self.scales) / (self.codes.len() / self.depth);
        groups * (parts * size_of::<C>() + scales * parts / self.depth)
    }
}

impl<C: Codes, S: Scales> Packed<C, S> {
    fn pack(
        compute: &Compute,
        format: Format,
        n: usize,
        k: usize,
        row: &(dyn Fn(usize, &mut RowCodes) + Sync),
    ) -> Option<Self> {
        let block = format.shape().block;
        assert!(
            k.is_multiple_of(block),
            "rows of {k} weights in blocks of {block}"
        );
        let (groups, depth, supers) = (n.div_ceil(LANES), k / TILE_K, k / block);
        let mut codes: Array<C> = compute.arena.zeroed(groups * depth)?;
        let mut scales: Array<S> = compute.arena.zeroed(groups * supers)?;
        let (all_codes, all_scales) = (SharedSlice::new(&mut codes), SharedSlice::new(&mut scales));
        compute.run(groups, |group| {
            // SAFETY: each group has its own codes and scales.
            let (codes, scales) = unsafe {
                (
                    all_codes.range_mut(group * depth, depth),
                    all_scales.range_mut(group * supers, supers),
                )
            };
            let mut values = RowCodes::default();
            values.resize(format, k);
            for lane in 0..LANES.min(n - group * LANES) {
                row(group * LANES + lane, &mut values);
                let (source, _) = values.codes.as_chunks::<TILE_K>();
                for (codes, source) in codes.iter_mut().zip(source) {
                    for (k, &code) in source.iter().enumerate() {
                        codes.put(lane, k, code);
                    }
                }
                for (block, scales) in scales.iter_mut().enumerate() {
                    scales.put(lane, &values, block);
                }
            }
        });
        Some(Self {
            codes,
            scales,
            depth,
        })
    }
}
