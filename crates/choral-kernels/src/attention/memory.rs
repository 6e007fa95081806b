//! Where keys and values lie: blocks of positions, one array of them a layer.

use super::kv_type::KvTypes;
use super::store::Side;
use super::{BLOCK, MAX_HEAD_DIM, Rows};
use crate::Compute;
use crate::simd::LANES;

/// Memory of one layer's keys and values: `[blocks, kv_heads]` tiles.
#[derive(Debug)]
pub struct KvMemory {
    pub(super) kv_heads: usize,
    pub(super) head_dim: usize,
    pub(super) blocks: usize,
    types: KvTypes,
    /// `[head_dim][BLOCK]`: sixteen positions a line.
    pub(super) keys: Side,
    /// `[BLOCK][head_dim]`, each padded to whole lines.
    pub(super) values: Side,
}

impl KvMemory {
    /// Reserves zeroed memory; `None` if there is not so much. The operating system
    /// hands it out page by page, as blocks are first written.
    ///
    /// # Panics
    /// If `head_dim` is 0, odd or above [`MAX_HEAD_DIM`].
    #[must_use]
    pub fn new(types: KvTypes, blocks: usize, kv_heads: usize, head_dim: usize) -> Option<Self> {
        assert!(
            head_dim > 0 && head_dim <= MAX_HEAD_DIM && head_dim.is_multiple_of(2),
            "head_dim {head_dim}"
        );
        let tiles = blocks.checked_mul(kv_heads)?;
        let lines = BLOCK * head_dim.div_ceil(LANES);
        Some(Self {
            kv_heads,
            head_dim,
            blocks,
            types,
            keys: Side::new(types.keys, tiles, head_dim, head_dim)?,
            values: Side::new(types.values, tiles, lines, head_dim)?,
        })
    }

    /// What keys and values are kept as.
    pub fn types(&self) -> KvTypes {
        self.types
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
        let heads = self.kv_heads;
        for side in [&mut self.keys, &mut self.values] {
            side.copy(from * heads, to * heads, heads);
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
        // Only the tokens' own positions are written.
        rows.check(self.blocks, Some(1));
        let (kv_heads, dim) = (self.kv_heads, self.head_dim);
        let width = dim.next_multiple_of(LANES);
        let (keys, values) = (self.keys.shared(), self.values.shared());
        compute.run(kv_heads, |head| {
            for row in 0..rows.count() {
                let (table, first) = (rows.table(row), rows.first_block(row));
                for token in rows.tokens(row) {
                    let position = rows.positions[token] as usize;
                    let (at, slot) = (position / BLOCK - first, position % BLOCK);
                    let tile = table[at] as usize * kv_heads + head;
                    // SAFETY: a task touches only the tiles of its own head.
                    unsafe {
                        keys.put(tile, slot, (slot, BLOCK), &key(token, head)[..dim]);
                        let at = (slot * width, 1);
                        values.put(tile, slot, at, &value(token, head)[..dim]);
                    }
                }
            }
        });
    }
}
