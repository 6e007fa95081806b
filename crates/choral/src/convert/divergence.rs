//! What a model lost: its predictions of a text beside those of another.
//!
//! Owns the measures. Runs both models side by side, a window of the text at a time,
//! so that no more than a few rows of logits are ever in memory.

use crate::engine::batch::{BLOCK_TOKENS, Batch, BlockId, ExecError, Executor, StepResult};

/// Tokens of a window: each is predicted from those before it in the window.
const WINDOW: usize = 512;

/// Tokens of a step: two rows of logits each, of 150 000 floats in large vocabularies.
const STEP: usize = 32;

/// How well two models predict a text. Logarithms are natural.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Divergence {
    /// Tokens that were predicted.
    pub tokens: usize,
    /// Perplexity of the first model, the source.
    pub source_perplexity: f64,
    /// That of the second.
    pub result_perplexity: f64,
    /// Mean over tokens of the Kullback-Leibler divergence of the second model's
    /// distribution from the first's, in nats.
    pub mean_kl: f64,
    /// Its largest value.
    pub max_kl: f64,
    /// Share of the tokens for which both models think the same one the likeliest.
    pub same_top: f64,
}

/// Why it could not be measured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DivergenceError {
    /// A step failed.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// The models do not have the same vocabulary.
    #[error("the models predict {source_size} and {result_size} tokens: expected the same number")]
    Vocabulary {
        /// The first one's.
        source_size: usize,
        /// The second one's.
        result_size: usize,
    },
    /// There is nothing to predict.
    #[error("expected a text of at least two tokens, found {0}")]
    TooShort(usize),
    /// A token that the models do not have.
    #[error("token {0} is outside the vocabulary")]
    Token(u32),
    /// A model's cache is of groups of layers: it was made for longer texts.
    #[error("expected a cache of one group of layers, found {0}")]
    Groups(usize),
    /// A model's cache is too small.
    #[error("expected a cache of {expected} blocks, found {found}")]
    Cache {
        /// Blocks needed.
        expected: usize,
        /// Blocks there.
        found: usize,
    },
}

impl Divergence {
    /// Tokens of a window: the longest text that a model is asked to continue.
    pub const CONTEXT: usize = WINDOW;

    /// Blocks of keys and values that a measurement needs of each model.
    pub const BLOCKS: usize = WINDOW / BLOCK_TOKENS;
}

/// Compares two models on the tokens of a text. The first token of each window of 512
/// is given, the others are predicted.
///
/// # Errors
/// If the models have different vocabularies, a cache that is not one group of layers
/// (`KvLayout::whole`) with [`Divergence::BLOCKS`], or the text is too short.
pub fn divergence(
    source: &mut dyn Executor,
    result: &mut dyn Executor,
    tokens: &[u32],
    progress: &mut dyn FnMut(usize),
) -> Result<Divergence, DivergenceError> {
    let vocab = source.vocab_size();
    if vocab != result.vocab_size() {
        return Err(DivergenceError::Vocabulary {
            source_size: vocab,
            result_size: result.vocab_size(),
        });
    }
    if tokens.len() < 2 {
        return Err(DivergenceError::TooShort(tokens.len()));
    }
    if let Some(&token) = tokens.iter().find(|&&token| token as usize >= vocab) {
        return Err(DivergenceError::Token(token));
    }
    for executor in [&*source, &*result] {
        let groups = executor.kv_kinds().iter().map(|kind| kind.groups).sum();
        if groups != 1 {
            return Err(DivergenceError::Groups(groups));
        }
    }
    let found = source.num_blocks().min(result.num_blocks());
    if found < Divergence::BLOCKS {
        let expected = Divergence::BLOCKS;
        return Err(DivergenceError::Cache { expected, found });
    }
    let mut sums = Sums::default();
    let (mut a, mut b) = (StepResult::default(), StepResult::default());
    let mut batch = Batch::default();
    let blocks: Vec<BlockId> = (0..Divergence::BLOCKS as u32).map(BlockId).collect();
    for window in tokens.chunks(WINDOW).filter(|window| window.len() > 1) {
        // The last token is only predicted.
        for start in (0..window.len() - 1).step_by(STEP) {
            let end = (start + STEP).min(window.len() - 1);
            batch.clear();
            let held = end.div_ceil(BLOCK_TOKENS);
            batch.push_row([&window[start..end], &[]], start);
            batch.tables[0].block_ids.extend_from_slice(&blocks[..held]);
            batch.tables[0].end_row(0);
            batch.logit_tokens.extend(0..(end - start) as u32);
            source.forward(&batch, &mut a)?;
            result.forward(&batch, &mut b)?;
            let rows = a
                .logits
                .chunks_exact(vocab)
                .zip(b.logits.chunks_exact(vocab));
            for ((a, b), &next) in rows.zip(&window[start + 1..]) {
                sums.add(a, b, next as usize);
            }
            progress(sums.tokens);
        }
    }
    Ok(sums.finish())
}

