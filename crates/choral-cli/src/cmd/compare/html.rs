//! A comparison as one page that needs nothing else.

use super::table::{Column, Table};
use std::fmt::{Result, Write as _};

const STYLE: &str = "\
:root { color-scheme: light dark; --line: light-dark(#d0d7de, #3d444d); \
--soft: light-dark(#f6f8fa, #1b2129); --faint: light-dark(#59636e, #9198a1); }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 90rem; margin: 2rem auto; padding: 0 1.5rem; \
background: light-dark(#fff, #0d1117); color: light-dark(#1f2328, #e6edf3); }
h1 { font-size: 1.5rem; } h2 { font-size: 1.05rem; margin: 2.5rem 0 .8rem; white-space: pre-wrap; \
overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .8rem; border-bottom: 1px solid var(--line); text-align: right; \
white-space: nowrap; } th:first-child, td:first-child { text-align: left; }
.cells { display: grid; grid-template-columns: repeat(auto-fill, minmax(19rem, 1fr)); gap: 1rem; }
.cell { border: 1px solid var(--line); border-radius: .5rem; overflow: hidden; }
.cell h3 { font-size: .85rem; margin: 0; padding: .5rem .9rem; background: var(--soft); \
border-bottom: 1px solid var(--line); overflow-wrap: anywhere; }
.cell p { margin: 0; padding: .7rem .9rem; white-space: pre-wrap; overflow-wrap: anywhere; }
.cell p + p { border-top: 1px dashed var(--line); }
.faint { color: var(--faint); } .error { color: light-dark(#b42318, #ff8b80); }";

/// The page.
pub(super) fn page(table: &Table, with_times: bool) -> String {
    let mut out = String::new();
    page_to(&mut out, table, with_times).expect("writing to a string does not fail");
    out
}

fn page_to(out: &mut String, table: &Table, with_times: bool) -> Result {
    writeln!(out, "<!DOCTYPE html>")?;
    writeln!(out, "<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">")?;
    writeln!(
        out,
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">"
    )?;
    writeln!(
        out,
        "<title>choral compare</title>\n<style>\n{STYLE}\n</style>\n</head>\n<body>"
    )?;
    let num_prompts = table.prompts.len();
    let prompts = if num_prompts == 1 {
        "prompt"
    } else {
        "prompts"
    };
    writeln!(
        out,
        "<h1>{num_prompts} {prompts}, {} settings</h1>",
        table.columns.len()
    )?;
    figures(out, table, with_times)?;
    writeln!(out, "<p class=\"faint\">seed {}</p>", table.seed)?;
    for (nth, prompt) in table.prompts.iter().enumerate() {
        let name = prompt.custom_id.as_ref();
        let name = name.map_or_else(String::new, |id| format!("{}: ", escaped(id)));
        writeln!(
            out,
            "<section>\n<h2>{name}{}</h2>\n<div class=\"cells\">",
            escaped(&prompt.text)
        )?;
        for column in &table.columns {
            cell(out, table, column, nth)?;
        }
        writeln!(out, "</div>\n</section>")?;
    }
    writeln!(out, "</body>\n</html>")
}

fn figures(out: &mut String, table: &Table, with_times: bool) -> Result {
    let mut heads = vec![
        "setting",
        "answers",
        "errors",
        "tokens",
        "mean tokens",
        "distinct-1",
        "distinct-2",
        "distinct-3",
        "perplexity",
    ];
    if with_times {
        heads.extend(["seconds", "tokens/s"]);
    }
    writeln!(out, "<div class=\"scroll\">\n<table>\n<thead><tr>")?;
    for head in heads {
        write!(out, "<th>{head}</th>")?;
    }
    writeln!(out, "</tr></thead>\n<tbody>")?;
    let optional = |value: Option<f64>, digits: usize| {
        value.map_or_else(|| "–".to_owned(), |value| format!("{value:.digits$}"))
    };
    for column in &table.columns {
        let figures = &column.figures;
        let mut cells = vec![
            escaped(&table.heading(column)),
            figures.answers.to_string(),
            figures.errors.to_string(),
            figures.tokens.to_string(),
            optional(figures.mean_tokens, 1),
            optional(figures.distinct_1, 3),
            optional(figures.distinct_2, 3),
            optional(figures.distinct_3, 3),
            optional(figures.perplexity, 2),
        ];
        if with_times {
            cells.push(format!("{:.2}", column.times.seconds));
            cells.push(format!("{:.1}", column.times.tokens_per_second));
        }
        write!(out, "<tr>")?;
        for cell in cells {
            write!(out, "<td>{cell}</td>")?;
        }
        writeln!(out, "</tr>")?;
    }
    writeln!(out, "</tbody>\n</table>\n</div>")
}

fn cell(out: &mut String, table: &Table, column: &Column, prompt: usize) -> Result {
    let heading = escaped(&table.heading(column));
    writeln!(out, "<div class=\"cell\">\n<h3>{heading}</h3>")?;
    if let Some(answer) = column.answers.get(prompt) {
        for choice in &answer.outputs {
            writeln!(out, "<p>{}</p>", escaped(&choice.text))?;
        }
        if let Some(error) = &answer.error {
            writeln!(out, "<p class=\"error\">{}</p>", escaped(&error.message))?;
        }
    }
    writeln!(out, "</div>")
}

/// Text that means nothing to HTML; characters that a page cannot hold are replaced.
pub(in crate::cmd) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() && c != '\n' && c != '\t' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
