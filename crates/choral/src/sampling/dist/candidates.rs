//! The tokens that may still be drawn, and their probabilities.
//!
//! [`Candidates`] always lie in ascending order of their ids; a filter finds a
//! boundary and removes what lies beyond it. So there is nothing to keep sorted,
//! sums have one order, and a draw walks the ids upwards whatever was filtered.

use super::edit::LogitRow;
use super::filter::Filter;
use super::select::{self, Entry, Weighed};
use crate::sampling::SampleError;
use crate::sampling::explog::{SUM_BLOCK, exp_nonpositive, ln, sum, sum_block};

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
    entries: Vec<Entry>,
    /// Divides the logits, in f64 and only when they are used: an exact order
    /// is kept, for two different `f32` never divide to the same `f64`.
    temperature: f64,
    /// The largest logit.
    max: f32,
    /// `[entries]`: e^((logit - max) / temperature). Empty: not computed.
    weights: Vec<f64>,
    /// Memory of the filters.
    best: Vec<Entry>,
    weighed: Vec<Weighed>,
}

impl Default for Candidates {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            temperature: 1.0,
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
        self.clear();
        self.entries.resize(logits.len(), Entry::default());
        let mut kept = 0;
        for (id, &logit) in logits.iter().enumerate() {
            self.entries[kept] = Entry {
                id: id as u32,
                logit,
            };
            kept += usize::from(logit > f32::NEG_INFINITY);
        }
        self.entries.truncate(kept);
        self.finish(logits.len())
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
        self.clear();
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
        self.clear();
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
            let value = (f64::from(entry.logit) / self.temperature) as f32;
            if !value.is_finite() {
                return Err(SampleError::Overflow {
                    token_id: entry.id,
                    value,
                    field: "temperature",
                });
            }
            entry.logit = value;
        }
        self.temperature = 1.0;
        self.weights.clear();
        change(&mut Remaining(&mut self.entries))?;
        self.entries.retain(|entry| entry.logit > f32::NEG_INFINITY);
        self.finish(vocab_size)
    }

    fn clear(&mut self) {
        self.entries.clear();
        self.weights.clear();
        self.temperature = 1.0;
    }

    fn finish(&mut self, vocab_size: usize) -> Result<(), SampleError> {
        self.find_max();
        if self.entries.is_empty() {
            return Err(SampleError::NothingLeft { vocab_size });
        }
        Ok(())
    }

    fn find_max(&mut self) {
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
        match filter {
            Filter::Temperature(temperature) => self.divide_by(temperature),
            Filter::TopK(k) => self.keep_top_k(k as usize),
            Filter::TopP(p) => self.keep_top_p(f64::from(p)),
            Filter::MinP(p) => self.keep_min_p(f64::from(p)),
            Filter::Typical(p) => self.keep_typical(f64::from(p)),
            Filter::Epsilon(cutoff) => self.keep_likely(f64::from(cutoff)),
            Filter::Eta(cutoff) => self.keep_eta(f64::from(cutoff)),
        }
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

    fn divide_by(&mut self, temperature: f32) {
        let temperature = self.temperature * f64::from(temperature);
        if temperature > 0.0 {
            self.temperature = temperature;
            self.weights.clear();
        } else {
            let best = self.argmax();
            self.retain(|entry, _| entry.id == best);
        }
    }

    fn keep_top_k(&mut self, k: usize) {
        if k == 0 || k >= self.entries.len() {
            return;
        }
        self.best.clear();
        self.best.extend_from_slice(&self.entries);
        let (_, worst, _) = self.best.select_nth_unstable_by(k - 1, select::best_first);
        let worst = *worst;
        self.retain(|entry, _| select::best_first(entry, &worst).is_le());
    }

    fn keep_top_p(&mut self, p: f64) {
        if p >= 1.0 || self.entries.len() == 1 {
            return;
        }
        let p = p.max(0.0);
        let total = self.total();
        // The tokens lighter than (1 - p) total / n weigh less than
        // (1 - p) total together, so none of them is in the nucleus. Half of
        // that leaves room for rounding.
        let negligible = (1.0 - p) * total / (2.0 * self.entries.len() as f64);
        self.weighed.clear();
        for (entry, &weight) in self.entries.iter().zip(&self.weights) {
            if weight >= negligible {
                self.weighed.push(Weighed {
                    key: -f64::from(entry.logit),
                    id: entry.id,
                    weight,
                });
            }
        }
        let last = select::crossing(&mut self.weighed, p * total);
        self.retain(|entry, _| last.reaches(-f64::from(entry.logit), entry.id));
    }

    fn keep_min_p(&mut self, p: f64) {
        if p.is_nan() || p <= 0.0 {
            return;
        }
        // p(token) >= p p(max), by logits: no softmax is needed.
        let bar = ln(p.min(1.0));
        let (max, temperature) = (self.max, self.temperature);
        self.retain(|entry, _| scaled(entry.logit, max, temperature) >= bar);
    }

    fn keep_typical(&mut self, p: f64) {
        if p >= 1.0 || self.entries.len() == 1 {
            return;
        }
        let p = p.max(0.0);
        // With s = ln p(token) + const, the distance of the surprise -ln p from
        // the entropy is |E[s] - s|: the constant cancels, no logarithm needed.
        let total = self.total();
        let mean = self.mean_scaled(total);
        let (max, temperature) = (self.max, self.temperature);
        let distance = |entry: &Entry| (scaled(entry.logit, max, temperature) - mean).abs();
        self.weighed.clear();
        for (entry, &weight) in self.entries.iter().zip(&self.weights) {
            self.weighed.push(Weighed {
                key: distance(entry),
                id: entry.id,
                weight,
            });
        }
        let last = select::crossing(&mut self.weighed, p * total);
        self.retain(|entry, _| last.reaches(distance(entry), entry.id));
        // Alone among the filters this one can remove the likeliest token.
        self.find_max();
        self.weights.clear();
    }

    fn keep_likely(&mut self, cutoff: f64) {
        let bar = cutoff * self.total();
        let best = self.argmax();
        self.retain(|entry, weight| weight >= bar || entry.id == best);
    }

    fn keep_eta(&mut self, cutoff: f64) {
        if cutoff.is_nan() || cutoff <= 0.0 {
            return;
        }
        let total = self.total();
        let entropy = ln(total) - self.mean_scaled(total);
        let bar = cutoff.min(cutoff.sqrt() * exp_nonpositive(-entropy.max(0.0)));
        self.keep_likely(bar);
    }

    /// The mean of (logit - max) / temperature under the distribution.
    fn mean_scaled(&self, total: f64) -> f64 {
        let mut mean = 0.0;
        for (entry, weight) in self.entries.iter().zip(&self.weights) {
            mean += weight * scaled(entry.logit, self.max, self.temperature);
        }
        mean / total
    }

    /// Sum of the weights, which it computes if a filter has outdated them.
    fn total(&mut self) -> f64 {
        if self.weights.len() != self.entries.len() {
            let (max, temperature) = (self.max, self.temperature);
            self.weights.clear();
            self.weights.extend(
                self.entries
                    .iter()
                    .map(|entry| exp_nonpositive(scaled(entry.logit, max, temperature))),
            );
        }
        sum(&self.weights)
    }

    /// Keeps what `keep(entry, weight)` says, in order; the weight is 0 if
    /// weights are not computed.
    fn retain(&mut self, keep: impl Fn(&Entry, f64) -> bool) {
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
fn scaled(logit: f32, max: f32, temperature: f64) -> f64 {
    (f64::from(logit) - f64::from(max)) / temperature
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
