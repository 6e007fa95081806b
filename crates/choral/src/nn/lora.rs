//! Low-rank changes to matrices, for some rows of a step and not for others.
//!
//! `y = W x + b` becomes `W x + b + scale B (A x)` (Hu et al., 2021,
//! arXiv:2106.09685). The rows that an adapter changes are gathered, multiplied with
//! `A` and `B` by the kernels that multiply everything else, and added, one adapter
//! after the other in the order in which they were loaded. So what a row gets does
//! not depend on the rows beside it, and rows without an adapter cost nothing.
//!
//! [`LowRank`] is one adapter's change to one matrix, [`Adapted`] says which rows of
//! a step it is for. Neither knows files: see `model/adapter`.

use crate::engine::batch::{Batch, RowAdapter};
use choral_kernels::Compute;
use choral_kernels::matmul::{Activations, Input, PackedMatrix};
use std::ops::Range;

/// What one adapter changes about one (possibly fused) matrix.
#[derive(Debug)]
pub struct LowRank {
    /// Which adapter of the model's.
    pub(crate) adapter: u32,
    /// `[ranks, k]`: the `A` of all parts, one behind the other.
    pub(crate) a: PackedMatrix,
    pub(crate) parts: Vec<LowRankPart>,
}

/// What it changes about some of the outputs.
#[derive(Debug)]
pub(crate) struct LowRankPart {
    /// The rows of `a` that are its own.
    pub(crate) ranks: Range<usize>,
    /// `[n, rank]`.
    pub(crate) b: PackedMatrix,
    /// The first output that it changes.
    pub(crate) first: usize,
    pub(crate) scale: f32,
}

impl LowRank {
    /// What the products take, in floating point.
    pub(crate) fn input(&self) -> Input {
        self.a.inputs().float().expect("adapters are floats")
    }

    /// Bytes of packed weights.
    pub(crate) fn bytes(&self) -> usize {
        self.a.bytes() + self.parts.iter().map(|part| part.b.bytes()).sum::<usize>()
    }
}

/// The rows of a step that adapters change, and memory for doing it. Kept from step
/// to step.
#[derive(Debug, Default)]
pub struct Adapted {
    changes: Changes,
    /// Those of all rows, while `changes` are those of some.
    of_all: Changes,
    /// By adapter, then by row.
    uses: Vec<RowAdapter>,
    memory: Memory,
}

/// Which rows adapters change.
#[derive(Debug, Default)]
struct Changes {
    groups: Vec<Group>,
    /// Group after group, in each ascending.
    rows: Vec<u32>,
    /// By how much, a row.
    scales: Vec<f32>,
}

/// The rows of one adapter.
#[derive(Debug)]
struct Group {
    adapter: u32,
    members: Range<usize>,
}

/// Memory of one product after the other.
#[derive(Debug, Default)]
struct Memory {
    /// `[rows of a group, k]`.
    x: Activations,
    /// `[rows, ranks]`.
    low: Vec<f32>,
    low_x: Activations,
    /// `[rows, n]`.
    delta: Vec<f32>,
}

impl Changes {
    fn clear(&mut self) {
        self.groups.clear();
        self.rows.clear();
        self.scales.clear();
    }

    fn push(&mut self, row: usize, scale: f32) {
        self.rows.push(row as u32);
        self.scales.push(scale);
    }

    /// Ends the group of what was pushed since the last.
    fn close(&mut self, adapter: u32) {
        let first = self.groups.last().map_or(0, |group| group.members.end);
        let members = first..self.rows.len();
        if !members.is_empty() {
            self.groups.push(Group { adapter, members });
        }
    }

    /// The rows of an adapter, and its scale for each.
    fn of(&self, adapter: u32) -> Option<(&[u32], &[f32])> {
        let group = self.groups.iter().find(|group| group.adapter == adapter)?;
        let members = group.members.clone();
        Some((&self.rows[members.clone()], &self.scales[members]))
    }
}

impl Adapted {
    /// Takes up the tokens of a batch.
    pub(crate) fn begin(&mut self, batch: &Batch) {
        self.uses.clear();
        self.uses.extend_from_slice(&batch.adapters);
        self.uses.sort_unstable_by_key(|u| (u.adapter, u.row));
        self.changes.clear();
        for uses in self.uses.chunk_by(|a, b| a.adapter == b.adapter) {
            for u in uses {
                let row = u.row as usize;
                for token in batch.cu_tokens[row]..batch.cu_tokens[row + 1] {
                    self.changes.push(token as usize, u.scale);
                }
            }
            self.changes.close(uses[0].adapter);
        }
    }

    /// From now on products are of some of the rows: see [`select`](Self::select).
    pub(crate) fn begin_selection(&mut self) {
        std::mem::swap(&mut self.changes, &mut self.of_all);
    }

    /// The next products are of these rows of the step, in this order.
    pub(crate) fn select(&mut self, rows: impl Iterator<Item = u32> + Clone) {
        self.changes.clear();
        for group in &self.of_all.groups {
            let members = &self.of_all.rows[group.members.clone()];
            for (row, of_all) in rows.clone().enumerate() {
                if let Ok(at) = members.binary_search(&of_all) {
                    let scale = self.of_all.scales[group.members.start + at];
                    self.changes.push(row, scale);
                }
            }
            self.changes.close(group.adapter);
        }
    }

    /// From now on products are of all rows again.
    pub(crate) fn end_selection(&mut self) {
        std::mem::swap(&mut self.changes, &mut self.of_all);
    }

    /// Adds `change`, made of `x` (`[rows, k]`), to the rows of `out` (`[rows, width]`)
    /// that it is for.
    pub(crate) fn add(
        &mut self,
        compute: &Compute,
        change: &LowRank,
        x: &Activations,
        (out, width): (&mut [f32], usize),
    ) {
        let Some((rows, scales)) = self.changes.of(change.adapter) else {
            return;
        };
        let Memory {
            x: gathered,
            low,
            low_x,
            delta,
        } = &mut self.memory;
        gathered.gather(x, rows);
        let ranks = change.a.n();
        low.resize(rows.len() * ranks, 0.0);
        change.a.multiply(compute, gathered, low);
        for part in &change.parts {
            let (own, n) = (part.ranks.clone(), part.b.n());
            let shape = (rows.len(), own.len());
            low_x.fill(compute, part.b.inputs(), shape, |i, out| {
                out.copy_from_slice(&low[i * ranks..][own.clone()]);
            });
            delta.resize(rows.len() * n, 0.0);
            part.b.multiply(compute, low_x, delta);
            let delta = &delta[..];
            compute.rows_mut(out, width, |row, out| {
                let Ok(at) = rows.binary_search(&(row as u32)) else {
                    return;
                };
                let scale = part.scale * scales[at];
                let out = &mut out[part.first..][..n];
                for (out, delta) in out.iter_mut().zip(&delta[at * n..][..n]) {
                    *out += scale * delta;
                }
            });
        }
    }
}
