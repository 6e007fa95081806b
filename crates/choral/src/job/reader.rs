//! From what a file has to what is to be run.

use super::adapter::Adapters;
use super::draft::Draft;
use super::entry::{Content, Entries, Entry, Fault, FileForm, Ids};
use super::open_ai;
use super::parsed::{MAX_PARSED_BYTES, VALUE_BYTES, fields, value};
use super::provider::{self, Base};
use super::row::{Form, InputFormat, Row, RowCode, RowHead, RowInput, RowWork};
use super::template::PromptTemplate;
use crate::engine::request::{Lora, Prompt};
use crate::sampling::SamplingParams;
use serde_json::{Map, Value};
use std::io::{self, BufRead};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// What rows may ask for, and what they get where they do not ask.
#[derive(Debug, Clone)]
pub(super) struct Terms {
    pub(super) params: SamplingParams,
    pub(super) adapters: Adapters,
    pub(super) models: ModelNames,
    pub(super) template: Option<PromptTemplate>,
    /// If rows are requests to a provider.
    pub(super) provider: Option<Base>,
    /// Most tokens of a prompt.
    pub(super) max_model_len: usize,
}

impl Terms {
    /// What a row's values may take in memory. There is room for a prompt of tokens
    /// that fills the context.
    fn max_parsed_bytes(&self) -> usize {
        let tokens = match self.max_model_len {
            usize::MAX => 0,
            tokens => tokens.saturating_mul(VALUE_BYTES),
        };
        tokens.saturating_add(MAX_PARSED_BYTES)
    }
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
    /// Refuses a `model` that is neither one of them nor of `more`.
    pub(crate) fn check(&self, model: &Value, more: &[String]) -> Result<(), Fault> {
        let Value::String(name) = model else {
            return Err(Fault::value("model", model, "a string"));
        };
        if self.any || self.names.contains(name) {
            return Ok(());
        }
        let mut message = format!("no model is called `{name}`");
        for (i, known) in self.names.iter().chain(more).enumerate() {
            message.push_str(if i == 0 { ", expected " } else { " or " });
            message.push_str(known);
        }
        Err(Fault::new(RowCode::UnknownModel, "model", message))
    }
}

