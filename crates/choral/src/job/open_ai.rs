//! Rows of OpenAI's batch format, and answers in it.
//!
//! Source: OpenAI's published reference of the Batch API and of `/v1/chat/completions`
//! and `/v1/completions`. A request is honoured or refused; what it may say without any
//! bearing on the answer is listed in [`WITHOUT_BEARING`].

use super::answer::{Answer, Choice, TokenAlternative, TokenEntry, Usage};
use super::draft::Draft;
use super::entry::Fault;
use super::key::RowKey;
use super::parameter::excerpt;
use super::provider::{self, Base};
use super::reader::{ModelNames, Terms};
use super::row::{Endpoint, Form, RowCode, RowError, RowInput, RowWork};
use crate::provider::ToolCall;
use serde::Serialize;
use serde_json::{Map, Value, json};

/// Fields of a request that have no bearing on what a local model answers.
const WITHOUT_BEARING: &[&str] = &[
    "metadata",
    "parallel_tool_calls",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "store",
    "stream_options",
    "user",
];

impl Endpoint {
    /// The path of the API.
    pub fn url(self) -> &'static str {
        match self {
            Self::Chat => "/v1/chat/completions",
            Self::Completions => "/v1/completions",
        }
    }

    fn of(url: &str) -> Option<Self> {
        [Self::Chat, Self::Completions]
            .into_iter()
            .find(|endpoint| endpoint.url() == url)
    }
}

/// What a line asks of a provider.
pub(super) fn request(
    fields: Vec<(String, Value)>,
    base: &Base,
    models: &ModelNames,
    form: &mut Form,
) -> Result<RowWork, Fault> {
    let (endpoint, body) = envelope(fields, form)?;
    asked(body, endpoint, base, models).map_err(|fault| fault.within("body"))
}

fn asked(
    body: Map<String, Value>,
    endpoint: Endpoint,
    base: &Base,
    models: &ModelNames,
) -> Result<RowWork, Fault> {
    check_logprobs(&body)?;
    let (mut known, mut extra) = (Map::new(), Map::new());
    for (name, value) in body {
        let expected = match name.as_str() {
            _ if value.is_null() => continue,
            "stream" | "echo" if value == false => continue,
            "stream" => "false: the answers of a batch are not streamed",
            "echo" => "false",
            "prompt" if endpoint == Endpoint::Chat => "none: /v1/chat/completions takes `messages`",
            "messages" if endpoint == Endpoint::Completions => {
                "none: /v1/completions takes `prompt`"
            }
            "prompt_logprobs" => "none: OpenAI's answers have no place for them",
            // Nobody streams.
            "stream_options" => continue,
            _ if provider::knows(&name) => {
                known.insert(name, value);
                continue;
            }
            // The service knows it, or refuses it.
            _ => {
                extra.insert(name, value);
                continue;
            }
        };
        return Err(Fault::value(&name, &value, expected));
    }
    let mut request = base.request(known, models)?;
    request.params.extra.extend(extra);
    Ok(provider::work(request))
}

/// What a line asks. What is known of it by then is put into `form` even if the rest is
/// wrong.
pub(super) fn work(
    fields: Vec<(String, Value)>,
    terms: &Terms,
    form: &mut Form,
) -> Result<RowWork, Fault> {
    let (endpoint, body) = envelope(fields, form)?;
    local(body, endpoint, terms).map_err(|fault| fault.within("body"))
}

/// What a line asks, and of what. What is known of it by then is put into `form` even if
/// the rest is wrong.
fn envelope(
    fields: Vec<(String, Value)>,
    form: &mut Form,
) -> Result<(Endpoint, Map<String, Value>), Fault> {
    let (mut url, mut body) = (None, None);
    let (mut has_id, mut has_method) = (false, false);
    for (name, value) in fields {
        match (name.as_str(), value) {
            ("custom_id", value) => has_id = !value.is_null(),
            ("method", value) if value == "POST" => has_method = true,
            ("method", value) => return Err(Fault::value(&name, &value, "POST")),
            ("url", value) => {
                let endpoint = value.as_str().and_then(Endpoint::of).ok_or_else(|| {
                    let expected = "/v1/chat/completions or /v1/completions";
                    Fault::value(&name, &value, expected)
                })?;
                url = Some(endpoint);
            }
            ("body", Value::Object(fields)) => body = Some(fields),
            ("body", value) => return Err(Fault::value(&name, &value, "an object")),
            _ => {
                let message = format!("unknown field `{name}`");
                return Err(Fault::new(RowCode::UnknownParameter, &name, message));
            }
        }
    }
    let missing = |name: &str| {
        let message = format!("there is no `{name}`");
        Fault::new(RowCode::InvalidParameter, name, message)
    };
    if !has_id {
        return Err(missing("custom_id"));
    }
    if !has_method {
        return Err(missing("method"));
    }
    let endpoint = url.ok_or_else(|| missing("url"))?;
    let body = body.ok_or_else(|| missing("body"))?;
    let model = body.get("model").and_then(Value::as_str);
    *form = Form::OpenAi {
        endpoint,
        model: model.unwrap_or_default().to_owned(),
    };
    Ok((endpoint, body))
}

