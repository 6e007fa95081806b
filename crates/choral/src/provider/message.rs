//! What a conversation is made of. The JSON of all these is OpenAI's, which chat
//! templates and files of batches use as well.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Who says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Instructions from above.
    System,
    /// The same, by OpenAI's newer name.
    Developer,
    /// The one who asks.
    User,
    /// The model.
    Assistant,
    /// What a tool gave back.
    Tool,
}

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "WireMessage", into = "WireMessage")]
pub struct Message {
    /// Who says it.
    pub role: Role,
    /// What is said.
    pub content: Vec<Part>,
    /// Tools that the model called in this turn.
    pub tool_calls: Vec<ToolCall>,
    /// The call that a tool's message answers.
    pub tool_call_id: Option<String>,
    /// Name of the speaker.
    pub name: Option<String>,
    /// Fields that only some templates and services know. Providers that do not
    /// refuse them.
    pub extra: Map<String, Value>,
}

impl Message {
    /// A turn of text.
    pub fn new(role: Role, text: impl Into<String>) -> Self {
        Self {
            role,
            content: vec![Part::Text(text.into())],
            tool_calls: Vec::new(),
            tool_call_id: None,
            name: None,
            extra: Map::new(),
        }
    }

    /// Instructions.
    pub fn system(text: impl Into<String>) -> Self {
        Self::new(Role::System, text)
    }

    /// A question.
    pub fn user(text: impl Into<String>) -> Self {
        Self::new(Role::User, text)
    }

    /// An answer.
    pub fn assistant(text: impl Into<String>) -> Self {
        Self::new(Role::Assistant, text)
    }

    /// What came of a tool call.
    pub fn tool(call_id: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            tool_call_id: Some(call_id.into()),
            ..Self::new(Role::Tool, text)
        }
    }

    /// The same with an image.
    #[must_use]
    pub fn with_image(mut self, image: Image) -> Self {
        self.content.push(Part::Image(image));
        self
    }

    /// Its texts, one after the other.
    pub fn text(&self) -> String {
        let texts = self.content.iter().filter_map(|part| match part {
            Part::Text(text) => Some(text.as_str()),
            Part::Image(_) => None,
        });
        texts.collect()
    }

    /// Its images.
    pub fn images(&self) -> impl Iterator<Item = &Image> {
        self.content.iter().filter_map(|part| match part {
            Part::Text(_) => None,
            Part::Image(image) => Some(image),
        })
    }
}

/// A piece of what is said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "WirePart", into = "WirePart")]
pub enum Part {
    /// Text.
    Text(String),
    /// A picture.
    Image(Image),
}

/// A picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Where it is.
    pub source: ImageSource,
    /// OpenAI's `low`, `high` or `auto`.
    pub detail: Option<String>,
}

/// Where a picture is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageSource {
    /// The service fetches it.
    Url(String),
    /// Here.
    Data {
        /// Such as `image/png`.
        media_type: String,
        /// The file in base64.
        base64: String,
    },
}

impl Image {
    /// A picture that the service fetches, or a `data:` URL.
    pub fn url(url: impl Into<String>) -> Self {
        Self {
            source: ImageSource::from_url(url.into()),
            detail: None,
        }
    }

    /// A picture's file.
    pub fn bytes(media_type: impl Into<String>, bytes: &[u8]) -> Self {
        let source = ImageSource::Data {
            media_type: media_type.into(),
            base64: STANDARD.encode(bytes),
        };
        Self {
            source,
            detail: None,
        }
    }
}

impl ImageSource {
    fn from_url(url: String) -> Self {
        let data = url.strip_prefix("data:");
        let data = data.and_then(|data| data.split_once(";base64,"));
        match data {
            Some((media_type, base64)) => Self::Data {
                media_type: media_type.to_owned(),
                base64: base64.to_owned(),
            },
            None => Self::Url(url),
        }
    }

    /// A URL, or the picture as a `data:` URL.
    pub fn to_url(&self) -> String {
        match self {
            Self::Url(url) => url.clone(),
            Self::Data { media_type, base64 } => format!("data:{media_type};base64,{base64}"),
        }
    }
}

/// A tool that the model wants called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "WireCall", into = "WireCall")]
pub struct ToolCall {
    /// Names the call, for the message that answers it.
    pub id: String,
    /// The tool.
    pub name: String,
    /// JSON, as the model wrote it: it may be malformed.
    pub arguments: String,
}

/// A tool that the model may call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "WireTool", into = "WireTool")]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// JSON schema of its arguments.
    pub parameters: Value,
    /// Arguments must follow the schema.
    pub strict: Option<bool>,
}

/// Whether tools must be called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub enum ToolChoice {
    /// As the model likes.
    Auto,
    /// None may be.
    None,
    /// One must be.
    Required,
    /// This one must be.
    Tool(String),
}

/// What the answer must look like.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ResponseFormat {
    /// Any text.
    Text,
    /// A JSON object.
    JsonObject,
    /// JSON that follows a schema.
    JsonSchema {
        /// The schema and its name.
        json_schema: JsonSchema,
    },
}

