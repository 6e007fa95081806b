//! How fast it went.

use choral::engine::RequestOutput;
use serde::Serialize;
use std::fmt;

/// Figures of one request. Times are seconds of wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Statistics {
    /// Tokens drawn, of all sequences.
    decoded_tokens: usize,
    /// From the first step to the end, with the prompt.
    seconds: f64,
    tokens_per_second: f64,
    tokens_per_second_per_sequence: f64,
    parallel_sequences: usize,
    /// Tokens of the prompt, computed once for all sequences.
    prompt_tokens: usize,
    /// Those of them that did not have to be computed.
    cached_prompt_tokens: u32,
    /// From the first step to the first token.
    prompt_seconds: f64,
    prompt_tokens_per_second: f64,
    time_to_first_token_seconds: f64,
    mean_inter_token_seconds: f64,
    load_seconds: f64,
    /// What `-s` takes to get the same again.
    seed: u64,
}

impl Statistics {
    pub(crate) fn new(output: &RequestOutput, seed: u64, load_seconds: f64) -> Self {
        let metrics = &output.metrics;
        let sequences = output.outputs.len();
        let tokens = output.outputs.iter().map(|choice| choice.token_ids.len());
        let decoded_tokens: usize = tokens.sum();
        let seconds = (metrics.e2e_s - metrics.queue_s).max(0.0);
        let prompt_seconds = (metrics.time_to_first_token_s - metrics.queue_s).max(0.0);
        let prompt_tokens = output.prompt_token_ids.len();
        let computed = prompt_tokens.saturating_sub(output.num_cached_tokens as usize);
        Self {
            decoded_tokens,
            seconds,
            tokens_per_second: rate(decoded_tokens, seconds),
            tokens_per_second_per_sequence: rate(decoded_tokens, seconds) / sequences.max(1) as f64,
            parallel_sequences: sequences,
            prompt_tokens,
            cached_prompt_tokens: output.num_cached_tokens,
            prompt_seconds,
            prompt_tokens_per_second: rate(computed, prompt_seconds),
            time_to_first_token_seconds: metrics.time_to_first_token_s,
            mean_inter_token_seconds: metrics.mean_inter_token_s,
            load_seconds,
            seed,
        }
    }
}

/// 0 where nothing took any time.
fn rate(count: usize, seconds: f64) -> f64 {
    if seconds > 0.0 {
        count as f64 / seconds
    } else {
        0.0
    }
}

impl fmt::Display for Statistics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Performance Statistics:")?;
        writeln!(
            f,
            "  Decoded {} tokens in {:.2} seconds",
            self.decoded_tokens, self.seconds
        )?;
        writeln!(f, "  Speed: {:.2} tokens/second", self.tokens_per_second)?;
        writeln!(
            f,
            "  Per sequence: {:.2} tokens/second",
            self.tokens_per_second_per_sequence
        )?;
        writeln!(f, "  Parallel sequences: {}", self.parallel_sequences)?;
        writeln!(
            f,
            "  Prompt: {} tokens in {:.2} seconds ({:.2} tokens/second)",
            self.prompt_tokens, self.prompt_seconds, self.prompt_tokens_per_second
        )?;
        writeln!(f, "  Seed: {}", self.seed)
    }
}

#[cfg(test)]
mod tests {
    use super::Statistics;

    #[test]
    fn the_block_has_the_lines_that_the_batched_example_prints() {
        let statistics = Statistics {
            decoded_tokens: 64,
            seconds: 2.3,
            tokens_per_second: 64.0 / 2.3,
            tokens_per_second_per_sequence: 32.0 / 2.3,
            parallel_sequences: 2,
            prompt_tokens: 5,
            cached_prompt_tokens: 0,
            prompt_seconds: 0.05,
            prompt_tokens_per_second: 100.0,
            time_to_first_token_seconds: 0.05,
            mean_inter_token_seconds: 0.07,
            load_seconds: 0.2,
            seed: 42,
        };
        assert_eq!(
            statistics.to_string(),
            "Performance Statistics:\n  \
             Decoded 64 tokens in 2.30 seconds\n  \
             Speed: 27.83 tokens/second\n  \
             Per sequence: 13.91 tokens/second\n  \
             Parallel sequences: 2\n  \
             Prompt: 5 tokens in 0.05 seconds (100.00 tokens/second)\n  \
             Seed: 42\n"
        );
    }
}
