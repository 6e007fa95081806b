//! As little of HTTP/1.1 as it takes to see what a server really sends, broken or not.

#![allow(dead_code, unreachable_pub)] // Each test file uses its part.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use choral_mock::MockServer;
use serde_json::Value;

/// What came back: all of it, until the connection's end.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Whether the body ended as its framing says.
    pub complete: bool,
    /// The error that ended reading, if one did.
    pub error: Option<io::ErrorKind>,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The JSON of `data:` lines, but for `[DONE]`.
    pub fn events(&self) -> Vec<Value> {
        let text = self.text();
        let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
        data.filter(|data| *data != "[DONE]")
            .map(|data| serde_json::from_str(data).unwrap())
            .collect()
    }

    /// The JSON of every line.
    pub fn lines(&self) -> Vec<Value> {
        self.text()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

/// Connects to the server.
pub fn connect(server: &MockServer) -> TcpStream {
    let address = server.url().replace("http://", "");
    let stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    stream
}

/// Writes a request.
pub fn write(
    stream: &mut TcpStream,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) {
    let mut text = format!(
        "{method} {path} HTTP/1.1\r\nhost: mock\r\ncontent-length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        text.extend([name, ": ", value, "\r\n"]);
    }
    text += "\r\n";
    stream.write_all(text.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
}

/// Sends a request on a connection of its own. No response at all is an error.
pub fn send(
    server: &MockServer,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> io::Result<Response> {
    let mut stream = connect(server);
    let mut all = vec![("connection", "close")];
    all.extend(headers);
    write(&mut stream, method, path, &all, body);
    let mut bytes = Vec::new();
    let error = stream.read_to_end(&mut bytes).err();
    if bytes.is_empty() {
        return Err(error.unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(parse(&bytes, error.map(|error| error.kind())))
}

fn parse(bytes: &[u8], error: Option<io::ErrorKind>) -> Response {
    let end = bytes
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .expect("headers end");
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .unwrap()
        .split(' ')
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    let headers: Vec<(String, String)> = lines
        .map(|line| {
            line.split_once(": ")
                .unwrap_or((line.trim_end_matches(':'), ""))
        })
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let mut response = Response {
        status,
        headers,
        body: bytes[end + 4..].to_vec(),
        complete: false,
        error,
    };
    if response.header("transfer-encoding") == Some("chunked") {
        let (body, complete) = dechunk(&response.body);
        response.body = body;
        response.complete = complete;
    } else {
        let length = response
            .header("content-length")
            .and_then(|length| length.parse().ok());
        response.complete = length == Some(response.body.len());
    }
    response
}

fn dechunk(mut bytes: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    while let Some(end) = bytes.windows(2).position(|window| window == b"\r\n") {
        let Ok(size) = usize::from_str_radix(&String::from_utf8_lossy(&bytes[..end]), 16) else {
            break;
        };
        if size == 0 {
            return (body, true);
        }
        let rest = &bytes[end + 2..];
        body.extend_from_slice(&rest[..size.min(rest.len())]);
        bytes = rest.get(size + 2..).unwrap_or_default();
    }
    (body, false)
}

/// A POST of JSON with a key, as OpenAI's clients send it.
pub fn post(server: &MockServer, path: &str, body: &Value) -> io::Result<Response> {
    let headers = [
        ("authorization", "Bearer sk-test"),
        ("content-type", "application/json"),
    ];
    send(server, "POST", path, &headers, body.to_string().as_bytes())
}

/// A GET with a key.
pub fn get(server: &MockServer, path: &str) -> Response {
    send(
        server,
        "GET",
        path,
        &[("authorization", "Bearer sk-test")],
        b"",
    )
    .unwrap()
}

/// A chat of one user's message.
pub fn chat(server: &MockServer, text: &str) -> io::Result<Response> {
    post(server, "/v1/chat/completions", &chat_body(text))
}

pub fn chat_body(text: &str) -> Value {
    serde_json::json!({ "model": "gpt-4o-mini", "messages": [{ "role": "user", "content": text }] })
}