/// A schema and its name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JsonSchema {
    /// What to call it.
    pub name: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The schema.
    pub schema: Value,
    /// Whether the answer must follow it exactly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strict: Option<bool>,
}

impl ResponseFormat {
    /// JSON that follows `schema`, strictly.
    pub fn json_schema(name: impl Into<String>, schema: Value) -> Self {
        let json_schema = JsonSchema {
            name: name.into(),
            description: None,
            schema,
            strict: Some(true),
        };
        Self::JsonSchema { json_schema }
    }
}

#[derive(Serialize, Deserialize)]
struct WireMessage {
    role: Role,
    #[serde(default)]
    content: Option<WireContent>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tool_calls: Option<Vec<ToolCall>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(flatten)]
    extra: Map<String, Value>,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum WireContent {
    Text(String),
    Parts(Vec<Part>),
}

impl From<WireMessage> for Message {
    fn from(wire: WireMessage) -> Self {
        let mut extra = wire.extra;
        // Services put fields without a value into what they answer.
        extra.retain(|_, value| !value.is_null());
        Self {
            role: wire.role,
            content: match wire.content {
                None => Vec::new(),
                Some(WireContent::Text(text)) => vec![Part::Text(text)],
                Some(WireContent::Parts(parts)) => parts,
            },
            tool_calls: wire.tool_calls.unwrap_or_default(),
            tool_call_id: wire.tool_call_id,
            name: wire.name,
            extra,
        }
    }
}

impl From<Message> for WireMessage {
    fn from(message: Message) -> Self {
        let mut content = message.content;
        let content = match content.as_mut_slice() {
            [] => None,
            [Part::Text(text)] => Some(WireContent::Text(std::mem::take(text))),
            _ => Some(WireContent::Parts(content)),
        };
        let calls = message.tool_calls;
        Self {
            role: message.role,
            content,
            tool_calls: (!calls.is_empty()).then_some(calls),
            tool_call_id: message.tool_call_id,
            name: message.name,
            extra: message.extra,
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum WirePart {
    Text { text: String },
    ImageUrl { image_url: WireUrl },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireUrl {
    url: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

impl From<WirePart> for Part {
    fn from(wire: WirePart) -> Self {
        match wire {
            WirePart::Text { text } => Self::Text(text),
            WirePart::ImageUrl { image_url } => Self::Image(Image {
                source: ImageSource::from_url(image_url.url),
                detail: image_url.detail,
            }),
        }
    }
}

impl From<Part> for WirePart {
    fn from(part: Part) -> Self {
        match part {
            Part::Text(text) => Self::Text { text },
            Part::Image(image) => Self::ImageUrl {
                image_url: WireUrl {
                    url: image.source.to_url(),
                    detail: image.detail,
                },
            },
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireCall {
    #[serde(default)]
    id: String,
    #[serde(default = "function", rename = "type")]
    kind: String,
    function: WireFunction,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireFunction {
    name: String,
    #[serde(default)]
    arguments: String,
}

fn function() -> String {
    "function".to_owned()
}

impl From<WireCall> for ToolCall {
    fn from(wire: WireCall) -> Self {
        Self {
            id: wire.id,
            name: wire.function.name,
            arguments: wire.function.arguments,
        }
    }
}

impl From<ToolCall> for WireCall {
    fn from(call: ToolCall) -> Self {
        Self {
            id: call.id,
            kind: function(),
            function: WireFunction {
                name: call.name,
                arguments: call.arguments,
            },
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireTool {
    #[serde(default = "function", rename = "type")]
    kind: String,
    function: WireToolFunction,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireToolFunction {
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(default = "no_parameters")]
    parameters: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,
}

fn no_parameters() -> Value {
    serde_json::json!({"type": "object", "properties": {}})
}

impl From<WireTool> for Tool {
    fn from(wire: WireTool) -> Self {
        let function = wire.function;
        Self {
            name: function.name,
            description: function.description,
            parameters: function.parameters,
            strict: function.strict,
        }
    }
}

impl From<Tool> for WireTool {
    fn from(tool: Tool) -> Self {
        Self {
            kind: function(),
            function: WireToolFunction {
                name: tool.name,
                description: tool.description,
                parameters: tool.parameters,
                strict: tool.strict,
            },
        }
    }
}

impl TryFrom<Value> for ToolChoice {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        if let Some(name) = value["function"]["name"].as_str() {
            return Ok(Self::Tool(name.to_owned()));
        }
        match value.as_str() {
            Some("auto") => Ok(Self::Auto),
            Some("none") => Ok(Self::None),
            Some("required") => Ok(Self::Required),
            _ => Err("expected `auto`, `none`, `required` or a function's name".to_owned()),
        }
    }
}

impl From<ToolChoice> for Value {
    fn from(choice: ToolChoice) -> Self {
        match choice {
            ToolChoice::Auto => "auto".into(),
            ToolChoice::None => "none".into(),
            ToolChoice::Required => "required".into(),
            ToolChoice::Tool(name) => {
                serde_json::json!({"type": "function", "function": {"name": name}})
            }
        }
    }
}
