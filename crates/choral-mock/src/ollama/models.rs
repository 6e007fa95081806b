//! Ollama's models: which are here, which are loaded and until when, and pulling.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::State;
use serde_json::{Value, json};

use super::{parsed, refused};
use crate::answer::hex_digest;
use crate::app::{App, lock};
use crate::reply::Reply;
use crate::time;

const MODEL_BYTES: u64 = 2_019_393_189;
/// How long a model stays loaded when nobody says.
const KEEP_ALIVE: Duration = Duration::from_mins(5);
/// "Forever", as long as a date can say it.
const FOREVER: Duration = Duration::from_hours(24 * 365 * 100);

/// Models in memory, each with the time when it is thrown out; and those that were pulled.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    until: BTreeMap<String, Instant>,
    pulled: Vec<String>,
}

/// `name` and `model` are the same; without a tag, `latest` is meant.
fn full_name(body: &Value) -> Result<String, Reply> {
    let name = body["model"]
        .as_str()
        .or(body["name"].as_str())
        .unwrap_or_default();
    match name {
        "" => Err(refused(400, "model is required")),
        name if name.contains(':') => Ok(name.to_owned()),
        name => Ok(format!("{name}:latest")),
    }
}

/// The name of a model that is here, as its client wrote it.
pub(super) fn model(app: &App, body: &Value) -> Result<(String, String), Reply> {
    let full = full_name(body)?;
    let asked = body["model"]
        .as_str()
        .or(body["name"].as_str())
        .unwrap_or_default();
    if names(app).contains(&full) {
        return Ok((full, asked.to_owned()));
    }
    Err(refused(404, &format!("model '{asked}' not found")))
}

/// Ollama's own models are those whose names have a tag.
fn names(app: &App) -> Vec<String> {
    let mut names: Vec<String> = app
        .settings
        .models
        .iter()
        .filter(|name| name.contains(':'))
        .cloned()
        .collect();
    names.extend(lock(&app.ollama).pulled.iter().cloned());
    names
}

fn details() -> Value {
    json!({
        "parent_model": "",
        "format": "gguf",
        "family": "llama",
        "families": ["llama"],
        "parameter_size": "3.2B",
        "quantization_level": "Q4_K_M",
    })
}

pub(super) async fn tags(State(app): State<Arc<App>>) -> Reply {
    let models: Vec<Value> = names(&app)
        .iter()
        .map(|name| {
            json!({
                "name": name,
                "model": name,
                "modified_at": time::rfc3339(1_700_000_000),
                "size": MODEL_BYTES,
                "digest": hex_digest(name.as_bytes()),
                "details": details(),
            })
        })
        .collect();
    Reply::ok(&json!({ "models": models }))
}

pub(super) async fn running(State(app): State<Arc<App>>) -> Reply {
    let now = Instant::now();
    let mut loaded = lock(&app.ollama);
    loaded.until.retain(|_, until| *until > now);
    let models: Vec<Value> = loaded
        .until
        .iter()
        .map(|(name, until)| {
            let left = until.duration_since(now).as_secs();
            json!({
                "name": name,
                "model": name,
                "size": MODEL_BYTES,
                "digest": hex_digest(name.as_bytes()),
                "details": details(),
                "expires_at": time::rfc3339(time::unix_now() + left),
                "size_vram": 0,
                "context_length": 4096,
            })
        })
        .collect();
    Reply::ok(&json!({ "models": models }))
}

pub(super) async fn show(State(app): State<Arc<App>>, body: Bytes) -> Reply {
    let shown = || {
        let (full, _) = model(&app, &parsed(&body)?)?;
        let capability = if full.contains("embed") {
            "embedding"
        } else {
            "completion"
        };
        Ok(Reply::ok(&json!({
            "license": "MIT",
            "modelfile": format!("FROM {full}"),
            "parameters": "num_ctx 4096",
            "template": "{{ .Prompt }}",
            "details": details(),
            "model_info": {
                "general.architecture": "llama",
                "general.parameter_count": 3_212_749_888u64,
                "llama.context_length": 131_072,
                "llama.embedding_length": 3072,
            },
            "capabilities": [capability, "tools"],
            "modified_at": time::rfc3339(1_700_000_000),
        })))
    };
    shown().unwrap_or_else(|refusal: Reply| refusal)
}

