//! Picks the best few of many without sorting them all.
//!
//! Everything here is ordered by (key, lower id first), which is a total order,
//! so the result does not depend on the algorithm.

use std::cmp::Ordering;

/// A token and its logit.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Entry {
    pub(crate) id: u32,
    pub(crate) logit: f32,
}

/// Best first: higher logit, then lower id.
#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that sorting wants"
)]
pub(crate) fn best_first(a: &Entry, b: &Entry) -> Ordering {
    // No NaN here: rows are checked first. `total_cmp` would tell -0 from 0.
    b.logit
        .partial_cmp(&a.logit)
        .unwrap_or(Ordering::Equal)
        .then(a.id.cmp(&b.id))
}

/// Logits looked at together: their maximum decides whether any is of interest.
const CHUNK: usize = 64;

/// Puts the `k` best of `logits` that are above -inf into `best`, in no
/// particular order.
///
/// One pass: `best` collects up to about `2 k` and is then cut to `k`, whose
/// worst becomes the bar for all that follow. Most chunks of a long row fail it
/// as a whole.
pub(crate) fn top_k_of_row(logits: &[f32], k: usize, best: &mut Vec<Entry>) {
    best.clear();
    if k == 0 {
        return;
    }
    let capacity = k.saturating_mul(2).clamp(64, logits.len().max(64));
    // A later token has the higher id, so it must be strictly better.
    let mut bar = f32::NEG_INFINITY;
    for (chunk_index, chunk) in logits.chunks(CHUNK).enumerate() {
        if max(chunk) <= bar {
            continue;
        }
        let first_id = (chunk_index * CHUNK) as u32;
        for (offset, &logit) in chunk.iter().enumerate() {
            if logit > bar {
                let id = first_id + offset as u32;
                best.push(Entry { id, logit });
            }
        }
        if best.len() > k && best.len() + CHUNK > capacity {
            cut_to(best, k);
            bar = best[k - 1].logit;
        }
    }
    if best.len() > k {
        cut_to(best, k);
    }
}

/// Keeps the `k` best (`1 <= k < entries.len()`); the worst of them comes last.
fn cut_to(entries: &mut Vec<Entry>, k: usize) {
    entries.select_nth_unstable_by(k - 1, best_first);
    entries.truncate(k);
}

/// The largest of `values`, -inf for none; compiles to vector maxima.
pub(crate) fn max(values: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; 16];
    let (sixteens, rest) = values.as_chunks::<16>();
    for sixteen in sixteens {
        for (lane, &value) in lanes.iter_mut().zip(sixteen) {
            *lane = if value > *lane { value } else { *lane };
        }
    }
    for (lane, &value) in lanes.iter_mut().zip(rest) {
        *lane = if value > *lane { value } else { *lane };
    }
    lanes
        .into_iter()
        .fold(f32::NEG_INFINITY, |a, b| if b > a { b } else { a })
}

/// A token, what it is ordered by (lower first), and its share of the mass.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weighed {
    pub(crate) key: f64,
    pub(crate) id: u32,
    pub(crate) weight: f64,
}

impl Weighed {
    fn order(a: &Self, b: &Self) -> Ordering {
        a.key
            .partial_cmp(&b.key)
            .unwrap_or(Ordering::Equal)
            .then(a.id.cmp(&b.id))
    }

    /// Whether `(key, id)` comes no later than this.
    pub(crate) fn reaches(&self, key: f64, id: u32) -> bool {
        key < self.key || (key == self.key && id <= self.id)
    }
}

/// Below this many, sorting is as fast as halving.
const SORTED: usize = 64;

/// The token with which the shortest prefix, in order of (key, id), weighs at
/// least `target`; the last one if none does. `items` must not be empty; it is
/// reordered.
///
/// Halves `items` at the median again and again and follows the half that holds
/// the crossing: linear time in all.
pub(crate) fn crossing(items: &mut [Weighed], target: f64) -> Weighed {
    let mut items = items;
    let mut before = 0.0;
    while items.len() > SORTED {
        let half = items.len() / 2;
        items.select_nth_unstable_by(half - 1, Weighed::order);
        let (first, second) = items.split_at_mut(half);
        let reached = before + first.iter().map(|item| item.weight).sum::<f64>();
        if reached >= target {
            items = first;
        } else {
            before = reached;
            items = second;
        }
    }
    items.sort_unstable_by(Weighed::order);
    for item in items.iter() {
        before += item.weight;
        if before >= target {
            return *item;
        }
    }
    *items.last().expect("callers pass at least one item")
}
