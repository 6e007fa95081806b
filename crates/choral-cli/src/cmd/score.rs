//! `choral score`: log-probabilities and perplexity of texts.

use super::jsonl::{self, Lines};
use super::units::quoted_bytes;
use crate::args::model::ModelArgs;
use anyhow::{Context as _, Result, bail};
use choral::engine::GenerationStream;
use choral::engine::request::{
    FinishReason, PositionLogprobs, Prompt, Request, RequestOutput, TokenLogprob,
};
use choral::sampling::SamplingParams;
use choral::text::Tokenizer;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Texts that are in the engine at the same time: enough to fill its steps, few
/// enough to keep all their log-probabilities in memory.
const MAX_IN_FLIGHT: usize = 512;

/// Score texts: log-probability of each token, perplexity
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// A text; can be given several times
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true)]
    prompt: Vec<String>,
    /// A file with one text a line (- for stdin)
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// JSON lines with `prompt` or `ids`, and optionally `name` (- for stdin)
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Show this many of the likeliest tokens at each position
    #[arg(long, value_name = "K", default_value_t = 0)]
    top: u32,
    /// Print one JSON object for each text
    #[arg(long)]
    json: bool,
}

#[derive(Deserialize)]
struct Line {
    #[serde(alias = "custom_id")]
    name: Option<String>,
    prompt: Option<String>,
    ids: Option<Vec<u32>>,
}

/// A text's scores. Logarithms are natural.
#[derive(Serialize)]
struct Score {
    index: usize,
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    ids: Vec<u32>,
    tokens: Vec<String>,
    /// `log p(ids[i] | ids[..i])`; the first has none.
    logprobs: Vec<Option<f32>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_logprobs: Option<Vec<Vec<TokenLogprob>>>,
    num_scored: usize,
    sum_logprob: f64,
    /// `exp(-mean)`; none without a scored token.
    perplexity: Option<f64>,
}

/// Does it.
pub(crate) fn run(args: Args) -> Result<ExitCode> {
    let Args {
        model,
        prompt,
        file,
        input,
        top,
        json,
    } = args;
    let mut texts = Texts::new(prompt, file.as_deref(), input.as_deref())?;
    let engine = model.builder()?.build()?;
    let tokenizer = engine.tokenizer().context("the model has no tokenizer")?;
    let params = SamplingParams {
        max_tokens: Some(0),
        prompt_logprobs: Some(top),
        ..SamplingParams::default()
    };
    let mut scores = Scores {
        tokenizer,
        json,
        count: 0,
        num_scored: 0,
        sum_logprob: 0.0,
    };
    let mut in_flight: VecDeque<GenerationStream> = VecDeque::new();
    while let Some((name, text)) = texts.next()? {
        let request = Request::new(text).with_id(name).with_params(params.clone());
        let stream = engine.submit_wait(request).with_context(|| texts.place())?;
        in_flight.push_back(stream);
        if in_flight.len() == MAX_IN_FLIGHT
            && let Some(oldest) = in_flight.pop_front()
        {
            scores.take(oldest.wait())?;
        }
    }
    for stream in in_flight {
        scores.take(stream.wait())?;
    }
    scores.print_total()?;
    Ok(ExitCode::SUCCESS)
}

/// The texts to score, in order.
struct Texts {
    prompts: std::vec::IntoIter<String>,
    lines: Option<Lines>,
    is_json: bool,
    taken: usize,
}

impl Texts {
    fn new(prompts: Vec<String>, file: Option<&Path>, input: Option<&Path>) -> Result<Self> {
        let lines = match (file, input) {
            (Some(_), Some(_)) => bail!("give --file or --input, not both"),
            (None, None) if prompts.is_empty() => Some(Lines::open(Path::new("-"))?),
            (None, None) => None,
            (Some(path), None) | (None, Some(path)) => Some(Lines::open(path)?),
        };
        Ok(Self {
            prompts: prompts.into_iter(),
            lines,
            is_json: input.is_some(),
            taken: 0,
        })
    }

    fn next(&mut self) -> Result<Option<(String, Prompt)>> {
        self.taken += 1;
        if let Some(prompt) = self.prompts.next() {
            return Ok(Some((String::new(), prompt.into())));
        }
        let Some(lines) = &mut self.lines else {
            return Ok(None);
        };
        if !self.is_json {
            let text = lines.next_text()?;
            return Ok(text.map(|text| (String::new(), text.into())));
        }
        let Some(line) = lines.next::<Line>()? else {
            return Ok(None);
        };
        let prompt = match (line.prompt, line.ids) {
            (Some(text), None) => text.into(),
            (None, Some(ids)) => ids.into(),
            _ => bail!("{}: expected either `prompt` or `ids`", lines.place()),
        };
        Ok(Some((line.name.unwrap_or_default(), prompt)))
    }

