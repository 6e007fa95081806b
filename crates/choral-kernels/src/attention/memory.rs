//! Where keys and values lie: blocks of positions, one array of them a layer.

use super::{BLOCK, MAX_HEAD_DIM};
use crate::Compute;
use crate::bf16::round_bf16;
use crate::matmul::Element;
use crate::shared::{SharedSlice, zeroed};
use crate::simd::LANES;

/// Memory of one layer's keys and values: `[blocks, kv_heads]` tiles.
#[derive(Debug)]
pub struct KvMemory {
    pub(super) kv_heads: usize,
    pub(super) head_dim: usize,
    pub(super) blocks: usize,
    pub(super) data: Data,
}

#[derive(Debug)]
pub(super) enum Data {
    Bf16 {
        keys: Vec<[u16; BLOCK]>,
        values: Vec<[u16; LANES]>,
    },
    F32 {
        keys: Vec<[f32; BLOCK]>,
        values: Vec<[f32; LANES]>,
    },
}

impl KvMemory {
    /// Reserves zeroed memory; `None` if there is not so much. The operating system
    /// hands it out page by page, as blocks are first written.
    ///
    /// # Panics
    /// If `head_dim` is 0, odd or above [`MAX_HEAD_DIM`].
    #[must_use]
    pub fn new(element: Element, blocks: usize, kv_heads: usize, head_dim: usize) -> Option<Self> {
        assert!(
            head_dim > 0 && head_dim <= MAX_HEAD_DIM && head_dim.is_multiple_of(2),
            "head_dim {head_dim}"
        );
        let keys = blocks * kv_heads * head_dim;
        let values = blocks * kv_heads * BLOCK * head_dim.div_ceil(LANES);
        let data = match element {
            Element::Bf16 => Data::Bf16 {
                keys: zeroed(keys)?,
                values: zeroed(values)?,
            },
            Element::F32 => Data::F32 {
                keys: zeroed(keys)?,
                values: zeroed(values)?,
            },
        };
        Some(Self {
            kv_heads,
            head_dim,
            blocks,
            data,
        })
    }

    /// Bytes of one block in one layer.
    #[must_use]
    pub fn block_bytes(element: Element, kv_heads: usize, head_dim: usize) -> usize {
        kv_heads * BLOCK * (head_dim + head_dim.next_multiple_of(LANES)) * element.bytes()
    }

    /// Number of blocks.
    pub fn blocks(&self) -> usize {
        self.blocks
    }

    /// Copies a whole block.
    ///
    /// # Panics
    /// If a block is out of range.
    pub fn copy_block(&mut self, from: u32, to: u32) {
        let (from, to) = (from as usize, to as usize);
        assert!(from < self.blocks && to < self.blocks, "block to copy");
        let keys = self.kv_heads * self.head_dim;
        let values = self.kv_heads * BLOCK * self.head_dim.div_ceil(LANES);
        match &mut self.data {
            Data::Bf16 { keys: k, values: v } => {
                k.copy_within(from * keys..(from + 1) * keys, to * keys);
                v.copy_within(from * values..(from + 1) * values, to * values);
            }
            Data::F32 { keys: k, values: v } => {
                k.copy_within(from * keys..(from + 1) * keys, to * keys);
                v.copy_within(from * values..(from + 1) * values, to * values);
            }
        }
    }

    /// Stores the keys and values of a step's tokens: token `t` at `positions[t]`
    /// of its row's block table. `key(t, h)` and `value(t, h)` give `[head_dim]`.
    ///
    /// # Panics
    /// If a position has no block, or a block is out of range.
    pub fn store<'a>(
        &mut self,
        compute: &Compute,
        rows: &Rows<'_>,
        key: impl Fn(usize, usize) -> &'a [f32] + Sync,
        value: impl Fn(usize, usize) -> &'a [f32] + Sync,
    ) {
        rows.check(self.blocks);
        let (kv_heads, dim) = (self.kv_heads, self.head_dim);
        match &mut self.data {
            Data::Bf16 { keys, values } => {
                store(
                    compute,
                    rows,
                    (kv_heads, dim),
                    keys,
                    values,
                    key,
                    value,
                    round_bf16,
                );
            }
            Data::F32 { keys, values } => {
                store(
                    compute,
                    rows,
                    (kv_heads, dim),
                    keys,
                    values,
                    key,
                    value,
                    |x| x,
                );
            }
        }
    }
}

/// A step's tokens, ragged: row `r` is tokens `cu_tokens[r]..cu_tokens[r + 1]` at
/// consecutive positions, in the blocks `block_ids[cu_blocks[r]..cu_blocks[r + 1]]`.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    /// `[tokens]`.
    pub positions: &'a [u32],
    /// `[rows + 1]`.
    pub cu_tokens: &'a [u32],
    /// `[rows + 1]`.
    pub cu_blocks: &'a [u32],
    /// Block tables, one behind the other.
    pub block_ids: &'a [u32],
}

impl Rows<'_> {
    pub(super) fn count(&self) -> usize {
        self.cu_tokens.len().saturating_sub(1)
    }

    pub(super) fn tokens(&self, row: usize) -> std::ops::Range<usize> {
        self.cu_tokens[row] as usize..self.cu_tokens[row + 1] as usize
    }

    pub(super) fn table(&self, row: usize) -> &[u32] {
        &self.block_ids[self.cu_blocks[row] as usize..self.cu_blocks[row + 1] as usize]
    }

    /// Every position has a block that exists, and rows are consecutive.
    pub(super) fn check(&self, blocks: usize) {
        for row in 0..self.count() {
            let positions = &self.positions[self.tokens(row)];
            let table = self.table(row);
            assert!(
                positions.windows(2).all(|p| p[1] == p[0] + 1),
                "positions of row {row}"
            );
            if let Some(&last) = positions.last() {
                let needed = last as usize / BLOCK + 1;
                assert!(
                    table.len() >= needed,
                    "row {row} has no block for position {last}"
                );
                assert!(
                    table[..needed].iter().all(|&b| (b as usize) < blocks),
                    "a block of row {row} is out of range"
                );
            }
        }
    }
}

#[expect(clippy::too_many_arguments, reason = "one body for two element types")]
fn store<'a, E: Copy + Send>(
    compute: &Compute,
    rows: &Rows<'_>,
    (kv_heads, dim): (usize, usize),
    keys: &mut [[E; BLOCK]],
    values: &mut [[E; LANES]],
    key: impl Fn(usize, usize) -> &'a [f32] + Sync,
    value: impl Fn(usize, usize) -> &'a [f32] + Sync,
    round: impl Fn(f32) -> E + Sync,
) {
    let vectors = dim.div_ceil(LANES);
    let (keys, values) = (SharedSlice::new(keys), SharedSlice::new(values));
    compute.run(kv_heads, |head| {
        for row in 0..rows.count() {
            let table = rows.table(row);
            for token in rows.tokens(row) {
                let position = rows.positions[token] as usize;
                let (block, slot) = (table[position / BLOCK] as usize, position % BLOCK);
                let tile = block * kv_heads + head;
                // SAFETY: a task touches only the tiles of its own head.
                let (k, v) = unsafe {
                    (
                        keys.range_mut(tile * dim, dim),
                        values.range_mut((tile * BLOCK + slot) * vectors, vectors),
                    )
                };
                for (k, &x) in k.iter_mut().zip(key(token, head)) {
                    k[slot] = round(x);
                }
                for (v, &x) in v.as_flattened_mut().iter_mut().zip(value(token, head)) {
                    *v = round(x);
                }
            }
        }
    });
}
