//! One prompt, printed as it is generated; Ctrl-C simply ends the program.
//!
//! `cargo run --release --example streaming [PROMPT]`

use choral::engine::StreamEvent;
use choral::{Engine, Request, SamplingParams};
use std::io::Write as _;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let prompt = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "Once upon a time".to_owned());
    let engine = Engine::builder().build()?;
    let params = SamplingParams {
        max_tokens: Some(120),
        ..SamplingParams::default()
    };
    print!("{prompt}");
    for event in engine.submit(Request::new(prompt).with_params(params))? {
        if let StreamEvent::Delta { text, .. } = event {
            print!("{text}");
            std::io::stdout().flush()?;
        }
    }
    println!();
    Ok(())
}
