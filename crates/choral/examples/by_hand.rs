//! The parts without the engine: a forward pass with a cache, a choice of token, and
//! a callback that ends generation.
//!
//! `cargo run --release --example by_hand`

use choral::manual::Decoder;
use choral::sampling::SamplingStrategy;
use choral::text::EncodeOptions;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let decoder = Decoder::demo()?;
    let tokenizer = decoder.tokenizer()?;
    let options = EncodeOptions {
        add_special: true,
        parse_special: false,
    };
    let prompt = tokenizer.encode("Once upon a time", options)?;
    let mut sentences = 0;
    let tokens = decoder.generate(
        &prompt,
        &SamplingStrategy::TopP { p: 0.9 },
        42,
        200,
        tokenizer.eos_token_ids(),
        |token| {
            // Stop after the third sentence.
            let text = tokenizer
                .decode(&[token.token_id], false)
                .unwrap_or_default();
            sentences += text.matches('.').count();
            sentences < 3
        },
    )?;
    println!("Once upon a time{}", tokenizer.decode(&tokens, true)?);
    Ok(())
}
