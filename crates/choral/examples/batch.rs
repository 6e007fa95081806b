//! Several prompts, run together, answered in order.
//!
//! `cargo run --release --example batch [MODEL]`

use choral::{Engine, SamplingParams};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut builder = Engine::builder();
    if let Some(path) = std::env::args().nth(1) {
        builder = builder.model(path);
    }
    let engine = builder.build()?;
    let prompts = [
        "Once upon a time",
        "Hello my name is",
        "The future of AI is",
    ];
    let params = SamplingParams {
        max_tokens: Some(40),
        seed: Some(42),
        ..SamplingParams::default()
    };
    for (prompt, answer) in prompts.iter().zip(engine.generate(prompts, &params)) {
        println!("{prompt}{}\n", answer?.outputs[0].text);
    }
    Ok(())
}
