//! Files of prompts for commands that hold all of them in memory.

use super::batch::files::Input;
use crate::message::message;
use anyhow::{Context as _, Result, ensure};
use choral::job::{InputFormat, Row, RowInput, RowReader};
use choral::text::ChatTemplate;
use choral::{Engine, Prompt, Request, SamplingParams};
use std::io::Read as _;
use std::path::Path;

/// Most bytes of a file: those who have more want `choral batch`.
const MAX_BYTES: u64 = 256 << 20;

/// A file of prompts.
pub(super) struct PromptFile {
    bytes: Vec<u8>,
    format: InputFormat,
}

impl PromptFile {
    /// Reads a file, or standard input for -, as `choral batch` does.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let input = Input::open(path, None)?;
        let mut bytes = Vec::new();
        let read = input.reader.take(MAX_BYTES + 1).read_to_end(&mut bytes);
        read.with_context(|| format!("cannot read `{}`", path.display()))?;
        ensure!(
            bytes.len() as u64 <= MAX_BYTES,
            "`{}` has more than {MAX_BYTES} bytes: `choral batch` is for such files",
            path.display()
        );
        Ok(Self {
            bytes,
            format: input.format,
        })
    }

    /// Its rows, whose own parameters stand over `params`.
    pub(super) fn rows(&self, params: &SamplingParams) -> Result<Vec<Row>> {
        let rows = RowReader::lines(&self.bytes[..], self.format, params.clone());
        let rows = rows.collect::<Result<Vec<Row>, _>>()?;
        ensure!(!rows.is_empty(), "there are no prompts in the file");
        Ok(rows)
    }
}

/// All rows as requests.
///
/// # Errors
/// If one of them is in error.
pub(super) fn requests(rows: &[Row], engine: &Engine) -> Result<Vec<Request>> {
    let template = if rows.iter().any(is_chat) {
        engine.chat_template()?
    } else {
        None
    };
    rows.iter()
        .map(|row| {
            request(row, engine, template.as_ref())
                .map_err(|cause| anyhow::anyhow!("line {} of the prompts: {cause}", row.head.line))
        })
        .collect()
}

/// Whether a row needs a chat template.
pub(super) fn is_chat(row: &Row) -> bool {
    matches!(&row.work, Ok(work) if matches!(work.input, RowInput::Chat(_)))
}

/// A row as a request, or what is wrong with it.
pub(super) fn request(
    row: &Row,
    engine: &Engine,
    template: Option<&ChatTemplate>,
) -> Result<Request, String> {
    let work = row.work.as_ref().map_err(|error| error.message.clone())?;
    let prompt = match &work.input {
        RowInput::Prompt(prompt) => prompt.clone(),
        RowInput::Chat(chat) => {
            let render =
                |template| -> Result<Prompt> { Ok(engine.chat_prompt(template, chat.into())?) };
            let template = template.ok_or(crate::args::template::NO_TEMPLATE)?;
            render(template).map_err(|error| message(&error))?
        }
        RowInput::Request(_) => return Err("a request to a provider".to_owned()),
    };
    let mut request = Request::new(prompt).with_params(work.params.clone());
    request.lora.clone_from(&work.lora);
    Ok(request)
}
