//! Models from a hub: found in the cache, or fetched into it.
//!
//! Owns names of repositories ([`Repo`]), the choice among their files
//! (`choose`), downloads that survive broken connections and are checked
//! (`download`), and the cache that other tools share (`cache`). Knows nothing of
//! what is in a file, and prints nothing: it tells of [`Event`]s. Read
//! [`Fetcher::fetch`] first.
//!
//! ```no_run
//! use choral::Engine;
//! use choral::hub::Fetcher;
//!
//! let repo = "Qwen/Qwen2.5-0.5B-Instruct-GGUF:Q8_0".parse()?;
//! let path = Fetcher::from_env()?.fetch(&repo, &mut |_| ())?;
//! let engine = Engine::builder().model(path).build()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Source: the hub's HTTP interface and cache as `huggingface_hub` has them.

mod cache;
mod choose;
mod download;
mod error;
mod http;
mod listing;
mod repo;
mod settings;
#[cfg(test)]
mod tests;

pub use error::FetchError;
pub use http::Patience;
pub use repo::Repo;

use cache::Store;
use choose::{Choice, choose};
use download::{Wanted, download};
use http::{Client, Failure, escaped};
use listing::{Listing, RemoteFile, is_plain_path};
use settings::{Settings, checked_token};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Largest index of sharded weights; that of a model of a trillion parameters has
/// about 15 MB.
const MOST_INDEX_BYTES: u64 = 64 << 20;

/// What goes on while a model is fetched.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// Somebody else downloads this file; we wait for it.
    Waiting {
        /// Path in the repository.
        file: &'a str,
    },
    /// A file is downloaded from here on.
    Start {
        /// Path in the repository.
        file: &'a str,
        /// Its length in bytes.
        size: u64,
        /// Bytes that an earlier attempt left.
        have: u64,
    },
    /// So much of the file is here.
    At {
        /// Bytes from the file's start.
        bytes: u64,
    },
    /// A connection failed, and there will be another.
    Retry {
        /// File or address.
        what: &'a str,
        /// Why it failed.
        reason: &'a str,
        /// How long until then.
        delay: Duration,
    },
    /// A file is whole and checked.
    Done {
        /// Path in the repository.
        file: &'a str,
    },
    /// The hub does not answer; what an earlier run fetched is taken.
    Unreachable {
        /// Why.
        reason: &'a str,
    },
}

/// Fetches models from a hub into the shared cache.
#[derive(Clone)]
pub struct Fetcher {
    settings: Settings,
    patience: Patience,
}

/// Without the token.
impl fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetcher")
            .field("endpoint", &self.settings.endpoint)
            .field("cache", &self.settings.cache)
            .field("offline", &self.settings.offline)
            .finish_non_exhaustive()
    }
}

impl Fetcher {
    /// A fetcher set up by `HF_ENDPOINT`, `HF_HUB_CACHE`, `HF_HOME`, `HF_TOKEN` (else
    /// the token that `hf auth login` left) and `HF_HUB_OFFLINE`.
    pub fn from_env() -> Result<Self, FetchError> {
        let settings = Settings::read(&|name| std::env::var_os(name), std::env::home_dir())?;
        Ok(Self {
            settings,
            patience: Patience::default(),
        })
    }

    /// Proves who asks with this token, not with that of the environment.
    pub fn token(mut self, token: impl Into<String>) -> Result<Self, FetchError> {
        self.settings.token = Some(checked_token("--hf-token", token.into())?);
        Ok(self)
    }

    /// Never uses the network.
    #[must_use]
    pub fn offline(mut self, on: bool) -> Self {
        self.settings.offline = on;
        self
    }

    /// How long and how often to try.
    #[must_use]
    pub fn patience(mut self, patience: Patience) -> Self {
        self.patience = patience;
        self
    }

