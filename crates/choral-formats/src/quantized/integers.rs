//! Integers with a scale and a zero for each group: weight = scale * (code - zero).
//!
//! The one place that knows where GPTQ and AWQ put a code or a zero. Shapes were
//! checked by whoever made the [`Integers`].

use half::{bf16, f16};

use super::config::Version;
use crate::{Dtype, TensorView};

/// Weights in a block of the ggml types that rows can become.
const BLOCK: usize = 32;

/// Rows of little-endian words.
#[derive(Debug, Clone, Copy)]
pub(super) struct Words<'a> {
    words: &'a [[u8; 4]],
    width: usize,
}

impl<'a> Words<'a> {
    pub(super) fn new(view: &TensorView<'a>) -> Self {
        Self {
            words: view.bytes.as_chunks().0,
            width: view.row_len(),
        }
    }

    fn at(&self, row: usize, column: usize) -> u32 {
        u32::from_le_bytes(self.words[row * self.width + column])
    }
}

/// Where codes and zeros are in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    Gptq(Version),
    Awq,
}

/// Which weights of a row share a scale.
#[derive(Debug)]
pub(super) enum Groups {
    /// So many that follow each other.
    Of(usize),
    /// Any: the group of each.
    Any(Vec<usize>),
}

/// A matrix.
#[derive(Debug)]
pub(super) struct Integers<'a> {
    /// `[n, k]`.
    pub(super) shape: [usize; 2],
    pub(super) bits: usize,
    pub(super) layout: Layout,
    pub(super) codes: Words<'a>,
    pub(super) zeros: Words<'a>,
    /// `[groups, n]`.
    pub(super) scales: TensorView<'a>,
    pub(super) groups: Groups,
}

/// Nibble of a word that holds row `r` modulo 8, in AWQ's order.
const AWQ_NIBBLES: [usize; 8] = [0, 4, 1, 5, 2, 6, 3, 7];

/// What `GPTQModel` takes off three words of zeros of three bits: not one of each field,
/// but what it adds again when it reads them (`convert_gptq_v1_to_v2_format`).
const GPTQ_MODEL_THREE_BITS: [u32; 3] = [0x2492_4924, 0x9249_2492, 0x4924_9249];

