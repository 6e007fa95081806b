//! Rows that are requests to a provider: from their fields, and to their answers.

use super::answer::Answer;
use super::entry::Fault;
use super::reader::ModelNames;
use super::row::{RowCode, RowHead, RowInput, RowWork};
use super::runner::{Refusal, Reply, Runner, Running};
use crate::engine::request::RequestMetrics;
use crate::provider::{
    ErrorKind, GenerateError, GenerateParams, GenerateRequest, GenerateResponse, Input, Provider,
};
use crate::sampling::SamplingParams;
use serde_json::{Map, Value};
use std::sync::Arc;
use std::time::Duration;

/// What all rows of a provider have in common.
#[derive(Debug, Clone)]
pub(super) struct Base(pub(super) Map<String, Value>);

/// Whether a field has a meaning in a request.
pub(super) fn knows(name: &str) -> bool {
    GenerateParams::NAMES.contains(&name)
        || matches!(
            name,
            "prompt"
                | "messages"
                | "system"
                | "tools"
                | "tool_choice"
                | "response_format"
                | "model"
                | "max_completion_tokens"
                | "top_logprobs"
        )
}

impl Base {
    /// The request of a row with these fields, which win over the common ones.
    pub(super) fn request(
        &self,
        own: impl IntoIterator<Item = (String, Value)>,
        models: &ModelNames,
    ) -> Result<GenerateRequest, Fault> {
        let own = own.into_iter();
        // Not known is as good as not said.
        let own: Vec<_> = own.filter(|(_, value)| !value.is_null()).collect();
        check(&own)?;
        let mut all = self.0.clone();
        for (name, value) in own {
            let other_name = match name.as_str() {
                "custom_id" => continue,
                "model" => {
                    models.check(&value, &[])?;
                    continue;
                }
                // A conversation that begins with instructions needs no others.
                "messages" if begins_with_instructions(&value) => "system",
                "max_completion_tokens" => "max_tokens",
                "top_logprobs" => "logprobs",
                _ => "",
            };
            if self.0.contains_key(other_name) {
                all.remove(other_name);
            }
            all.insert(name, value);
        }
        let request = GenerateRequest::from_json(all).map_err(|error| fault(&error))?;
        let empty = match &request.input {
            Input::Prompt(text) if text.is_empty() => "prompt",
            Input::Messages(messages) if messages.is_empty() => "messages",
            _ => return Ok(request),
        };
        let message = format!("`{empty}` is empty");
        Err(Fault::new(RowCode::InvalidPrompt, empty, message))
    }
}

/// Refuses fields that contradict each other.
fn check(own: &[(String, Value)]) -> Result<(), Fault> {
    let find = |name: &str| own.iter().find(|(other, _)| other == name);
    if find("max_tokens").is_some() && find("max_completion_tokens").is_some() {
        let message = "`max_completion_tokens` and `max_tokens` are the same: give one";
        let field = "max_completion_tokens";
        return Err(Fault::new(RowCode::InvalidParameter, field, message));
    }
    if find("metadata").is_some() {
        let message = "`metadata` goes nowhere: other fields of a row come back beside its answer";
        return Err(Fault::new(RowCode::UnknownParameter, "metadata", message));
    }
    let logprobs = find("logprobs").map(|(_, value)| value);
    if logprobs == Some(&Value::Bool(false)) && find("top_logprobs").is_some() {
        let message = "`top_logprobs` is given, but `logprobs` is false";
        return Err(Fault::new(
            RowCode::InvalidParameter,
            "top_logprobs",
            message,
        ));
    }
    Ok(())
}

fn begins_with_instructions(messages: &Value) -> bool {
    matches!(messages[0]["role"].as_str(), Some("system" | "developer"))
}

/// What is to be run of a request.
pub(super) fn work(request: GenerateRequest) -> RowWork {
    RowWork {
        input: RowInput::Request(Box::new(request)),
        params: SamplingParams::default(),
        lora: Vec::new(),
    }
}

