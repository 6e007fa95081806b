//! Options that say how tokens are chosen and when an answer ends.
//!
//! Everything is optional, because three layers make up the parameters: choral's
//! defaults, what the model's authors recommend, and what the user really said.

#[cfg(test)]
mod tests;

use crate::message::Usage;
use choral::model::GenerationDefaults;
use choral::provider::GenerateParams;
use choral::sampling::SamplingParams;
use clap::Args;
use std::collections::BTreeMap;

/// New tokens per answer where nobody says.
const DEFAULT_MAX_TOKENS: u32 = 32;

/// How tokens are chosen and when an answer ends.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Sampling")]
pub(crate) struct SamplingArgs {
    /// New tokens per answer; -1: until the context is full [default: 32; in `chat`: -1]
    #[arg(
        short = 'n',
        long = "predict",
        visible_aliases = ["n-predict", "max-tokens"],
        value_name = "N",
        value_parser = parse_max_tokens,
    )]
    pub(crate) max_tokens: Option<MaxTokens>,
    /// No end of an answer before this many new tokens [default: 0]
    #[arg(long, value_name = "N")]
    pub(crate) min_tokens: Option<u32>,
    /// Divides the logits: higher is more varied, 0 takes the likeliest token [default: 0.8]
    #[arg(long = "temp", visible_alias = "temperature", value_name = "T")]
    pub(crate) temperature: Option<f32>,
    /// Keep the K likeliest tokens; 0 is off [default: 40]
    #[arg(long, value_name = "K")]
    pub(crate) top_k: Option<u32>,
    /// Keep the likeliest tokens that have this probability together [default: 0.9]
    #[arg(long, value_name = "P")]
    pub(crate) top_p: Option<f32>,
    /// Keep tokens at least this likely, relative to the likeliest [default: 0, off]
    #[arg(long, value_name = "P")]
    pub(crate) min_p: Option<f32>,
    /// Locally typical sampling [default: 1, off]
    #[arg(long, visible_alias = "typical", value_name = "P")]
    pub(crate) typical_p: Option<f32>,
    /// Divides (or multiplies, below 0) logits of tokens seen before [default: 1, off]
    #[arg(long, visible_alias = "repetition-penalty", value_name = "X")]
    pub(crate) repeat_penalty: Option<f32>,
    /// How many of the last tokens penalties look at; -1: all of them
    #[arg(long, value_name = "N", value_parser = parse_last_n)]
    pub(crate) repeat_last_n: Option<LastN>,
    /// Subtracted once per occurrence in the answer [default: 0]
    #[arg(long, value_name = "X")]
    pub(crate) frequency_penalty: Option<f32>,
    /// Subtracted once if the token is in the answer [default: 0]
    #[arg(long, value_name = "X")]
    pub(crate) presence_penalty: Option<f32>,
    /// Added to a token's logit, such as 15043+1 or 15043-1; -inf bans it
    #[arg(short, long, value_name = "TOKEN±BIAS", value_parser = parse_bias)]
    pub(crate) logit_bias: Vec<Bias>,
    /// Seed of the random numbers [default: drawn, and reported]
    #[arg(short, long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// End the answer at this text, which is left out (may be given several times)
    #[arg(long, value_name = "TEXT")]
    pub(crate) stop: Vec<String>,
    /// Do not end at the model's own end tokens
    #[arg(long)]
    pub(crate) ignore_eos: bool,
    /// Report log-probabilities of the tokens and of N alternatives to each
    #[arg(long, value_name = "N")]
    pub(crate) logprobs: Option<u32>,
}

/// A number of new tokens; `None` is as many as there is room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MaxTokens(Option<u32>);

/// What penalties look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LastN(u32);

/// One token's bias.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Bias {
    token_id: u32,
    bias: f32,
}

impl SamplingArgs {
    /// The parameters of a request: choral's defaults, under the model's, under
    /// the options that were given.
    pub(crate) fn params(&self, model: &GenerationDefaults) -> SamplingParams {
        let mut params = SamplingParams {
            max_tokens: Some(DEFAULT_MAX_TOKENS),
            ..SamplingParams::default()
        };
        model.apply(&mut params);
        self.apply(&mut params);
        params
    }

    /// Refuses what no model could honour, before one is loaded. `n` answers are asked
    /// for.
    pub(crate) fn check(&self, n: u32) -> Result<(), Usage> {
        let mut params = self.params(&GenerationDefaults::default());
        params.n = n;
        params.validate(u32::MAX as usize).map_err(Usage::new)
    }