    /// The last text, for messages.
    fn place(&self) -> String {
        match &self.lines {
            Some(lines) if lines.has_begun() => lines.place(),
            _ => format!("text {}", self.taken),
        }
    }
}

/// Prints scores and adds them up.
struct Scores<'a> {
    tokenizer: &'a Tokenizer,
    json: bool,
    count: usize,
    num_scored: usize,
    sum_logprob: f64,
}

impl Scores<'_> {
    fn take(&mut self, output: RequestOutput) -> Result<()> {
        let index = self.count;
        self.count += 1;
        let failed = output
            .outputs
            .iter()
            .find(|o| o.finish_reason == FinishReason::Error);
        if let Some(failed) = failed {
            let why = failed.error.as_deref().unwrap_or("failed without a reason");
            bail!("text {}: {why}", index + 1);
        }
        let positions = output.prompt_logprobs.unwrap_or_default();
        let score = score(
            self.tokenizer,
            index,
            output.request_id,
            output.prompt_token_ids,
            positions,
        );
        self.num_scored += score.num_scored;
        self.sum_logprob += score.sum_logprob;
        if self.json {
            return jsonl::print(&score);
        }
        let text = table(self.tokenizer, &score)?;
        std::io::stdout().lock().write_all(text.as_bytes())?;
        Ok(())
    }

    fn print_total(&self) -> Result<()> {
        if self.json || self.count < 2 {
            return Ok(());
        }
        let perplexity = perplexity(self.sum_logprob, self.num_scored);
        writeln!(
            std::io::stdout().lock(),
            "{} texts, {} tokens scored, sum {:.4}, perplexity {}",
            self.count,
            self.num_scored,
            self.sum_logprob,
            perplexity.map_or_else(|| "undefined".to_owned(), |p| format!("{p:.4}"))
        )?;
        Ok(())
    }
}

fn perplexity(sum_logprob: f64, num_scored: usize) -> Option<f64> {
    (num_scored > 0).then(|| (-sum_logprob / num_scored as f64).exp())
}

fn score(
    tokenizer: &Tokenizer,
    index: usize,
    name: String,
    ids: Vec<u32>,
    positions: Vec<Option<PositionLogprobs>>,
) -> Score {
    let logprobs: Vec<Option<f32>> = positions
        .iter()
        .map(|position| Some(position.as_ref()?.chosen.logprob))
        .collect();
    let num_scored = logprobs.iter().flatten().count();
    let sum_logprob: f64 = logprobs.iter().flatten().map(|&x| f64::from(x)).sum();
    let top: Vec<Vec<TokenLogprob>> = positions
        .into_iter()
        .map(|position| position.map_or_else(Vec::new, |p| p.top))
        .collect();
    let text = |&id: &u32| String::from_utf8_lossy(&bytes(tokenizer, id)).into_owned();
    Score {
        index,
        name,
        tokens: ids.iter().map(text).collect(),
        ids,
        logprobs,
        top_logprobs: top.iter().any(|t| !t.is_empty()).then_some(top),
        num_scored,
        sum_logprob,
        perplexity: perplexity(sum_logprob, num_scored),
    }
}

fn bytes(tokenizer: &Tokenizer, id: u32) -> Vec<u8> {
    tokenizer.token_bytes(id).unwrap_or_default()
}

fn table(tokenizer: &Tokenizer, score: &Score) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    if !score.name.is_empty() {
        writeln!(text, "{}", super::units::printable(&score.name))?;
    }
    for (i, (&id, logprob)) in score.ids.iter().zip(&score.logprobs).enumerate() {
        let logprob = logprob.map_or_else(|| "-".to_owned(), |x| format!("{x:.4}"));
        let token = quoted_bytes(&bytes(tokenizer, id));
        write!(text, "{id:>7}  {logprob:>9}  {token}")?;
        let top = score
            .top_logprobs
            .iter()
            .filter_map(|top| top.get(i))
            .flatten();
        for (n, alternative) in top.enumerate() {
            let lead = if n == 0 { "   of" } else { "," };
            let token = quoted_bytes(&bytes(tokenizer, alternative.token_id));
            write!(text, "{lead} {token} {:.4}", alternative.logprob)?;
        }
        text.push('\n');
    }
    let perplexity = score.perplexity;
    writeln!(
        text,
        "{} tokens scored, sum {:.4}, perplexity {}\n",
        score.num_scored,
        score.sum_logprob,
        perplexity.map_or_else(|| "undefined".to_owned(), |p| format!("{p:.4}"))
    )?;
    Ok(text)
}