impl Integers<'_> {
    fn num_groups(&self) -> usize {
        self.scales.rows()
    }

    /// The largest code.
    fn max(&self) -> u8 {
        u8::MAX >> (8 - self.bits)
    }

    /// Number `i` of codes that lie one after the other in words.
    fn field(&self, i: usize, word: impl Fn(usize) -> u32) -> u8 {
        let (at, shift) = (i * self.bits / 32, i * self.bits % 32);
        let mut value = word(at) >> shift;
        if shift + self.bits > 32 {
            value |= word(at + 1) << (32 - shift);
        }
        value as u8 & self.max()
    }

    fn code(&self, r: usize, i: usize) -> u8 {
        match self.layout {
            Layout::Gptq(_) => self.field(i, |at| self.codes.at(at, r)),
            Layout::Awq => awq_nibble(&self.codes, i, r),
        }
    }

    fn zero(&self, r: usize, group: usize) -> u8 {
        let word = |at| self.zeros.at(group, at);
        match self.layout {
            Layout::Awq => awq_nibble(&self.zeros, group, r),
            Layout::Gptq(Version::Two) => self.field(r, word),
            Layout::Gptq(Version::OneOfGptqModel) if self.bits == 3 => {
                self.field(r, |at| word(at).wrapping_add(GPTQ_MODEL_THREE_BITS[at % 3]))
            }
            // Fields of three bits do not end where words do.
            Layout::Gptq(_) if self.bits == 3 => (self.field(r, word) + 1) & self.max(),
            // One was taken off every field of a whole word at once: a zero of nought
            // has borrowed from the field above, and gets it back in the same way.
            Layout::Gptq(_) => {
                let ones = u32::MAX / u32::from(self.max());
                self.field(r, |at| word(at).wrapping_add(ones))
            }
        }
    }

    fn scale(&self, r: usize, group: usize) -> f32 {
        let at = group * self.shape[0] + r;
        let bytes = self.scales.bytes;
        let two = |at: usize| [bytes[2 * at], bytes[2 * at + 1]];
        match self.scales.info.dtype {
            Dtype::F16 => f16::from_le_bytes(two(at)).to_f32(),
            Dtype::BF16 => bf16::from_le_bytes(two(at)).to_f32(),
            _ => f32::from_le_bytes(bytes.as_chunks().0[at]),
        }
    }

    pub(super) fn row(&self, r: usize, out: &mut [f32]) {
        let scales: Vec<(f32, f32)> = (0..self.num_groups())
            .map(|group| (self.scale(r, group), f32::from(self.zero(r, group))))
            .collect();
        for (i, out) in out.iter_mut().enumerate() {
            let group = match &self.groups {
                Groups::Of(size) => i / size,
                Groups::Any(index) => index[i],
            };
            let (scale, zero) = scales[group];
            *out = scale * (f32::from(self.code(r, i)) - zero);
        }
    }

    /// The ggml type whose blocks hold these weights, or F32. Looks at every zero.
    pub(super) fn packed(&self) -> Dtype {
        let [n, k] = self.shape;
        let blocks_have_one_scale = match self.groups {
            Groups::Of(size) => size.is_multiple_of(BLOCK) || size >= k,
            Groups::Any(_) => false,
        };
        let is_whole = blocks_have_one_scale && k.is_multiple_of(BLOCK);
        if !is_whole || self.scales.info.dtype != Dtype::F16 {
            return Dtype::F32;
        }
        let max = self.max();
        let fits = |fit: &dyn Fn(u8, f32) -> bool| {
            (0..self.num_groups())
                .all(|group| (0..n).all(|r| fit(self.zero(r, group), self.scale(r, group))))
        };
        if self.bits == 8 {
            let is_centred = fits(&|zero, _| zero == 128);
            return if is_centred { Dtype::Q8_0 } else { Dtype::F32 };
        }
        if fits(&|zero, _| zero <= 8 && max - zero.min(max) + 8 <= 15) {
            return Dtype::Q4_0;
        }
        let is_close = |zero, scale: f32| {
            let minimum = -scale * f32::from(zero);
            (f16::from_f32(minimum).to_f32() - minimum).abs() <= scale.abs() / 64.0
        };
        if fits(&is_close) {
            Dtype::Q4_1
        } else {
            Dtype::F32
        }
    }

    /// Appends row `r` as blocks of the type that [`Self::packed`] has found.
    pub(super) fn push_blocks(&self, packed: Dtype, r: usize, bytes: &mut Vec<u8>) {
        let k = self.shape[1];
        let size = match self.groups {
            Groups::Of(size) => size,
            Groups::Any(_) => k,
        };
        for first in (0..k).step_by(BLOCK) {
            let group = first / size;
            let (scale, zero) = (self.scale(r, group), self.zero(r, group));
            bytes.extend(f16::from_f32(scale).to_le_bytes());
            let mut codes: [u8; BLOCK] = std::array::from_fn(|i| self.code(r, first + i));
            match packed {
                Dtype::Q8_0 => {
                    bytes.extend(codes.map(|code| code.wrapping_sub(zero)));
                    continue;
                }
                Dtype::Q4_0 => codes = codes.map(|code| code + 8 - zero),
                _ => {
                    let minimum = f16::from_f32(-scale * f32::from(zero));
                    bytes.extend(minimum.to_le_bytes());
                }
            }
            let (low, high) = codes.split_at(BLOCK / 2);
            bytes.extend(low.iter().zip(high).map(|(low, high)| low | high << 4));
        }
    }
}

fn awq_nibble(words: &Words<'_>, row: usize, r: usize) -> u8 {
    (words.at(row, r / 8) >> (4 * AWQ_NIBBLES[r % 8]) & 15) as u8
}
