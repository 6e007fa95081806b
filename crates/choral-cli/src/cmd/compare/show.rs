//! A comparison on a terminal: answers in columns, then the figures. Elsewhere one
//! answer after another, without colours.

use super::table::{Column, Table};
use crate::output::terminal::{harmless, shown, wrap_words};
use anyhow::Result;
use choral::job::Answer;
use console::{Term, style};
use std::io::{self, IsTerminal as _, Write};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Columns narrower than this are no pleasure to read.
const LEAST_WIDTH: usize = 26;

/// Between two columns.
const GUTTER: &str = " │ ";

/// Prints answers, unless `is_quiet`, and figures.
pub(super) fn write(table: &Table, is_quiet: bool) -> Result<()> {
    let mut out = io::stdout().lock();
    let is_terminal = out.is_terminal();
    if !is_quiet {
        for nth in 0..table.prompts.len() {
            if is_terminal {
                let width = Term::stdout().size().1.into();
                for line in beside(table, nth, width) {
                    line.write(&mut out)?;
                }
            } else {
                one_by_one(&mut out, table, nth)?;
            }
        }
    }
    let width = is_terminal.then(|| usize::from(Term::stdout().size().1));
    for line in figures(table, width) {
        writeln!(out, "{line}")?;
    }
    writeln!(out, "\nseed {}", table.seed)?;
    Ok(out.flush()?)
}

/// A line, and whether it stands out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) text: String,
    pub(super) is_bold: bool,
}

impl Line {
    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        if self.is_bold {
            writeln!(out, "{}", style(&self.text).bold())
        } else {
            writeln!(out, "{}", self.text)
        }
    }
}

/// The answers to a prompt in columns, as many beside each other as fit in `width`, the
/// rest below.
pub(super) fn beside(table: &Table, prompt: usize, width: usize) -> Vec<Line> {
    let line = |text: String, is_bold| Line { text, is_bold };
    let title = format!("Prompt {prompt}: {}", one_line(&table.prompts[prompt].text));
    let mut lines = vec![line(cut(&title, width), true), line(String::new(), false)];
    let gutter = GUTTER.width();
    let fit = ((width + gutter) / (LEAST_WIDTH + gutter)).max(1);
    for band in table.columns.chunks(fit.min(table.columns.len()).max(1)) {
        let each = ((width + gutter) / band.len())
            .saturating_sub(gutter)
            .max(1);
        let cells = |of: &dyn Fn(&Column) -> Vec<String>| -> Vec<String> {
            let cells: Vec<Vec<String>> = band.iter().map(of).collect();
            let height = cells.iter().map(Vec::len).max().unwrap_or(0);
            let row = |y: usize| {
                let cells = cells.iter().map(|cell| {
                    let text = cell.get(y).map_or("", String::as_str);
                    format!("{text}{}", " ".repeat(each.saturating_sub(text.width())))
                });
                cells.collect::<Vec<_>>().join(GUTTER).trim_end().to_owned()
            };
            (0..height).map(row).collect()
        };
        let heads = cells(&|column| wrap_words(&table.heading(column), each));
        lines.extend(heads.into_iter().map(|text| line(text, true)));
        let rule = vec!["─".repeat(each); band.len()].join("─┼─");
        lines.push(line(rule, false));
        let texts = cells(&|column| match column.answers.get(prompt) {
            Some(answer) => paragraphs(answer)
                .iter()
                .flat_map(|text| wrap_words(&harmless(text), each))
                .collect(),
            None => Vec::new(),
        });
        lines.extend(texts.into_iter().map(|text| line(text, false)));
        lines.push(line(String::new(), false));
    }
    lines
}

/// The answers to a prompt below each other, as they are.
fn one_by_one(out: &mut impl Write, table: &Table, prompt: usize) -> Result<()> {
    writeln!(out, "Prompt {prompt}: {}\n", table.prompts[prompt].text)?;
    for column in &table.columns {
        writeln!(out, "[{}]", table.heading(column))?;
        if let Some(answer) = column.answers.get(prompt) {
            for text in paragraphs(answer) {
                writeln!(out, "{}", shown(&text, false))?;
            }
        }
        writeln!(out)?;
    }
    Ok(())
}