/// Makes rows of entries. Yields an error only when a file cannot be read on.
#[derive(Debug)]
pub struct RowReader<I> {
    entries: I,
    terms: Terms,
    ids: Ids,
    file_form: FileForm,
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
                adapters: Adapters::default(),
                models: ModelNames::default(),
                template: None,
                provider: None,
                max_model_len: usize::MAX,
            },
            ids: Ids::default(),
            file_form: FileForm::default(),
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

    /// Refuses prompts of more token ids than that while they are read, before they take
    /// up memory.
    #[must_use]
    pub fn with_max_model_len(mut self, max_model_len: usize) -> Self {
        self.terms.max_model_len = max_model_len;
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

    /// Makes requests to a provider of rows, which have the fields of `base` where they
    /// have no others ([`GenerateRequest::from_json`]).
    ///
    /// [`GenerateRequest::from_json`]: crate::provider::GenerateRequest::from_json
    #[must_use]
    pub fn for_provider(mut self, base: Map<String, Value>) -> Self {
        self.terms.provider = Some(Base(base));
        self
    }

    fn row(&mut self, entry: Entry) -> Row {
        let (mut head, content) = entry.open();
        self.file_form.enter(head.file.as_ref());
        if content.is_err() && self.file_form.is_open_ai_by_default() {
            head.form = Form::unknown_request();
        }
        let work = content.and_then(|content| match content {
            Content::Text(text) if self.terms.template.is_some() => {
                let fields = vec![("text".to_owned(), Value::String(text))];
                self.templated(fields, false, &mut head)
            }
            Content::Text(text) => match &self.terms.provider {
                Some(base) => {
                    let fields = [("prompt".to_owned(), Value::String(text))];
                    self.asked(base, fields)
                }
                None => Ok(self.prompt(text)),
            },
            Content::Json(text) => self.json(&text, &mut head),
            Content::Fields { fields, is_text } => self.record(fields, is_text, &mut head),
        });
        let work = work.map_err(|fault| {
            let mut error = fault.at(head.line);
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
        // A line that is broken is answered as those around it.
        if self.file_form.is_open_ai_by_default() {
            head.form = Form::unknown_request();
        }
        let fields = fields(text, self.terms.max_parsed_bytes())?;
        head.form = if self.is_request(&fields) {
            Form::unknown_request()
        } else {
            Form::Own
        };
        // First, so that an error further on is reported under the row's name.
        self.ids.name(head, &fields)?;
        if head.form != Form::Own {
            if let Some(base) = &self.terms.provider {
                return open_ai::request(fields, base, &self.terms.models, &mut head.form);
            }
            return open_ai::work(fields, &self.terms, &mut head.form);
        }
        if self.terms.template.is_some() {
            return self.templated(fields, false, head);
        }
        if let Some(base) = &self.terms.provider {
            return self.asked(base, fields);
        }
        let mut draft = Draft::new(&self.terms);
        for (name, value) in fields {
            draft.set(&name, value)?;
        }
        draft.finish()
    }

    /// Whether a row with those fields is in OpenAI's format. What a template makes a
    /// prompt of is not: there, `body` and `url` are fields like any other.
    fn is_request(&mut self, fields: &[(String, Value)]) -> bool {
        let own = ["prompt", "messages"];
        self.terms.template.is_none() && self.file_form.is_open_ai(fields, &own)
    }

    fn record(
        &mut self,
        fields: Vec<(String, Value)>,
        is_text: bool,
        head: &mut RowHead,
    ) -> Result<RowWork, Fault> {
        self.ids.name(head, &fields)?;
        if self.terms.template.is_some() {
            return self.templated(fields, is_text, head);
        }
        // All columns of a table go through, also those that mean something here.
        let columns = fields.iter().filter(|(name, _)| name != "custom_id");
        head.fields.extend(columns.cloned());
        if let Some(base) = &self.terms.provider {
            let mut known = Vec::new();
            for (name, value) in fields {
                if provider::knows(&name) {
                    let value = self.terms.meant(&name, value, is_text)?;
                    known.push((name, value));
                }
            }
            return self.asked(base, known);
        }
        let mut draft = Draft::new(&self.terms);
        for (name, value) in fields {
            if Draft::knows(&name) {
                draft.set(&name, self.terms.meant(&name, value, is_text)?)?;
            }
        }
        draft.finish()
    }
}

impl<I> RowReader<I> {
    /// A row that asks a provider.
    fn asked(
        &self,
        base: &Base,
        fields: impl IntoIterator<Item = (String, Value)>,
    ) -> Result<RowWork, Fault> {
        let request = base.request(fields, &self.terms.models)?;
        Ok(provider::work(request))
    }

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
        if prompt.is_empty() {
            let message = "`prompt` is empty: the prompt template makes no text of the row";
            return Err(Fault::new(RowCode::InvalidPrompt, "prompt", message));
        }
        if let Some(base) = &self.terms.provider {
            let mut known = vec![("prompt".to_owned(), Value::String(prompt))];
            for (name, value) in fields {
                if name != "custom_id" && !is_carried(&name) {
                    let value = self.terms.meant(&name, value, is_text)?;
                    known.push((name, value));
                }
            }
            return self.asked(base, known);
        }
        let mut draft = Draft::new(&self.terms);
        draft.set("prompt", Value::String(prompt))?;
        for (name, value) in fields {
            if !is_carried(&name) {
                draft.set(&name, self.terms.meant(&name, value, is_text)?)?;
            }
        }
        draft.finish()
    }
}

impl Terms {
    /// What a field's value means. The text of a cell (`is_text`) is JSON, but where text
    /// is wanted.
    fn meant(&self, name: &str, found: Value, is_text: bool) -> Result<Value, Fault> {
        match found {
            Value::String(text)
                if is_text
                    && !["custom_id", "prompt", "system", "model", "lora"].contains(&name) =>
            {
                let parsed = value(name, &text, self.max_parsed_bytes())?;
                Ok(parsed.unwrap_or(Value::String(text)))
            }
            found => Ok(found),
        }
    }
}

impl<I: Iterator<Item = io::Result<Entry>>> Iterator for RowReader<I> {
    type Item = io::Result<Row>;

    fn next(&mut self) -> Option<io::Result<Row>> {
        let entry = self.entries.next()?;
        Some(entry.map(|entry| self.row(entry)))
    }
}
