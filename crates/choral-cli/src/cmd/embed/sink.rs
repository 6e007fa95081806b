//! Where vectors go: lines of JSON, or an array.

use super::VectorFormat;
use crate::cmd::batch::files;
use anyhow::{Context as _, Result};
use choral::embed::{Answer, EmbedderInfo, NpyWriter};
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::Path;

pub(super) enum Sink {
    Lines(files::Output),
    Array {
        array: NpyWriter<BufWriter<File>>,
        /// The row of a text that has no vector.
        nothing: Vec<f32>,
    },
}

impl Sink {
    /// Opens `path`, or standard output for `-`.
    pub(super) fn open(
        path: &Path,
        format: VectorFormat,
        may_overwrite: bool,
        info: &EmbedderInfo,
    ) -> Result<Self> {
        if format == VectorFormat::Jsonl {
            return files::Output::open(path, may_overwrite).map(Self::Lines);
        }
        let mut options = OpenOptions::new();
        options.write(true);
        if may_overwrite {
            options.create(true).truncate(true);
        } else {
            options.create_new(true);
        }
        let open = || NpyWriter::new(BufWriter::new(options.open(path)?), info.dimensions);
        let array = open();
        let array =
            array.with_context(|| format!("cannot write the output `{}`", path.display()))?;
        let nothing = vec![f32::NAN; info.dimensions];
        Ok(Self::Array { array, nothing })
    }

    pub(super) fn is_terminal(&self) -> bool {
        matches!(self, Self::Lines(output) if output.is_terminal)
    }

    pub(super) fn answer(&mut self, answer: &Answer) -> io::Result<()> {
        match self {
            Self::Lines(output) => {
                serde_json::to_writer(&mut output.writer, answer)?;
                output.writer.write_all(b"\n")
            }
            Self::Array { array, nothing } => match answer.embeddings() {
                [embedding] => array.row(&embedding.values),
                _ => array.row(nothing),
            },
        }
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Lines(output) => output.writer.flush(),
            Self::Array { array, .. } => array.flush(),
        }
    }

    /// Ends the output.
    pub(super) fn finish(self) -> io::Result<()> {
        match self {
            Self::Lines(mut output) => output.writer.flush(),
            Self::Array { array, .. } => array.finish(),
        }
    }
}
