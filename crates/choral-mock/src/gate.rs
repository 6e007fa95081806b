//! What every request passes before and after its handler.
//!
//! Owns the order: record, latency, fault, key, limit, handler, headers, delivery. The
//! body is read here, whole, so that a record has it and handlers are plain functions.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use crate::answer;
use crate::app::App;
use crate::connection::Connection;
use crate::deliver::deliver;
use crate::fault::{Fault, FaultError, Script};
use crate::record::{OpenRequest, Outcome, RequestRecord};
use crate::reply::Reply;
use crate::vendor::Vendor;

/// The vendor's limit of an uploaded file, and of any body here.
const MAX_BODY_BYTES: usize = 200 << 20;
/// A request's own script of faults.
const FAULT_HEADER: &str = "x-mock-fault";
/// Paths whose bodies are prompts, where markers are obeyed.
const PROMPT_PATHS: [&str; 8] = [
    "/completions",
    "/responses",
    "/embeddings",
    "/messages",
    "/chat",
    "/generate",
    "/embed",
    "/count_tokens",
];

pub(crate) async fn pass(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let Some(connection) = request.extensions().get::<Arc<Connection>>().cloned() else {
        return next.run(request).await;
    };
    if path.starts_with("/__mock") {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    let vendor = Vendor::of(&path, &parts.headers);
    let (body, too_long) = match Limited::new(body, MAX_BODY_BYTES).collect().await {
        Ok(body) => (body.to_bytes(), false),
        // A client that broke off hears no answer anyway.
        Err(error) => (Bytes::new(), error.is::<LengthLimitError>()),
    };
    let mut open = app.log.opened(record(&connection, &parts, &body));
    tokio::time::sleep(app.settings.latency).await;

    // The foreign origin is sent prompts with markers too, and is only to listen.
    let fault = if app.is_elsewhere() {
        Ok(Fault::Ok)
    } else {
        fault_of(&app, &parts.method, &parts.headers, &path, &body, &open)
    };
    let (fault, misread) = match fault {
        Ok(fault) => (fault, None),
        Err(error) => (
            Fault::Ok,
            Some(vendor.error(400, &format!("mock: {error}"))),
        ),
    };
    if fault != Fault::Ok {
        open.set_fault(&fault.to_string());
    }
    let refusal = match &fault {
        Fault::Reset | Fault::Close => {
            open.end(Outcome::Cut);
            if fault == Fault::Reset {
                connection.reset();
            } else {
                connection.close();
            }
            return std::future::pending().await;
        }
        Fault::Stall(wait) => {
            tokio::time::sleep(*wait).await;
            None
        }
        Fault::Status(code, hint) => Some(vendor.injected(*code, *hint)),
        Fault::Redirect(code) => {
            let query = parts
                .uri
                .query()
                .map_or(String::new(), |query| format!("?{query}"));
            let target = format!("{}{path}{query}", app.elsewhere);
            Some(Reply::bytes(*code, "text/plain", "").with("location", &target))
        }
        Fault::EchoKey => {
            let key = vendor.key(&parts.headers).unwrap_or_default();
            Some(vendor.error(401, &format!("Incorrect API key provided: {key}.")))
        }
        _ => misread,
    };
    let refusal = refusal.or_else(|| {
        too_long.then(|| vendor.error(413, "The request is larger than the maximum allowed size."))
    });

    let refusal = refusal.or_else(|| {
        if app.settings.open {
            None
        } else {
            vendor.refuse_key(&parts.headers, &app.settings.keys)
        }
    });
    let key = vendor.key(&parts.headers).unwrap_or_default();
    let standing = app.count(
        &key,
        answer::tokens(&String::from_utf8_lossy(&body)).len() as u64,
    );
    let refusal = refusal.or_else(|| (!standing.allowed).then(|| vendor.limited(&standing)));

    let reply = if let Some(reply) = refusal {
        reply
    } else {
        let request = Request::from_parts(parts, Body::from(body));
        let mut response = next.run(request).await;
        match response.extensions_mut().remove::<Reply>() {
            Some(reply) => reply,
            None => plain(response).await,
        }
    };
    let reply = vendor.stamp(reply, open.id(), &standing);
    deliver(reply, &fault, vendor, app.settings.pace, &connection, open)
}

fn record(
    connection: &Connection,
    parts: &axum::http::request::Parts,
    body: &Bytes,
) -> RequestRecord {
    let headers = parts.headers.iter().map(|(name, value)| {
        (
            name.as_str().to_owned(),
            String::from_utf8_lossy(value.as_bytes()).into_owned(),
        )
    });
    RequestRecord {
        id: 0,
        connection: connection.number,
        attempt: 0,
        at: std::time::Duration::ZERO,
        ended: None,
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().map(str::to_owned),
        headers: headers.collect(),
        body: body.to_vec().into(),
        body_sha256: answer::hex_digest(body),
        fault: None,
        status: None,
        outcome: Outcome::Open,
    }
}

/// A request's header comes before its prompt's marker, and both before the server's plan.
fn fault_of(
    app: &App,
    method: &Method,
    headers: &HeaderMap,
    path: &str,
    body: &Bytes,
    open: &OpenRequest,
) -> Result<Fault, FaultError> {
    let own = headers
        .get(FAULT_HEADER)
        .map(|value| value.to_str().unwrap_or_default().parse());
    let own: Option<Result<Script, _>> = own.or_else(|| {
        let is_prompt = PROMPT_PATHS.iter().any(|end| path.ends_with(end));
        if is_prompt {
            Script::in_text(&String::from_utf8_lossy(body))
        } else {
            None
        }
    });
    if let Some(script) = own {
        return Ok(script?.at(open.attempt));
    }
    let key = format!("{method} {path} {}", answer::hex_digest(body));
    Ok(app.settings.plan.at(path, &key, open.attempt))
}

/// A response that axum made by itself, such as 405.
async fn plain(response: Response) -> Reply {
    let status = response.status().as_u16();
    let bytes = response
        .into_body()
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes);
    Reply::bytes(
        status,
        "text/plain; charset=utf-8",
        bytes.unwrap_or_default(),
    )
}

/// Refuses a path that no vendor has.
pub(crate) async fn unknown(method: Method, request: Request) -> Response {
    let path = request.uri().path();
    let vendor = Vendor::of(path, request.headers());
    let message = format!("Invalid URL ({method} {path})");
    vendor.error(404, &message).into_response()
}

/// Refuses a method that a path does not take.
pub(crate) async fn wrong_method(method: Method, request: Request) -> Response {
    let path = request.uri().path();
    let message = format!("Not allowed to {method} on {path}.");
    Vendor::of(path, request.headers())
        .error(405, &message)
        .into_response()
}
