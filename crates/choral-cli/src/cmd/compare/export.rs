//! A comparison as a file.

use super::html;
use super::table::{Column, Figures, Table, Times, perplexity};
use anyhow::Result;
use choral::job::{Answer, Choice};
use serde::Serialize;
use serde_json::Value;
use std::io::Write;
use std::path::PathBuf;

/// A file, whose name says what it is to be.
#[derive(Debug, Clone)]
pub(super) struct File {
    pub(super) path: PathBuf,
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Jsonl,
    Csv,
    Html,
}

impl File {
    /// Reads a file's name off the command line.
    pub(super) fn parse(name: &str) -> Result<Self, String> {
        let path = PathBuf::from(name);
        let extension = path.extension().unwrap_or_default();
        let is = |name: &str| extension.eq_ignore_ascii_case(name);
        let format = if is("jsonl") || is("ndjson") {
            Format::Jsonl
        } else if is("csv") {
            Format::Csv
        } else if is("html") || is("htm") {
            Format::Html
        } else {
            return Err("expected a name that ends in .jsonl, .csv or .html".to_owned());
        };
        Ok(Self { path, format })
    }

    /// Writes `table`; with what depends on the run, if `with_times`.
    pub(super) fn write(&self, table: &Table, with_times: bool, out: &mut dyn Write) -> Result<()> {
        match self.format {
            Format::Jsonl => jsonl(table, with_times, out),
            Format::Csv => csv(table, with_times, out),
            Format::Html => Ok(out.write_all(html::page(table, with_times).as_bytes())?),
        }
    }
}

/// One setting of one model.
#[derive(Serialize)]
struct Line<'a> {
    cell: usize,
    model: &'a str,
    settings: Value,
    figures: &'a Figures,
    #[serde(skip_serializing_if = "Option::is_none")]
    times: Option<Times>,
    answers: &'a [Answer],
}

fn jsonl(table: &Table, with_times: bool, out: &mut dyn Write) -> Result<()> {
    for (cell, column) in table.columns.iter().enumerate() {
        let line = Line {
            cell,
            model: &column.model,
            settings: column.settings_json(),
            figures: &column.figures,
            times: with_times.then_some(column.times),
            answers: &column.answers,
        };
        writeln!(out, "{}", serde_json::to_string(&line)?)?;
    }
    Ok(())
}

/// A row for each answer, and for each prompt that has none; the figures of its setting
/// stand in each of a setting's rows.
fn csv(table: &Table, with_times: bool, out: &mut dyn Write) -> Result<()> {
    let mut writer = csv::Writer::from_writer(out);
    let mut heads = vec!["cell", "model"];
    heads.extend(table.varied.iter().map(String::as_str));
    heads.extend([
        "row",
        "custom_id",
        "prompt",
        "index",
        "text",
        "finish_reason",
        "tokens",
        "perplexity",
        "seed",
        "error",
        "cell_mean_tokens",
        "cell_distinct_1",
        "cell_distinct_2",
        "cell_distinct_3",
        "cell_perplexity",
    ]);
    if with_times {
        heads.extend(["cell_seconds", "cell_tokens_per_second"]);
    }
    writer.write_record(&heads)?;
    for (cell, column) in table.columns.iter().enumerate() {
        for (prompt, answer) in table.prompts.iter().zip(&column.answers) {
            let mut choices: Vec<Option<&Choice>> = answer.outputs.iter().map(Some).collect();
            if choices.is_empty() {
                choices.push(None);
            }
            for choice in choices {
                let mut record = vec![cell.to_string(), column.model.clone()];
                record.extend(column.settings.iter().map(|(_, value)| value.clone()));
                record.push(answer.row.to_string());
                record.push(prompt.custom_id.clone().unwrap_or_default());
                record.push(prompt.text.clone());
                record.extend(of_choice(choice));
                record.push(
                    answer
                        .error
                        .as_ref()
                        .map_or_else(String::new, |e| e.message.clone()),
                );
                record.extend(of_column(column));
                if with_times {
                    record.push(column.times.seconds.to_string());
                    record.push(column.times.tokens_per_second.to_string());
                }
                writer.write_record(&record)?;
            }
        }
    }
    Ok(writer.flush()?)
}

fn of_choice(choice: Option<&Choice>) -> [String; 6] {
    let Some(choice) = choice else {
        return Default::default();
    };
    let logprobs = choice.logprobs.iter().flatten();
    let perplexity = perplexity(logprobs.map(|entry| entry.chosen.logprob));
    [
        choice.index.to_string(),
        choice.text.clone(),
        choice.finish_reason.to_string(),
        choice.num_tokens().to_string(),
        number(perplexity),
        choice
            .seed
            .map_or_else(String::new, |seed| seed.to_string()),
    ]
}

fn of_column(column: &Column) -> [String; 5] {
    let figures = &column.figures;
    [
        number(figures.mean_tokens),
        number(figures.distinct_1),
        number(figures.distinct_2),
        number(figures.distinct_3),
        number(figures.perplexity),
    ]
}

/// What is absent is empty.
fn number(value: Option<f64>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}
