//! What a repository holds, in the words of the hub.

use super::FetchError;
use serde::Deserialize;

/// A repository at one commit.
#[derive(Debug)]
pub(super) struct Listing {
    /// The commit, a plain name.
    pub(super) commit: String,
    pub(super) files: Vec<RemoteFile>,
}

/// A file of a repository. Its path is relative and leads nowhere else.
#[derive(Debug, Clone)]
pub(super) struct RemoteFile {
    pub(super) path: String,
    pub(super) size: Option<u64>,
    /// The name of its blob in the cache: SHA-256 of large files, else git's own.
    pub(super) etag: Option<String>,
}

impl RemoteFile {
    /// The checksum of its content, if the hub knows one.
    pub(super) fn sha256(&self) -> Option<&str> {
        self.etag.as_deref().filter(|etag| is_sha256(etag))
    }
}

#[derive(Deserialize)]
struct Answer {
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    #[serde(rename = "blobId")]
    blob_id: Option<String>,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    #[serde(alias = "oid")]
    sha256: Option<String>,
    size: Option<u64>,
}

impl Listing {
    /// Reads `/api/models/ORG/NAME/revision/REVISION?blobs=true`. Files whose names
    /// are no plain relative paths are left out: nothing could be done with them.
    pub(super) fn parse(url: &str, body: &[u8]) -> Result<Self, FetchError> {
        let wrong = |expected: &str, found: String| FetchError::Answer {
            url: url.to_owned(),
            expected: expected.to_owned(),
            found,
        };
        let answer: Answer = serde_json::from_slice(body)
            .map_err(|error| wrong("the description of a repository", error.to_string()))?;
        if !is_blob_name(&answer.sha) {
            return Err(wrong("a commit", format!("{:?}", answer.sha)));
        }
        let files = answer.siblings.into_iter().filter_map(Sibling::into_file);
        Ok(Self {
            commit: answer.sha,
            files: files.collect(),
        })
    }
}

impl Sibling {
    fn into_file(self) -> Option<RemoteFile> {
        let (sha256, lfs_size) = self.lfs.map_or((None, None), |lfs| (lfs.sha256, lfs.size));
        // Without its checksum, a large file's blob id would name its pointer.
        let etag = match (sha256, lfs_size) {
            (Some(sha256), _) => Some(sha256.to_ascii_lowercase()).filter(|text| is_sha256(text)),
            (None, Some(_)) => None,
            (None, None) => self.blob_id.filter(|text| is_blob_name(text)),
        };
        is_plain_path(&self.rfilename).then_some(RemoteFile {
            path: self.rfilename,
            size: lfs_size.or(self.size),
            etag,
        })
    }
}

/// `"abc"` or `W/"abc"` as a blob's name, if it is one.
pub(super) fn etag(header: &str) -> Option<String> {
    let text = header.trim();
    let text = text.strip_prefix("W/").unwrap_or(text).trim_matches('"');
    is_blob_name(text).then(|| text.to_owned())
}

/// A name for a file of the cache that cannot lead out of its folder.
fn is_blob_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=128).contains(&text.len()) && text.bytes().all(allowed)
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// A relative path without ways up, drive letters or signs that a terminal obeys.
pub(super) fn is_plain_path(path: &str) -> bool {
    let segment = |name: &str| !name.is_empty() && name != "." && name != "..";
    let foreign = |c: char| c.is_control() || c == '\\' || c == ':';
    path.split('/').all(segment) && !path.contains(foreign)
}
