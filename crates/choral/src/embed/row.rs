//! From a line of a file of texts to what is to be embedded, or to what is wrong.
//!
//! A line is a text, or a JSON object: one of choral's own, or one of OpenAI's batch
//! format, which is told by its `body` and answered in OpenAI's shape.

use crate::engine::Prompt;
use crate::job::{
    Fields, InputFormat, Line, Lines, RowCode, RowError, RowHead, RowKey, excerpt, json_message,
};
use serde_json::{Map, Value};
use std::collections::HashSet;
use std::io::{self, BufRead};

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
}

impl RowWork {
    fn one(input: Prompt) -> Self {
        Self {
            inputs: vec![input],
            dimensions: None,
            base64: false,
        }
    }
}

/// Reads rows from a file of texts. Yields an error only when the file itself cannot
/// be read on.
#[derive(Debug)]
pub struct RowReader<R> {
    lines: Lines<R>,
    format: InputFormat,
    next_index: u64,
    num_blank_lines: u64,
    /// The ids so far, to find the one that comes twice: 16 bytes a row.
    seen: HashSet<u128>,
}

/// A [`RowError`] that does not know its line yet.
struct Fault {
    code: RowCode,
    message: String,
    field: Option<String>,
}

impl Fault {
    fn new(code: RowCode, field: &str, message: String) -> Self {
        Self {
            code,
            message,
            field: (!field.is_empty()).then(|| field.to_owned()),
        }
    }

    fn value(field: &str, found: &Value, expected: &str) -> Self {
        let message = format!("`{field}` is {}, expected {expected}", excerpt(found));
        Self::new(RowCode::InvalidParameter, field, message)
    }

    fn unknown(field: &str) -> Self {
        let message = format!("unknown field `{field}`");
        Self::new(RowCode::UnknownParameter, field, message)
    }
}

impl<R: BufRead> RowReader<R> {
    /// Reads `reader`.
    pub fn new(reader: R, format: InputFormat) -> Self {
        Self {
            lines: Lines::new(reader),
            format,
            next_index: 0,
            num_blank_lines: 0,
            seen: HashSet::new(),
        }
    }

    /// Lines so far without content, which are no rows.
    pub fn num_blank_lines(&self) -> u64 {
        self.num_blank_lines
    }

    fn row(&mut self, line: Line) -> Row {
        let index = self.next_index;
        self.next_index += 1;
        let number = line.number;
        let (mut custom_id, mut form) = (None, Form::Own);
        let work = match (line.text, self.format) {
            (Err(fault), _) => Err(Fault::new(RowCode::InvalidLine, "", fault.to_string())),
            (Ok(text), InputFormat::Text) => Ok(RowWork::one(Prompt::Text(text))),
            (Ok(text), InputFormat::Jsonl) => self.json_work(&text, &mut custom_id, &mut form),
        };
        let work = work.map_err(|fault| RowError {
            code: fault.code,
            message: fault.message,
            line: number,
            field: fault.field,
        });
        let head = RowHead {
            index,
            line: number,
            custom_id,
        };
        Row { head, form, work }
    }

    fn json_work(
        &mut self,
        text: &str,
        custom_id: &mut Option<String>,
        form: &mut Form,
    ) -> Result<RowWork, Fault> {
        let Fields(fields) = serde_json::from_str(text)
            .map_err(|error| Fault::new(RowCode::InvalidJson, "", json_message(&error)))?;
        let has = |name: &str| fields.iter().any(|(field, _)| field == name);
        if has("body") || has("url") {
            *form = Form::OpenAi;
        }
        // First, so that an error further on is reported under the row's name.
        if let Some((_, value)) = fields.iter().find(|(name, _)| name == "custom_id") {
            *custom_id = self.custom_id(value)?;
        }
        match form {
            Form::Own => own_work(fields),
            Form::OpenAi => open_ai_work(fields),
        }
    }

    fn custom_id(&mut self, value: &Value) -> Result<Option<String>, Fault> {
        match value {
            Value::Null => Ok(None),
            Value::String(id) => {
                if self.seen.insert(RowKey::Id(id.clone()).fingerprint()) {
                    return Ok(Some(id.clone()));
                }
                let message = format!("`custom_id` {} has come before", excerpt(value));
                Err(Fault::new(RowCode::DuplicateCustomId, "custom_id", message))
            }
            other => Err(Fault::value("custom_id", other, "a string")),
        }
    }
}

impl<R: BufRead> Iterator for RowReader<R> {
    type Item = io::Result<Row>;

    fn next(&mut self) -> Option<io::Result<Row>> {
        loop {
            let line = match self.lines.next()? {
                Ok(line) => line,
                Err(error) => return Some(Err(error)),
            };
            if line.text.as_ref().is_ok_and(|text| text.trim().is_empty()) {
                self.num_blank_lines += 1;
                continue;
            }
            return Some(Ok(self.row(line)));
        }
    }
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
            _ => return Err(Fault::unknown(&name)),
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

fn open_ai_work(fields: Vec<(String, Value)>) -> Result<RowWork, Fault> {
    let mut body = None;
    let mut has_url = false;
    for (name, value) in fields {
        match (name.as_str(), value) {
            ("custom_id", _) => {}
            ("method", value) if value == "POST" => {}
            ("method", value) => return Err(Fault::value(&name, &value, "POST")),
            ("url", value) if value == URL => has_url = true,
            ("url", value) => return Err(Fault::value(&name, &value, URL)),
            ("body", Value::Object(fields)) => body = Some(fields),
            ("body", value) => return Err(Fault::value(&name, &value, "an object")),
            _ => return Err(Fault::unknown(&name)),
        }
    }
    let missing = |name: &str| {
        let message = format!("there is no `{name}`");
        Fault::new(RowCode::InvalidParameter, name, message)
    };
    if !has_url {
        return Err(missing("url"));
    }
    open_ai_body(body.ok_or_else(|| missing("body"))?)
}

fn open_ai_body(body: Map<String, Value>) -> Result<RowWork, Fault> {
    let mut work = RowWork {
        inputs: Vec::new(),
        dimensions: None,
        base64: false,
    };
    let at = |name: &str| format!("body.{name}");
    for (name, value) in body {
        match name.as_str() {
            "input" => {
                work.inputs = inputs(&value).ok_or_else(|| {
                    let expected = "a text, a list of token ids, or a list of one or more of them";
                    let mut fault = Fault::value(&at(&name), &value, expected);
                    fault.code = RowCode::InvalidPrompt;
                    fault
                })?;
            }
            // The answer names the model that there is.
            "model" | "user" if value.is_string() => {}
            "model" | "user" => return Err(Fault::value(&at(&name), &value, "a string")),
            "dimensions" => work.dimensions = count(&at(&name), &value)?,
            "encoding_format" => {
                work.base64 = match value.as_str() {
                    Some("float") => false,
                    Some("base64") => true,
                    _ => return Err(Fault::value(&at(&name), &value, "float or base64")),
                };
            }
            _ => return Err(Fault::unknown(&at(&name))),
        }
    }
    if work.inputs.is_empty() {
        let message = "there is no `input`".to_owned();
        return Err(Fault::new(RowCode::InvalidPrompt, "body.input", message));
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