    /// Makes sure that the model is in the cache, and says where: the path of a GGUF
    /// file (the first of a split model), or of a folder with safetensors.
    ///
    /// Files that are there are not fetched again. Without an answer from the hub,
    /// what an earlier run fetched is taken; with [`Fetcher::offline`] it is not even
    /// asked.
    pub fn fetch(
        &self,
        repo: &Repo,
        report: &mut dyn FnMut(Event<'_>),
    ) -> Result<PathBuf, FetchError> {
        let store = Store::new(&self.settings.cache, repo);
        let cached = self.cached(repo, &store);
        if self.settings.offline {
            return cached;
        }
        let client = Client::new(self.settings.token.as_deref(), self.patience)?;
        let mut patience = self.patience;
        if cached.is_ok() {
            // There is something to fall back on: no need to insist.
            patience.attempts = 1;
        }
        let run = Run {
            fetcher: self,
            repo,
            store: &store,
            client: &client,
        };
        let listing = match (run.list(patience, report), cached) {
            (Ok(listing), _) => listing,
            (Err(error), Ok(path)) if error.may_pass() => {
                let reason = error.to_string();
                report(Event::Unreachable { reason: &reason });
                return Ok(path);
            }
            (Err(error), _) => return Err(error),
        };
        run.fetch(&listing, report)
    }

    /// Where the model is, if all of it is in the cache.
    fn cached(&self, repo: &Repo, store: &Store) -> Result<PathBuf, FetchError> {
        let missing = |missing: String| FetchError::Offline {
            repo: repo.id().to_owned(),
            missing,
            cache: self.settings.cache.clone(),
        };
        let Some(commit) = store.commit(repo.revision()) else {
            return Err(missing(format!("revision {}", repo.revision())));
        };
        let files = store.files(&commit);
        if files.is_empty() {
            return Err(missing(format!("revision {}", repo.revision())));
        }
        let paths: Vec<&str> = files.iter().map(String::as_str).collect();
        let choice = choose(repo, &paths).map_err(|error| missing(wanting(error)))?;
        let snapshot = store.snapshot(&commit);
        if let Choice::Folder {
            index: Some(index), ..
        } = &choice
        {
            let shards = shards(&snapshot.join(index))?;
            if let Some(shard) = shards.iter().find(|shard| !paths.contains(&shard.as_str())) {
                return Err(missing(shard.clone()));
            }
        }
        Ok(path_of(&choice, &snapshot))
    }
}

/// What a choice among the files of a snapshot came to miss.
fn wanting(error: FetchError) -> String {
    match error {
        FetchError::NoFile { file, .. } => file,
        FetchError::NoQuant { quant, .. } => quant,
        FetchError::MissingParts { missing, .. } => missing.join(", "),
        _ => "a model".to_owned(),
    }
}

fn path_of(choice: &Choice, snapshot: &Path) -> PathBuf {
    match choice {
        Choice::Gguf(files) => files
            .first()
            .map_or(snapshot.to_owned(), |first| snapshot.join(first)),
        Choice::Folder { .. } => snapshot.to_owned(),
    }
}

/// The files that an index of sharded weights names.
fn shards(index: &Path) -> Result<BTreeSet<String>, FetchError> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let wrong = |found: String| FetchError::Answer {
        url: index.display().to_string(),
        expected: "an index of weights".to_owned(),
        found,
    };
    let bytes = std::fs::metadata(index)
        .map_err(FetchError::io(index))?
        .len();
    if bytes > MOST_INDEX_BYTES {
        return Err(wrong(format!("{bytes} bytes")));
    }
    let text = std::fs::read(index).map_err(FetchError::io(index))?;
    let index: Index = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
    let shards: BTreeSet<String> = index.weight_map.into_values().collect();
    match shards.iter().find(|shard| !is_plain_path(shard)) {
        Some(shard) => Err(wrong(format!("the file name {shard:?}"))),
        None => Ok(shards),
    }
}

/// One fetch from one repository.
struct Run<'a> {
    fetcher: &'a Fetcher,
    repo: &'a Repo,
    store: &'a Store,
    client: &'a Client,
}

