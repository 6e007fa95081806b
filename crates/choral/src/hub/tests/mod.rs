//! A hub of our own on a local port, and everything that can go wrong with one.

mod cache;
mod choose;
mod fetch;
mod names;
mod server;
mod trouble;

use super::settings::Settings;
use super::{Event, FetchError, Fetcher, Patience};
use server::Hub;
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

const ID: &str = "org/model-GGUF";
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// Three attempts, a millisecond apart.
const HASTY: Patience = Patience {
    attempts: 3,
    first_delay: Duration::from_millis(1),
    longest_delay: Duration::from_secs(2),
    silence: Duration::from_secs(20),
};

fn fetcher(hub: &Hub, cache: &Path) -> Fetcher {
    Fetcher {
        settings: Settings {
            endpoint: hub.address.clone(),
            cache: cache.to_owned(),
            token: None,
            offline: false,
        },
        patience: HASTY,
    }
}

fn fetch(fetcher: &Fetcher, repo: &str) -> Result<PathBuf, FetchError> {
    fetcher.fetch(&repo.parse()?, &mut |_: Event<'_>| ())
}

/// The message of a fetch that fails.
#[track_caller]
fn failure(fetcher: &Fetcher, repo: &str) -> String {
    fetch(fetcher, repo).expect_err("it fails").to_string()
}

/// Content that differs from place to place.
fn content(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|i| (i * 31 + i / 251) as u8).collect()
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}
