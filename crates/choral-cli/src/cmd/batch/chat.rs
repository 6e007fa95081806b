//! What `--chat`, `--system` and a template make of rows.

use crate::args::ImageArgs;
use crate::args::template::TemplateArgs;
use crate::message::message;
use anyhow::Result;
use choral::job::{
    ChatInput, RenderError, Rendered, RowCode, RowError, RowHead, RowInput, RowWork,
};
use choral::text::{ChatTemplate, TemplateInput};
use choral::vision::message::MessageImages;
use choral::{Engine, Prompt};

/// Renders messages. A model without a template fails only the rows that need one.
pub(super) struct Chat<'a> {
    engine: &'a Engine,
    args: &'a TemplateArgs,
    prompts_are_chats: bool,
    template: Result<ChatTemplate, String>,
    images: MessageImages,
}

impl<'a> Chat<'a> {
    pub(super) fn new(
        engine: &'a Engine,
        args: &'a TemplateArgs,
        prompts_are_chats: bool,
        images: &ImageArgs,
    ) -> Result<Self> {
        let template = args.load(engine);
        let is_needed = prompts_are_chats || args.is_given();
        let template = match template {
            Err(error) if is_needed => return Err(error),
            template => template.map_err(|error| message(&error)),
        };
        Ok(Self {
            engine,
            args,
            prompts_are_chats,
            template,
            images: images.open(engine)?,
        })
    }

    pub(super) fn render(&mut self, input: &ChatInput) -> Result<Rendered, RenderError> {
        let template = self.template.as_ref();
        let template = template.map_err(|error| RenderError::Template(error.clone()))?;
        let engine = self.engine;
        let mut input = TemplateInput::from(input);
        let messages = input.messages.as_array_mut();
        let messages = messages.map_or(&mut [][..], Vec::as_mut_slice);
        let images = self
            .images
            .embed(messages, &|images| engine.encode_images(images));
        let images = images.map_err(|error| RenderError::Image(error.to_string()))?;
        let prompt = engine.chat_prompt(template, input);
        let prompt = prompt.map_err(|error| RenderError::Template(message(&error.into())))?;
        Ok(Rendered { prompt, images })
    }

    /// What becomes of rows before they are rendered.
    pub(super) fn rows(&self) -> ChatRows {
        ChatRows {
            prompts_are_chats: self.prompts_are_chats,
            args: self.args.clone(),
        }
    }
}

/// Makes chats of prompts, and tells the model first what it is to be told.
pub(super) struct ChatRows {
    prompts_are_chats: bool,
    args: TemplateArgs,
}

impl ChatRows {
    pub(super) fn apply(&self, head: &RowHead, work: RowWork) -> Result<RowWork, RowError> {
        let input = match work.input {
            RowInput::Prompt(Prompt::Text(text)) if self.prompts_are_chats => {
                RowInput::Chat(ChatInput::new(self.args.conversation(&text)))
            }
            RowInput::Prompt(Prompt::Tokens(_)) if self.prompts_are_chats => {
                let message = "`prompt` is a list of token ids, expected text for --chat";
                return Err(head.error(RowCode::InvalidPrompt, message.to_owned(), "prompt"));
            }
            RowInput::Chat(mut chat) => {
                let first = chat.messages.first();
                let has_system = first.is_some_and(|first| first["role"] == "system");
                if !has_system {
                    chat.messages.splice(0..0, self.args.opening());
                }
                RowInput::Chat(chat)
            }
            other @ (RowInput::Prompt(_) | RowInput::Request(_)) => other,
        };
        Ok(RowWork { input, ..work })
    }
}
