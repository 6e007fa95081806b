//! An answer before it becomes HTTP: whole, or as the events of a stream.
//!
//! Handlers make one; `deliver` sends it, or breaks it where a fault says so. That is why
//! a stream is a list of frames here and not a future.

use axum::body::Bytes;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

#[derive(Clone, Debug)]
pub(crate) enum Body {
    Whole(Bytes),
    Frames(Vec<Bytes>),
}

#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) content_type: &'static str,
    pub(crate) body: Body,
}

impl Reply {
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self::bytes(status, "application/json", body.to_string())
    }

    pub(crate) fn ok(body: &Value) -> Self {
        Self::json(200, body)
    }

    pub(crate) fn bytes(status: u16, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            content_type,
            body: Body::Whole(body.into()),
        }
    }

    /// Unnamed server-sent events, then `[DONE]`.
    pub(crate) fn data_stream(events: impl IntoIterator<Item = Value>) -> Self {
        let events = events
            .into_iter()
            .map(|event| Bytes::from(format!("data: {event}\n\n")));
        let frames = events
            .chain([Bytes::from_static(b"data: [DONE]\n\n")])
            .collect();
        Self::stream("text/event-stream; charset=utf-8", frames)
    }

    /// Server-sent events named by their `type`.
    pub(crate) fn event_stream(events: impl IntoIterator<Item = Value>) -> Self {
        let frames = events.into_iter().map(|event| {
            let name = event["type"].as_str().unwrap_or_default();
            Bytes::from(format!("event: {name}\ndata: {event}\n\n"))
        });
        Self::stream("text/event-stream; charset=utf-8", frames.collect())
    }

    /// One JSON value a line.
    pub(crate) fn lines(lines: impl IntoIterator<Item = Value>) -> Self {
        let frames = lines
            .into_iter()
            .map(|line| Bytes::from(format!("{line}\n")));
        Self::stream("application/x-ndjson", frames.collect())
    }

    fn stream(content_type: &'static str, frames: Vec<Bytes>) -> Self {
        Self {
            status: 200,
            headers: Vec::new(),
            content_type,
            body: Body::Frames(frames),
        }
    }

    /// Adds a header. A value that HTTP cannot carry is left out.
    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push((HeaderName::from_static(name), value));
        }
        self
    }

    /// Status and headers, around a body.
    pub(crate) fn head(&self) -> axum::http::response::Builder {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut builder = Response::builder()
            .status(status)
            .header(header::CONTENT_TYPE, self.content_type);
        for (name, value) in &self.headers {
            builder = builder.header(name, value);
        }
        builder
    }
}

impl IntoResponse for Reply {
    /// An empty response that carries the reply to the gate.
    fn into_response(self) -> Response {
        let mut response = Response::default();
        response.extensions_mut().insert(self);
        response
    }
}
