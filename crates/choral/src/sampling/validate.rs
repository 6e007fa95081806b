//! Refuses sampling parameters that cannot be honoured.
//!
//! Runs once a request, before it is queued, so that nothing behind it has to
//! check again. Knows the width of the vocabulary and nothing else of the model.

use super::SamplingParams;
use std::fmt::Display;

/// A sampling parameter that cannot be honoured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` is {found}, expected {expected}")]
pub struct ParamError {
    field: &'static str,
    expected: String,
    found: String,
}

impl ParamError {
    /// Builds the error for parameter `field`.
    pub fn new(field: &'static str, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self {
            field,
            expected: expected.into(),
            found: found.into(),
        }
    }

    /// The parameter's name, as in [`SamplingParams`] and in JSON.
    pub fn field(&self) -> &'static str {
        self.field
    }

    /// What would have been accepted.
    pub fn expected(&self) -> &str {
        &self.expected
    }

    /// What was given.
    pub fn found(&self) -> &str {
        &self.found
    }
}

impl SamplingParams {
    /// Most answers that one request may ask for.
    ///
    /// Every choice is a sequence that the engine keeps; without a bound a
    /// single number in a request could ask for four thousand million of them.
    pub const MAX_N: u32 = 16_384;

    /// Checks every field against its range and against a vocabulary of
    /// `vocab_size` tokens (the width of a row of logits).
    ///
    /// # Errors
    /// The first field, in declaration order, that cannot be honoured.
    pub fn validate(&self, vocab_size: usize) -> Result<(), ParamError> {
        if self.n == 0 || self.n > Self::MAX_N {
            return Err(out_of_range("n", format!("1 to {}", Self::MAX_N), self.n));
        }
        if let Some(max) = self.max_tokens.filter(|max| *max < self.min_tokens) {
            let expected = format!("at most `max_tokens` ({max})");
            return Err(out_of_range("min_tokens", expected, self.min_tokens));
        }
        check(
            "temperature",
            self.temperature,
            "a finite number >= 0",
            |t| t >= 0.0,
        )?;
        check("top_p", self.top_p, "above 0 and at most 1", |p| {
            p > 0.0 && p <= 1.0
        })?;
        check("min_p", self.min_p, "0 to 1", |p| (0.0..=1.0).contains(&p))?;
        check("typical_p", self.typical_p, "above 0 and at most 1", |p| {
            p > 0.0 && p <= 1.0
        })?;
        check(
            "repetition_penalty",
            self.repetition_penalty,
            "a finite number above 0",
            |p| p > 0.0,
        )?;
        check(
            "frequency_penalty",
            self.frequency_penalty,
            "a finite number",
            |_| true,
        )?;
        check(
            "presence_penalty",
            self.presence_penalty,
            "a finite number",
            |_| true,
        )?;
        self.validate_tokens(vocab_size)?;
        if let Some(index) = self.stop.iter().position(String::is_empty) {
            return Err(ParamError::new(
                "stop",
                "non-empty strings",
                format!("an empty string at index {index}"),
            ));
        }
        for (field, wanted) in [
            ("logprobs", self.logprobs),
            ("prompt_logprobs", self.prompt_logprobs),
        ] {
            if let Some(wanted) = wanted.filter(|wanted| *wanted as usize > vocab_size) {
                let expected = format!("at most the vocabulary's size ({vocab_size})");
                return Err(out_of_range(field, expected, wanted));
            }
        }
        Ok(())
    }

    fn validate_tokens(&self, vocab_size: usize) -> Result<(), ParamError> {
        for (&id, &bias) in &self.logit_bias {
            check_id("logit_bias", id, vocab_size)?;
            if !bias.is_finite() {
                return Err(ParamError::new(
                    "logit_bias",
                    "finite numbers (`banned_token_ids` bans a token)",
                    format!("{bias} for token {id}"),
                ));
            }
        }
        let allowed = self.allowed_token_ids.as_deref();
        for (field, ids) in [
            ("allowed_token_ids", allowed.unwrap_or_default()),
            ("banned_token_ids", &self.banned_token_ids),
            ("stop_token_ids", &self.stop_token_ids),
        ] {
            for &id in ids {
                check_id(field, id, vocab_size)?;
            }
        }
        let Some(allowed) = allowed else {
            return Ok(());
        };
        if allowed.is_empty() {
            return Err(ParamError::new(
                "allowed_token_ids",
                "at least one token",
                "an empty list",
            ));
        }
        let mut banned = self.banned_token_ids.clone();
        banned.sort_unstable();
        if allowed.iter().all(|id| banned.binary_search(id).is_ok()) {
            return Err(ParamError::new(
                "allowed_token_ids",
                "at least one token that `banned_token_ids` leaves",
                "a list of banned tokens only",
            ));
        }
        Ok(())
    }
}

/// `accepts` need not consider NaN and infinities: they never pass.
fn check(
    field: &'static str,
    value: f32,
    expected: &str,
    accepts: impl Fn(f32) -> bool,
) -> Result<(), ParamError> {
    if value.is_finite() && accepts(value) {
        Ok(())
    } else {
        Err(out_of_range(field, expected, value))
    }
}

fn check_id(field: &'static str, id: u32, vocab_size: usize) -> Result<(), ParamError> {
    if (id as usize) < vocab_size {
        Ok(())
    } else {
        let expected = format!("token ids below the vocabulary's size ({vocab_size})");
        Err(out_of_range(field, expected, id))
    }
}

fn out_of_range(
    field: &'static str,
    expected: impl Into<String>,
    found: impl Display,
) -> ParamError {
    ParamError::new(field, expected, found.to_string())
}
