//! A report for people.

use super::report::{Entry, Report, Summary, Tensor};
use crate::cmd::units::{bytes, count, printable};
use serde_json::Value as Json;
use std::fmt::Write as _;
use std::io::Write as _;

/// Columns that a label takes in the summary.
const LABEL: usize = 17;

/// Writes to stdout.
pub(super) fn print(report: &Report) -> anyhow::Result<()> {
    let mut text = String::new();
    if let Some(summary) = &report.summary {
        write_summary(&mut text, &report.path, summary)?;
    }
    if let Some(entries) = &report.metadata {
        heading(&mut text, &format!("metadata ({} keys)", entries.len()))?;
        entries.iter().try_for_each(|e| write_entry(&mut text, e))?;
    }
    if let Some(tensors) = &report.tensors {
        heading(&mut text, &format!("tensors ({})", tensors.len()))?;
        write_tensors(&mut text, tensors)?;
    }
    for template in report.chat_templates.iter().flatten() {
        heading(
            &mut text,
            &format!("chat template `{}`", printable(&template.name)),
        )?;
        let lines = template.template.lines().map(printable);
        lines
            .into_iter()
            .try_for_each(|line| writeln!(text, "{line}"))?;
    }
    if report.chat_templates.as_ref().is_some_and(Vec::is_empty) {
        heading(&mut text, "no chat template")?;
    }
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    Ok(stdout.flush()?)
}

fn heading(text: &mut String, title: &str) -> std::fmt::Result {
    let gap = if text.is_empty() { "" } else { "\n" };
    writeln!(text, "{gap}{title}")
}

fn write_summary(text: &mut String, path: &str, s: &Summary) -> std::fmt::Result {
    writeln!(
        text,
        "{}: {}, {}",
        printable(path),
        s.format,
        bytes(s.file_bytes)
    )?;
    let mut row = |label: &str, value: String| writeln!(text, "  {label:LABEL$}{value}");
    let names = s.architectures.iter().map(|name| printable(name));
    let names: Vec<String> = names.collect();
    match (&s.model, &s.cannot_run) {
        (Some(model), _) => row(
            "architecture",
            format!(
                "{} (choral runs it as {})",
                names.join(", "),
                model.architecture
            ),
        )?,
        (None, why) => {
            row(
                "architecture",
                if names.is_empty() {
                    "not stated".into()
                } else {
                    names.join(", ")
                },
            )?;
            row(
                "cannot be run",
                printable(why.as_deref().unwrap_or("unknown reason")),
            )?;
        }
    }
    let weights = if s.parameters == 0 {
        format!("none ({} tensors)", s.num_tensors)
    } else {
        let bits = 8.0 * s.tensor_bytes as f64 / s.parameters as f64;
        format!(
            "{} in {} tensors, {} ({bits:.2} bits each)",
            count(s.parameters),
            s.num_tensors,
            bytes(s.tensor_bytes)
        )
    };
    row("parameters", weights)?;
    for (i, total) in s.types.iter().enumerate() {
        let label = if i == 0 { "types" } else { "" };
        let numbers = format!(
            "{:8} {:>5} tensors  {:>8}  {:>9}",
            total.dtype,
            total.tensors,
            count(total.elements),
            bytes(total.bytes)
        );
        row(label, numbers)?;
    }
    if let Some(m) = &s.model {
        let heads = format!(
            "{} heads, {} of keys and values, {} wide",
            m.heads, m.kv_heads, m.head_dim
        );
        row(
            "shape",
            format!("{} layers of {}, {heads}", m.layers, m.hidden),
        )?;
        let tied = if m.tied_embeddings {
            " (also the output)"
        } else {
            ""
        };
        row(
            "",
            format!(
                "feed-forward {}, vocabulary {}{tied}",
                m.feed_forward, m.vocabulary
            ),
        )?;
        let window = match m.windowed_layers {
            0 => String::new(),
            n => format!(", a sliding window in {n} layers"),
        };
        row("context", format!("{} tokens{window}", m.context))?;
        if !m.features.is_empty() {
            row("features", m.features.join(", "))?;
        }
        let token = bytes(m.kv_token_bytes_f16);
        row("keys and values", format!("{token} a token in f16"))?;
    }
    match &s.tokenizer {
        Some(t) => {
            let tokens = t.tokens.map_or(String::new(), |n| format!(", {n} tokens"));
            let pre = t
                .pre
                .as_ref()
                .map_or(String::new(), |pre| format!(" (split: {pre})"));
            row("tokenizer", printable(&format!("{}{pre}{tokens}", t.kind)))?;
            if let Some(why) = &t.cannot_use {
                row("cannot be used", printable(why))?;
            }
            for (key, value) in &t.special {
                row("", printable(&format!("{key} = {}", plain(value))))?;
            }
        }
        None => row("tokenizer", "none".into())?,
    }
    if s.chat_templates.is_empty() {
        row("chat template", "none".into())?;
    }
    for (i, (name, chars)) in s.chat_templates.iter().enumerate() {
        let label = if i == 0 { "chat template" } else { "" };
        row(
            label,
            printable(&format!("{name}, {chars} characters (see --template)")),
        )?;
    }
    Ok(())
}

/// Strings without quotes, everything else as JSON.
fn plain(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn write_entry(text: &mut String, entry: &Entry) -> std::fmt::Result {
    let mut value = printable(&entry.value.to_string());
    if let Some(len) = entry.len {
        let what = if entry.kind == "string" {
            "characters"
        } else {
            "elements"
        };
        if value.ends_with([']', '"']) {
            value.insert(value.len() - 1, '…');
        }
        write!(value, " ({len} {what})")?;
    }
    writeln!(
        text,
        "  {:42} {:16} {value}",
        printable(&entry.key),
        entry.kind
    )
}

fn write_tensors(text: &mut String, tensors: &[Tensor]) -> std::fmt::Result {
    let width = tensors.iter().map(|t| t.name.chars().count()).max();
    let width = width.unwrap_or(0).min(60);
    for t in tensors {
        let shape: Vec<String> = t.shape.iter().map(ToString::to_string).collect();
        let name = printable(&t.name);
        let shape = format!("[{}]", shape.join(", "));
        writeln!(
            text,
            "  {name:width$}  {shape:18} {:8} {:>12}",
            t.dtype, t.bytes
        )?;
    }
    Ok(())
}
