//! Models from a hub, as a shell sees it: the hub is a thread of this test.

use assert_cmd::Command;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const FILE: &str = "demo-Q8_0.gguf";

/// A whole GGUF file without tensors: magic, version, no tensors, no metadata.
const TINY: [u8; 24] = *b"GGUF\x03\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

/// By `sha256sum`.
const TINY_SHA256: &str = "a4e5e156ddec27e286f75328784d7106b60a4eb1d246e950a001a3f944fbda99";

fn serve() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        listener
            .incoming()
            .flatten()
            .for_each(|stream| answer(&stream));
    });
    format!("http://{address}")
}

fn answer(mut stream: &TcpStream) {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let first = lines.next().unwrap_or_default();
    lines.take_while(|line| !line.is_empty()).for_each(drop);
    let (status, body) = match first.split(' ').nth(1) {
        Some("/api/models/org/demo/revision/main?blobs=true") => {
            let file = serde_json::json!({"rfilename": FILE, "size": TINY.len(), "blobId": "a",
                "lfs": {"sha256": TINY_SHA256, "size": TINY.len()}});
            let answer = serde_json::json!({"sha": COMMIT, "siblings": [file]});
            (200, answer.to_string().into_bytes())
        }
        Some(path) if path == format!("/org/demo/resolve/{COMMIT}/{FILE}") => (200, TINY.to_vec()),
        _ => (404, Vec::new()),
    };
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
    // A client that has gone away is no failure of this test.
    let _ = stream.write_all(&[head.into_bytes(), body].concat());
}

fn choral(home: &Path, endpoint: &str, words: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(assert_cmd::cargo::cargo_bin!("choral"))
        .env("HF_HOME", home)
        .env("HF_ENDPOINT", endpoint)
        .env_remove("HF_HUB_CACHE")
        .env_remove("HF_HUB_OFFLINE")
        .env_remove("HF_TOKEN")
        .args(words)
        .output()
        .expect("choral runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[test]
fn a_model_is_downloaded_once_and_then_found_offline() {
    let home = tempfile::tempdir().expect("a folder");
    let endpoint = serve();
    let words = ["inspect", "-hf", "org/demo:q8_0", "--summary"];
    let (code, stdout, stderr) = choral(home.path(), &endpoint, &words);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.contains("GGUF version 3"), "{stdout}");
    // No terminal: lines.
    assert_eq!(stderr, format!("downloading {FILE}, 24 B\n"));

    let nobody = "http://127.0.0.1:1";
    let words = ["inspect", "-m", "org/demo", "--summary", "--offline"];
    let (code, again, stderr) = choral(home.path(), nobody, &words);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert_eq!(again, stdout);
}

#[test]
fn quiet_downloads_are_quiet_and_errors_are_not() {
    let home = tempfile::tempdir().expect("a folder");
    let endpoint = serve();
    let words = ["generate", "-q", "-p", "x", "-hf", "org/demo"];
    let (code, _, stderr) = choral(home.path(), &endpoint, &words);
    // It is no model, but it has arrived.
    assert_eq!(code, Some(1));
    assert!(
        !stderr.contains("downloading") && stderr.contains(FILE),
        "{stderr}"
    );

    let (code, _, stderr) = choral(home.path(), &endpoint, &["plan", "-hf", "org/demo:Q6_K"]);
    assert_eq!(code, Some(1));
    assert_eq!(stderr, "choral: `org/demo` has no Q6_K, it has Q8_0\n");
    let (code, _, stderr) = choral(home.path(), &endpoint, &["plan", "-hf", "org/none"]);
    assert_eq!(code, Some(1));
    assert!(
        stderr.starts_with("choral: no repository `org/none` at http://127.0.0.1"),
        "{stderr}"
    );
}
