//! The tokens that may still be drawn, and their probabilities.
//!
//! [`Candidates`] always lie in ascending order of their ids; a filter finds a
//! boundary and removes what lies beyond it. So there is nothing to keep sorted,
//! sums have one order, and a draw walks the ids upwards whatever was filtered.

use super::edit::LogitRow;
use super::filter::Filter;
use super::select::{self, Entry, Weighed};
use crate::sampling::SampleError;
use crate::sampling::explog::{SUM_BLOCK, exp_nonpositive, sum, sum_block};

/// The tokens that may still be drawn.
///
/// Never empty after a successful `fill*`: filters always leave one token.
///
/// ```
/// use choral::sampling::dist::{Candidates, Filter};
///
/// let mut candidates = Candidates::from_logits(&[1.0, 3.0, 2.0, -1.0])?;
/// candidates.apply(Filter::Temperature(0.5));
/// candidates.apply(Filter::TopK(2));
/// assert_eq!(candidates.ids().collect::<Vec<_>>(), [1, 2]);
/// // A gap of 1 at temperature 0.5: odds of e^2 to 1.
/// let probabilities: Vec<f64> = candidates.probabilities().collect();
/// assert!((probabilities[0] / probabilities[1] - 2f64.exp()).abs() < 1e-9);
/// assert_eq!(candidates.draw(0.0), 1);
/// # Ok::<(), choral::sampling::SampleError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Candidates {
    /// Ascending ids, logits finite.
    pub(super) entries: Vec<Entry>,
    /// Multiplies the logits, in f64 and only when they are used. So their
    /// order is kept exactly: the products of two different `f32` differ.
    pub(super) inverse_temperature: f64,
    /// The largest logit.
    pub(super) max: f32,
    /// `[entries]`: e^((logit - max) * inverse temperature). Empty: not computed.
    pub(super) weights: Vec<f64>,
    /// Memory of the filters.
    pub(super) best: Vec<Entry>,
    pub(super) weighed: Vec<Weighed>,
}

impl Default for Candidates {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            inverse_temperature: 1.0,
            max: f32::NEG_INFINITY,
            weights: Vec::new(),
            best: Vec::new(),
            weighed: Vec::new(),
        }
    }
}

impl Candidates {
    /// All tokens of a row of logits that are above -inf.
    ///
    /// # Errors
    /// A logit is NaN or +inf, or all are -inf.
    pub fn from_logits(logits: &[f32]) -> Result<Self, SampleError> {
        let mut candidates = Self::default();
        candidates.fill(logits)?;
        Ok(candidates)
    }

    /// [`from_logits`](Self::from_logits) into existing memory.
    pub fn fill(&mut self, logits: &[f32]) -> Result<(), SampleError> {
        check_row(logits)?;
        self.fill_checked(logits)
    }

    /// [`fill`](Self::fill) followed by [`Filter::TopK`], without looking at
    /// most tokens twice. A `k` of 0 keeps all.
    pub fn fill_top_k(&mut self, logits: &[f32], k: usize) -> Result<(), SampleError> {
        check_row(logits)?;
        self.fill_top_k_checked(logits, k)
    }

    /// [`fill`](Self::fill) for a row that [`check_row`] has passed.
    pub(crate) fn fill_checked(&mut self, logits: &[f32]) -> Result<(), SampleError> {
        self.clear(logits.len());
        let entry = |(id, &logit): (usize, &f32)| Entry {
            id: id as u32,
            logit,
        };
        self.entries.extend(logits.iter().enumerate().map(entry));
        let is_gone = |logit: &f32| u32::from(*logit == f32::NEG_INFINITY);
        if logits.iter().map(is_gone).sum::<u32>() > 0 {
            self.entries.retain(|entry| entry.logit > f32::NEG_INFINITY);
        }
        // As `finish` does, but over the row: that is vectorised.
        self.max = select::max(logits);
        self.left(logits.len())
    }

    /// [`fill_top_k`](Self::fill_top_k) for a row that [`check_row`] has passed.
    pub(crate) fn fill_top_k_checked(
        &mut self,
        logits: &[f32],
        k: usize,
    ) -> Result<(), SampleError> {
        if k == 0 || k >= logits.len() {
            return self.fill_checked(logits);
        }
        self.clear(logits.len());
        select::top_k_of_row(logits, k, &mut self.entries);
        self.entries.sort_unstable_by_key(|entry| entry.id);
        self.finish(logits.len())
    }