fn check_logprobs(body: &Map<String, Value>) -> Result<(), Fault> {
    match body.get("top_logprobs").filter(|given| !given.is_null()) {
        Some(given) if body.get("logprobs") != Some(&Value::Bool(true)) => {
            let given = excerpt(given);
            let message = format!("`top_logprobs` is {given}, but `logprobs` is not true");
            let code = RowCode::InvalidParameter;
            Err(Fault::new(code, "top_logprobs", message))
        }
        _ => Ok(()),
    }
}

fn local(body: Map<String, Value>, endpoint: Endpoint, terms: &Terms) -> Result<RowWork, Fault> {
    let mut draft = Draft::new(terms);
    check_logprobs(&body)?;
    for (name, value) in body {
        let expected = match name.as_str() {
            _ if value.is_null() || WITHOUT_BEARING.contains(&name.as_str()) => continue,
            "stream" | "echo" if value == false => continue,
            "stream" => "false: the answers of a batch are not streamed",
            "echo" => "false",
            "best_of" if value == 1 => continue,
            "best_of" => "1",
            "modalities" if value == json!(["text"]) => continue,
            "modalities" => "[\"text\"]",
            "response_format" if value == json!({"type": "text"}) => continue,
            "response_format" => "{\"type\": \"text\"}: answers are not constrained",
            "prompt_logprobs" => "none: OpenAI's answers have no place for them",
            "tool_choice" if value == "auto" => continue,
            "tool_choice" => "\"auto\"",
            "prompt" if endpoint == Endpoint::Chat => "none: /v1/chat/completions takes `messages`",
            "messages" if endpoint == Endpoint::Completions => {
                "none: /v1/completions takes `prompt`"
            }
            _ => {
                draft.set(&name, value)?;
                continue;
            }
        };
        return Err(Fault::value(&name, &value, expected));
    }
    let work = draft.finish()?;
    // A template may need them, but an empty prompt is somebody's mistake.
    match &work.input {
        RowInput::Chat(chat) if chat.messages.is_empty() => {
            let message = "`messages` is empty, expected at least one";
            Err(Fault::new(RowCode::InvalidPrompt, "messages", message))
        }
        _ => Ok(work),
    }
}

/// A line of OpenAI's output file, or of its error file.
#[derive(Serialize)]
pub(crate) struct ResultLine<'a, T> {
    id: String,
    custom_id: Option<&'a str>,
    response: Response<T>,
    error: Value,
}

#[derive(Serialize)]
struct Response<T> {
    status_code: u16,
    request_id: String,
    body: Body<T>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Body<T> {
    Answer(T),
    Error { error: Value },
}

impl<'a, T> ResultLine<'a, T> {
    /// The line of a row: an answer, or an error. Ids follow from the row's key, so that
    /// outputs can be compared.
    pub(crate) fn new(
        key: &RowKey,
        custom_id: Option<&'a str>,
        answer: Result<T, &RowError>,
    ) -> Self {
        let key = key.fingerprint();
        let (status_code, body) = match answer {
            Ok(answer) => (200, Body::Answer(answer)),
            Err(error) => {
                let body = error_body(error);
                (status(error.code), Body::Error { error: body })
            }
        };
        Self {
            id: format!("batch_req_{key:032x}"),
            custom_id,
            response: Response {
                status_code,
                request_id: format!("req_{key:032x}"),
                body,
            },
            error: Value::Null,
        }
    }
}

#[derive(Serialize)]
struct Completion<'a> {
    id: String,
    object: &'static str,
    /// When depends on the run, which an answer does not.
    created: u64,
    model: &'a str,
    choices: Vec<CompletionChoice<'a>>,
    usage: &'a Usage,
}

