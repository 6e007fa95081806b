//! `choral debug score`: logits, norms and greedy continuations of given tokens,
//! through the same engine that everything else runs on.

use super::base64_floats;
use crate::args::model::ModelArgs;
use crate::cmd::jsonl::{self, Lines};
use anyhow::{Context as _, Result, bail};
use choral::engine::request::{FinishReason, Request, RequestOutput};
use choral::sampling::SamplingParams;
use choral::vision::image::{ImageProcessor, ImageSize};
use choral::vision::{ImageEmbedding, ImageEncoder};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::PathBuf;
use std::process::ExitCode;

/// Print logits, norms and greedy continuations of given tokens
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// JSON lines with `name` and `ids`, and the files of `images` (- for stdin)
    #[arg(long, value_name = "FILE", default_value = "-")]
    input: PathBuf,
    /// Continue each by this many tokens, the likeliest each time
    #[arg(long, value_name = "N", default_value_t = 0)]
    greedy: u32,
    /// Logits to print for the last token: full or none
    #[arg(long, value_name = "WHICH", default_value = "none")]
    logits: Logits,
    /// Print the hidden states' norms at the last token
    #[arg(long)]
    hidden: bool,
    /// Run one after the other, not as one batch
    #[arg(long)]
    sequential: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Logits {
    Full,
    None,
}

#[derive(Deserialize)]
struct Line {
    name: String,
    ids: Vec<u32>,
    #[serde(default)]
    images: Vec<PathBuf>,
}

#[derive(Serialize)]
struct Answer<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_logits_b64: Option<String>,
    greedy_ids: &'a [u32],
    prompt_logprobs: Vec<Option<f32>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hidden_l2: Option<&'a [f32]>,
}

/// Does it.
pub(crate) fn run(args: Args) -> Result<ExitCode> {
    let Args {
        model,
        input,
        greedy,
        logits,
        hidden,
        sequential,
    } = args;
    let mut requests = Vec::new();
    let mut longest = 1;
    let mut pictures = Pictures::default();
    let mut lines = Lines::open(&input)?;
    while let Some(line) = lines.next::<Line>()? {
        let images = line.images.iter().map(|path| pictures.get(&model, path));
        let images: Vec<_> = images
            .collect::<Result<_>>()
            .with_context(|| lines.place())?;
        // Each is in the place of one token.
        let more: usize = images.iter().map(|image| image.num_tokens() - 1).sum();
        let prompt = line.ids.len().saturating_add(more);
        longest = longest.max(prompt.saturating_add(greedy as usize));
        let params = SamplingParams {
            max_tokens: Some(greedy),
            temperature: 0.0,
            ignore_eos: true,
            prompt_logprobs: Some(0),
            seed: Some(0),
            ..SamplingParams::default()
        };
        let request = Request::new(line.ids)
            .with_id(line.name)
            .with_images(images)
            .with_params(params);
        requests.push(request.with_diagnostics());
    }
    // Pictures are embeddings by now.
    let mut builder = model.builder()?.image_encoder(false);
    if model.ctx_size.is_none() {
        // References go on where a model's context ends; so does this comparison.
        builder = builder.max_model_len(longest).beyond_trained_context(true);
    }
    let engine = builder.build()?;
    let print = |output: &RequestOutput| answer(output, logits, hidden);
    if sequential {
        for request in requests {
            let name = request.request_id.clone();
            let output = engine.submit_wait(request).with_context(|| name)?.wait();
            print(&output)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let names: Vec<String> = requests.iter().map(|r| r.request_id.clone()).collect();
    let outputs = engine.generate_requests(requests);
    for (name, output) in names.into_iter().zip(outputs) {
        print(&output.with_context(|| name)?)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Embeddings of the pictures that lines name, each made once.
#[derive(Default)]
struct Pictures {
    encoder: Option<(ImageEncoder, ImageProcessor)>,
    known: HashMap<PathBuf, ImageEmbedding>,
}

impl Pictures {
    fn get(&mut self, model: &ModelArgs, path: &PathBuf) -> Result<ImageEmbedding> {
        if let Some(known) = self.known.get(path) {
            return Ok(known.clone());
        }
        let (encoder, processor) = match &mut self.encoder {
            Some(loaded) => loaded,
            none => {
                let encoder = model.builder()?.build_image_encoder()?;
                let geometry = encoder.geometry().clone();
                none.insert((encoder, ImageProcessor::new(geometry, ImageSize::Dynamic)?))
            }
        };
        let made = encoder.encode(&[processor.read(path)?])?;
        let made = made
            .into_iter()
            .next()
            .context("an embedding for the image")?;
        self.known.insert(path.clone(), made.clone());
        Ok(made)
    }
}

fn answer(output: &RequestOutput, logits: Logits, hidden: bool) -> Result<()> {
    let name = &output.request_id;
    let first = output.outputs.first();
    let completion = first.with_context(|| format!("{name}: no answer"))?;
    if completion.finish_reason == FinishReason::Error {
        let why = completion
            .error
            .as_deref()
            .unwrap_or("failed without a reason");
        bail!("{name}: {why}");
    }
    let diagnostics = output.diagnostics.as_ref();
    let diagnostics = diagnostics.with_context(|| format!("{name}: no diagnostics"))?;
    let prompt_logprobs = output.prompt_logprobs.iter().flatten();
    jsonl::print(&Answer {
        name,
        last_logits_b64: (logits == Logits::Full).then(|| base64_floats(&diagnostics.last_logits)),
        greedy_ids: &completion.token_ids,
        prompt_logprobs: prompt_logprobs
            .map(|position| Some(position.as_ref()?.chosen.logprob))
            .collect(),
        hidden_l2: hidden.then_some(&diagnostics.hidden_l2),
    })
}
