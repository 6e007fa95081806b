//! One file from the hub to the cache, however often the connection breaks.
//!
//! What has arrived lies in `ETAG.incomplete` and is taken up again, in this run
//! or a later one, where its checksum will show whether the pieces belong
//! together. Read [`download`] first.

use super::http::{Client, Failure, header, pause};
use super::{Event, FetchError};
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use ureq::Body;
use ureq::http::header::{CONTENT_LENGTH, CONTENT_RANGE, HeaderMap};
use ureq::http::{Response, StatusCode};

const BUFFER_BYTES: usize = 256 << 10;

/// A connection that brought this much was worth its attempt.
const PROGRESS_BYTES: u64 = 1 << 20;

/// A file to be had.
pub(super) struct Wanted<'a> {
    pub(super) url: &'a str,
    /// Its path in the repository.
    pub(super) name: &'a str,
    pub(super) size: u64,
    pub(super) sha256: Option<&'a str>,
    /// Where it grows.
    pub(super) part: PathBuf,
    /// Where it goes when it is whole.
    pub(super) blob: PathBuf,
}

/// Downloads what is missing of a file, checks it, and moves it into place. The
/// caller holds the lock of its content.
pub(super) fn download(
    client: &Client,
    wanted: &Wanted<'_>,
    report: &mut dyn FnMut(Event<'_>),
) -> Result<(), Failure> {
    let mut part = Part::open(wanted)?;
    let mut attempts = client.attempts();
    let mut has_restarted = false;
    report(Event::Start {
        file: wanted.name,
        size: wanted.size,
        have: part.length,
    });
    while part.length < wanted.size {
        let before = part.length;
        match receive(client, wanted, &mut part, report) {
            Err(Failure::Passing { error, wait }) => {
                if part.length.saturating_sub(before) >= PROGRESS_BYTES {
                    attempts.reset();
                }
                let Some(delay) = attempts.next(wait) else {
                    return Err(Failure::Final(error));
                };
                pause(wanted.name, &error, delay, report);
            }
            // The server has less than there is here: then that is of another file.
            // Once: a server must not be able to keep us at it for ever.
            Err(Failure::Refused { status: 416, .. }) if before > 0 && !has_restarted => {
                has_restarted = true;
                part.restart()?;
            }
            Err(other) => return Err(other),
            Ok(()) => {}
        }
    }
    part.finish(wanted)?;
    report(Event::Done { file: wanted.name });
    Ok(())
}

/// One connection's worth.
fn receive(
    client: &Client,
    wanted: &Wanted<'_>,
    part: &mut Part,
    report: &mut dyn FnMut(Event<'_>),
) -> Result<(), Failure> {
    let mut response = client.get(wanted.url, part.length)?;
    if begins_anew(wanted, part.length, &response)? {
        part.restart()?;
    }
    let mut body = response.body_mut().as_reader();
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let lost = |reason: String| Failure::Passing {
            error: FetchError::Network {
                url: wanted.url.to_owned(),
                reason,
            },
            wait: None,
        };
        let count = body
            .read(&mut buffer)
            .map_err(|error| lost(error.to_string()))?;
        if count == 0 {
            if part.length == wanted.size {
                return Ok(());
            }
            return Err(lost(format!(
                "the connection ended at byte {} of {}",
                part.length, wanted.size
            )));
        }
        if count as u64 > wanted.size - part.length {
            part.delete()?;
            return Err(wrong_size(wanted, "more".to_owned()).into());
        }
        part.append(&buffer[..count])?;
        report(Event::At { bytes: part.length });
    }
}

/// Whether an answer is the whole file where only the rest was asked for. Refuses
/// answers that announce another length than the file has, before anything of
/// them is kept: a login page must not replace what is there.
fn begins_anew(
    wanted: &Wanted<'_>,
    have: u64,
    response: &Response<Body>,
) -> Result<bool, FetchError> {
    let headers = response.headers();
    let is_rest = response.status() == StatusCode::PARTIAL_CONTENT;
    let start = if is_rest { have } else { 0 };
    if is_rest && let Some((from, total)) = content_range(headers) {
        if from != have {
            return Err(FetchError::Answer {
                url: wanted.url.to_owned(),
                expected: format!("bytes from {have} on"),
                found: format!("bytes from {from} on"),
            });
        }
        if let Some(total) = total.filter(|total| *total != wanted.size) {
            return Err(wrong_size(wanted, total.to_string()));
        }
    }
    let announced = header(headers, &CONTENT_LENGTH).and_then(|text| text.parse::<u64>().ok());
    if let Some(announced) = announced.filter(|bytes| *bytes != wanted.size - start) {
        let total = start.saturating_add(announced);
        return Err(wrong_size(wanted, total.to_string()));
    }
    Ok(!is_rest && have > 0)
}

/// First byte and total of `bytes 100-199/200`.
fn content_range(headers: &HeaderMap) -> Option<(u64, Option<u64>)> {
    let text = header(headers, &CONTENT_RANGE)?;
    let (range, total) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (from, _) = range.split_once('-')?;
    Some((from.trim().parse().ok()?, total.trim().parse().ok()))
}

fn wrong_size(wanted: &Wanted<'_>, found: String) -> FetchError {
    FetchError::Size {
        file: wanted.name.to_owned(),
        expected: wanted.size,
        found,
    }
}

/// What there is of a file. `hash` is that of its `length` bytes.
struct Part {
    path: PathBuf,
    file: File,
    length: u64,
    hash: Sha256,
}

impl Part {
    /// Opens what an earlier run left. Without a checksum at the end nobody would
    /// see whether it belongs to the rest, so then, as when it is too long, it is
    /// begun anew.
    fn open(wanted: &Wanted<'_>) -> Result<Self, FetchError> {
        let path = wanted.part.clone();
        super::cache::create_folder_of(&path)?;
        let mut options = File::options();
        let options = options.read(true).write(true).create(true).truncate(false);
        let mut part = Self {
            file: options.open(&path).map_err(FetchError::io(&path))?,
            path,
            length: 0,
            hash: Sha256::new(),
        };
        let found = part.file.metadata().map_err(FetchError::io(&part.path))?;
        if found.len() == 0 {
            return Ok(part);
        }
        if wanted.sha256.is_none() || found.len() > wanted.size {
            part.restart()?;
            return Ok(part);
        }
        part.hash_content()?;
        Ok(part)
    }

    fn hash_content(&mut self) -> Result<(), FetchError> {
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let count = self.file.read(&mut buffer);
            let count = count.map_err(FetchError::io(&self.path))?;
            if count == 0 {
                return Ok(());
            }
            self.hash.update(&buffer[..count]);
            self.length += count as u64;
        }
    }

    fn restart(&mut self) -> Result<(), FetchError> {
        self.file.set_len(0).map_err(FetchError::io(&self.path))?;
        let start = self.file.seek(SeekFrom::Start(0));
        start.map_err(FetchError::io(&self.path))?;
        self.length = 0;
        self.hash = Sha256::new();
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), FetchError> {
        let written = self.file.write_all(bytes);
        written.map_err(FetchError::io(&self.path))?;
        self.hash.update(bytes);
        self.length += bytes.len() as u64;
        Ok(())
    }

    fn delete(&self) -> Result<(), FetchError> {
        remove(&self.path)
    }

    fn finish(self, wanted: &Wanted<'_>) -> Result<(), FetchError> {
        let found = hex(&self.hash.finalize());
        if let Some(expected) = wanted.sha256
            && !expected.eq_ignore_ascii_case(&found)
        {
            remove(&self.path)?;
            return Err(FetchError::Checksum {
                file: wanted.name.to_owned(),
                expected: expected.to_owned(),
                found,
            });
        }
        self.file.sync_all().map_err(FetchError::io(&self.path))?;
        fs::rename(&self.path, &wanted.blob).map_err(FetchError::io(&wanted.blob))
    }
}

fn remove(path: &Path) -> Result<(), FetchError> {
    fs::remove_file(path).map_err(FetchError::io(path))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