#[derive(Serialize)]
struct CompletionChoice<'a> {
    index: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Message<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    logprobs: Value,
    finish_reason: &'a str,
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'static str,
    content: &'a str,
    refusal: Value,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    tool_calls: &'a [ToolCall],
}

/// An answer as a line of OpenAI's output file. Its ids follow from the row's key.
pub(super) fn line<'a>(
    answer: &'a Answer,
    endpoint: Endpoint,
    model: &'a str,
) -> impl Serialize + 'a {
    let key = format!("{:032x}", answer.key.fingerprint());
    let (prefix, object) = match endpoint {
        Endpoint::Chat => ("chatcmpl", "chat.completion"),
        Endpoint::Completions => ("cmpl", "text_completion"),
    };
    let completion = || Completion {
        id: format!("{prefix}-{key}"),
        object,
        created: 0,
        model,
        choices: answer.outputs.iter().map(|c| choice(c, endpoint)).collect(),
        usage: &answer.usage,
    };
    let found = answer.error.as_ref().map_or_else(|| Ok(completion()), Err);
    ResultLine::new(&answer.key, answer.custom_id.as_deref(), found)
}

fn choice(choice: &Choice, endpoint: Endpoint) -> CompletionChoice<'_> {
    let text = choice.text.as_str();
    let entries = choice.logprobs.as_deref();
    CompletionChoice {
        index: choice.index,
        message: (endpoint == Endpoint::Chat).then_some(Message {
            role: "assistant",
            content: text,
            refusal: Value::Null,
            tool_calls: &choice.tool_calls,
        }),
        text: (endpoint == Endpoint::Completions).then_some(text),
        logprobs: entries.map_or(Value::Null, |entries| match endpoint {
            Endpoint::Chat => chat_logprobs(entries),
            Endpoint::Completions => text_logprobs(entries),
        }),
        finish_reason: &choice.finish_reason,
    }
}

fn chat_logprobs(entries: &[TokenEntry]) -> Value {
    let token = |token: &TokenAlternative| {
        // Where a token is no whole character, its text does not say which bytes it is.
        let is_whole = !token.token.contains(char::REPLACEMENT_CHARACTER);
        let bytes = is_whole.then_some(token.token.as_bytes());
        json!({"token": token.token, "logprob": token.logprob, "bytes": bytes})
    };
    let content = entries.iter().map(|entry| {
        let mut content = token(&entry.chosen);
        content["top_logprobs"] = entry.top_logprobs.iter().map(token).collect();
        content
    });
    json!({"content": content.collect::<Vec<_>>(), "refusal": null})
}

fn text_logprobs(entries: &[TokenEntry]) -> Value {
    let mut offset = 0;
    let offsets = entries.iter().map(|entry| {
        let begin = offset;
        offset += entry.chosen.token.chars().count();
        begin
    });
    let top = entries.iter().map(|entry| {
        let top = entry.top_logprobs.iter();
        top.map(|token| (token.token.clone(), json!(token.logprob)))
            .collect::<Map<_, _>>()
    });
    json!({
        "text_offset": offsets.collect::<Vec<_>>(),
        "token_logprobs": entries.iter().map(|entry| entry.chosen.logprob).collect::<Vec<_>>(),
        "tokens": entries.iter().map(|entry| &entry.chosen.token).collect::<Vec<_>>(),
        "top_logprobs": top.collect::<Vec<_>>(),
    })
}

/// The status that OpenAI's servers give such a request.
pub(crate) fn status(code: RowCode) -> u16 {
    match code {
        RowCode::UnknownModel => 404,
        RowCode::Engine | RowCode::Provider => 500,
        _ => 400,
    }
}

/// What stands for an answer's `body.error`.
pub(crate) fn error_body(error: &RowError) -> Value {
    let kind = match status(error.code) {
        500 => "server_error",
        _ => "invalid_request_error",
    };
    let place = match &error.file {
        Some(file) => format!("{file}: line {}", error.line),
        None => format!("line {}", error.line),
    };
    json!({
        "message": format!("{place}: {}", error.message),
        "type": kind,
        "param": error.field,
        "code": error.code,
    })
}
