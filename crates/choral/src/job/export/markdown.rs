//! Records as a Markdown document: a section each, with the columns that it carries
//! and its answers. Texts stand in fenced blocks with a fence longer than any in
//! them, so that no answer can end its block.

use super::columns::plain;
use super::{
    AnswerRecord, ExportError, ExportOptions, RecordedAnswer, Source, staged, write_error,
};
use std::io::{self, BufWriter, Write};
use std::path::Path;

pub(super) fn write(
    records: &dyn Source,
    target: &Path,
    options: ExportOptions,
) -> Result<u64, ExportError> {
    let (staged, file) = staged::file(target, options)?;
    let mut out = BufWriter::new(file);
    let mut num_sections = 0;
    for record in records.records()? {
        let record = record?;
        if num_sections > 0 {
            writeln!(out).map_err(write_error(target))?;
        }
        section(&mut out, &record, num_sections).map_err(write_error(target))?;
        num_sections += 1;
    }
    let file = out
        .into_inner()
        .map_err(|error| write_error(target)(error.into_error()))?;
    staged.finish(&file)?;
    Ok(num_sections)
}

fn section(out: &mut impl Write, record: &AnswerRecord, position: u64) -> io::Result<()> {
    match &record.custom_id {
        Some(id) => writeln!(out, "## {}", escaped(id))?,
        None => writeln!(out, "## Row {}", record.row.unwrap_or(position))?,
    }
    for (name, value) in &record.fields {
        block(out, &escaped(name), &plain(value))?;
    }
    let is_only = record.answers.len() == 1;
    for answer in &record.answers {
        self::answer(out, answer, is_only)?;
    }
    if let Some(error) = &record.error {
        let code = error.code.as_deref().unwrap_or("unknown");
        let title = format!("Error {}", escaped(code));
        block(out, &title, error.message.as_deref().unwrap_or_default())?;
    }
    Ok(())
}

fn answer(out: &mut impl Write, answer: &RecordedAnswer, is_only: bool) -> io::Result<()> {
    let mut title = "Answer".to_owned();
    if !is_only {
        title = format!("{title} {}", answer.index);
    }
    // What ended as it should needs no word.
    if let Some(reason) = &answer.finish_reason
        && reason != "stop"
    {
        title = format!("{title} (ended by {})", escaped(reason));
    }
    if answer.text.is_some() || answer.tool_calls.is_none() {
        block(out, &title, answer.text.as_deref().unwrap_or_default())?;
    }
    if let Some(calls) = &answer.tool_calls {
        block(out, &format!("{title}, tool calls"), calls)?;
    }
    Ok(())
}

/// A title and a text in a fenced block.
fn block(out: &mut impl Write, title: &str, text: &str) -> io::Result<()> {
    let fence = "`".repeat(longest_fence(text).max(2) + 1);
    let end = if text.is_empty() || text.ends_with('\n') {
        ""
    } else {
        "\n"
    };
    writeln!(out, "\n**{title}**\n\n{fence}text\n{text}{end}{fence}")
}

/// The longest row of backquotes.
fn longest_fence(text: &str) -> usize {
    let rows = text.split(|c| c != '`');
    rows.map(str::len).max().unwrap_or(0)
}

/// A name on one line, with nothing in it that Markdown or HTML would act on.
fn escaped(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for c in name.chars() {
        if c.is_control() {
            escaped.push(' ');
            continue;
        }
        if c.is_ascii_punctuation() && !matches!(c, '-' | '.' | ',' | ':' | '/' | '\'') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}