fn fault(error: &GenerateError) -> Fault {
    let field = error.field().unwrap_or_default();
    let code = match field {
        "prompt" | "messages" => RowCode::InvalidPrompt,
        _ if error.message().starts_with("unknown field") => RowCode::UnknownParameter,
        _ => RowCode::InvalidParameter,
    };
    Fault::new(code, field, error.message())
}

/// Rows on a provider.
pub struct ProviderRunner {
    /// Answers.
    pub provider: Arc<dyn Provider>,
    /// Rows without a seed get theirs from it and from their key; without it, they have
    /// none.
    pub seed: Option<u64>,
}

impl Runner for ProviderRunner {
    fn start(&mut self, head: &RowHead, work: RowWork) -> Result<Running, Refusal> {
        let RowInput::Request(request) = work.input else {
            let message = "expected a request to a provider".to_owned();
            let error = head.error(RowCode::InvalidPrompt, message, "");
            return Err(Refusal::Row(error));
        };
        let request = seeded(*request, head, self.seed);
        let (provider, head) = (Arc::clone(&self.provider), head.clone());
        Ok(Box::pin(async move {
            match provider.generate(request).await {
                Err(error) if ends_the_job(&error) => {
                    let at = format!("line {}: {error}", head.line);
                    Err(at.into())
                }
                outcome => Ok(reply(head, outcome)),
            }
        }))
    }
}

/// The request of the row `head` with a seed, if it has none and the job has one.
pub fn seeded(mut request: GenerateRequest, head: &RowHead, seed: Option<u64>) -> GenerateRequest {
    // 31 bits: what every service takes for a number, and none for a negative one.
    let seed = seed.map(|seed| head.key().seed(seed) >> 33);
    request.params.seed = request.params.seed.or(seed);
    request
}

/// A service that asks to wait longer is not waited for.
const LONGEST_WAIT: Duration = Duration::from_mins(5);

/// Whether no row would fare better: the key is wrong, say, there is no such model, or no
/// credit left.
fn ends_the_job(error: &GenerateError) -> bool {
    match error.kind() {
        // A service may forbid one request for what it says.
        ErrorKind::Auth if error.status() == Some(403) => error.code().is_some_and(|code| {
            let code = code.to_lowercase();
            let words = ["permission", "key", "auth", "country", "account"];
            words.iter().any(|word| code.contains(word))
        }),
        ErrorKind::RateLimit => error.retry_after().is_some_and(|wait| wait > LONGEST_WAIT),
        ErrorKind::Auth | ErrorKind::Quota | ErrorKind::Config | ErrorKind::NotFound => true,
        _ => false,
    }
}

/// What is said of an error, without what depends on the run: the number of attempts, and
/// the service's id of the request.
fn said(error: &GenerateError) -> String {
    let provider = error.provider().map(|name| format!("{name}: "));
    let status = error.status().map(|status| format!(" (status {status})"));
    let (provider, status) = (provider.unwrap_or_default(), status.unwrap_or_default());
    format!("{provider}{}{status}", error.message())
}

/// What a provider's outcome is to a row: an answer or an error.
pub fn reply(head: RowHead, outcome: Result<GenerateResponse, GenerateError>) -> Reply {
    match outcome {
        Ok(response) => {
            let metrics = RequestMetrics {
                e2e_s: response.gen_time_ms / 1000.0,
                ..RequestMetrics::default()
            };
            Reply {
                answer: Answer::of_response(head, response),
                metrics: Some(metrics),
            }
        }
        Err(error) => {
            tracing::debug!(row = head.index, %error, "a row has no answer");
            let field = error.field().unwrap_or_default();
            let failed = head.error(RowCode::Provider, said(&error), field);
            Reply {
                answer: Answer::failed(head, failed),
                metrics: None,
            }
        }
    }
}