/// What a prompt was answered; with numbers, if several times.
fn paragraphs(answer: &Answer) -> Vec<String> {
    let mut texts: Vec<String> = match &answer.outputs[..] {
        [one] => vec![one.text.clone()],
        several => several
            .iter()
            .map(|choice| format!("{}: {}", choice.index, choice.text))
            .collect(),
    };
    if let Some(error) = &answer.error {
        texts.push(format!("(error: {})", error.message));
    }
    texts
}

/// The figures of all columns: a table, or for a terminal of a `width` that it does not
/// fit, some lines for each.
pub(super) fn figures(table: &Table, width: Option<usize>) -> Vec<String> {
    let lines = figures_table(table, width.is_some());
    match width {
        Some(width) if lines[0].width() > width => {
            let columns = table.columns.iter();
            columns
                .flat_map(|column| figures_lines(table, column))
                .flat_map(|line| wrap_words(&line, width))
                .collect()
        }
        _ => lines,
    }
}

fn figures_lines(table: &Table, column: &Column) -> Vec<String> {
    let (figures, times) = (&column.figures, &column.times);
    let errors = match figures.errors {
        0 => String::new(),
        errors => format!(", {errors} errors"),
    };
    vec![
        harmless(&table.heading(column)).into_owned(),
        format!(
            "  {} answers{errors}, {} tokens, mean {}",
            figures.answers,
            figures.tokens,
            optional(figures.mean_tokens, 1)
        ),
        format!(
            "  distinct-1 {}, distinct-2 {}, distinct-3 {}",
            optional(figures.distinct_1, 3),
            optional(figures.distinct_2, 3),
            optional(figures.distinct_3, 3)
        ),
        format!(
            "  perplexity {}, {:.2} seconds, {:.1} tokens/s",
            optional(figures.perplexity, 2),
            times.seconds,
            times.tokens_per_second
        ),
    ]
}

fn optional(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}

fn figures_table(table: &Table, is_terminal: bool) -> Vec<String> {
    let heads = [
        "setting",
        "answers",
        "errors",
        "tokens",
        "mean",
        "distinct-1",
        "distinct-2",
        "distinct-3",
        "perplexity",
        "seconds",
        "tokens/s",
    ];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    for column in &table.columns {
        let (figures, times) = (&column.figures, &column.times);
        let heading = table.heading(column);
        rows.push(vec![
            shown(&heading, is_terminal).into_owned(),
            figures.answers.to_string(),
            figures.errors.to_string(),
            figures.tokens.to_string(),
            optional(figures.mean_tokens, 1),
            optional(figures.distinct_1, 3),
            optional(figures.distinct_2, 3),
            optional(figures.distinct_3, 3),
            optional(figures.perplexity, 2),
            format!("{:.2}", times.seconds),
            format!("{:.1}", times.tokens_per_second),
        ]);
    }
    // Errors are of interest where there are some.
    if table.num_failed().0 == 0 {
        for row in &mut rows {
            row.remove(2);
        }
    }
    let widths: Vec<usize> = (0..rows[0].len())
        .map(|x| rows.iter().map(|row| row[x].width()).max().unwrap_or(0))
        .collect();
    let pad = |x: usize, cell: &String| {
        let space = " ".repeat(widths[x] - cell.width());
        if x == 0 {
            format!("{cell}{space}")
        } else {
            format!("{space}{cell}")
        }
    };
    let line = |row: &Vec<String>| {
        let cells: Vec<String> = row
            .iter()
            .enumerate()
            .map(|(x, cell)| pad(x, cell))
            .collect();
        format!("| {} |", cells.join(" | "))
    };
    let mut lines: Vec<String> = rows.iter().map(line).collect();
    let rule = widths.iter().enumerate().map(|(x, width)| match x {
        0 => format!(":{}", "-".repeat(width + 1)),
        _ => format!("{}:", "-".repeat(width + 1)),
    });
    lines.insert(1, format!("|{}|", rule.collect::<Vec<_>>().join("|")));
    lines
}

fn one_line(text: &str) -> String {
    harmless(text)
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

/// The beginning of a line, in `width` columns.
fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut kept = String::new();
    for c in text.chars() {
        if kept.width() + c.width().unwrap_or(0) + 1 > width {
            break;
        }
        kept.push(c);
    }
    kept + "…"
}