/// Pulls a model: any name but one with "missing" in it exists in the registry.
pub(super) async fn pull(State(app): State<Arc<App>>, body: Bytes) -> Reply {
    let pulled = || {
        let body = parsed(&body)?;
        let name = full_name(&body)?;
        let missing = name.contains("missing");
        let digest = hex_digest(name.as_bytes());
        let layer = |completed: u64| {
            json!({
                "status": format!("pulling {}", &digest[..12]),
                "digest": format!("sha256:{digest}"),
                "total": MODEL_BYTES,
                "completed": completed,
            })
        };
        if missing {
            let error = "pull model manifest: file does not exist";
            if body["stream"] == json!(false) {
                return Err(refused(500, error));
            }
            return Ok(Reply::lines([
                json!({ "status": "pulling manifest" }),
                json!({ "error": error }),
            ]));
        }
        if !names(&app).contains(&name) {
            lock(&app.ollama).pulled.push(name);
        }
        if body["stream"] == json!(false) {
            return Ok(Reply::ok(&json!({ "status": "success" })));
        }
        let mut first = layer(0);
        // Nothing is complete yet, and the field is left out then.
        first.as_object_mut().map(|first| first.remove("completed"));
        Ok(Reply::lines([
            json!({ "status": "pulling manifest" }),
            first,
            layer(MODEL_BYTES / 2),
            layer(MODEL_BYTES),
            json!({ "status": "verifying sha256 digest" }),
            json!({ "status": "writing manifest" }),
            json!({ "status": "success" }),
        ]))
    };
    pulled().unwrap_or_else(|refusal: Reply| refusal)
}

/// Keeps a model loaded as long as asked; says whether it was thrown out at once.
pub(super) fn keep(app: &App, name: &str, keep_alive: &Value) -> Result<bool, Reply> {
    let time = match keep_alive {
        Value::Null => KEEP_ALIVE,
        Value::Number(seconds) => match seconds.as_f64() {
            Some(seconds) if seconds < 0.0 => FOREVER,
            Some(seconds) => {
                Duration::try_from_secs_f64(seconds).map_or(FOREVER, |time| time.min(FOREVER))
            }
            None => FOREVER,
        },
        Value::String(text) => go_duration(text)
            .ok_or_else(|| refused(400, &format!("time: invalid duration \"{text}\"")))?,
        _ => return Err(refused(400, "time: invalid duration")),
    };
    let mut loaded = lock(&app.ollama);
    if time.is_zero() {
        loaded.until.remove(name);
    } else {
        loaded.until.insert(name.to_owned(), Instant::now() + time);
    }
    Ok(time.is_zero())
}

/// A duration as Go writes it: `5m`, `1h30m`, `-1s` for ever, `0`.
fn go_duration(text: &str) -> Option<Duration> {
    let (text, negative) = text
        .strip_prefix('-')
        .map_or((text, false), |rest| (rest, true));
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let (unit, seconds) = [("ms", 0.001), ("h", 3600.0), ("m", 60.0), ("s", 1.0)]
            .into_iter()
            .find(|(unit, _)| rest.starts_with(unit))?;
        total += number * seconds;
        rest = &rest[unit.len()..];
    }
    match text.is_empty() {
        true => None,
        false if negative => Some(FOREVER),
        false => Duration::try_from_secs_f64(total)
            .ok()
            .map(|time| time.min(FOREVER)),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{FOREVER, go_duration};

    #[test]
    fn durations_are_read_as_go_reads_them() {
        assert_eq!(go_duration("5m"), Some(Duration::from_mins(5)));
        assert_eq!(go_duration("1h30m"), Some(Duration::from_mins(90)));
        assert_eq!(go_duration("1.5s"), Some(Duration::from_millis(1500)));
        assert_eq!(go_duration("300ms"), Some(Duration::from_millis(300)));
        assert_eq!(go_duration("0"), Some(Duration::ZERO));
        assert_eq!(go_duration("-1m"), Some(FOREVER));
        for text in ["", "5", "m", "5x", "-"] {
            assert_eq!(go_duration(text), None, "{text}");
        }
    }
}
