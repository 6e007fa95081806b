//! A key is seen by the server that it is for, and by nobody else.
//!
//! A test binary of its own: it takes down everything that is logged, by every crate.

mod common;

use choral::provider::{BlockingStream, GenerateRequest, Provider, ProviderExt};
use choral_mock::MockServer;
use choral_providers::{Builder, Kind, Secret};
use common::{KEY, client, openai};
use std::fmt::Write as _;
use std::io;
use std::sync::{Arc, Mutex};
use tracing_subscriber::fmt::MakeWriter;

#[derive(Clone, Default)]
struct Taken(Arc<Mutex<Vec<u8>>>);

impl io::Write for Taken {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Taken {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[test]
fn a_key_never_shows() {
    let taken = Taken::default();
    tracing_subscriber::fmt()
        .with_env_filter("trace")
        .with_writer(taken.clone())
        .init();
    let server = MockServer::start().unwrap();
    let mut seen = String::new();
    let kinds = [Kind::OpenAi, Kind::Compatible];
    for builder in kinds.map(|kind| client(&server, kind)) {
        writeln!(seen, "{builder:?}").unwrap();
        let provider = builder.build().unwrap();
        writeln!(seen, "{provider:?}").unwrap();
        for fault in [
            "ok",
            "echo-key",
            "401",
            "429",
            "500*",
            "reset*",
            "close*",
            "redirect=302",
            "redirect=307",
            "malformed-json",
            "wrong-content-type",
            "cut-stream",
            "stream-error",
            "truncated*",
        ] {
            let prompt = format!("[[mock:{fault}]]");
            let answer = provider.generate_blocking(prompt.as_str());
            writeln!(seen, "{answer:?}").unwrap();
            if let Err(error) = &answer {
                writeln!(seen, "{error} {}", serde_json::to_string(error).unwrap()).unwrap();
            }
            let stream = provider.stream(GenerateRequest::prompt(prompt));
            for event in BlockingStream::new(stream) {
                writeln!(seen, "{event:?}").unwrap();
            }
        }
        let mut sent = server.log().requests().into_iter();
        assert!(sent.any(|request| {
            let header = request.header("authorization");
            header == Some(&format!("Bearer {KEY}"))
        }));
    }
    // Nobody listens there: the error is the library's own.
    let nowhere = Builder::new(Kind::Anthropic, "m")
        .base_url(format!("http://user:{KEY}@127.0.0.1:9"))
        .api_key(KEY)
        .retry(common::quick());
    writeln!(seen, "{:?}", nowhere.clone().header("x-other", KEY)).unwrap();
    let answer = nowhere.build().unwrap().generate_blocking("x");
    writeln!(seen, "{answer:?}").unwrap();
    let bad = openai(&server).api_key(&format!("{KEY}\nx"));
    writeln!(seen, "{:?}", bad.build().unwrap_err()).unwrap();
    let bad = openai(&server).base_url(format!("ftp://{KEY}@x"));
    writeln!(seen, "{:?}", bad.build().unwrap_err()).unwrap();
    writeln!(seen, "{:?}", Secret::new(KEY).unwrap()).unwrap();

    assert!(!seen.contains(KEY), "{}", around(&seen));
    assert!(seen.contains("***"), "an echoed key is cut out");
    let logged = String::from_utf8_lossy(&taken.0.lock().unwrap()).into_owned();
    assert!(
        logged.contains("hyper"),
        "the libraries have logged as well"
    );
    // The mock is in this process, and prints what it is asked.
    assert!(!logged.contains(KEY), "{}", around(&logged));
}

fn around(text: &str) -> String {
    let at = text.find(KEY).unwrap_or(0);
    let from = text.floor_char_boundary(at.saturating_sub(300));
    let to = text.ceil_char_boundary(text.len().min(at + 300));
    text[from..to].to_owned()
}

#[test]
fn a_key_comes_from_a_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("  {KEY}\n")).unwrap();
    assert_eq!(
        Secret::from_file(file.path()).unwrap(),
        Secret::new(KEY).unwrap()
    );
    let error = Secret::from_file("/nowhere/at/all".as_ref()).unwrap_err();
    assert!(error.to_string().starts_with("key file /nowhere/at/all: "));
    for bad in ["", " \n", "two words", "ü"] {
        assert!(Secret::new(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn placeholders_are_no_secrets() {
    let key = Secret::new("ollama").unwrap();
    assert_eq!(key.scrub("ollama is not running"), "ollama is not running");
    assert_eq!(
        Secret::new(KEY).unwrap().scrub(&format!("a {KEY}b")),
        "a ***b"
    );
}
