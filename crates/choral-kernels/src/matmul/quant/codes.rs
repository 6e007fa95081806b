//! How codes lie in memory: eight vectors of bytes, or what they are made from.
//!
//! Owns the packed forms of codes of every width; see the module above for the order.
//! Knows nothing of scales.

use crate::shared::Zeroable;
use crate::simd::{BYTES, Int8};

/// How codes lie: the eight vectors of a group and 32 `k`.
pub(in crate::matmul) trait Codes: Zeroable + Send + Sync {
    /// Vector `J`.
    fn vector<I: Int8, const J: usize>(&self, int8: I) -> I::B;
    /// Sets the code of element `k` (of 32) of output `lane`; it was 0.
    fn put(&mut self, lane: usize, k: usize, code: u8);
}

/// Whole bytes.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(in crate::matmul) struct Bytes([[u8; BYTES]; 8]);
/// Four bits.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(in crate::matmul) struct Nibbles([[u8; BYTES]; 4]);
/// Four bits and a fifth: bit `j` of a byte of `high` is that of vector `j`.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(in crate::matmul) struct Fives {
    low: [[u8; BYTES]; 4],
    high: [u8; BYTES],
}
/// Four bits and two: bits `2 (j % 4)` of a byte of `high[j / 4]` are those of vector `j`.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(in crate::matmul) struct Sixes {
    low: [[u8; BYTES]; 4],
    high: [[u8; BYTES]; 2],
}
/// Two bits: bits `2 (j % 4)` of a byte of vector `j / 4` are those of vector `j`.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(in crate::matmul) struct Twos([[u8; BYTES]; 2]);
/// Two bits and a third: bit `j` of a byte of `high` is that of vector `j`.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(in crate::matmul) struct Threes {
    low: [[u8; BYTES]; 2],
    high: [u8; BYTES],
}

// SAFETY: all are bytes.
unsafe impl Zeroable for Bytes {}
// SAFETY: all are bytes.
unsafe impl Zeroable for Nibbles {}
// SAFETY: all are bytes.
unsafe impl Zeroable for Fives {}
// SAFETY: all are bytes.
unsafe impl Zeroable for Sixes {}
// SAFETY: all are bytes.
unsafe impl Zeroable for Twos {}
// SAFETY: all are bytes.
unsafe impl Zeroable for Threes {}

/// Vector and byte in it of element `k` of output `lane`.
fn place(lane: usize, k: usize) -> (usize, usize) {
    (k / 4, 4 * lane + k % 4)
}

#[inline(always)]
fn nibble<I: Int8, const J: usize>(int8: I, vectors: &[[u8; BYTES]; 4]) -> I::B {
    let pair = int8.load(&vectors[J / 2]);
    if J.is_multiple_of(2) {
        int8.field::<0, 15>(pair)
    } else {
        int8.field::<4, 15>(pair)
    }
}

#[inline(always)]
fn two_bits<I: Int8, const J: usize>(int8: I, vectors: &[[u8; BYTES]; 2]) -> I::B {
    let four = int8.load(&vectors[J / 4]);
    match J % 4 {
        0 => int8.field::<0, 3>(four),
        1 => int8.field::<2, 3>(four),
        2 => int8.field::<4, 3>(four),
        _ => int8.field::<6, 3>(four),
    }
}

impl Codes for Bytes {
    #[inline(always)]
    fn vector<I: Int8, const J: usize>(&self, int8: I) -> I::B {
        int8.load(&self.0[J])
    }

    fn put(&mut self, lane: usize, k: usize, code: u8) {
        let (j, at) = place(lane, k);
        self.0[j][at] = code;
    }
}

impl Codes for Nibbles {
    #[inline(always)]
    fn vector<I: Int8, const J: usize>(&self, int8: I) -> I::B {
        nibble::<I, J>(int8, &self.0)
    }

    fn put(&mut self, lane: usize, k: usize, code: u8) {
        let (j, at) = place(lane, k);
        self.0[j / 2][at] |= code << (j % 2 * 4);
    }
}

impl Codes for Fives {
    #[inline(always)]
    fn vector<I: Int8, const J: usize>(&self, int8: I) -> I::B {
        let high = int8.load(&self.high);
        let fifth = match J {
            0 => int8.field_up::<4, 16>(high),
            1 => int8.field_up::<3, 16>(high),
            2 => int8.field_up::<2, 16>(high),
            3 => int8.field_up::<1, 16>(high),
            4 => int8.field::<0, 16>(high),
            5 => int8.field::<1, 16>(high),
            6 => int8.field::<2, 16>(high),
            _ => int8.field::<3, 16>(high),
        };
        int8.or(nibble::<I, J>(int8, &self.low), fifth)
    }

    fn put(&mut self, lane: usize, k: usize, code: u8) {
        let (j, at) = place(lane, k);
        self.low[j / 2][at] |= (code & 15) << (j % 2 * 4);
        self.high[at] |= (code >> 4) << j;
    }
}

impl Codes for Sixes {
    #[inline(always)]
    fn vector<I: Int8, const J: usize>(&self, int8: I) -> I::B {
        let four = int8.load(&self.high[J / 4]);
        let high = match J % 4 {
            0 => int8.field_up::<4, 48>(four),
            1 => int8.field_up::<2, 48>(four),
            2 => int8.field::<0, 48>(four),
            _ => int8.field::<2, 48>(four),
        };
        int8.or(nibble::<I, J>(int8, &self.low), high)
    }

    fn put(&mut self, lane: usize, k: usize, code: u8) {
        let (j, at) = place(lane, k);
        self.low[j / 2][at] |= (code & 15) << (j % 2 * 4);
        self.high[j / 4][at] |= (code >> 4) << (j % 4 * 2);
    }
}

impl Codes for Twos {
    #[inline(always)]
    fn vector<I: Int8, const J: usize>(&self, int8: I) -> I::B {
        two_bits::<I, J>(int8, &self.0)
    }

    fn put(&mut self, lane: usize, k: usize, code: u8) {
        let (j, at) = place(lane, k);
        self.0[j / 4][at] |= code << (j % 4 * 2);
    }
}

impl Codes for Threes {
    #[inline(always)]
    fn vector<I: Int8, const J: usize>(&self, int8: I) -> I::B {
        let high = int8.load(&self.high);
        let third = match J {
            0 => int8.field_up::<2, 4>(high),
            1 => int8.field_up::<1, 4>(high),
            2 => int8.field::<0, 4>(high),
            3 => int8.field::<1, 4>(high),
            4 => int8.field::<2, 4>(high),
            5 => int8.field::<3, 4>(high),
            6 => int8.field::<4, 4>(high),
            _ => int8.field::<5, 4>(high),
        };
        int8.or(two_bits::<I, J>(int8, &self.low), third)
    }

    fn put(&mut self, lane: usize, k: usize, code: u8) {
        let (j, at) = place(lane, k);
        self.low[j / 4][at] |= (code & 3) << (j % 4 * 2);
        self.high[at] |= (code >> 2) << j;
    }
}
