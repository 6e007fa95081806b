//! Rows of results, in the format that was asked for.

use super::Format;
use anyhow::{Context as _, Result, bail};
use choral::ModelInfo;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::io::{self, Write};

/// Prints rows as they come, or all at the end.
pub(super) struct Report {
    out: Box<dyn Write>,
    format: Format,
    /// What was measured.
    subject: Map<String, Value>,
    rows: Vec<Value>,
}

impl Report {
    /// Begins a table of what `info` describes, with `head`.
    pub(super) fn begin(format: Format, info: &ModelInfo, head: &[&str]) -> Result<Self> {
        let subject = json!({
            "model": info.path.display().to_string(),
            "architecture": info.architecture,
            "numeric": info.plan.numeric.name(),
            "isa": info.isa,
            "threads": info.threads,
        });
        let Value::Object(subject) = subject else {
            bail!("a description is an object");
        };
        let mut report = Self {
            out: Box::new(io::stdout()),
            format,
            subject,
            rows: Vec::new(),
        };
        if format == Format::Md {
            report.line(&format!(
                "{}: {}, {}, {} threads\n",
                info.path.display(),
                info.plan.numeric.name(),
                info.isa,
                info.threads
            ))?;
            for line in head {
                report.line(line)?;
            }
        }
        Ok(report)
    }

    /// A row, and how the table shows it.
    pub(super) fn row(&mut self, row: &impl Serialize, line: &str) -> Result<()> {
        if self.format == Format::Md {
            return self.line(line);
        }
        self.data(row)
    }

    /// A row that the table does not show.
    pub(super) fn data(&mut self, row: &impl Serialize) -> Result<()> {
        match self.format {
            Format::Md => {}
            Format::Json => self.rows.push(serde_json::to_value(row)?),
            Format::Jsonl => writeln!(self.out, "{}", serde_json::to_string(row)?)?,
            Format::Csv => {
                let row = serde_json::to_value(row)?;
                let row = row.as_object().context("a row is an object")?;
                if self.rows.is_empty() {
                    let names: Vec<&String> = row.keys().collect();
                    self.record(&names)?;
                    self.rows.push(Value::Null);
                }
                let cells: Vec<String> = row.values().map(cell).collect();
                self.record(&cells)?;
            }
        }
        Ok(())
    }

    /// A line of a table.
    pub(super) fn line(&mut self, line: &str) -> Result<()> {
        Ok(writeln!(self.out, "{line}")?)
    }

    /// Prints what is left.
    pub(super) fn finish(mut self) -> Result<()> {
        if self.format == Format::Json {
            let mut document = self.subject;
            document.insert("rows".to_owned(), Value::Array(self.rows));
            writeln!(self.out, "{}", serde_json::to_string_pretty(&document)?)?;
        }
        Ok(self.out.flush()?)
    }

    fn record(&mut self, cells: &[impl AsRef<[u8]>]) -> Result<()> {
        let mut writer = csv::Writer::from_writer(&mut self.out);
        writer.write_record(cells)?;
        Ok(writer.flush()?)
    }
}

/// What is absent is empty.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
