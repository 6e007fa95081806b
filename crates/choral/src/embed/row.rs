//! From a line of a file of texts to what is to be embedded, or to what is wrong.
//!
//! A line is a text, or a JSON object: one of choral's own, or one of OpenAI's batch
//! format, which is told by its `body` and answered in OpenAI's shape.

use crate::engine::Prompt;
use crate::job::{
    Content, Entries, Entry, Fault, FileForm, Ids, InputFormat, MAX_PARSED_BYTES, ModelNames,
    RowCode, RowError, RowHead, fields,
};
use serde_json::{Map, Value};
use std::io::{self, BufRead};
use std::sync::atomic::Ordering;

/// The path that OpenAI's lines name.
const URL: &str = "/v1/embeddings";

/// In whose format a row came, and its answer goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// choral's.
    Own,
    /// OpenAI's batch format.
    OpenAi,
}

impl Form {
    fn new(is_open_ai: bool) -> Self {
        if is_open_ai { Self::OpenAi } else { Self::Own }
    }
}

/// One row of the input.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Which row it is.
    pub head: RowHead,
    /// Whose format it is in.
    pub form: Form,
    /// What is to be embedded, or why it cannot be.
    pub work: Result<RowWork, RowError>,
}

/// What is to be embedded.
#[derive(Debug, Clone, PartialEq)]
pub struct RowWork {
    /// One text; OpenAI's rows may have more.
    pub inputs: Vec<Prompt>,
    /// Elements of each vector, if the row says.
    pub dimensions: Option<usize>,
    /// Vectors are wanted as base64 of little-endian floats.
    pub base64: bool,
    /// The model that the row names, to be named by its answer; only where rows may not
    /// name any ([`RowReader::with_models`]).
    pub model: Option<String>,
}

impl RowWork {
    fn one(input: Prompt) -> Self {
        Self {
            inputs: vec![input],
            dimensions: None,
            base64: false,
            model: None,
        }
    }
}

/// Makes rows of entries. Yields an error only when a file cannot be read on.
#[derive(Debug)]
pub struct RowReader<I> {
    entries: I,
    ids: Ids,
    file_form: FileForm,
    models: Option<ModelNames>,
}

impl<R: BufRead> RowReader<Entries<R>> {
    /// Reads lines.
    pub fn new(reader: R, format: InputFormat) -> Self {
        Self::of_entries(Entries::new(reader, format))
    }

    /// Lines so far without content, which are no rows.
    pub fn num_blank_lines(&self) -> u64 {
        self.entries.num_blank_lines().load(Ordering::Relaxed)
    }
}

impl<I: Iterator<Item = io::Result<Entry>>> RowReader<I> {
    /// Makes rows of `entries`.
    pub fn of_entries(entries: I) -> Self {
        Self {
            entries,
            ids: Ids::default(),
            file_form: FileForm::default(),
            models: None,
        }
    }

    /// Has OpenAI's rows name their model by one of those names, and answers by it.
    /// Without it, rows may name any model, and answers name the one that there is.
    #[must_use]
    pub fn with_models(mut self, models: ModelNames) -> Self {
        self.models = Some(models);
        self
    }

    fn row(&mut self, entry: Entry) -> Row {
        let (mut head, content) = entry.open();
        self.file_form.enter(head.file.as_ref());
        // A line that is broken is answered as those around it.
        let mut form = Form::new(self.file_form.is_open_ai_by_default());
        let work = match content {
            Err(fault) => Err(fault),
            Ok(Content::Text(text)) => Ok(RowWork::one(Prompt::Text(text))),
            Ok(Content::Json(text)) => fields(&text, MAX_PARSED_BYTES)
                .and_then(|fields| self.work(fields, &mut head, &mut form)),
            Ok(Content::Fields { fields, .. }) => self.work(fields, &mut head, &mut form),
        };
        let work = work.map_err(|fault| RowError {
            file: head.file.clone(),
            ..fault.at(head.line)
        });
        Row { head, form, work }
    }

