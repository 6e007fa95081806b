//! Which pictures are needed next: rows that are to come, in the order in which they will
//! run.
//!
//! Knows numbers only. Rows run in the order of their pictures' numbers, as a job sorts
//! them; where it sorts a part of them at a time, what is said here is a guess, which costs
//! time if it is wrong and nothing else.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;

/// Rows that are to come.
#[derive(Debug, Default)]
pub(super) struct Coming {
    /// By their pictures: how many rows ask about just those.
    rows: BTreeMap<Vec<usize>, usize>,
    /// The rows that need a picture.
    of: HashMap<usize, BTreeSet<Vec<usize>>>,
}

impl Coming {
    /// A row will come.
    pub(super) fn expect(&mut self, row: &[usize]) {
        let num_rows = self.rows.entry(row.to_vec()).or_default();
        *num_rows += 1;
        if *num_rows == 1 {
            for picture in row {
                self.of.entry(*picture).or_default().insert(row.to_vec());
            }
        }
    }

    /// A row has come.
    pub(super) fn take(&mut self, row: &[usize]) {
        let Some(num_rows) = self.rows.get_mut(row) else {
            return;
        };
        *num_rows -= 1;
        if *num_rows > 0 {
            return;
        }
        self.rows.remove(row);
        for picture in row {
            if let Some(rows) = self.of.get_mut(picture) {
                rows.remove(row);
                if rows.is_empty() {
                    self.of.remove(picture);
                }
            }
        }
    }

    /// The next row that needs a picture.
    pub(super) fn next_use(&self, picture: usize) -> Option<&[usize]> {
        let next = self.of.get(&picture)?.first()?;
        Some(next)
    }

    /// The pictures of the rows after `row`.
    pub(super) fn after(&self, row: &[usize]) -> impl Iterator<Item = usize> {
        let after = (Bound::Excluded(row), Bound::Unbounded);
        let rows = self.rows.range::<[usize], _>(after);
        rows.flat_map(|(row, _)| row.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::Coming;

    #[test]
    fn pictures_are_needed_until_their_last_row_has_come() {
        let mut coming = Coming::default();
        for row in [[2, 3], [0, 1], [0, 10], [0, 2], [0, 1]] {
            coming.expect(&row);
        }
        assert_eq!(
            coming.after(&[0, 1]).collect::<Vec<_>>(),
            [0, 2, 0, 10, 2, 3]
        );
        coming.take(&[0, 1]);
        assert_eq!(coming.next_use(1), Some(&[0, 1][..]));
        coming.take(&[0, 1]);
        assert_eq!(coming.next_use(1), None);
        assert_eq!(coming.next_use(2), Some(&[0, 2][..]));
        // Nobody said that it would come, which does no harm.
        coming.take(&[7, 8]);
        for row in [[0, 2], [0, 10], [2, 3]] {
            coming.take(&row);
        }
        assert!(coming.rows.is_empty() && coming.of.is_empty());
    }
}
