//! What a provider can do, in a form that code can ask and documentation can print.

use super::error::GenerateError;
use super::message::ResponseFormat;
use super::params::GenerateParams;
use super::request::GenerateRequest;

/// What becomes of many requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchKind {
    /// They are computed together, in one pass over the weights.
    Native,
    /// They are sent at the same time; what the server does with them is its own affair.
    Concurrent,
}

/// What becomes of a prompt that is a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PromptStyle {
    /// The model continues it as it stands.
    Continued,
    /// It is asked as a user's message.
    Message,
}

/// What a provider can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    /// What becomes of many requests.
    pub batch: BatchKind,
    /// There is a service for batches that may take hours
    /// ([`RemoteBatch`](super::RemoteBatch)).
    pub vendor_batch: bool,
    /// What becomes of prompts.
    pub prompts: PromptStyle,
    /// Conversations can be answered.
    pub messages: bool,
    /// Answers come piece by piece.
    pub streaming: bool,
    /// Tools can be called.
    pub tools: bool,
    /// Pictures can be seen.
    pub images: bool,
    /// Answers can be made to be JSON.
    pub json_object: bool,
    /// Answers can be made to follow a schema.
    pub json_schema: bool,
    /// The same seed gives the same answer, always. (Elsewhere a seed is a wish.)
    pub exact_seeds: bool,
    /// Sampling parameters that are honoured.
    pub parameters: &'static [&'static str],
    /// Fields of the service's own are passed on ([`GenerateParams::extra`]).
    pub extra: bool,
    /// Models can be listed.
    pub model_listing: bool,
    /// Requests at a time, unless said.
    pub default_concurrency: usize,
}

impl Capabilities {
    /// Refuses a request that asks for more than this.
    ///
    /// # Errors
    /// [`Unsupported`](super::ErrorKind::Unsupported), with the field.
    pub fn check(&self, provider: &str, request: &GenerateRequest) -> Result<(), GenerateError> {
        let refuse = |field: &str| Err(GenerateError::unsupported(provider, field));
        let is_chat = matches!(request.input, super::Input::Messages(_));
        if is_chat && !request.images.is_empty() {
            let message = "`images` go with a prompt; messages have their own";
            return Err(GenerateError::invalid("images", message));
        }
        if !self.messages && is_chat {
            return refuse("messages");
        }
        if !self.messages && request.system.is_some() {
            return refuse("system");
        }
        if !self.images && request.all_images().next().is_some() {
            return refuse("images");
        }
        if !self.tools && !request.tools.is_empty() {
            return refuse("tools");
        }
        if !self.tools && request.tool_choice.is_some() {
            return refuse("tool_choice");
        }
        let formats = match &request.response_format {
            None | Some(ResponseFormat::Text) => true,
            Some(ResponseFormat::JsonObject) => self.json_object,
            Some(ResponseFormat::JsonSchema { .. }) => self.json_schema,
        };
        if !formats {
            return refuse("response_format");
        }
        let given = request.params.given();
        let honoured = |name: &str| {
            // One answer is what everybody gives.
            self.parameters.contains(&name) || (name == "n" && request.params.n == Some(1))
        };
        if let Some(name) = given.keys().find(|name| !honoured(name)) {
            return refuse(name);
        }
        if !self.extra
            && let Some(name) = request.params.extra.keys().next()
        {
            return refuse(name);
        }
        Ok(())
    }

    /// A Markdown table of what providers can do, a column for each.
    pub fn table(providers: &[(&str, &Self)]) -> String {
        type Row = (&'static str, fn(&Capabilities) -> String);
        fn yes(is_so: bool) -> String {
            (if is_so { "yes" } else { "-" }).to_owned()
        }
        let rows: &[Row] = &[
            ("A batch is", |c| match c.batch {
                BatchKind::Native => "computed together".to_owned(),
                BatchKind::Concurrent => "sent concurrently".to_owned(),
            }),
            ("Requests at a time, unless said", |c| {
                c.default_concurrency.to_string()
            }),
            ("Vendor's batch service", |c| yes(c.vendor_batch)),
            ("A prompt is", |c| match c.prompts {
                PromptStyle::Continued => "continued".to_owned(),
                PromptStyle::Message => "a user's message".to_owned(),
            }),
            ("Messages, system prompt", |c| yes(c.messages)),
            ("Streaming", |c| yes(c.streaming)),
            ("Tools", |c| yes(c.tools)),
            ("Images", |c| yes(c.images)),
            ("JSON object", |c| yes(c.json_object)),
            ("JSON schema", |c| yes(c.json_schema)),
            ("Same seed, same answer", |c| yes(c.exact_seeds)),
            ("Fields of its own", |c| yes(c.extra)),
            ("Model listing", |c| yes(c.model_listing)),
        ];
        let names: Vec<_> = providers.iter().map(|(name, _)| *name).collect();
        let mut lines = vec![
            format!("| | {} |", names.join(" | ")),
            format!("|---|{}", "---|".repeat(providers.len())),
        ];
        let mut push = |name: &str, cell: &dyn Fn(&Self) -> String| {
            let cells = providers.iter().map(|(_, capabilities)| cell(capabilities));
            let cells: Vec<_> = cells.collect();
            lines.push(format!("| {name} | {} |", cells.join(" | ")));
        };
        for (name, cell) in rows {
            push(name, cell);
        }
        for name in GenerateParams::NAMES {
            let label = format!("`{name}`");
            push(&label, &|c| yes(c.parameters.contains(name)));
        }
        lines.join("\n") + "\n"
    }
}
