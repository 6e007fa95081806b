//! A hundred prompts through whatever provider is named, in order, and what they cost.
//!
//! ```text
//! cargo run -p choral-providers --example hundred -- local
//! OPENAI_API_KEY=... cargo run -p choral-providers --example hundred -- openai/gpt-4.1-mini
//! cargo run -p choral-providers --example hundred -- ollama/llama3.2
//! ```

use choral::provider::{BatchOptions, GenerateRequest, ProviderExt, Usage};
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let name = std::env::args()
        .nth(1)
        .ok_or("which provider? `local`, `openai/MODEL`, ...")?;
    let provider = choral_providers::create(&name)?;

    let requests = (1..=100).map(|number| {
        let prompt = format!("Write one short sentence about the number {number}.");
        GenerateRequest::prompt(prompt).max_tokens(24)
    });

    let begun = Instant::now();
    let outcomes = provider.batch_generate_with_errors_blocking(requests, &BatchOptions::default());
    let seconds = begun.elapsed().as_secs_f64();

    let mut usage = Usage::default();
    let mut failed = 0;
    for (number, outcome) in (1..).zip(&outcomes) {
        match outcome {
            Ok(answer) => {
                println!("{number:>3}  {}", answer.content.trim().replace('\n', " "));
                usage += answer.usage;
            }
            Err(error) => {
                println!("{number:>3}  error ({}): {error}", error.kind());
                failed += 1;
            }
        }
    }
    println!(
        "\n{name}: {} answers, {failed} errors, {} prompt + {} completion tokens, {seconds:.1} s",
        outcomes.len() - failed,
        usage.prompt_tokens,
        usage.completion_tokens,
    );
    Ok(())
}
