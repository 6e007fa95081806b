//! From what a file has to what is to be run.

use super::adapter::Adapters;
use super::draft::Draft;
use super::entry::{Content, Entries, Entry, Fault, Ids, fields};
use super::open_ai;
use super::row::{Form, InputFormat, Row, RowCode, RowHead, RowInput, RowWork};
use super::template::PromptTemplate;
use crate::engine::request::{Lora, Prompt};
use crate::sampling::SamplingParams;
use serde_json::Value;
use std::io::{self, BufRead};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// What rows may ask for, and what they get where they do not ask.
#[derive(Debug, Clone, Default)]
pub(super) struct Terms {
    pub(super) params: SamplingParams,
    pub(super) adapters: Adapters,
    pub(super) models: ModelNames,
    pub(super) template: Option<PromptTemplate>,
}

/// The names by which rows may call the model.
#[derive(Debug, Clone, Default)]
pub struct ModelNames {
    /// These.
    pub names: Vec<String>,
    /// And any other.
    pub any: bool,
}

impl ModelNames {
    pub(super) fn has(&self, name: &str) -> bool {
        self.any || self.names.iter().any(|known| known == name)
    }
}

/// Makes rows of entries. Yields an error only when a file cannot be read on.
#[derive(Debug)]
pub struct RowReader<I> {
    entries: I,
    terms: Terms,
    ids: Ids,
}

impl<R: BufRead> RowReader<Entries<R>> {
    /// Reads lines, giving rows the parameters `base` where they have none.
    pub fn lines(reader: R, format: InputFormat, base: SamplingParams) -> Self {
        Self::new(Entries::new(reader, format), base)
    }

    /// Counts the lines without content, which are no rows, while another thread
    /// reads.
    pub fn num_blank_lines(&self) -> Arc<AtomicU64> {
        Arc::clone(self.entries.num_blank_lines())
    }
}

impl<I: Iterator<Item = io::Result<Entry>>> RowReader<I> {
    /// Makes rows of `entries`, giving them the parameters `base` where they have none.
    pub fn new(entries: I, base: SamplingParams) -> Self {
        Self {
            entries,
            terms: Terms {
                params: base,
                ..Terms::default()
            },
            ids: Ids::default(),
        }
    }

    /// Lets rows ask for adapters of those names; rows that ask for none run with
    /// `default`.
    #[must_use]
    pub fn with_adapters(mut self, known: &[String], default: Vec<Lora>) -> Self {
        let known = known.to_vec();
        self.terms.adapters = Adapters { known, default };
        self
    }

    /// Lets rows name their model, if by one of those names.
    #[must_use]
    pub fn with_models(mut self, models: ModelNames) -> Self {
        self.terms.models = models;
        self
    }

    /// Makes prompts of rows by a template. Fields that it uses are its own, whatever
    /// they are called; of the others, those that have a meaning keep it, but for
    /// `prompt`, `messages` and what belongs to them, which are carried through with the
    /// rest. A line of text is the template's `text`.
    #[must_use]
    pub fn with_template(mut self, template: PromptTemplate) -> Self {
        self.terms.template = Some(template);
        self
    }

    fn row(&mut self, entry: Entry) -> Row {
        let Entry {
            index,
            line,
            file,
            content,
        } = entry;
        let mut head = RowHead {
            index,
            line,
            file,
            ..RowHead::default()
        };
        let work = content.and_then(|content| match content {
            Content::Text(text) if self.terms.template.is_some() => {
                let fields = vec![("text".to_owned(), Value::String(text))];
                self.templated(fields, false, &mut head)
            }
            Content::Text(text) => Ok(self.prompt(text)),
            Content::Json(text) => self.json(&text, &mut head),
            Content::Fields { fields, is_text } => self.record(fields, is_text, &mut head),
        });
        let work = work.map_err(|fault| {
            let mut error = fault.at(line);
            error.file.clone_from(&head.file);
            error
        });
        Row { head, work }
    }

    fn prompt(&self, text: String) -> RowWork {
        RowWork {
            input: RowInput::Prompt(Prompt::Text(text)),
            params: self.terms.params.clone(),
            lora: self.terms.adapters.default.clone(),
        }
    }

    fn json(&mut self, text: &str, head: &mut RowHead) -> Result<RowWork, Fault> {
        let fields = fields(text)?;
        let has = |name: &str| fields.iter().any(|(field, _)| field == name);
        if has("body") || has("url") {
            head.form = Form::OpenAi {
                endpoint: super::row::Endpoint::default(),
                model: String::new(),
            };
        }
        // First, so that an error further on is reported under the row's name.
        head.custom_id = self.ids.custom_id(&fields)?;
        if head.form != Form::Own {
            return open_ai::work(fields, &self.terms, &mut head.form);
        }
        if self.terms.template.is_some() {
            return self.templated(fields, false, head);
        }
        let mut draft = Draft::new(&self.terms);
        for (name, value) in fields {
            draft.set(&name, value)?;
        }
        draft.finish()
    }

    fn record(
        &mut self,
        fields: Vec<(String, Value)>,
        is_text: bool,
        head: &mut RowHead,
    ) -> Result<RowWork, Fault> {
        head.custom_id = self.ids.custom_id(&fields)?;
        if self.terms.template.is_some() {
            return self.templated(fields, is_text, head);
        }
        // All columns of a table go through, also those that mean something here.
        let columns = fields.iter().filter(|(name, _)| name != "custom_id");
        head.fields.extend(columns.cloned());
        let mut draft = Draft::new(&self.terms);
        for (name, value) in fields {
            if Draft::knows(&name) {
                let value = if is_text { meant(&name, value) } else { value };
                draft.set(&name, value)?;
            }
        }
        draft.finish()
    }
}

impl<I> RowReader<I> {
    /// A row whose prompt the template makes of its fields.
    fn templated(
        &self,
        fields: Vec<(String, Value)>,
        is_text: bool,
        head: &mut RowHead,
    ) -> Result<RowWork, Fault> {
        let template = self.terms.template.as_ref();
        let template = template.expect("asked for only if there is one");
        let is_carried = |name: &str| {
            let is_used = template.variables().any(|used| used == name);
            name != "custom_id" && (is_used || !Draft::is_parameter(name))
        };
        let carried = fields.iter().filter(|(name, _)| is_carried(name));
        head.fields.extend(carried.cloned());
        let prompt = template.render(&fields).map_err(|error| {
            Fault::new(
                RowCode::Template,
                "",
                crate::job::runner::with_causes(&error),
            )
        })?;
        let mut draft = Draft::new(&self.terms);
        draft.set("prompt", Value::String(prompt))?;
        for (name, value) in fields {
            if !is_carried(&name) {
                let value = if is_text { meant(&name, value) } else { value };
                draft.set(&name, value)?;
            }
        }
        draft.finish()
    }
}

/// What the text of a cell means: JSON, but where text is wanted.
fn meant(name: &str, value: Value) -> Value {
    match value {
        Value::String(text) if !["custom_id", "prompt", "model", "lora"].contains(&name) => {
            serde_json::from_str(&text).unwrap_or(Value::String(text))
        }
        value => value,
    }
}

impl<I: Iterator<Item = io::Result<Entry>>> Iterator for RowReader<I> {
    type Item = io::Result<Row>;

    fn next(&mut self) -> Option<io::Result<Row>> {
        let entry = self.entries.next()?;
        Some(entry.map(|entry| self.row(entry)))
    }
}
