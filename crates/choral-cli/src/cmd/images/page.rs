//! Answers beside their pictures as one page that needs nothing else.
//!
//! Each picture is in it once, as the background of a class, however often it is shown.
//! Texts and names are foreign: all of them are [`escaped`].

use crate::cmd::compare::escaped;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::collections::HashMap;
use std::fmt::{self, Display, Formatter};

const STYLE: &str = "\
:root { color-scheme: light dark; --line: light-dark(#d0d7de, #3d444d); \
--soft: light-dark(#f6f8fa, #1b2129); --faint: light-dark(#59636e, #9198a1); }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1.5rem; \
background: light-dark(#fff, #0d1117); color: light-dark(#1f2328, #e6edf3); }
header { display: flex; flex-wrap: wrap; gap: .5rem 2rem; align-items: baseline; }
h1 { font-size: 1.5rem; margin: 0; } header p { margin: 0; }
input { font: inherit; padding: .3rem .6rem; border: 1px solid var(--line); border-radius: .4rem; \
background: var(--soft); color: inherit; }
article { border: 1px solid var(--line); border-radius: .6rem; margin: 1.5rem 0; overflow: hidden; }
article > p { margin: 0; padding: .9rem 1.1rem; white-space: pre-wrap; overflow-wrap: anywhere; }
article > footer { padding: .4rem 1.1rem; border-top: 1px solid var(--line); background: var(--soft); \
font-size: .8rem; }
.pictures { display: grid; grid-template-columns: repeat(auto-fit, minmax(14rem, 1fr)); gap: 1px; \
background: var(--line); border-bottom: 1px solid var(--line); }
figure { margin: 0; background: var(--soft); display: flex; flex-direction: column; }
.picture { height: 16rem; margin: .8rem; background: center / contain no-repeat; }
.lost { display: grid; place-content: center; color: var(--faint); border: 1px dashed var(--line); }
figcaption { padding: .1rem .9rem .6rem; font-size: .85rem; overflow-wrap: anywhere; }
.letter { font-weight: 700; margin-right: .5em; }
.faint { color: var(--faint); } .error { color: light-dark(#b42318, #ff8b80); }
@media print { input { display: none; } article { break-inside: avoid; } }";

/// Hides what does not have the words that are looked for; `#find=WORDS` looks for them.
const SCRIPT: &str = "\
const field = document.querySelector('input'), all = [...document.querySelectorAll('article')];
const find = () => {
  const words = field.value.toLowerCase().split(/\\s+/);
  let shown = 0;
  for (const one of all) {
    const text = one.textContent.toLowerCase();
    one.hidden = !words.every(word => text.includes(word));
    shown += !one.hidden;
  }
  document.querySelector('output').textContent = shown < all.length ? `${shown} shown` : '';
};
const look = () => {
  const wanted = /^#find=(.*)/.exec(location.hash);
  if (wanted) field.value = decodeURIComponent(wanted[1]);
  find();
};
field.hidden = false;
field.addEventListener('input', find);
addEventListener('hashchange', look);
look();";

/// Pictures of the page, each once.
#[derive(Default)]
pub(super) struct Thumbnails {
    numbers: HashMap<String, Option<usize>>,
    /// JPEG files.
    files: Vec<(Vec<u8>, [usize; 2])>,
}

impl Thumbnails {
    /// The number of the picture `name`, which `make` makes if it is new; none if it
    /// cannot be made.
    pub(super) fn of(
        &mut self,
        name: &str,
        make: impl FnOnce() -> Option<(Vec<u8>, [usize; 2])>,
    ) -> Option<usize> {
        if let Some(known) = self.numbers.get(name) {
            return *known;
        }
        let number = make().map(|file| {
            self.files.push(file);
            self.files.len() - 1
        });
        self.numbers.insert(name.to_owned(), number);
        number
    }
}

/// A picture of a question.
pub(super) struct Shown {
    /// `A` or `B`; empty for one alone.
    pub(super) letter: &'static str,
    /// Its path.
    pub(super) name: String,
    /// Its number.
    pub(super) index: Option<u64>,
    /// Its number among the thumbnails; none if it is lost.
    pub(super) thumbnail: Option<usize>,
}

/// A question and its answer.
pub(super) struct Asked {
    pub(super) row: u64,
    pub(super) pictures: Vec<Shown>,
    pub(super) text: Option<String>,
    pub(super) error: Option<String>,
    pub(super) finish_reason: String,
    pub(super) seed: Option<u64>,
    pub(super) prompt_tokens: u64,
    pub(super) completion_tokens: u64,
    pub(super) seconds: Option<f64>,
}

/// The page; displays as HTML.
pub(super) struct Page {
    pub(super) title: String,
    pub(super) asked: Vec<Asked>,
    pub(super) thumbnails: Thumbnails,
}

impl Display for Page {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let title = escaped(&self.title);
        writeln!(
            out,
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">"
        )?;
        writeln!(
            out,
            "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">"
        )?;
        writeln!(out, "<title>{title}</title>\n<style>\n{STYLE}")?;
        for (number, (file, [width, height])) in self.thumbnails.files.iter().enumerate() {
            // Small pictures are not blown up.
            let file = STANDARD.encode(file);
            writeln!(
                out,
                ".i{number} {{ background-image: url(data:image/jpeg;base64,{file}); \
                 max-width: {width}px; max-height: {height}px; }}"
            )?;
        }
        let count = self.asked.len();
        let failed = self.asked.iter().filter(|asked| asked.error.is_some());
        let failed = match failed.count() {
            0 => String::new(),
            failed => format!(", <span class=\"error\">{failed} in error</span>"),
        };
        let noun = if count == 1 { "question" } else { "questions" };
        let tokens: u64 = self.asked.iter().map(|asked| asked.completion_tokens).sum();
        writeln!(
            out,
            "</style>\n</head>\n<body>\n<header>\n<h1>{title}</h1>\n<p class=\"faint\">{count} \
             {noun}{failed}, {tokens} tokens of answers</p>\n<input type=\"search\" hidden \
             placeholder=\"Find\" aria-label=\"Find\"><output class=\"faint\"></output>\n</header>\n\
             <main>"
        )?;
        for asked in &self.asked {
            write!(out, "{asked}")?;
        }
        writeln!(
            out,
            "</main>\n<script>\n{SCRIPT}\n</script>\n</body>\n</html>"
        )
    }
}

impl Display for Asked {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        writeln!(out, "<article id=\"row-{}\">", self.row)?;
        if !self.pictures.is_empty() {
            writeln!(out, "<div class=\"pictures\">")?;
            for picture in &self.pictures {
                write!(out, "{picture}")?;
            }
            writeln!(out, "</div>")?;
        }
        if let Some(text) = &self.text {
            writeln!(out, "<p>{}</p>", escaped(text.trim()))?;
        }
        if let Some(error) = &self.error {
            writeln!(out, "<p class=\"error\">{}</p>", escaped(error))?;
        }
        let mut facts = vec![format!("row {}", self.row)];
        if self.text.is_some() {
            facts.push(format!(
                "{} + {} tokens",
                self.prompt_tokens, self.completion_tokens
            ));
        }
        if !self.finish_reason.is_empty() {
            facts.push(escaped(&self.finish_reason));
        }
        facts.extend(self.seconds.map(|seconds| format!("{seconds:.2} s")));
        facts.extend(self.seed.map(|seed| format!("seed {seed}")));
        let facts = facts.join(" · ");
        writeln!(out, "<footer class=\"faint\">{facts}</footer>\n</article>")
    }
}

impl Display for Shown {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let name = escaped(&self.name);
        writeln!(out, "<figure>")?;
        match self.thumbnail {
            Some(number) => writeln!(
                out,
                "<div class=\"picture i{number}\" role=\"img\" aria-label=\"{name}\"></div>"
            )?,
            None => writeln!(out, "<div class=\"picture lost\">not found</div>")?,
        }
        let letter = match self.letter {
            "" => String::new(),
            letter => format!("<span class=\"letter\">{letter}</span>"),
        };
        let index = self.index.map_or_else(String::new, |index| {
            format!(" <span class=\"faint\">image {index}</span>")
        });
        writeln!(
            out,
            "<figcaption>{letter}{name}{index}</figcaption>\n</figure>"
        )
    }
}