impl Run<'_> {
    fn list(
        &self,
        patience: Patience,
        report: &mut dyn FnMut(Event<'_>),
    ) -> Result<Listing, FetchError> {
        let url = format!(
            "{}/api/models/{}/revision/{}?blobs=true",
            self.fetcher.settings.endpoint,
            self.repo.id(),
            self.repo.revision().replace('/', "%2F"),
        );
        let text = self.client.text(&url, patience, report);
        let text = text.map_err(|failure| self.refusal(failure, &url, None))?;
        Listing::parse(&url, &text)
    }

    fn fetch(
        &self,
        listing: &Listing,
        report: &mut dyn FnMut(Event<'_>),
    ) -> Result<PathBuf, FetchError> {
        let paths: Vec<&str> = listing.files.iter().map(|file| &*file.path).collect();
        let choice = choose(self.repo, &paths)?;
        let snapshot = self.store.snapshot(&listing.commit);
        match &choice {
            Choice::Gguf(files) => self.files(listing, files, report)?,
            Choice::Folder { files, index } => {
                self.files(listing, files, report)?;
                if let Some(index) = index {
                    self.files(listing, std::slice::from_ref(index), report)?;
                    let shards = shards(&snapshot.join(index))?;
                    self.files(listing, &shards, report)?;
                }
            }
        }
        // Last: who looks for the branch finds its old commit, or all of the new.
        self.store
            .note_commit(self.repo.revision(), &listing.commit)?;
        Ok(path_of(&choice, &snapshot))
    }

    fn files<'n>(
        &self,
        listing: &Listing,
        names: impl IntoIterator<Item = &'n String>,
        report: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), FetchError> {
        for name in names {
            let file = listing.files.iter().find(|file| file.path == *name);
            let file = file.ok_or_else(|| FetchError::MissingParts {
                repo: self.repo.id().to_owned(),
                missing: vec![name.clone()],
            })?;
            self.file(&listing.commit, file, report)?;
        }
        Ok(())
    }

    fn file(
        &self,
        commit: &str,
        file: &RemoteFile,
        report: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), FetchError> {
        let has = |size: &u64| self.store.has(commit, &file.path, *size);
        if file.size.as_ref().is_some_and(has) {
            return Ok(());
        }
        let url = format!(
            "{}/{}/resolve/{commit}/{}",
            self.fetcher.settings.endpoint,
            self.repo.id(),
            escaped(&file.path)
        );
        let file = self.described(file, &url, report)?;
        let (Some(size), Some(etag)) = (file.size, file.etag.as_deref()) else {
            return Err(FetchError::Answer {
                url,
                expected: "the length and ETag of the file".to_owned(),
                found: "neither in the repository's description nor in the file's headers"
                    .to_owned(),
            });
        };
        let mut wait = || report(Event::Waiting { file: &file.path });
        let lock = self.store.lock(etag, &mut wait)?;
        if !self.store.has_blob(etag, size) {
            let wanted = Wanted {
                url: &url,
                name: &file.path,
                size,
                sha256: file.sha256(),
                part: self.store.part(etag, &lock),
                blob: self.store.blob(etag),
            };
            download(self.client, &wanted, report)
                .map_err(|failure| self.refusal(failure, &url, Some(&file.path)))?;
        }
        self.store.link(commit, &file.path, etag)?;
        drop(lock);
        Ok(())
    }

    /// The file with its length and checksum. Mirrors leave them out of the
    /// repository's description; then the file's own headers say.
    fn described(
        &self,
        file: &RemoteFile,
        url: &str,
        report: &mut dyn FnMut(Event<'_>),
    ) -> Result<RemoteFile, FetchError> {
        if file.size.is_some() && file.etag.is_some() {
            return Ok(file.clone());
        }
        let found = self.client.head(url, report);
        let found = found.map_err(|failure| self.refusal(failure, url, Some(&file.path)))?;
        Ok(RemoteFile {
            path: file.path.clone(),
            size: found.size.or(file.size),
            etag: found.etag.or_else(|| file.etag.clone()),
        })
    }

    /// What a refusal means; of a file, or of the whole repository.
    fn refusal(&self, failure: Failure, url: &str, file: Option<&str>) -> FetchError {
        let (status, code) = match failure {
            Failure::Final(error) | Failure::Passing { error, .. } => return error,
            Failure::Refused { status, code } => (status, code),
        };
        let repo = self.repo.id().to_owned();
        let endpoint = &self.fetcher.settings.endpoint;
        let had_token = self.client.has_token();
        match (status, code.as_str()) {
            (404, "RevisionNotFound") => FetchError::NoRevision {
                repo,
                revision: self.repo.revision().to_owned(),
            },
            // The hub hides what is private: not to be seen is not to be there.
            (_, "RepoNotFound") => FetchError::NoRepo {
                repo,
                endpoint: endpoint.clone(),
                had_token,
            },
            (401 | 403, _) => FetchError::Access {
                page: format!("{endpoint}/{repo}"),
                repo,
                status,
                had_token,
            },
            (404, _) => match file {
                Some(file) => FetchError::NoFile {
                    repo,
                    file: file.to_owned(),
                    has: Vec::new(),
                },
                None => FetchError::NoRepo {
                    repo,
                    endpoint: endpoint.clone(),
                    had_token,
                },
            },
            _ => FetchError::Status {
                url: url.to_owned(),
                status,
                note: if code.is_empty() {
                    code
                } else {
                    format!(" ({code})")
                },
            },
        }
    }
}
