//! `choral debug dequant`: one row of a stored tensor as floats.

use super::base64_floats;
use crate::args::model::ModelChoice;
use crate::cmd::{jsonl, model_file};
use anyhow::ensure;
use serde_json::json;
use std::process::ExitCode;

/// Print one row of a tensor as floats
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelChoice,
    /// The tensor's name in the file
    #[arg(long, value_name = "NAME")]
    tensor: String,
    /// The row: an index into all dimensions but the innermost
    #[arg(long, value_name = "N")]
    row: usize,
}

/// Does it.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let file = model_file::open(&args.model)?;
    let tensor = file.tensors().required(&args.tensor)?;
    let rows = tensor.rows();
    ensure!(
        args.row < rows,
        "{}: tensor `{}` has {rows} rows, no row {}",
        file.path().display(),
        args.tensor,
        args.row
    );
    let mut values = vec![0.0; tensor.row_len()];
    tensor.dequantize_row(args.row, &mut values)?;
    jsonl::print(&json!({
        "type": tensor.info.dtype.name(),
        "values_f32_b64": base64_floats(&values),
    }))?;
    Ok(ExitCode::SUCCESS)
}
