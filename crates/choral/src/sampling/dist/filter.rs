//! The filters: what they keep, and how they find it without sorting.

use super::candidates::{Candidates, scaled};
use super::select::{self, Entry, Weighed};
use crate::sampling::explog::{exp_nonpositive, ln};

/// One step that narrows or reshapes a distribution.
///
/// Every filter leaves at least one token, and breaks ties by the lower id. A
/// filter at its neutral value (given with each) changes nothing. Values are not
/// checked here; [`SamplingParams::validate`](crate::sampling::SamplingParams::validate)
/// and [`SamplingStrategy`](crate::sampling::SamplingStrategy) do that.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Filter {
    /// Divides the logits; 0 keeps the likeliest token only. Neutral: 1.
    Temperature(f32),
    /// Keeps the `k` likeliest. Neutral: 0.
    TopK(u32),
    /// Keeps the smallest set of likeliest tokens whose probabilities sum to at
    /// least `p`, the token that crosses it included (Holtzman et al., 2020).
    /// Neutral: 1.
    TopP(f32),
    /// Keeps tokens at least `p` times as likely as the likeliest
    /// (Nguyen et al., 2024). Neutral: 0.
    MinP(f32),
    /// Keeps the smallest set of tokens whose surprise is closest to the
    /// entropy and whose probabilities sum to at least `p` (Meister et al.,
    /// 2022). Neutral: 1.
    Typical(f32),
    /// Keeps tokens at least this likely (Hewitt et al., 2022). Neutral: 0.
    Epsilon(f32),
    /// Keeps tokens at least min(eta, sqrt(eta) e^-entropy) likely (Hewitt et
    /// al., 2022). Neutral: 0.
    Eta(f32),
}

impl Filter {
    /// Applies itself to candidates that are not empty.
    pub(super) fn narrow(self, candidates: &mut Candidates) {
        match self {
            Self::Temperature(temperature) => divide_by(candidates, temperature),
            Self::TopK(k) => keep_top_k(candidates, k as usize),
            Self::TopP(p) => keep_top_p(candidates, f64::from(p)),
            Self::MinP(p) => keep_min_p(candidates, f64::from(p)),
            Self::Typical(p) => keep_typical(candidates, f64::from(p)),
            Self::Epsilon(cutoff) => keep_likely(candidates, f64::from(cutoff)),
            Self::Eta(cutoff) => keep_eta(candidates, f64::from(cutoff)),
        }
    }
}

fn divide_by(candidates: &mut Candidates, temperature: f32) {
    let inverse = candidates.inverse_temperature / f64::from(temperature);
    if temperature > 0.0 && inverse.is_finite() {
        candidates.inverse_temperature = inverse;
        candidates.weights.clear();
    } else {
        let best = candidates.argmax();
        candidates.retain(|entry, _| entry.id == best);
    }
}

fn keep_top_k(candidates: &mut Candidates, k: usize) {
    if k == 0 || k >= candidates.entries.len() {
        return;
    }
    candidates.best.clear();
    candidates.best.extend_from_slice(&candidates.entries);
    let (_, worst, _) = candidates
        .best
        .select_nth_unstable_by(k - 1, select::best_first);
    let worst = *worst;
    candidates.retain(|entry, _| select::best_first(entry, &worst).is_le());
}

fn keep_top_p(candidates: &mut Candidates, p: f64) {
    if p >= 1.0 || candidates.entries.len() == 1 {
        return;
    }
    let p = p.max(0.0);
    let total = candidates.total();
    // By classes of similar weight, to look closer at one of them only. The
    // heaviest token is in class 0, so the class that is crossed is not empty.
    let mut masses = [0.0; NUM_CLASSES];
    for &weight in &candidates.weights {
        masses[class(weight)] += weight;
    }
    let (mut crossed, mut before) = (0, 0.0);
    while crossed < NUM_CLASSES - 1 && before + masses[crossed] < p * total {
        before += masses[crossed];
        crossed += 1;
    }
    candidates.weighed.clear();
    for (entry, &weight) in candidates.entries.iter().zip(&candidates.weights) {
        if class(weight) == crossed {
            candidates.weighed.push(Weighed {
                key: -f64::from(entry.logit),
                id: entry.id,
                weight,
            });
        }
    }
    let last = select::crossing(&mut candidates.weighed, p * total - before);
    candidates.retain(|entry, _| last.reaches(-f64::from(entry.logit), entry.id));
}

fn keep_min_p(candidates: &mut Candidates, p: f64) {
    if p.is_nan() || p <= 0.0 {
        return;
    }
    // p(token) >= p p(max), by logits: no softmax is needed.
    let bar = ln(p.min(1.0));
    let (max, inverse) = (candidates.max, candidates.inverse_temperature);
    candidates.retain(|entry, _| scaled(entry.logit, max, inverse) >= bar);
}

fn keep_typical(candidates: &mut Candidates, p: f64) {
    if p >= 1.0 || candidates.entries.len() == 1 {
        return;
    }
    let p = p.max(0.0);
    // With s = ln p(token) + const, the distance of the surprise -ln p from
    // the entropy is |E[s] - s|: the constant cancels, no logarithm needed.
    let total = candidates.total();
    let mean = candidates.mean_scaled(total);
    let (max, inverse) = (candidates.max, candidates.inverse_temperature);
    let distance = |entry: &Entry| (scaled(entry.logit, max, inverse) - mean).abs();
    candidates.weighed.clear();
    for (entry, &weight) in candidates.entries.iter().zip(&candidates.weights) {
        candidates.weighed.push(Weighed {
            key: distance(entry),
            id: entry.id,
            weight,
        });
    }
    let last = select::crossing(&mut candidates.weighed, p * total);
    candidates.retain(|entry, _| last.reaches(distance(entry), entry.id));
    // Alone among the filters this one can remove the likeliest token.
    candidates.find_max();
    candidates.weights.clear();
}

fn keep_likely(candidates: &mut Candidates, cutoff: f64) {
    let bar = cutoff * candidates.total();
    let best = candidates.argmax();
    candidates.retain(|entry, weight| weight >= bar || entry.id == best);
}

fn keep_eta(candidates: &mut Candidates, cutoff: f64) {
    if cutoff.is_nan() || cutoff <= 0.0 {
        return;
    }
    let total = candidates.total();
    let entropy = ln(total) - candidates.mean_scaled(total);
    let bar = cutoff.min(cutoff.sqrt() * exp_nonpositive(-entropy.max(0.0)));
    keep_likely(candidates, bar);
}

/// 32 powers of two in 32 classes each, and one class for all that is lighter.
const NUM_CLASSES: usize = 32 * CLASSES_PER_OCTAVE + 1;
const CLASSES_PER_OCTAVE: usize = 32;

/// Which class a weight in `[0, 1]` belongs to: 0 is the heaviest. Weights of
/// one class share their exponent and the first five bits of their mantissa.
fn class(weight: f64) -> usize {
    const SHIFT: u32 = f64::MANTISSA_DIGITS - 1 - CLASSES_PER_OCTAVE.ilog2();
    let lighter = 1f64.to_bits().saturating_sub(weight.to_bits()) >> SHIFT;
    (lighter as usize).min(NUM_CLASSES - 1)
}
