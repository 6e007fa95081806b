//! A question as a row of a job, and a row as a prompt.
//!
//! Pictures stand in a row's message by their numbers, so that rows that begin with the
//! same ones sort beside each other, with what tells their content from any other: a row
//! whose pictures were changed is another one to the job's record.

use super::contents::Contents;
use super::source::Images;
use crate::message::message;
use choral::Engine;
use choral::job::{ChatInput, RenderError, Rendered, Row, RowCode, RowHead, RowInput, RowWork};
use choral::sampling::SamplingParams;
use choral::text::{ChatTemplate, TemplateInput};
use choral::vision::pairs::Listed;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Makes rows of questions.
pub(super) struct Rows {
    /// What the model is told first.
    pub(super) opening: Vec<Value>,
    /// What is asked.
    pub(super) prompt: String,
    pub(super) params: SamplingParams,
    /// The names of all images.
    pub(super) names: Arc<[String]>,
    pub(super) contents: Contents,
    /// What the pictures of a question are called in its answer: `image_a` and so on.
    pub(super) fields: &'static [&'static str],
    /// The list that questions stand in, to be named beside their lines.
    pub(super) list: Option<Arc<str>>,
}

impl Rows {
    /// Question number `index` as a row.
    pub(super) fn row(&self, index: u64, question: Listed) -> Row {
        let Listed { line, images } = question;
        let mut head = RowHead {
            index,
            line,
            file: self.list.clone(),
            ..RowHead::default()
        };
        let work = match images {
            Ok(numbers) => {
                head.fields = self.fields(&numbers);
                Ok(self.work(&numbers))
            }
            Err(error) => Err(head.error(RowCode::InvalidPrompt, error.to_string(), "")),
        };
        Row { head, work }
    }

    fn fields(&self, numbers: &[usize]) -> Map<String, Value> {
        let mut fields = Map::new();
        for (name, &number) in self.fields.iter().zip(numbers) {
            fields.insert((*name).to_owned(), self.names[number].clone().into());
            fields.insert(name.replacen("image", "index", 1), number.into());
        }
        fields
    }

    fn work(&self, numbers: &[usize]) -> RowWork {
        let pictures = numbers.iter().map(|&number| {
            // Of one width: rows sort as text.
            let image = format!("{number:020}");
            json!({"type": "image", "image": image, "content": self.contents.of(number)})
        });
        let text = json!({"type": "text", "text": self.prompt});
        let content: Vec<Value> = pictures.chain([text]).collect();
        let mut messages = self.opening.clone();
        messages.push(json!({"role": "user", "content": content}));
        RowWork {
            input: RowInput::Chat(ChatInput::new(messages)),
            params: self.params.clone(),
            lora: Vec::new(),
        }
    }
}

/// The number of the picture that a part of a message is.
fn number(part: &Value) -> Option<usize> {
    part["image"].as_str()?.parse().ok()
}

/// The numbers of the pictures that a row asks about.
pub(super) fn pictures(work: &RowWork) -> Vec<usize> {
    let RowInput::Chat(chat) = &work.input else {
        return Vec::new();
    };
    let parts = chat.messages.iter().filter_map(|m| m["content"].as_array());
    parts.flatten().filter_map(number).collect()
}

/// Makes a prompt of a question, with its pictures' embeddings.
pub(super) fn render(
    engine: &Engine,
    template: &ChatTemplate,
    input: &ChatInput,
    images: &mut Images,
) -> Result<Rendered, RenderError> {
    let mut input = TemplateInput::from(input);
    let mut numbers = Vec::new();
    let messages = input.messages.as_array_mut().into_iter().flatten();
    let parts = messages.filter_map(|message| message["content"].as_array_mut());
    for part in parts.flatten() {
        if let Some(number) = number(part) {
            numbers.push(number);
            *part = json!({"type": "image"});
        }
    }
    let images = images.embeddings(&numbers).map_err(RenderError::Image)?;
    let prompt = engine.chat_prompt(template, input);
    let prompt = prompt.map_err(|error| RenderError::Template(message(&error.into())))?;
    Ok(Rendered { prompt, images })
}
