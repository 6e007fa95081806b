//! Files of prompts for commands that hold all of them in memory.

use super::batch::files::Input;
use crate::message::message;
use anyhow::{Result, bail, ensure};
use choral::job::{Row, RowInput, RowReader};
use choral::text::ChatTemplate;
use choral::{Engine, Prompt, Request, SamplingParams};
use std::path::Path;

/// Most rows that are taken: those who have more want `choral batch`.
const MAX_ROWS: usize = 100_000;

/// The rows of a file of prompts, - for standard input, as `choral batch` reads them. A
/// row's own parameters stand over `params`.
pub(super) fn read(path: &Path, params: SamplingParams) -> Result<Vec<Row>> {
    let input = Input::open(path, None)?;
    let mut rows = Vec::new();
    for row in RowReader::new(input.reader, input.format, params) {
        ensure!(
            rows.len() < MAX_ROWS,
            "`{}` has more than {MAX_ROWS} rows: `choral batch` is for those",
            path.display()
        );
        rows.push(row?);
    }
    Ok(rows)
}

/// All rows as requests.
///
/// # Errors
/// If one of them is in error.
pub(super) fn requests(rows: &[Row], engine: &Engine) -> Result<Vec<Request>> {
    let mut template = None;
    rows.iter()
        .map(|row| {
            request(row, engine, &mut template)
                .map_err(|cause| anyhow::anyhow!("line {} of the prompts: {cause}", row.head.line))
        })
        .collect()
}

/// A row as a request, or what is wrong with it. `template` keeps the model's chat
/// template once a row has needed it.
pub(super) fn request(
    row: &Row,
    engine: &Engine,
    template: &mut Option<ChatTemplate>,
) -> Result<Request, String> {
    let work = row.work.as_ref().map_err(|error| error.message.clone())?;
    let prompt = match &work.input {
        RowInput::Prompt(prompt) => prompt.clone(),
        RowInput::Chat(chat) => {
            let mut render = || -> Result<Prompt> {
                if template.is_none() {
                    *template = engine.chat_template()?;
                }
                let Some(template) = template.as_ref() else {
                    bail!("the model has no chat template for `messages`");
                };
                Ok(engine.chat_prompt(template, chat.into())?)
            };
            render().map_err(|error| message(&error))?
        }
    };
    let mut request = Request::new(prompt).with_params(work.params.clone());
    request.lora.clone_from(&work.lora);
    Ok(request)
}