    /// [`fill_checked`](Self::fill_checked) with the tokens in `ids` only, which
    /// must ascend.
    pub(crate) fn fill_only_checked(
        &mut self,
        logits: &[f32],
        ids: &[u32],
    ) -> Result<(), SampleError> {
        debug_assert!(ids.is_sorted_by(|a, b| a < b), "ids must ascend");
        let vocab_size = logits.len();
        self.clear(vocab_size);
        for &token_id in ids {
            let &logit = logits
                .get(token_id as usize)
                .ok_or(SampleError::UnknownToken {
                    token_id,
                    vocab_size,
                })?;
            if logit > f32::NEG_INFINITY {
                self.entries.push(Entry {
                    id: token_id,
                    logit,
                });
            }
        }
        self.finish(vocab_size)
    }

    /// Changes single logits (see [`edit`](super::edit)) of the tokens that are
    /// left, after the temperature so far has been divided into them, and
    /// removes tokens whose logits become -inf.
    ///
    /// # Errors
    /// What `change` returns; a logit divided by the temperature leaves the
    /// range of `f32`; no token is left.
    pub fn edit(
        &mut self,
        change: impl FnOnce(&mut Remaining<'_>) -> Result<(), SampleError>,
    ) -> Result<(), SampleError> {
        let vocab_size = self.entries.len();
        for entry in &mut self.entries {
            let value = (f64::from(entry.logit) * self.inverse_temperature) as f32;
            if !value.is_finite() {
                return Err(SampleError::Overflow {
                    token_id: entry.id,
                    value,
                    field: "temperature",
                });
            }
            entry.logit = value;
        }
        self.inverse_temperature = 1.0;
        self.weights.clear();
        change(&mut Remaining(&mut self.entries))?;
        self.entries.retain(|entry| entry.logit > f32::NEG_INFINITY);
        self.finish(vocab_size)
    }

    /// Empties it, with room for all that a row of `vocab_size` can come to: how many
    /// tokens a filter leaves differs from step to step, and steps must not allocate.
    fn clear(&mut self, vocab_size: usize) {
        self.entries.clear();
        self.weights.clear();
        self.best.clear();
        self.weighed.clear();
        self.entries.reserve_exact(vocab_size);
        self.weights.reserve_exact(vocab_size);
        self.best.reserve_exact(vocab_size);
        self.weighed.reserve_exact(vocab_size);
        self.inverse_temperature = 1.0;
    }

    fn finish(&mut self, vocab_size: usize) -> Result<(), SampleError> {
        self.find_max();
        self.left(vocab_size)
    }

    fn left(&self, vocab_size: usize) -> Result<(), SampleError> {
        if self.entries.is_empty() {
            return Err(SampleError::NothingLeft { vocab_size });
        }
        Ok(())
    }

    pub(super) fn find_max(&mut self) {
        self.max = self.entries.iter().fold(f32::NEG_INFINITY, |max, entry| {
            if entry.logit > max { entry.logit } else { max }
        });
    }

    /// How many tokens are left.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is left: before the first `fill` only.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The ids that are left, ascending.
    pub fn ids(&self) -> impl ExactSizeIterator<Item = u32> + '_ {
        self.entries.iter().map(|entry| entry.id)
    }