    fn work(
        &mut self,
        fields: Vec<(String, Value)>,
        head: &mut RowHead,
        form: &mut Form,
    ) -> Result<RowWork, Fault> {
        let own = ["input", "text", "prompt"];
        *form = Form::new(self.file_form.is_open_ai(&fields, &own));
        // First, so that an error further on is reported under the row's name.
        self.ids.name(head, &fields)?;
        match form {
            Form::Own => own_work(fields),
            Form::OpenAi => open_ai_work(fields, self.models.as_ref()),
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

fn unknown(field: &str) -> Fault {
    let message = format!("unknown field `{field}`");
    Fault::new(RowCode::UnknownParameter, field, message)
}

fn own_work(fields: Vec<(String, Value)>) -> Result<RowWork, Fault> {
    let (mut input, mut dimensions) = (None, None);
    for (name, value) in fields {
        match name.as_str() {
            "custom_id" => {}
            _ if value.is_null() && matches!(&*name, "input" | "text" | "prompt") => {}
            "input" | "text" | "prompt" => {
                let taken = prompt(&value).ok_or_else(|| {
                    let expected = "a text or a list of token ids";
                    let mut fault = Fault::value(&name, &value, expected);
                    fault.code = RowCode::InvalidPrompt;
                    fault
                })?;
                if input.replace(taken).is_some() {
                    let message = "there is more than one of `input`, `text` and `prompt`";
                    let code = RowCode::InvalidPrompt;
                    return Err(Fault::new(code, &name, message.to_owned()));
                }
            }
            "dimensions" => dimensions = count(&name, &value)?,
            _ => return Err(unknown(&name)),
        }
    }
    let input = input.ok_or_else(|| {
        let message = "there is no `input`".to_owned();
        Fault::new(RowCode::InvalidPrompt, "", message)
    })?;
    Ok(RowWork {
        dimensions,
        ..RowWork::one(input)
    })
}

fn open_ai_work(
    fields: Vec<(String, Value)>,
    models: Option<&ModelNames>,
) -> Result<RowWork, Fault> {
    let mut body = None;
    let (mut has_id, mut has_method, mut has_url) = (false, false, false);
    for (name, value) in fields {
        match (name.as_str(), value) {
            ("custom_id", value) => has_id = !value.is_null(),
            ("method", value) if value == "POST" => has_method = true,
            ("method", value) => return Err(Fault::value(&name, &value, "POST")),
            ("url", value) if value == URL => has_url = true,
            ("url", value) => return Err(Fault::value(&name, &value, URL)),
            ("body", Value::Object(fields)) => body = Some(fields),
            ("body", value) => return Err(Fault::value(&name, &value, "an object")),
            _ => return Err(unknown(&name)),
        }
    }
    let missing = |name: &str| {
        let message = format!("there is no `{name}`");
        Fault::new(RowCode::InvalidParameter, name, message)
    };
    for (name, has) in [
        ("custom_id", has_id),
        ("method", has_method),
        ("url", has_url),
    ] {
        if !has {
            return Err(missing(name));
        }
    }
    let body = body.ok_or_else(|| missing("body"))?;
    open_ai_body(body, models).map_err(|fault| fault.within("body"))
}

fn open_ai_body(body: Map<String, Value>, models: Option<&ModelNames>) -> Result<RowWork, Fault> {
    let mut work = RowWork {
        inputs: Vec::new(),
        dimensions: None,
        base64: false,
        model: None,
    };
    for (name, value) in body {
        match name.as_str() {
            "input" => {
                work.inputs = inputs(&value).ok_or_else(|| {
                    let expected = "a text, a list of token ids, or a list of one or more of them";
                    let mut fault = Fault::value(&name, &value, expected);
                    fault.code = RowCode::InvalidPrompt;
                    fault
                })?;
                let is_empty = |input: &Prompt| matches!(input, Prompt::Text(t) if t.is_empty());
                if work.inputs.iter().any(is_empty) {
                    let message = "`input` has a text that is empty";
                    return Err(Fault::new(RowCode::InvalidPrompt, &name, message));
                }
            }
            "model" => match models {
                Some(models) if !value.is_null() => {
                    models.check(&value, &[])?;
                    work.model = value.as_str().map(str::to_owned);
                }
                // The answer names the model that there is.
                None if value.is_string() => {}
                _ => return Err(Fault::value(&name, &value, "a string")),
            },
            "user" if value.is_string() || value.is_null() => {}
            "user" => return Err(Fault::value(&name, &value, "a string")),
            "dimensions" => work.dimensions = count(&name, &value)?,
            "encoding_format" => {
                work.base64 = match value.as_str() {
                    Some("float") => false,
                    Some("base64") => true,
                    None if value.is_null() => false,
                    _ => return Err(Fault::value(&name, &value, "float or base64")),
                };
            }
            _ => return Err(unknown(&name)),
        }
    }
    if work.inputs.is_empty() {
        let message = "there is no `input`".to_owned();
        return Err(Fault::new(RowCode::InvalidPrompt, "input", message));
    }
    Ok(work)
}

/// A text, or a list of token ids with at least one.
fn prompt(value: &Value) -> Option<Prompt> {
    match value {
        Value::String(text) => Some(Prompt::Text(text.clone())),
        Value::Array(items) if !items.is_empty() => {
            let ids = items.iter().map(|id| id.as_u64()?.try_into().ok());
            ids.collect::<Option<Vec<u32>>>().map(Prompt::Tokens)
        }
        _ => None,
    }
}

fn inputs(value: &Value) -> Option<Vec<Prompt>> {
    if let Some(one) = prompt(value) {
        return Some(vec![one]);
    }
    let items = value.as_array().filter(|items| !items.is_empty())?;
    items.iter().map(prompt).collect()
}

/// A number from 1; `null` is none.
fn count(name: &str, value: &Value) -> Result<Option<usize>, Fault> {
    if value.is_null() {
        return Ok(None);
    }
    let count = value.as_u64().filter(|&n| n > 0);
    let count = count.and_then(|n| usize::try_from(n).ok());
    match count {
        Some(count) => Ok(Some(count)),
        None => Err(Fault::value(name, value, "a whole number from 1")),
    }
}
