//! How much faster the local engine is when it is given more requests at a time.
//!
//! ```text
//! cargo run --release -p choral-providers --example speed -- [MODEL [TOKENS]]
//! ```

use choral::Engine;
use choral::provider::{BatchOptions, GenerateRequest, LocalProvider, ProviderExt};
use std::time::Instant;

const REQUESTS: u64 = 32;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let builder = match std::env::args().nth(1) {
        Some(path) => Engine::builder().model(path),
        None => Engine::builder(),
    };
    let provider = LocalProvider::new(builder.prefix_caching(false).build()?);
    let tokens = std::env::args()
        .nth(2)
        .map_or(Ok(32), |tokens| tokens.parse())?;
    let requests = || {
        (0..REQUESTS).map(|number| {
            let prompt = format!("Once upon a time there were {number} foxes");
            let request = GenerateRequest::prompt(prompt).max_tokens(tokens);
            let mut request = request.seed(number);
            request.params.ignore_eos = Some(true);
            request
        })
    };
    let mut first = None;
    println!("| at a time | seconds | times as fast |\n|---|---|---|");
    for at_a_time in [1, 8, 32] {
        let options = BatchOptions::default().max_concurrency(at_a_time);
        let begun = Instant::now();
        provider.batch_generate_blocking(requests(), &options)?;
        let seconds = begun.elapsed().as_secs_f64();
        let alone = *first.get_or_insert(seconds);
        println!("| {at_a_time} | {seconds:.2} | {:.1} |", alone / seconds);
    }
    Ok(())
}