#[derive(Default)]
struct Sums {
    tokens: usize,
    source: f64,
    result: f64,
    kl: f64,
    max_kl: f64,
    same_top: usize,
}

impl Sums {
    /// Takes in the logits of both models for one position, and the token that came.
    fn add(&mut self, a: &[f32], b: &[f32], next: usize) {
        let (log_a, log_b) = (log_sum_exp(a), log_sum_exp(b));
        let log_p = |x: f32| f64::from(x) - log_a;
        let log_q = |x: f32| f64::from(x) - log_b;
        let kl: f64 = a
            .iter()
            .zip(b)
            .map(|(&a, &b)| libm::exp(log_p(a)) * (log_p(a) - log_q(b)))
            // A token that is impossible for the source does not count.
            .filter(|term| !term.is_nan())
            .sum();
        // Rounding makes the divergence of equal models a little negative.
        let kl = kl.max(0.0);
        self.tokens += 1;
        self.source -= log_p(a[next]);
        self.result -= log_q(b[next]);
        self.kl += kl;
        self.max_kl = self.max_kl.max(kl);
        self.same_top += usize::from(argmax(a) == argmax(b));
    }

    fn finish(&self) -> Divergence {
        let n = self.tokens as f64;
        Divergence {
            tokens: self.tokens,
            source_perplexity: libm::exp(self.source / n),
            result_perplexity: libm::exp(self.result / n),
            mean_kl: self.kl / n,
            max_kl: self.max_kl,
            same_top: self.same_top as f64 / n,
        }
    }
}

fn log_sum_exp(logits: &[f32]) -> f64 {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let max = f64::from(max);
    let sum: f64 = logits.iter().map(|&x| libm::exp(f64::from(x) - max)).sum();
    max + libm::log(sum)
}

fn argmax(logits: &[f32]) -> Option<usize> {
    let by_value = |a: &(usize, &f32), b: &(usize, &f32)| a.1.total_cmp(b.1);
    logits.iter().enumerate().max_by(by_value).map(|(i, _)| i)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_does_not_diverge_from_itself_and_a_flat_one_by_known_amounts() {
        let certain = [0.0f32, 20.0];
        let flat = [3.0f32, 3.0];
        let mut same = Sums::default();
        same.add(&flat, &flat, 0);
        let same = same.finish();
        assert!((same.source_perplexity - 2.0).abs() < 1e-9 && same.mean_kl == 0.0);

        let mut sums = Sums::default();
        sums.add(&certain, &flat, 1);
        let found = sums.finish();
        // p = (e^-20, 1) nearly, q = (1/2, 1/2): KL is ln 2.
        assert!((found.mean_kl - 2f64.ln()).abs() < 1e-6);
        assert!((found.source_perplexity - 1.0).abs() < 1e-6);
        assert!((found.result_perplexity - 2.0).abs() < 1e-9);
    }
}
