//! `choral debug`: raw values, so that choral can be checked from outside.
//!
//! Every command reads and prints JSON, one object a line, and nothing else.

mod dequant;
mod image;
mod sample_dist;
mod score;

use std::process::ExitCode;

/// Raw values, for checking choral from outside
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    Score(Box<score::Args>),
    Dequant(dequant::Args),
    SampleDist(sample_dist::Args),
    Image(image::Args),
}

/// Does it.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.what {
        What::Score(args) => score::run(*args),
        What::Dequant(args) => dequant::run(&args),
        What::SampleDist(args) => sample_dist::run(&args),
        What::Image(args) => image::run(&args),
    }
}

/// Floats as base64 of their little-endian bytes.
fn base64_floats(values: &[f32]) -> String {
    use base64::Engine as _;
    let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
