//! A step's tokens: whose they are, and where their sequences lie.

use super::BLOCK;

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
