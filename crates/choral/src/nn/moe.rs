//! Feed-forward parts of experts, of which each token takes some.
//!
//! Rows that chose the same expert run through it together. What a token gets is the
//! sum of its experts' answers in the order of their shares, each computed for its
//! row alone: so it does not depend on who else chose the expert.

use super::mlp::{Mlp, MlpScratch};
use super::{Linear, add};
use crate::sampling::exp_nonpositive;
use choral_kernels::Compute;
use choral_kernels::matmul::Activations;

/// Experts and the router that chooses among them.
#[derive(Debug)]
pub struct Moe {
    /// `[experts, hidden]`, in f32.
    pub(crate) router: Linear,
    pub(crate) experts: Vec<Mlp>,
    /// One that all tokens go through.
    pub(crate) shared: Option<SharedExpert>,
    /// Experts that a token goes through.
    pub(crate) num_chosen: usize,
    /// Whether the shares of the chosen are made to sum to 1.
    pub(crate) normalised: bool,
}

/// An expert that all tokens go through, each to the share that a sigmoid gives it.
#[derive(Debug)]
pub struct SharedExpert {
    pub(crate) router: Linear,
    pub(crate) mlp: Mlp,
}

/// Memory of a step, kept for the next.
#[derive(Debug, Default)]
pub struct MoeScratch {
    x: Activations,
    mlp: MlpScratch,
    /// `[rows, experts]`, then their shares.
    shares: Vec<f32>,
    /// `[rows, chosen]`.
    chosen: Vec<Choice>,
    /// Rows and their places among the chosen, by expert.
    visits: Vec<Visit>,
    /// What one expert says to its rows.
    answer: Vec<f32>,
    /// `[rows, chosen, hidden]`.
    answers: Vec<f32>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Choice {
    expert: u32,
    share: f32,
}

#[derive(Debug, Clone, Copy)]
struct Visit {
    expert: u32,
    row: u32,
    place: u32,
}

impl Moe {
    /// Bytes of packed weights.
    pub fn bytes(&self) -> usize {
        let shared = self.shared.as_ref();
        let shared = shared.map_or(0, |shared| shared.router.bytes() + shared.mlp.bytes());
        let experts = self.experts.iter().map(Mlp::bytes);
        self.router.bytes() + experts.sum::<usize>() + shared
    }

    /// Runs rows `[rows, hidden]`; `out` becomes `[rows, hidden]`.
    pub fn forward(
        &self,
        compute: &Compute,
        rows: (&[f32], usize),
        s: &mut MoeScratch,
        out: &mut Vec<f32>,
    ) {
        let (x, hidden) = rows;
        let num_rows = x.len() / hidden;
        let row = |r: usize| &x[r * hidden..][..hidden];
        s.x.fill(
            compute,
            self.router.inputs(),
            (num_rows, hidden),
            |r, out| {
                out.copy_from_slice(row(r));
            },
        );
        self.router.forward(compute, &s.x, &mut s.shares);
        self.choose(s, num_rows);

        s.answers.resize(num_rows * self.num_chosen * hidden, 0.0);
        let MoeScratch {
            x: input,
            mlp,
            visits,
            answer,
            answers,
            ..
        } = s;
        for visits in visits.chunk_by(|a, b| a.expert == b.expert) {
            let expert = &self.experts[visits[0].expert as usize];
            let shape = (visits.len(), hidden);
            input.fill(compute, expert.inputs(), shape, |i, out| {
                out.copy_from_slice(row(visits[i].row as usize));
            });
            expert.forward(compute, input, mlp, answer);
            for (visit, answer) in visits.iter().zip(answer.chunks_exact(hidden)) {
                let at = visit.row as usize * self.num_chosen + visit.place as usize;
                answers[at * hidden..][..hidden].copy_from_slice(answer);
            }
        }

        out.resize(num_rows * hidden, 0.0);
        let (chosen, answers, num_chosen) = (&s.chosen, &s.answers, self.num_chosen);
        compute.rows_mut(out, hidden, |r, out| {
            out.fill(0.0);
            let first = r * num_chosen;
            for at in first..first + num_chosen {
                let share = chosen[at].share;
                for (out, answer) in out.iter_mut().zip(&answers[at * hidden..][..hidden]) {
                    *out += share * answer;
                }
            }
        });
        if let Some(shared) = &self.shared {
            shared.add_to(compute, rows, s, out);
        }
    }

