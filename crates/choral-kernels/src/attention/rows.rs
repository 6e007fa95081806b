//! A step's tokens: whose they are, and where their sequences lie.

use super::BLOCK;

/// A step's tokens, ragged: row `r` is tokens `cu_tokens[r]..cu_tokens[r + 1]` at
/// consecutive positions, in the blocks `block_ids[cu_blocks[r]..cu_blocks[r + 1]]`,
/// the first of which is its sequence's block `first_blocks[r]`.
///
/// Blocks before that one are nobody's: they lie below every token's window.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    /// `[tokens]`.
    pub positions: &'a [u32],
    /// `[rows + 1]`.
    pub cu_tokens: &'a [u32],
    /// `[rows]`.
    pub first_blocks: &'a [u32],
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

    /// Which of its sequence's blocks the row's table begins with.
    pub(super) fn first_block(&self, row: usize) -> usize {
        self.first_blocks[row] as usize
    }

    pub(super) fn table(&self, row: usize) -> &[u32] {
        &self.block_ids[self.cu_blocks[row] as usize..self.cu_blocks[row + 1] as usize]
    }

    /// Every position that a token sees in a window of `window` (`None`: all) has a
    /// block that exists, and rows are consecutive.
    pub(super) fn check(&self, blocks: usize, window: Option<usize>) {
        assert_eq!(
            self.first_blocks.len(),
            self.count(),
            "a first block for every row"
        );
        for row in 0..self.count() {
            let positions = &self.positions[self.tokens(row)];
            assert!(
                positions.windows(2).all(|p| p[1] == p[0] + 1),
                "positions of row {row}"
            );
            let (Some(&next), Some(&last)) = (positions.first(), positions.last()) else {
                continue;
            };
            let seen = window.map_or(0, |w| (next as usize + 1).saturating_sub(w));
            let (table, first) = (self.table(row), self.first_block(row));
            let needed = seen / BLOCK..last as usize / BLOCK + 1;
            assert!(
                first <= needed.start,
                "row {row} has no block for position {seen}"
            );
            assert!(
                first + table.len() >= needed.end,
                "row {row} has no block for position {last}"
            );
            assert!(
                table[needed.start - first..needed.end - first]
                    .iter()
                    .all(|&b| (b as usize) < blocks),
                "a block of row {row} is out of range"
            );
        }
    }
}
