//! Which queries walk over the cache together.
//!
//! Only who reads what when: what a query computes does not depend on it.

use super::{BLOCK, Rows};
use std::ops::Range;

/// Queries whose sums are in registers at the same time.
pub(super) const TILE: usize = 8;

/// Most tiles that walk together: a block of keys and values that was read once is
/// in the first cache for all of them, and so must be what they have gathered.
const TILES: usize = 4;

/// Tasks for each thread and key/value head that are better than larger tasks.
const TASKS_PER_THREAD: usize = 4;

/// The tokens of a task: some of one row, or those of several rows of one token
/// whose tables begin with the same blocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Task<'a> {
    /// Its rows.
    pub(super) rows: &'a [u32],
    /// Its tokens, if it is of one row; otherwise each row has one.
    tokens: (u32, u32),
    /// Where the blocks end that its rows share, counted from position 0.
    pub(super) shared: usize,
}

impl Task<'_> {
    /// Its tokens in row `row` of the step.
    pub(super) fn tokens(&self, rows: &Rows<'_>, row: usize) -> Range<usize> {
        if self.rows.len() > 1 {
            return rows.tokens(row);
        }
        self.tokens.0 as usize..self.tokens.1 as usize
    }
}

#[derive(Debug)]
struct Cut {
    rows: Range<usize>,
    tokens: (u32, u32),
    shared: usize,
}

/// The tasks of one key/value head in one step; all heads have the same.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    /// Rows, those with the same blocks next to each other.
    order: Vec<u32>,
    cuts: Vec<Cut>,
}

impl Tasks {
    pub(super) fn len(&self) -> usize {
        self.cuts.len()
    }

    pub(super) fn get(&self, index: usize) -> Task<'_> {
        let cut = &self.cuts[index];
        Task {
            rows: &self.order[cut.rows.clone()],
            tokens: cut.tokens,
            shared: cut.shared,
        }
    }

    /// Cuts a step: `group` queries for each token and each of `kv_heads` heads.
    pub(super) fn cut(&mut self, rows: &Rows<'_>, group: usize, kv_heads: usize, threads: usize) {
        let queries = rows.positions.len() * group;
        let wanted = (threads * TASKS_PER_THREAD).div_ceil(kv_heads);
        let tiles = (queries / (TILE * wanted)).clamp(1, TILES);
        // Tokens of a row in a task, and rows of one token: whole rows to a tile.
        let most_tokens = (tiles * TILE / group).max(1);
        let most_rows = (TILE / group).max(1) * if group > TILE { 1 } else { tiles };

        self.cuts.clear();
        self.order.clear();
        self.order.extend(0..rows.count() as u32);
        let key = |row: u32| (rows.first_block(row as usize), rows.table(row as usize));
        self.order.sort_unstable_by(|&a, &b| key(a).cmp(&key(b)));
        let mut first = 0;
        while first < self.order.len() {
            let row = self.order[first] as usize;
            let tokens = rows.tokens(row);
            if tokens.len() == 1 {
                let (count, shared) = siblings(rows, &self.order[first..], most_rows);
                self.cuts.push(Cut {
                    rows: first..first + count,
                    tokens: (tokens.start as u32, tokens.end as u32),
                    shared,
                });
                first += count;
                continue;
            }
            let end = tokens.end;
            self.cuts.extend(tokens.step_by(most_tokens).map(|t| Cut {
                rows: first..first + 1,
                tokens: (t as u32, (t + most_tokens).min(end) as u32),
                shared: usize::MAX,
            }));
            first += 1;
        }
    }
}

/// How many rows of one token at the front of `order` begin with the same blocks,
/// and where those end, counted from position 0.
fn siblings(rows: &Rows<'_>, order: &[u32], most: usize) -> (usize, usize) {
    let first = rows.first_block(order[0] as usize);
    let needed = |row: usize| {
        let last = rows.positions[rows.tokens(row).start] as usize;
        &rows.table(row)[..=last / BLOCK - first]
    };
    let table = needed(order[0] as usize);
    let (mut count, mut shared) = (1, table.len());
    for &row in order.iter().take(most).skip(1) {
        if rows.tokens(row as usize).len() != 1 || rows.first_block(row as usize) != first {
            break;
        }
        let pairs = table.iter().zip(needed(row as usize));
        let same = pairs.take(shared).take_while(|(a, b)| a == b).count();
        // Some rows that part early would keep the others from sharing more.
        if same == 0 || 2 * same < shared {
            break;
        }
        shared = same;
        count += 1;
    }
    (count, first + shared)
}
