//! An HTTP server that does what a test wants, on a free local port.

use super::{COMMIT, ID, sha256};
use serde_json::json;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What a client asked for.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
    /// The first byte that it wants.
    pub(super) from: Option<usize>,
    pub(super) authorization: Option<String>,
    pub(super) host: String,
}

impl Request {
    pub(super) fn is_for_file(&self) -> bool {
        self.path.contains("/resolve/") && self.method == "GET"
    }
}

/// What it gets.
#[derive(Debug, Clone, Default)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
    /// The length that is announced, if not that of the body; none for an answer
    /// that ends with the connection.
    pub(super) announced: Announced,
    /// Bytes after which the connection ends.
    pub(super) cut: Option<usize>,
    /// Silence before the rest, after a quarter of the body.
    pub(super) silence: Option<Duration>,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) enum Announced {
    #[default]
    Right,
    Length(usize),
    Nothing,
}

impl Reply {
    pub(super) fn status(status: u16) -> Self {
        Self {
            status,
            ..Self::default()
        }
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(super) fn cut_after(mut self, bytes: usize) -> Self {
        self.cut = Some(bytes);
        self
    }

    pub(super) fn announcing(mut self, announced: Announced) -> Self {
        self.announced = announced;
        self
    }
}

/// A server. Its thread ends with the process.
pub(super) struct Hub {
    pub(super) address: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Hub {
    /// Serves `answer`, which also learns how many requests for files came before.
    pub(super) fn start(answer: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let requests = Arc::new(Mutex::new(Vec::<Request>::new()));
        let (seen, answer) = (Arc::clone(&requests), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
                std::thread::spawn(move || serve(&stream, &seen, &*answer));
            }
        });
        Self {
            address: format!("http://127.0.0.1:{port}"),
            requests,
        }
    }

    pub(super) fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("no thread panics").clone()
    }

    /// Where the requests for files wanted to begin.
    pub(super) fn starts(&self) -> Vec<Option<usize>> {
        let requests = self.requests();
        let files = requests.iter().filter(|request| request.is_for_file());
        files.map(|request| request.from).collect()
    }
}

fn serve(
    stream: &TcpStream,
    seen: &Mutex<Vec<Request>>,
    answer: &dyn Fn(&Request, usize) -> Reply,
) -> Option<()> {
    let request = read(stream)?;
    let num_before = {
        let mut seen = seen.lock().expect("no thread panics");
        let count = seen.iter().filter(|request| request.is_for_file()).count();
        seen.push(request.clone());
        count
    };
    let reply = answer(&request, num_before);
    write(stream, &request, &reply)
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let first = lines.next()?;
    let mut words = first.split(' ').map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let headers: HashMap<String, String> = lines
        .take_while(|line| !line.is_empty())
        .filter_map(|line| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_ascii_lowercase(), value.trim().to_owned()))
        })
        .collect();
    let range = headers.get("range").map(|range| {
        let from = range
            .strip_prefix("bytes=")
            .and_then(|r| r.strip_suffix('-'));
        from.and_then(|from| from.parse().ok())
            .expect("an open range")
    });
    Some(Request {
        method,
        path,
        from: range,
        authorization: headers.get("authorization").cloned(),
        host: headers.get("host").cloned().unwrap_or_default(),
    })
}

fn write(mut stream: &TcpStream, request: &Request, reply: &Reply) -> Option<()> {
    let mut head = format!(
        "HTTP/1.1 {} Whatever\r\nConnection: close\r\n",
        reply.status
    );
    for (name, value) in &reply.headers {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    let announced = match reply.announced {
        Announced::Right => Some(reply.body.len()),
        Announced::Length(length) => Some(length),
        Announced::Nothing => None,
    };
    if let Some(length) = announced {
        let _ = write!(head, "Content-Length: {length}\r\n");
    }
    stream.write_all((head + "\r\n").as_bytes()).ok()?;
    if request.method == "HEAD" {
        return Some(());
    }
    let end = reply.cut.unwrap_or(reply.body.len()).min(reply.body.len());
    let body = &reply.body[..end];
    let (first, rest) = body.split_at(match reply.silence {
        Some(_) => body.len() / 4,
        None => 0,
    });
    stream.write_all(first).ok()?;
    std::thread::sleep(reply.silence.unwrap_or_default());
    stream.write_all(rest).ok()
}

/// A repository as the hub serves it.
#[derive(Debug, Clone, Default)]
pub(super) struct Shelf {
    files: Vec<(String, Vec<u8>)>,
    /// Leaves sizes and checksums out of the description, as mirrors do.
    pub(super) is_terse: bool,
}

impl Shelf {
    pub(super) fn of(files: &[(&str, Vec<u8>)]) -> Self {
        let files = files
            .iter()
            .map(|(name, bytes)| ((*name).to_owned(), bytes.clone()));
        Self {
            files: files.collect(),
            is_terse: false,
        }
    }

    /// What the hub itself would answer.
    pub(super) fn answer(&self, request: &Request) -> Reply {
        if request
            .path
            .starts_with(&format!("/api/models/{ID}/revision/"))
        {
            return Reply {
                status: 200,
                body: self.description().into_bytes(),
                ..Reply::default()
            };
        }
        let prefix = format!("/{ID}/resolve/{COMMIT}/");
        let name = request.path.strip_prefix(&prefix);
        let file = self.files.iter().find(|(file, _)| Some(&**file) == name);
        match file {
            Some((name, bytes)) => Self::file(request, name, bytes),
            None => Reply::status(404).with("X-Error-Code", "EntryNotFound"),
        }
    }

    fn file(request: &Request, name: &str, bytes: &[u8]) -> Reply {
        let etag = format!("\"{}\"", blob_name(name, bytes));
        let reply = Reply::status(200).with("ETag", etag);
        match request.from {
            None => Reply {
                body: bytes.to_vec(),
                ..reply
            },
            Some(from) if from >= bytes.len() => Reply::status(416),
            Some(from) => {
                let (last, total) = (bytes.len() - 1, bytes.len());
                let reply = reply.with("Content-Range", format!("bytes {from}-{last}/{total}"));
                Reply {
                    status: 206,
                    body: bytes[from..].to_vec(),
                    ..reply
                }
            }
        }
    }

    fn description(&self) -> String {
        let siblings = self.files.iter().map(|(name, bytes)| {
            let (size, blob) = (bytes.len(), blob_name(name, bytes));
            if self.is_terse {
                json!({"rfilename": name})
            } else if is_large(name) {
                json!({"rfilename": name, "size": size, "blobId": "00ff",
                       "lfs": {"sha256": blob, "size": size, "pointerSize": 134}})
            } else {
                json!({"rfilename": name, "size": size, "blobId": blob})
            }
        });
        let siblings: Vec<_> = siblings.collect();
        json!({"id": ID, "sha": COMMIT, "siblings": siblings}).to_string()
    }
}

fn is_large(name: &str) -> bool {
    let ending = name.rsplit_once('.').map(|(_, ending)| ending);
    matches!(ending, Some("gguf" | "safetensors"))
}

/// The `ETag`: SHA-256 of large files, 40 digits for others.
pub(super) fn blob_name(name: &str, bytes: &[u8]) -> String {
    let mut blob = sha256(bytes);
    if !is_large(name) {
        blob.truncate(40);
    }
    blob
}
