//! Where patches stand: their order, and the learned table stretched over a grid.

/// Height and width of patch `index` of a grid `columns` patches wide, in the order that
/// encoders take them: blocks of `merge` by `merge` patches row after row, and in a block
/// row after row.
pub(super) fn place(index: usize, columns: usize, merge: usize) -> (usize, usize) {
    let (block, inner) = (index / (merge * merge), index % (merge * merge));
    let blocks = columns / merge;
    (
        block / blocks * merge + inner / merge,
        block % blocks * merge + inner % merge,
    )
}

/// A learned vector for each place of a square, `[side, side, width]`.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) values: Vec<f32>,
    pub(super) side: usize,
    pub(super) width: usize,
}

impl Table {
    /// Adds to `out` the vector at patch `place` of a grid of `grid` patches, height
    /// first in both: bicubic, with the edge's vectors beyond the edge.
    ///
    /// Source: `Glm4vVisionEmbeddings` of transformers, which is torch's `grid_sample`
    /// with `align_corners` off and border padding.
    pub(super) fn add(&self, place: (usize, usize), grid: (usize, usize), out: &mut [f32]) {
        let (rows, row_weights) = self.taps(place.0, grid.0);
        let (columns, column_weights) = self.taps(place.1, grid.1);
        for (&row, row_weight) in rows.iter().zip(row_weights) {
            for (&column, column_weight) in columns.iter().zip(column_weights) {
                let at = (row * self.side + column) * self.width;
                let weight = row_weight * column_weight;
                let values = &self.values[at..][..self.width];
                for (out, value) in out.iter_mut().zip(values) {
                    *out += weight * value;
                }
            }
        }
    }

    /// The four places along a side that patch `at` of `of` takes part of, and how much.
    fn taps(&self, at: usize, of: usize) -> ([usize; 4], [f32; 4]) {
        let side = self.side as f32;
        // The patch's middle in -1..1, and back in places of the table.
        let middle = (at as f32 + 0.5) / of as f32 * 2.0 - 1.0;
        let position = ((middle + 1.0) * side - 1.0) / 2.0;
        let floor = position.floor();
        let last = self.side as isize - 1;
        let places = [-1, 0, 1, 2].map(|i| (floor as isize + i).clamp(0, last) as usize);
        (places, cubic(position - floor))
    }
}

/// Weights of the two points before and the two behind a point that lies `t` behind the
/// second: cubic convolution (Keys, 1981) with torch's `a`.
fn cubic(t: f32) -> [f32; 4] {
    const A: f32 = -0.75;
    let near = |x: f32| ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0;
    let far = |x: f32| ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A;
    [far(t + 1.0), near(t), near(1.0 - t), far(2.0 - t)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_come_in_blocks() {
        let places: Vec<_> = (0..16).map(|i| place(i, 4, 2)).collect();
        let block = |h, w| [(h, w), (h, w + 1), (h + 1, w), (h + 1, w + 1)];
        let expected = [block(0, 0), block(0, 2), block(2, 0), block(2, 2)].concat();
        assert_eq!(places, expected);
    }

    fn sampled(table: &Table, grid: (usize, usize)) -> Vec<f32> {
        let places = (0..grid.0).flat_map(|h| (0..grid.1).map(move |w| (h, w)));
        places
            .map(|place| {
                let mut out = [0.0];
                table.add(place, grid, &mut out);
                out[0]
            })
            .collect()
    }

    #[test]
    fn a_grid_of_the_tables_size_is_the_table() {
        let values: Vec<f32> = (0..49).map(|i| (i * i % 23) as f32).collect();
        let table = Table {
            values: values.clone(),
            side: 7,
            width: 1,
        };
        for (found, want) in sampled(&table, (7, 7)).iter().zip(values) {
            assert!((found - want).abs() < 1e-4, "{found} for {want}");
        }
    }

    /// `torch.nn.functional.grid_sample` of the 3 by 3 table below, as
    /// `Glm4vVisionEmbeddings` calls it, for 2 by 5 patches.
    #[test]
    fn a_stretched_table_is_what_torch_makes_of_it() {
        let table = Table {
            values: vec![1.0, -2.0, 3.0, 0.5, 4.0, -1.0, 2.0, 0.0, -3.0],
            side: 3,
            width: 1,
        };
        let want = [
            0.962_047_16,
            0.124_585_58,
            -0.5,
            1.034_358_5,
            2.419_812_4,
            1.693_016_2,
            1.712_663_8,
            1.117_187_5,
            -1.249_108_4,
            -3.052_75,
        ];
        for (found, want) in sampled(&table, (2, 5)).iter().zip(want) {
            assert!((found - want).abs() < 1e-5, "{found} for {want}");
        }
    }
}
