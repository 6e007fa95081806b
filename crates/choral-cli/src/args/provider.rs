//! Options that choose a service instead of the local engine.

use crate::args::model::{ModelChoice, parse_count};
use crate::message::Usage;
use anyhow::Result;
use choral_providers::{Api, Builder, Kind, NetworkOptions, Remote};
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

/// What runs here.
const LOCAL: &str = "local";

/// A service that answers, and how it is asked.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Provider")]
pub(crate) struct ProviderArgs {
    // Not a doc comment, in which the names would want to be code.
    #[arg(
        help = "Ask a service for answers: openai, anthropic, ollama, lmstudio, vllm, llamacpp or \
                compatible; its model is --model, or stands behind a slash",
        long,
        value_name = "NAME[/MODEL]"
    )]
    pub(crate) provider: Option<String>,
    /// Where the service is [default: what its environment variables say, or its usual address]
    #[arg(long, value_name = "URL", requires = "provider")]
    pub(crate) base_url: Option<String>,
    // Likewise.
    #[arg(
        help = "File with the key [default: OPENAI_API_KEY, OPENAI_API_KEY_FILE, and so on]",
        long,
        value_name = "FILE",
        requires = "provider"
    )]
    pub(crate) api_key_file: Option<PathBuf>,
    /// File in PEM with authorities to trust beside the system's, such as a company's
    #[arg(long, value_name = "FILE", requires = "provider")]
    pub(crate) ca_file: Option<PathBuf>,
    // Likewise.
    #[arg(
        help = "Which of OpenAI's protocols is spoken [default: chat]",
        long,
        value_enum,
        value_name = "API",
        requires = "provider"
    )]
    pub(crate) api: Option<ApiName>,
    /// Most requests at a time [default: the provider's]
    #[arg(long, value_name = "N", requires = "provider", value_parser = parse_count)]
    pub(crate) max_concurrency: Option<usize>,
    /// Most attempts at a request, the first included [default: 6]
    #[arg(long, value_name = "N", requires = "provider", value_parser = parse_number)]
    pub(crate) max_attempts: Option<u32>,
    /// Most time for a request, all attempts together [default: 1800]
    #[arg(long, value_name = "SECONDS", requires = "provider", value_parser = parse_seconds)]
    pub(crate) timeout: Option<Duration>,
    /// Most time for one attempt [default: 600]
    #[arg(long, value_name = "SECONDS", requires = "provider", value_parser = parse_seconds)]
    pub(crate) request_timeout: Option<Duration>,
    /// Most requests a minute
    #[arg(long, value_name = "N", requires = "provider", value_parser = parse_number)]
    pub(crate) requests_per_minute: Option<u32>,
    /// Most tokens a minute, as far as they can be told beforehand
    #[arg(long, value_name = "N", requires = "provider", value_parser = parse_number)]
    pub(crate) tokens_per_minute: Option<u32>,
    /// Through the vendor's batches, which take up to a day and cost half; or cancel them
    #[arg(long, value_enum, value_name = "HOW", requires = "provider")]
    pub(crate) remote: Option<RemoteMode>,
    /// Give up batches that the vendor does not know, and rows of which nobody knows whether
    /// they were handed over: they are asked again, and perhaps paid for again
    #[arg(long, requires = "remote")]
    pub(crate) remote_forget: bool,
    /// Most time between two looks at a vendor's batch [default: 30]
    #[arg(long, value_name = "SECONDS", requires = "remote", value_parser = parse_seconds)]
    pub(crate) poll_interval: Option<Duration>,
}

/// A protocol of OpenAI's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ApiName {
    /// /chat/completions
    Chat,
    /// /completions, which continues prompts as they stand
    Completions,
    /// /responses
    Responses,
}

/// What is done with vendors' batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RemoteMode {
    /// Hand rows over as batches, and wait for their answers
    Batch,
    /// Cancel this job's batches, and take what they have done
    Cancel,
}

impl ProviderArgs {
    /// The service that is asked for, if one is; `model` says which of its models. With
    /// `local/PATH`, `model` becomes the path, as if no provider were named.
    pub(crate) fn build(&mut self, model: &mut ModelChoice) -> Result<Option<Remote>> {
        let Some(name) = &self.provider else {
            return Ok(None);
        };
        let (kind, named) = match name.split_once('/') {
            Some((kind, model)) => (kind.to_owned(), Some(PathBuf::from(model))),
            None => (name.clone(), None),
        };
        match (&named, &model.model) {
            (Some(one), Some(other)) if one != other => {
                let (one, other) = (one.display(), other.display());
                let message = format!("--provider names the model `{one}`, --model `{other}`");
                return Err(Usage::new(message).into());
            }
            (Some(_), _) => model.model = named,
            (None, _) => {}
        }
        if kind == LOCAL {
            self.refuse_options()?;
            self.provider = None;
            return Ok(None);
        }
        let Some(kind) = Kind::named(&kind) else {
            let names: Vec<_> = Kind::ALL.iter().map(|kind| kind.name()).collect();
            let names = names.join(", ");
            let message = format!("--provider is `{kind}`, expected {LOCAL} or one of: {names}");
            return Err(Usage::new(message).into());
        };
        let Some(model) = &model.model else {
            let kind = kind.name();
            let message = format!("--provider {kind} needs the name of a model (--model)");
            return Err(Usage::new(message).into());
        };
        let builder = Builder::new(kind, model.to_string_lossy());
        Ok(Some(self.configured(builder).build()?))
    }