    /// Turns router logits into choices, and sorts them by expert.
    fn choose(&self, s: &mut MoeScratch, num_rows: usize) {
        let num_experts = self.experts.len();
        s.chosen.clear();
        s.visits.clear();
        for (row, logits) in s
            .shares
            .chunks_exact_mut(num_experts)
            .take(num_rows)
            .enumerate()
        {
            softmax(logits);
            let first = s.chosen.len();
            for place in 0..self.num_chosen {
                // The largest that is left, of equals the first. NaN is never larger:
                // such a row takes the experts in order, and its answer is NaN.
                let taken = &s.chosen[first..];
                let is_left = |e: &usize| taken.iter().all(|c| c.expert as usize != *e);
                let best = (0..num_experts)
                    .filter(is_left)
                    .reduce(|a, b| if logits[b] > logits[a] { b } else { a })
                    .expect("no more are chosen than there are");
                s.chosen.push(Choice {
                    expert: best as u32,
                    share: logits[best],
                });
                s.visits.push(Visit {
                    expert: best as u32,
                    row: row as u32,
                    place: place as u32,
                });
            }
            if self.normalised {
                let sum: f32 = s.chosen[first..].iter().map(|c| c.share).sum();
                for choice in &mut s.chosen[first..] {
                    choice.share /= sum;
                }
            }
        }
        s.visits.sort_unstable_by_key(|v| (v.expert, v.row));
    }
}

impl SharedExpert {
    fn add_to(
        &self,
        compute: &Compute,
        (x, hidden): (&[f32], usize),
        s: &mut MoeScratch,
        out: &mut [f32],
    ) {
        let shape = (x.len() / hidden, hidden);
        let row = |r: usize, out: &mut [f32]| out.copy_from_slice(&x[r * hidden..][..hidden]);
        s.x.fill(compute, self.router.inputs(), shape, row);
        self.router.forward(compute, &s.x, &mut s.shares);
        s.x.fill(compute, self.mlp.inputs(), shape, row);
        self.mlp.forward(compute, &s.x, &mut s.mlp, &mut s.answer);
        let (shares, answer) = (&s.shares, &mut s.answer);
        for (share, answer) in shares.iter().zip(answer.chunks_exact_mut(hidden)) {
            let share = sigmoid(*share);
            for x in answer {
                *x *= share;
            }
        }
        let answer = &s.answer;
        compute.rows_mut(out, hidden, |r, out| {
            add(out, &answer[r * hidden..][..hidden]);
        });
    }
}

/// Shares that sum to 1, in one fixed order of sums.
fn softmax(logits: &mut [f32]) {
    let max = logits
        .iter()
        .fold(f32::NEG_INFINITY, |a, &b| if b > a { b } else { a });
    let mut sum = 0.0_f32;
    for x in logits.iter_mut() {
        *x = exp(*x - max);
        sum += *x;
    }
    for x in logits.iter_mut() {
        *x /= sum;
    }
}

fn sigmoid(x: f32) -> f32 {
    let e = exp(-x.abs());
    if x < 0.0 {
        e / (1.0 + e)
    } else {
        1.0 / (1.0 + e)
    }
}

/// `e^x` for `x <= 0`, the same on every machine.
fn exp(x: f32) -> f32 {
    exp_nonpositive(f64::from(x)) as f32
}

#[cfg(test)]
mod tests;
