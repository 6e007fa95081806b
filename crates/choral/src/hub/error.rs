//! Why a model could not be had.

use std::path::{Path, PathBuf};

/// Names that a message lists at most.
const MOST_LISTED: usize = 24;

/// Why a model could not be fetched from a hub or found in the cache.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// Not the name of a repository.
    #[error("`{text}` is not a hub name ({reason}): expected ORG/NAME[@REVISION][:QUANT]")]
    Name {
        /// What was given.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A setting from the options or the environment.
    #[error("{name} is `{found}`, expected {expected}")]
    Setting {
        /// The variable or option.
        name: &'static str,
        /// What it should be.
        expected: &'static str,
        /// What it is; never a token.
        found: String,
    },
    /// Nowhere to keep files.
    #[error("no folder to keep models in: there is no home directory, set HF_HOME or HF_HUB_CACHE")]
    NoCache,
    /// The hub wants to know who asks (401), or knows and refuses (403).
    #[error("{}", access(repo, page, *status, *had_token))]
    Access {
        /// The repository.
        repo: String,
        /// Its page, where access is granted.
        page: String,
        /// 401 or 403.
        status: u16,
        /// Whether a token was sent.
        had_token: bool,
    },
    /// No such repository, or none that may be seen.
    #[error(
        "no repository `{repo}` at {endpoint}: check the spelling{}",
        if *had_token { "" } else { " (a private one needs a token: HF_TOKEN or --hf-token)" }
    )]
    NoRepo {
        /// The repository.
        repo: String,
        /// The hub.
        endpoint: String,
        /// Whether a token was sent.
        had_token: bool,
    },
    /// No such branch, tag or commit.
    #[error("`{repo}` has no revision `{revision}`")]
    NoRevision {
        /// The repository.
        repo: String,
        /// Branch, tag or commit.
        revision: String,
    },
    /// No such file in the repository.
    #[error("`{repo}` has no file `{file}`, it has {}", listed(has))]
    NoFile {
        /// The repository.
        repo: String,
        /// The file.
        file: String,
        /// Model files that it has.
        has: Vec<String>,
    },
    /// No file of this quantisation.
    #[error("`{repo}` has no {quant}, it has {}", listed(has))]
    NoQuant {
        /// The repository.
        repo: String,
        /// What was asked for.
        quant: String,
        /// The quantisations that it has.
        has: Vec<String>,
    },
    /// Neither GGUF nor safetensors.
    #[error(
        "`{repo}` has no model that choral could open (GGUF, or config.json and safetensors), it has {}",
        listed(has)
    )]
    NoModel {
        /// The repository.
        repo: String,
        /// Files that it has.
        has: Vec<String>,
    },
    /// Parts of a split model that are not there.
    #[error("`{repo}` lacks parts of a split model: {}", listed(missing))]
    MissingParts {
        /// The repository.
        repo: String,
        /// The parts.
        missing: Vec<String>,
    },
    /// An HTTP status that ends the attempt.
    #[error("{url}: status {status}{note}")]
    Status {
        /// What was asked for.
        url: String,
        /// The status.
        status: u16,
        /// More about it, with its separator; may be empty.
        note: String,
    },
    /// No connection, or none that held.
    #[error("{url}: {reason}")]
    Network {
        /// What was asked for.
        url: String,
        /// What went wrong.
        reason: String,
    },
    /// An answer that makes no sense.
    #[error("{url}: expected {expected}, found {found}")]
    Answer {
        /// What was asked for.
        url: String,
        /// What should have come.
        expected: String,
        /// What came.
        found: String,
    },
    /// A file of another length than the hub says.
    #[error("`{file}`: expected {expected} bytes, found {found}")]
    Size {
        /// The file.
        file: String,
        /// Its length by the hub.
        expected: u64,
        /// What was sent.
        found: String,
    },
    /// A file of other content than the hub says; what came of it is deleted.
    #[error("`{file}`: expected sha256 {expected}, found {found}; what was downloaded is deleted")]
    Checksum {
        /// The file.
        file: String,
        /// Its checksum by the hub.
        expected: String,
        /// That of what came.
        found: String,
    },
    /// Not in the cache, and the network may not be used.
    #[error("offline, and {missing} of `{repo}` is not in {}", cache.display())]
    Offline {
        /// The repository.
        repo: String,
        /// What is missing.
        missing: String,
        /// The cache.
        cache: PathBuf,
    },
    /// A file of the cache.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
}

impl FetchError {
    /// Whether another time or another network could do better.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Network { .. } => true,
            Self::Status { status, .. } => *status == 429 || *status >= 500,
            _ => false,
        }
    }

    pub(super) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}

fn access(repo: &str, page: &str, status: u16, had_token: bool) -> String {
    let cure = if had_token {
        format!(
            "the token was refused: ask for access at {page} with the account that it belongs to"
        )
    } else {
        format!(
            "accept its terms at {page}, then give a token of that account by HF_TOKEN or --hf-token"
        )
    };
    format!("`{repo}` is not open to everyone (status {status}): {cure}")
}

fn listed(names: &[String]) -> String {
    match names {
        [] => "none".to_owned(),
        names if names.len() <= MOST_LISTED => names.join(", "),
        names => format!(
            "{} and {} more",
            names[..MOST_LISTED].join(", "),
            names.len() - MOST_LISTED
        ),
    }
}
