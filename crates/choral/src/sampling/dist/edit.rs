//! Changes to single logits: penalties, biases and bans.
//!
//! They work on whatever holds logits by token id ([`LogitRow`]): a full row, or
//! the [`Candidates`](super::Candidates) that a filter has left.

use crate::sampling::SampleError;

/// Logits that can be found by token id.
pub trait LogitRow {
    /// The logit of `token_id`; `None` if it is not (or no longer) there.
    fn logit_mut(&mut self, token_id: u32) -> Option<&mut f32>;
}

impl LogitRow for [f32] {
    fn logit_mut(&mut self, token_id: u32) -> Option<&mut f32> {
        self.get_mut(token_id as usize)
    }
}

/// How often each token occurs in a window of a sequence.
#[derive(Debug, Default, Clone)]
pub struct TokenCounts {
    /// `[vocab]`; 0 except for the tokens in `seen`.
    counts: Vec<u32>,
    /// The tokens that occur, each once, by first occurrence.
    seen: Vec<u32>,
}

impl TokenCounts {
    /// Forgets everything; the memory stays.
    pub fn clear(&mut self) {
        for &token_id in &self.seen {
            self.counts[token_id as usize] = 0;
        }
        self.seen.clear();
    }

    /// Counts `tokens`, on top of what was counted before.
    ///
    /// # Errors
    /// A token is not below `vocab_size`.
    pub fn add(&mut self, tokens: &[u32], vocab_size: usize) -> Result<(), SampleError> {
        if self.counts.len() < vocab_size {
            self.counts.resize(vocab_size, 0);
        }
        for &token_id in tokens {
            if token_id as usize >= vocab_size {
                return Err(SampleError::UnknownToken {
                    token_id,
                    vocab_size,
                });
            }
            let count = &mut self.counts[token_id as usize];
            if *count == 0 {
                self.seen.push(token_id);
            }
            *count += 1;
        }
        Ok(())
    }

    /// The tokens that occur and how often.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.seen
            .iter()
            .map(|&token_id| (token_id, self.counts[token_id as usize]))
    }
}

/// Hugging Face's repetition penalty (Keskar et al., 2019, made sign-aware):
/// divides positive and multiplies other logits of the tokens in `seen`, once
/// however often they occur.
pub fn repetition_penalty<R: LogitRow + ?Sized>(
    row: &mut R,
    seen: &TokenCounts,
    penalty: f32,
) -> Result<(), SampleError> {
    for (token_id, _) in seen.iter() {
        edit(row, token_id, "repetition_penalty", |logit| {
            if logit > 0.0 {
                logit / penalty
            } else {
                logit * penalty
            }
        })?;
    }
    Ok(())
}

/// OpenAI's penalties: subtracts `frequency` for each occurrence of a token and
/// `presence` once.
pub fn frequency_presence_penalty<R: LogitRow + ?Sized>(
    row: &mut R,
    seen: &TokenCounts,
    frequency: f32,
    presence: f32,
) -> Result<(), SampleError> {
    for (token_id, count) in seen.iter() {
        edit(row, token_id, "frequency_penalty", |logit| {
            logit - (count as f32 * frequency + presence)
        })?;
    }
    Ok(())
}

/// Adds to single logits.
pub fn logit_bias<R: LogitRow + ?Sized>(
    row: &mut R,
    biases: impl IntoIterator<Item = (u32, f32)>,
) -> Result<(), SampleError> {
    for (token_id, bias) in biases {
        edit(row, token_id, "logit_bias", |logit| logit + bias)?;
    }
    Ok(())
}

/// Sets logits to -inf.
pub fn ban<R: LogitRow + ?Sized>(row: &mut R, token_ids: impl IntoIterator<Item = u32>) {
    for token_id in token_ids {
        if let Some(logit) = row.logit_mut(token_id) {
            *logit = f32::NEG_INFINITY;
        }
    }
}

/// The tokens that would complete an `n`-gram that occurs in `tokens` already
/// (Hugging Face's `no_repeat_ngram_size`); none for an `n` of 0.
pub fn repeated_ngrams(tokens: &[u32], n: usize) -> impl Iterator<Item = u32> + '_ {
    let prefix_len = n.saturating_sub(1);
    let prefix = last(tokens, Some(prefix_len));
    let is_possible = n > 0 && prefix.len() == prefix_len;
    // `windows` wants a size above 0; where it does not matter, 1 will do.
    tokens.windows(n.max(1)).filter_map(move |ngram| {
        let (last, before) = ngram.split_last()?;
        (is_possible && before == prefix).then_some(*last)
    })
}

/// The last `last_n` tokens; all of them without a limit.
pub fn last(tokens: &[u32], last_n: Option<usize>) -> &[u32] {
    let keep = last_n.unwrap_or(tokens.len()).min(tokens.len());
    &tokens[tokens.len() - keep..]
}

/// Applies `change`; finite logits must stay finite, -inf stays -inf.
fn edit<R: LogitRow + ?Sized>(
    row: &mut R,
    token_id: u32,
    field: &'static str,
    change: impl FnOnce(f32) -> f32,
) -> Result<(), SampleError> {
    let Some(logit) = row.logit_mut(token_id) else {
        return Ok(());
    };
    if logit.is_finite() {
        let value = change(*logit);
        if !value.is_finite() {
            return Err(SampleError::Overflow {
                token_id,
                value,
                field,
            });
        }
        *logit = value;
    }
    Ok(())
}