    /// What was given, but for the seed, by the names that services know it by.
    pub(crate) fn to_provider(&self) -> GenerateParams {
        fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
            (!list.is_empty()).then_some(list)
        }
        let biases = self.logit_bias.iter().copied();
        let (banned, biased): (Vec<Bias>, Vec<Bias>) =
            biases.partition(|bias| bias.bias == f32::NEG_INFINITY);
        let biased = biased.into_iter().map(|bias| (bias.token_id, bias.bias));
        GenerateParams {
            // As many as there is room for is what services do unasked.
            max_tokens: self.max_tokens.and_then(|max| max.0),
            min_tokens: self.min_tokens,
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            typical_p: self.typical_p,
            repetition_penalty: self.repeat_penalty,
            repeat_last_n: self.repeat_last_n.map(|last| last.0),
            frequency_penalty: self.frequency_penalty,
            presence_penalty: self.presence_penalty,
            logit_bias: Some(biased.collect::<BTreeMap<_, _>>()).filter(|map| !map.is_empty()),
            banned_token_ids: some(banned.into_iter().map(|bias| bias.token_id).collect()),
            stop: some(self.stop.clone()),
            ignore_eos: self.ignore_eos.then_some(true),
            logprobs: self.logprobs,
            ..GenerateParams::default()
        }
    }

    /// One of the options that were given, by its name.
    pub(crate) fn given(&self) -> Option<&'static str> {
        let given = [
            ("--predict", self.max_tokens.is_some()),
            ("--min-tokens", self.min_tokens.is_some()),
            ("--temp", self.temperature.is_some()),
            ("--top-k", self.top_k.is_some()),
            ("--top-p", self.top_p.is_some()),
            ("--min-p", self.min_p.is_some()),
            ("--typical-p", self.typical_p.is_some()),
            ("--repeat-penalty", self.repeat_penalty.is_some()),
            ("--repeat-last-n", self.repeat_last_n.is_some()),
            ("--frequency-penalty", self.frequency_penalty.is_some()),
            ("--presence-penalty", self.presence_penalty.is_some()),
            ("--logit-bias", !self.logit_bias.is_empty()),
            ("--seed", self.seed.is_some()),
            ("--stop", !self.stop.is_empty()),
            ("--ignore-eos", self.ignore_eos),
            ("--logprobs", self.logprobs.is_some()),
        ];
        given
            .iter()
            .find(|(_, given)| *given)
            .map(|(name, _)| *name)
    }

    /// Overwrites what was given.
    pub(crate) fn apply(&self, params: &mut SamplingParams) {
        fn set<T: Copy>(field: &mut T, given: Option<T>) {
            *field = given.unwrap_or(*field);
        }
        set(&mut params.max_tokens, self.max_tokens.map(|max| max.0));
        set(&mut params.min_tokens, self.min_tokens);
        set(&mut params.temperature, self.temperature);
        set(&mut params.top_k, self.top_k);
        set(&mut params.top_p, self.top_p);
        set(&mut params.min_p, self.min_p);
        set(&mut params.typical_p, self.typical_p);
        set(&mut params.repetition_penalty, self.repeat_penalty);
        set(
            &mut params.repeat_last_n,
            self.repeat_last_n.map(|last| Some(last.0)),
        );
        set(&mut params.frequency_penalty, self.frequency_penalty);
        set(&mut params.presence_penalty, self.presence_penalty);
        set(&mut params.seed, self.seed.map(Some));
        set(&mut params.logprobs, self.logprobs.map(Some));
        params.ignore_eos |= self.ignore_eos;
        params.stop.extend(self.stop.iter().cloned());
        for &Bias { token_id, bias } in &self.logit_bias {
            if bias == f32::NEG_INFINITY {
                params.banned_token_ids.push(token_id);
            } else {
                params.logit_bias.insert(token_id, bias);
            }
        }
    }
}

fn parse_max_tokens(text: &str) -> Result<MaxTokens, String> {
    match text {
        "-1" => Ok(MaxTokens(None)),
        _ => number(text).map(Some).map(MaxTokens),
    }
}

fn parse_last_n(text: &str) -> Result<LastN, String> {
    match text {
        "-1" => Ok(LastN(u32::MAX)),
        _ => number(text).map(LastN),
    }
}

fn number(text: &str) -> Result<u32, String> {
    text.parse()
        .map_err(|_| "expected a whole number from 0, or -1".to_owned())
}

/// `15043+1`, `15043-0.5`, `15043-inf`.
fn parse_bias(text: &str) -> Result<Bias, String> {
    let sign = text.find(['+', '-']).unwrap_or(text.len());
    let (token_id, bias) = text.split_at(sign);
    let bias = bias.parse().ok();
    let bias = bias.filter(|bias: &f32| bias.is_finite() || *bias == f32::NEG_INFINITY);
    match (token_id.parse(), bias) {
        (Ok(token_id), Some(bias)) => Ok(Bias { token_id, bias }),
        _ => Err("expected a token id, a sign and a number, such as 15043+1".to_owned()),
    }
}
