//! What is asked of a provider.

use super::error::GenerateError;
use super::message::{Image, Message, ResponseFormat, Tool, ToolChoice};
use super::params::GenerateParams;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::time::Duration;

/// What is to be continued or answered.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// A text. A chat service is asked it as a user's message; the local engine and
    /// completion services continue it as it stands.
    Prompt(String),
    /// A conversation.
    Messages(Vec<Message>),
}

/// One prompt or conversation, and how to answer it.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerateRequest {
    /// The caller's name for it, given back in the response. Vendors' batches need one
    /// and take its place in the batch where there is none.
    pub id: Option<String>,
    /// What is to be answered.
    pub input: Input,
    /// Instructions, before everything else.
    pub system: Option<String>,
    /// Pictures that go with a prompt. (Messages have their own.)
    pub images: Vec<Image>,
    /// Tools that may be called.
    pub tools: Vec<Tool>,
    /// Whether they must be.
    pub tool_choice: Option<ToolChoice>,
    /// What the answer must look like.
    pub response_format: Option<ResponseFormat>,
    /// How it is drawn.
    pub params: GenerateParams,
    /// The caller's own notes, given back in the response. They are not sent.
    pub metadata: Map<String, Value>,
    /// Most time for it, all attempts together; the provider's unless said. The local
    /// engine has none, and refuses it.
    pub timeout: Option<Duration>,
}

impl GenerateRequest {
    fn new(input: Input) -> Self {
        Self {
            id: None,
            input,
            system: None,
            images: Vec::new(),
            tools: Vec::new(),
            tool_choice: None,
            response_format: None,
            params: GenerateParams::default(),
            metadata: Map::new(),
            timeout: None,
        }
    }

    /// Asks for a text to be answered or continued.
    pub fn prompt(text: impl Into<String>) -> Self {
        Self::new(Input::Prompt(text.into()))
    }

    /// Asks for a conversation's next turn.
    pub fn messages(messages: impl IntoIterator<Item = Message>) -> Self {
        Self::new(Input::Messages(messages.into_iter().collect()))
    }

    /// Reads a request from JSON: `prompt` or `messages`, `system`, `tools`,
    /// `tool_choice`, `response_format`, `metadata`, `custom_id`, and any parameter by its
    /// name ([`GenerateParams::from_json`]).
    ///
    /// # Errors
    /// A field that is unknown, missing or of another type; the error names it.
    pub fn from_json(fields: Map<String, Value>) -> Result<Self, GenerateError> {
        let mut request = Self::prompt("");
        let mut input = None;
        let mut params = Map::new();
        for (name, value) in fields {
            if value.is_null() {
                continue;
            }
            match name.as_str() {
                "prompt" => input = set_input(input, Input::Prompt(read(&name, value)?))?,
                "messages" => input = set_input(input, Input::Messages(read(&name, value)?))?,
                "custom_id" => request.id = Some(read(&name, value)?),
                "system" => request.system = Some(read(&name, value)?),
                "tools" => request.tools = read(&name, value)?,
                "tool_choice" => request.tool_choice = Some(read(&name, value)?),
                "response_format" => request.response_format = Some(read(&name, value)?),
                "metadata" => request.metadata = read(&name, value)?,
                known
                    if GenerateParams::NAMES.contains(&known)
                        || GenerateParams::ALIASES.contains(&known) =>
                {
                    params.insert(name, value);
                }
                unknown => {
                    let message = format!("unknown field `{unknown}`");
                    return Err(GenerateError::invalid(unknown, message));
                }
            }
        }
        let missing = || GenerateError::invalid("prompt", "neither `prompt` nor `messages`");
        request.input = input.ok_or_else(missing)?;
        request.params = GenerateParams::from_json(params)?;
        Ok(request)
    }

    /// The conversation that it is: `system`, then the messages, or the prompt with its
    /// pictures as a user's.
    pub fn to_messages(&self) -> Vec<Message> {
        let system = self.system.as_ref().map(Message::system);
        let rest = match &self.input {
            Input::Messages(messages) => messages.clone(),
            Input::Prompt(text) => {
                let message = Message::user(text);
                let images = self.images.iter().cloned();
                vec![images.fold(message, Message::with_image)]
            }
        };
        system.into_iter().chain(rest).collect()
    }

    /// Every picture in it.
    pub fn all_images(&self) -> impl Iterator<Item = &Image> {
        let messages = match &self.input {
            Input::Messages(messages) => messages.as_slice(),
            Input::Prompt(_) => &[],
        };
        let theirs = messages.iter().flat_map(Message::images);
        self.images.iter().chain(theirs)
    }

    /// Names it.
    #[must_use]
    pub fn with_id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Gives it instructions.
    #[must_use]
    pub fn system(mut self, text: impl Into<String>) -> Self {
        self.system = Some(text.into());
        self
    }

    /// Adds a picture to a prompt.
    #[must_use]
    pub fn image(mut self, image: Image) -> Self {
        self.images.push(image);
        self
    }

    /// Adds a tool.
    #[must_use]
    pub fn tool(mut self, tool: Tool) -> Self {
        self.tools.push(tool);
        self
    }

    /// Says what the answer must look like.
    #[must_use]
    pub fn response_format(mut self, format: ResponseFormat) -> Self {
        self.response_format = Some(format);
        self
    }

    /// Replaces all parameters.
    #[must_use]
    pub fn params(mut self, params: GenerateParams) -> Self {
        self.params = params;
        self
    }

    /// Most new tokens.
    #[must_use]
    pub fn max_tokens(mut self, tokens: u32) -> Self {
        self.params.max_tokens = Some(tokens);
        self
    }

    /// The temperature; 0 is greedy.
    #[must_use]
    pub fn temperature(mut self, temperature: f32) -> Self {
        self.params.temperature = Some(temperature);
        self
    }

    /// The seed.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.params.seed = Some(seed);
        self
    }

    /// Most time for it, all attempts together.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }
}

impl From<&str> for GenerateRequest {
    fn from(prompt: &str) -> Self {
        Self::prompt(prompt)
    }
}

impl From<String> for GenerateRequest {
    fn from(prompt: String) -> Self {
        Self::prompt(prompt)
    }
}

impl From<Vec<Message>> for GenerateRequest {
    fn from(messages: Vec<Message>) -> Self {
        Self::messages(messages)
    }
}

fn set_input(old: Option<Input>, new: Input) -> Result<Option<Input>, GenerateError> {
    match old {
        None => Ok(Some(new)),
        Some(_) => Err(GenerateError::invalid(
            "messages",
            "both `prompt` and `messages`, expected one of them",
        )),
    }
}

fn read<T: DeserializeOwned>(name: &str, value: Value) -> Result<T, GenerateError> {
    serde_json::from_value(value)
        .map_err(|error| GenerateError::invalid(name, format!("`{name}`: {error}")))
}