    fn configured(&self, builder: Builder) -> Builder {
        let mut network = NetworkOptions::default();
        if let Some(attempts) = self.max_attempts {
            network.retry.max_attempts = attempts;
        }
        if let Some(timeout) = self.request_timeout {
            network.request_timeout = timeout;
            network.total_timeout = network.total_timeout.max(timeout);
        }
        if let Some(timeout) = self.timeout {
            network.total_timeout = timeout;
            network.request_timeout = network.request_timeout.min(timeout);
        }
        network.ca_file.clone_from(&self.ca_file);
        network.rate_limits.requests_per_minute = self.requests_per_minute;
        network.rate_limits.tokens_per_minute = self.tokens_per_minute;
        let mut builder = builder.network(network);
        if let Some(url) = &self.base_url {
            builder = builder.base_url(url);
        }
        if let Some(path) = &self.api_key_file {
            builder = builder.api_key_file(path);
        }
        if let Some(api) = self.api {
            builder = builder.api(match api {
                ApiName::Chat => Api::Chat,
                ApiName::Completions => Api::Completions,
                ApiName::Responses => Api::Responses,
            });
        }
        if let Some(requests) = self.max_concurrency {
            builder = builder.max_concurrency(requests);
        }
        if let Some(interval) = self.poll_interval {
            builder = builder.poll_interval(interval);
        }
        builder
    }

    /// Refuses what only a service could honour.
    fn refuse_options(&self) -> Result<(), Usage> {
        let given = [
            ("--base-url", self.base_url.is_some()),
            ("--api-key-file", self.api_key_file.is_some()),
            ("--ca-file", self.ca_file.is_some()),
            ("--api", self.api.is_some()),
            ("--max-concurrency", self.max_concurrency.is_some()),
            ("--max-attempts", self.max_attempts.is_some()),
            ("--timeout", self.timeout.is_some()),
            ("--requests-per-minute", self.requests_per_minute.is_some()),
            ("--tokens-per-minute", self.tokens_per_minute.is_some()),
            ("--remote", self.remote.is_some()),
        ];
        match given.iter().find(|(_, given)| *given) {
            Some((option, _)) => Err(Usage::new(format!(
                "{option} is for services, and not for --provider {LOCAL}"
            ))),
            None => Ok(()),
        }
    }
}

/// Parses a number of seconds, which may have a fraction.
fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds| *seconds > 0.0);
    let duration = seconds.map(Duration::try_from_secs_f64);
    match duration {
        Some(Ok(duration)) => Ok(duration),
        _ => Err("expected a number of seconds above 0".to_owned()),
    }
}

/// Parses a number from 1.
fn parse_number(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(number @ 1..) => Ok(number),
        _ => Err("expected a whole number from 1".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::{ProviderArgs, parse_number, parse_seconds};
    use crate::args::model::ModelChoice;
    use std::path::PathBuf;
    use std::time::Duration;

    fn build(provider: &str, model: Option<&str>) -> Result<(String, Option<PathBuf>), String> {
        let mut args = ProviderArgs {
            provider: Some(provider.to_owned()),
            base_url: (!provider.starts_with("local"))
                .then(|| "http://user:pass@127.0.0.1:9/v1?key=x".to_owned()),
            ..ProviderArgs::default()
        };
        let mut choice = ModelChoice {
            model: model.map(PathBuf::from),
            ..ModelChoice::default()
        };
        let built = args.build(&mut choice).map_err(|error| error.to_string())?;
        let shown = built.map_or("local".to_owned(), |remote| remote.url());
        Ok((shown, choice.model))
    }

    #[test]
    fn a_model_is_named_once_or_alike() {
        let url = "http://127.0.0.1:9/v1";
        let named = |model: &str| Some(PathBuf::from(model));
        for (provider, model) in [
            ("vllm/Qwen/Qwen3-8B", None),
            ("vllm", Some("Qwen/Qwen3-8B")),
            ("vllm/Qwen/Qwen3-8B", Some("Qwen/Qwen3-8B")),
        ] {
            let built = build(provider, model);
            assert_eq!(built, Ok((url.to_owned(), named("Qwen/Qwen3-8B"))));
        }
        assert_eq!(build("local", None), Ok(("local".to_owned(), None)));
        let local = build("local/a.gguf", None);
        assert_eq!(local, Ok(("local".to_owned(), named("a.gguf"))));
        for (provider, model, message) in [
            ("vllm", None, "--provider vllm needs the name of a model"),
            ("vllm/a", Some("b"), "names the model `a`, --model `b`"),
            ("gpt", Some("a"), "expected local or one of: openai, "),
        ] {
            let error = build(provider, model).expect_err(provider);
            assert!(error.contains(message), "{error}");
        }
    }

    #[test]
    fn what_only_a_service_could_honour_is_refused_locally() {
        let mut args = ProviderArgs {
            provider: Some("local".to_owned()),
            timeout: Some(Duration::from_secs(1)),
            ..ProviderArgs::default()
        };
        let error = args
            .build(&mut ModelChoice::default())
            .expect_err("refused");
        assert!(error.to_string().starts_with("--timeout is for services"));
    }

    #[test]
    fn numbers_are_above_zero() {
        assert_eq!(parse_seconds("0.5"), Ok(Duration::from_millis(500)));
        for wrong in ["0", "-1", "nan", "inf", "1e300", "soon"] {
            assert!(parse_seconds(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parse_number("7"), Ok(7));
        assert!(parse_number("0").is_err() && parse_number("-1").is_err());
    }
}