    /// The probabilities of [`ids`](Self::ids), in their order; they sum to 1.
    pub fn probabilities(&mut self) -> impl ExactSizeIterator<Item = f64> + '_ {
        let total = self.total();
        self.weights.iter().map(move |weight| weight / total)
    }

    /// Narrows or reshapes the distribution.
    ///
    /// Probabilities that a filter looks at are those after all filters so far,
    /// normalised over what these have left.
    pub fn apply(&mut self, filter: Filter) {
        if self.is_empty() {
            return;
        }
        filter.narrow(self);
    }

    /// The likeliest token; of equals the lowest id.
    ///
    /// # Panics
    /// If there are no candidates.
    pub fn argmax(&self) -> u32 {
        self.entries
            .iter()
            .find(|entry| entry.logit == self.max)
            .expect("candidates were filled")
            .id
    }

    /// The token at `u` (in `[0, 1)`) of the cumulative distribution over
    /// ascending ids: the first whose cumulative probability exceeds `u`.
    ///
    /// # Panics
    /// If there are no candidates.
    pub fn draw(&mut self, u: f64) -> u32 {
        let target = u * self.total();
        let mut cumulative = 0.0;
        let mut last_possible = None;
        for (index, block) in self.weights.chunks(SUM_BLOCK).enumerate() {
            let block_sum = sum_block(block);
            if cumulative + block_sum > target {
                let mut within = cumulative;
                for (offset, weight) in block.iter().enumerate() {
                    within += weight;
                    if *weight > 0.0 {
                        let drawn = self.entries[index * SUM_BLOCK + offset].id;
                        if within > target {
                            return drawn;
                        }
                        last_possible = Some(drawn);
                    }
                }
                // Rounding: the lanes' sum exceeded the target, the running sum
                // did not. The block's last token is the one meant.
                if let Some(drawn) = last_possible {
                    return drawn;
                }
            }
            cumulative += block_sum;
        }
        // Rounding once more, at the very end of the distribution.
        self.weights
            .iter()
            .rposition(|weight| *weight > 0.0)
            .map(|index| self.entries[index].id)
            .expect("candidates were filled, and the likeliest weighs 1")
    }

    /// The mean of (logit - max) / temperature under the distribution.
    pub(super) fn mean_scaled(&self, total: f64) -> f64 {
        let mut mean = 0.0;
        for (entry, weight) in self.entries.iter().zip(&self.weights) {
            // Without the condition, 0 times an infinite distance is NaN.
            if *weight > 0.0 {
                mean += weight * scaled(entry.logit, self.max, self.inverse_temperature);
            }
        }
        mean / total
    }

    /// Sum of the weights, which it computes if a filter has outdated them.
    pub(super) fn total(&mut self) -> f64 {
        if self.weights.len() != self.entries.len() {
            let (max, inverse) = (self.max, self.inverse_temperature);
            self.weights.clear();
            self.weights.extend(
                self.entries
                    .iter()
                    .map(|entry| exp_nonpositive(scaled(entry.logit, max, inverse))),
            );
        }
        sum(&self.weights)
    }

    /// Keeps what `keep(entry, weight)` says, in order; the weight is 0 if
    /// weights are not computed.
    pub(super) fn retain(&mut self, keep: impl Fn(&Entry, f64) -> bool) {
        let has_weights = self.weights.len() == self.entries.len();
        let mut kept = 0;
        for index in 0..self.entries.len() {
            let entry = self.entries[index];
            let weight = if has_weights {
                self.weights[index]
            } else {
                0.0
            };
            if keep(&entry, weight) {
                self.entries[kept] = entry;
                if has_weights {
                    self.weights[kept] = weight;
                }
                kept += 1;
            }
        }
        self.entries.truncate(kept);
        self.weights.truncate(if has_weights { kept } else { 0 });
    }
}

/// The logits of the tokens that are left, while they are
/// [edited](Candidates::edit).
#[derive(Debug)]
pub struct Remaining<'a>(&'a mut [Entry]);

impl LogitRow for Remaining<'_> {
    fn logit_mut(&mut self, token_id: u32) -> Option<&mut f32> {
        let index = self
            .0
            .binary_search_by_key(&token_id, |entry| entry.id)
            .ok()?;
        Some(&mut self.0[index].logit)
    }
}

/// (logit - max) / temperature, at most 0.
pub(super) fn scaled(logit: f32, max: f32, inverse_temperature: f64) -> f64 {
    (f64::from(logit) - f64::from(max)) * inverse_temperature
}

/// Refuses a row with NaN or +inf.
pub(crate) fn check_row(logits: &[f32]) -> Result<(), SampleError> {
    // Written to be vectorised; the search for the culprit is the rare case.
    let mut good = [true; 16];
    let (sixteens, rest) = logits.as_chunks::<16>();
    for sixteen in sixteens {
        for (good, &logit) in good.iter_mut().zip(sixteen) {
            *good &= logit < f32::INFINITY;
        }
    }
    let is_good = |logit: &f32| *logit < f32::INFINITY;
    if good.contains(&false) || !rest.iter().all(is_good) {
        let culprit = logits.iter().position(|logit| !is_good(logit));
        if let Some(id) = culprit {
            return Err(SampleError::NotFinite {
                token_id: id as u32,
                value: logits[id],
            });
        }
    }
    Ok(())
}
