//! `choral debug image`: what a vision model sees.

use super::base64_floats;
use crate::args::model::ModelChoice;
use crate::cmd::jsonl;
use anyhow::{Context as _, Result};
use choral::Engine;
use choral::model::Numeric;
use choral::vision::image::{ImageProcessor, ImageSize};
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;

/// Print the patches and embeddings of an image
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelChoice,
    /// The image encoder of a GGUF model [default: the one beside it]
    #[arg(long, value_name = "FILE")]
    mmproj: Option<PathBuf>,
    /// Arithmetic of the encoder: bf16 or f32 (strict)
    #[arg(long, value_name = "NUMERIC", default_value = "f32")]
    numeric: Numeric,
    /// The image
    #[arg(long, value_name = "FILE")]
    image: PathBuf,
}

/// Does it.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let mut builder = Engine::builder().numeric(args.numeric);
    if let Some(path) = args.model.path()? {
        builder = builder.model(path);
    }
    if let Some(mmproj) = &args.mmproj {
        builder = builder.mmproj(mmproj);
    }
    let encoder = builder.build_image_encoder()?;
    let processor = ImageProcessor::new(encoder.geometry().clone(), ImageSize::Dynamic)?;
    let patches = processor.read(&args.image)?;
    let sum = |row: &[f32]| row.iter().map(|&x| f64::from(x)).sum::<f64>();
    let rows = patches.values.chunks_exact(encoder.geometry().patch_len());
    let row_sums: Vec<f64> = rows.map(sum).collect();
    let grid = patches.grid;
    let embeddings = encoder.encode(&[patches])?;
    let embedding = embeddings.first().context("an embedding for the image")?;
    jsonl::print(&json!({
        "grid_thw": grid,
        "n_tokens": embedding.num_tokens(),
        "row_sums": row_sums,
        "embeds_f32_b64": base64_floats(&embedding.to_f32()),
    }))?;
    Ok(ExitCode::SUCCESS)
}
