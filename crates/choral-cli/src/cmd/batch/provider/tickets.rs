//! What finds a job's batches at the vendor again, in `OUTPUT.remote.json`.
//!
//! It is written as soon as a batch has been made, so that a job that is ended while it
//! waits, or a machine that is switched off, finds it the next time. Holds ids, and no key.

use super::super::tell;
use anyhow::{Context as _, Result, bail};
use choral::provider::BatchTicket;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// The vendor's batches that are under way.
#[derive(Debug)]
pub(super) struct Tickets {
    path: PathBuf,
    pub(super) all: Vec<BatchTicket>,
}

impl Tickets {
    /// Those of the job whose record is `output`. A job that begins anew leaves them to
    /// themselves.
    pub(super) fn open(output: &Path, begins_anew: bool) -> Result<Self> {
        let mut tickets = Self::read(output)?;
        if begins_anew && !tickets.all.is_empty() {
            for BatchTicket { id, .. } in tickets.all.drain(..) {
                tell(&format!(
                    "the batch {id} of the old output is left to itself"
                ));
            }
            tickets.save()?;
        }
        Ok(tickets)
    }

    /// Refuses to ask rows one by one that a vendor has in a batch.
    pub(super) fn refuse(&self) -> Result<()> {
        let Some(ticket) = self.all.first() else {
            return Ok(());
        };
        bail!(
            "rows of this output are in the batch {}: --remote batch takes it up, --remote \
             cancel cancels it, --overwrite begins anew",
            ticket.id
        )
    }

    fn read(output: &Path) -> Result<Self> {
        let path = with_suffix(output, ".remote.json");
        let all = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .with_context(|| format!("`{}` is no list of batches", path.display()))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error).context(path.display().to_string()),
        };
        Ok(Self { path, all })
    }

    /// The requests in them.
    pub(super) fn request_ids(&self) -> impl Iterator<Item = &str> {
        let tickets = self.all.iter();
        tickets.flat_map(|ticket| ticket.request_ids.iter().map(String::as_str))
    }

    pub(super) fn add(&mut self, ticket: BatchTicket) -> Result<()> {
        self.all.push(ticket);
        self.save()
    }

    pub(super) fn remove(&mut self, ticket: &BatchTicket) -> Result<()> {
        self.all.retain(|other| other.id != ticket.id);
        self.save()
    }

    fn save(&self) -> Result<()> {
        let written = if self.all.is_empty() {
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
        file.write_all(&serde_json::to_vec(&self.all)?)?;
        file.sync_all()?;
        fs::rename(&new, &self.path)
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}
