//! What finds a job's batches at the vendor again, in `OUTPUT.remote.json`.
//!
//! It is written before a batch is made and again when it has been, so that a job that is
//! ended while it waits, or a machine that is switched off, finds it the next time, and
//! one that is ended in between knows that it does not know. Holds ids, and no key.

use anyhow::{Context as _, Result, bail};
use choral::provider::BatchTicket;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// The vendor's batches that are under way.
#[derive(Debug)]
pub(super) struct Tickets {
    path: PathBuf,
    pub(super) all: Vec<BatchTicket>,
    /// Requests that were being handed over, and may be in a batch that nobody knows of.
    unknown: Vec<String>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    batches: Vec<BatchTicket>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    unknown: Vec<String>,
}

impl Tickets {
    /// Those of the job whose record is `output`.
    pub(super) fn open(output: &Path) -> Result<Self> {
        let path = with_suffix(output, ".remote.json");
        let stored = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .with_context(|| format!("`{}` is no list of batches", path.display()))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Stored::default(),
            Err(error) => return Err(error).context(path.display().to_string()),
        };
        Ok(Self {
            path,
            all: stored.batches,
            unknown: stored.unknown,
        })
    }

    /// Refuses to ask rows one by one that a vendor has in a batch.
    pub(super) fn refuse(&self) -> Result<()> {
        self.refuse_unknown()?;
        let Some(ticket) = self.all.first() else {
            return Ok(());
        };
        bail!(
            "rows of this output are in the batch {}: --remote batch takes it up, --remote \
             cancel cancels it",
            ticket.id
        )
    }

    /// Refuses to hand rows over a second time that may have been handed over.
    pub(super) fn refuse_unknown(&self) -> Result<()> {
        if self.unknown.is_empty() {
            return Ok(());
        }
        bail!(
            "{} rows were being handed over when an earlier run ended, and nobody knows whether \
             the vendor has made a batch of them: look at the vendor's list, cancel what is \
             there, and say --remote-forget, which hands them over again",
            self.unknown.len()
        )
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) -> Result<()> {
        if self.all.is_empty() && self.unknown.is_empty() {
            return Ok(());
        }
        self.all.clear();
        self.unknown.clear();
        self.save()
    }

    /// Forgets what may have been handed over.
    pub(super) fn forget_unknown(&mut self) -> Result<()> {
        if self.unknown.is_empty() {
            return Ok(());
        }
        self.unknown.clear();
        self.save()
    }

    /// From here on requests may be in a batch.
    pub(super) fn begin(&mut self, request_ids: Vec<String>) -> Result<()> {
        self.unknown = request_ids;
        self.save()
    }

    /// The requests in them.
    pub(super) fn request_ids(&self) -> impl Iterator<Item = &str> {
        let tickets = self.all.iter();
        tickets.flat_map(|ticket| ticket.request_ids.iter().map(String::as_str))
    }

    pub(super) fn add(&mut self, ticket: BatchTicket) -> Result<()> {
        self.all.push(ticket);
        self.unknown.clear();
        self.save()
    }

    pub(super) fn remove(&mut self, ticket: &BatchTicket) -> Result<()> {
        self.all.retain(|other| other.id != ticket.id);
        self.save()
    }

    fn save(&self) -> Result<()> {
        let written = if self.all.is_empty() && self.unknown.is_empty() {
            fs::remove_file(&self.path)
        } else {
            self.write()
        };
        written.with_context(|| format!("cannot write `{}`", self.path.display()))
    }

    /// Whole, or not at all.
    fn write(&self) -> io::Result<()> {
        let new = with_suffix(&self.path, ".new");
        let mut file = File::create(&new)?;
        let stored = Stored {
            batches: self.all.clone(),
            unknown: self.unknown.clone(),
        };
        file.write_all(&serde_json::to_vec(&stored)?)?;
        file.sync_all()?;
        fs::rename(&new, &self.path)?;
        // The name is in the folder, and no sooner on the disk than that is.
        match self.path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
            _ => File::open(".")?.sync_all(),
        }
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}
