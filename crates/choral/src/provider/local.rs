//! The engine in this process as a provider.
//!
//! Requests are handed to the engine as they come, and the engine computes them
//! together: the batch is native, whatever is at the other end of the trait.

use super::capabilities::{BatchKind, Capabilities, PromptStyle};
use super::error::{ErrorKind, GenerateError};
use super::params::GenerateParams;
use super::request::{GenerateRequest, Input};
use super::response::{
    Choice, FinishReason, GenerateDelta, GenerateEvent, GenerateResponse, TokenLogprob, Usage,
};
use super::{BoxFuture, BoxStream, Provider};
use crate::demo;
use crate::engine::request::{CompletionOutput, FinishReason as Ended, RequestOutput, StopReason};
use crate::engine::{
    ChatError, Engine, GenerationStream, Prompt, Request, StreamEvent, SubmitError,
};
use crate::job::JobLimits;
use crate::pool::EnginePool;
use crate::sampling::{PositionLogprobs, SamplingParams};
use crate::text::{ChatTemplate, TemplateInput};
use futures_core::Stream;
use serde_json::{Value, json};
use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

const NAME: &str = "local";

/// What becomes of a prompt that is a text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PromptMode {
    /// The model continues it as it stands.
    #[default]
    Continue,
    /// It is a user's message, for the chat template: what services do.
    Chat,
}

/// An [`Engine`], or a pool of them, as a [`Provider`].
///
/// Messages go through the model's chat template. A prompt is continued as it stands
/// unless [`prompt_mode`](Self::prompt_mode) says otherwise; one with a system prompt is a
/// conversation in any case.
#[derive(Debug, Clone)]
pub struct LocalProvider {
    engines: EnginePool,
    template: Result<Option<ChatTemplate>, String>,
    model: String,
    mode: PromptMode,
    capabilities: Capabilities,
    defaults: SamplingParams,
}

impl LocalProvider {
    /// A provider of what the engine, or the pool, runs. Parameters that requests leave
    /// out are the model's recommended ones, or [`SamplingParams::default`].
    pub fn new(engines: impl Into<EnginePool>) -> Self {
        let engines = engines.into();
        let engine = &engines.engines()[0];
        let info = engine.info();
        let mut defaults = SamplingParams::default();
        if let Some(info) = info {
            info.generation_defaults.apply(&mut defaults);
        }
        let template = engine.chat_template();
        let model = info.map(|info| info.path.as_path());
        let model = model.and_then(|path| path.file_name());
        let model = model.map_or(demo::NAME.into(), |name| name.to_string_lossy());
        let model = model.into_owned();
        let seqs = info.map_or(1, |info| info.plan.max_num_seqs);
        let each = JobLimits::for_sequences(seqs).max_running;
        let mut provider = Self {
            template: template.map_err(|error| error.to_string()),
            model,
            mode: PromptMode::default(),
            capabilities: Self::CAPABILITIES,
            defaults,
            engines,
        };
        provider.capabilities.messages = !matches!(provider.template, Ok(None));
        let all = each.saturating_mul(provider.engines.engines().len());
        provider.capabilities.default_concurrency = all;
        provider
    }

    /// What becomes of prompts.
    #[must_use]
    pub fn prompt_mode(mut self, mode: PromptMode) -> Self {
        self.mode = mode;
        self.capabilities.prompts = match mode {
            PromptMode::Continue => PromptStyle::Continued,
            PromptMode::Chat => PromptStyle::Message,
        };
        self
    }

    /// Uses another chat template than the model's.
    #[must_use]
    pub fn chat_template(mut self, template: ChatTemplate) -> Self {
        self.template = Ok(Some(template));
        self.capabilities.messages = true;
        self
    }

    /// Parameters of requests that leave them out.
    #[must_use]
    pub fn defaults(mut self, params: SamplingParams) -> Self {
        self.defaults = params;
        self
    }

    /// The engines.
    pub fn engines(&self) -> &EnginePool {
        &self.engines
    }

    /// What an engine of 256 sequences with a chat template can do.
    pub const CAPABILITIES: Capabilities = Capabilities {
        batch: BatchKind::Native,
        vendor_batch: false,
        prompts: PromptStyle::Continued,
        messages: true,
        streaming: true,
        tools: false,
        images: false,
        json_object: false,
        json_schema: false,
        exact_seeds: true,
        parameters: GenerateParams::NAMES,
        extra: false,
        model_listing: true,
        default_concurrency: 520,
    };

    /// The request as the engine takes it.
    fn request(
        &self,
        engine: &Engine,
        request: &GenerateRequest,
    ) -> Result<Request, GenerateError> {
        self.capabilities.check(NAME, request)?;
        if request.timeout.is_some() {
            // A batch has no clock of its own; whoever waits may drop the future.
            return Err(GenerateError::unsupported(NAME, "timeout"));
        }
        let prompt = match &request.input {
            Input::Prompt(text)
                if request.system.is_none() && self.mode == PromptMode::Continue =>
            {
                Prompt::Text(text.clone())
            }
            _ => self.render(engine, request)?,
        };
        let mut params = self.defaults.clone();
        request.params.apply_to(&mut params);
        let id = request.id.clone().unwrap_or_default();
        Ok(Request::new(prompt).with_id(id).with_params(params))
    }

    fn render(&self, engine: &Engine, request: &GenerateRequest) -> Result<Prompt, GenerateError> {
        let refuse = |message| GenerateError::invalid("messages", message).with_provider(NAME);
        let template = match &self.template {
            Ok(Some(template)) => template,
            Ok(None) => return Err(refuse("the model has no chat template".to_owned())),
            Err(message) => return Err(refuse(message.clone())),
        };
        let messages = request.to_messages();
        let messages = messages.iter().map(|message| {
            let message = serde_json::to_value(message);
            message.expect("messages are texts and JSON")
        });
        let input = TemplateInput::new(messages.collect());
        let prompt = engine.chat_prompt(template, input);
        prompt.map_err(|error: ChatError| refuse(with_causes(&error)))
    }

    async fn begin(&self, request: &GenerateRequest) -> Result<Running, GenerateError> {
        let engine = self.engines.least_busy();
        let work = self.request(engine, request)?;
        let is_chat = !matches!(work.prompt, Prompt::Text(_));
        let stream = engine.submit_async(work).await;
        let stream = stream.map_err(|refused| refusal(&refused, is_chat))?;
        Ok(Running {
            engine: engine.clone(),
            stream,
            model: self.model.clone(),
            id: request.id.clone(),
            metadata: request.metadata.clone(),
        })
    }
}

impl Provider for LocalProvider {
    fn name(&self) -> &str {
        NAME
    }

    fn model(&self) -> &str {
        &self.model
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn generate(
        &self,
        request: GenerateRequest,
    ) -> BoxFuture<'_, Result<GenerateResponse, GenerateError>> {
        Box::pin(async move {
            let Running {
                engine,
                stream,
                model,
                id,
                metadata,
            } = self.begin(&request).await?;
            let output = stream.finished().await;
            let mut response = response(&engine, model, output)?;
            response.id = id;
            response.metadata.extend(metadata);
            Ok(response)
        })
    }

    fn stream(
        &self,
        request: GenerateRequest,
    ) -> BoxStream<'_, Result<GenerateEvent, GenerateError>> {
        Box::pin(LocalStream::Starting(Box::pin(async move {
            self.begin(&request).await
        })))
    }
}

/// A request that the engine has.
struct Running {
    engine: Engine,
    stream: GenerationStream,
    model: String,
    id: Option<String>,
    metadata: serde_json::Map<String, Value>,
}

enum LocalStream<'a> {
    Starting(BoxFuture<'a, Result<Running, GenerateError>>),
    Running(Box<Running>),
    Ended,
}

impl Stream for LocalStream<'_> {
    type Item = Result<GenerateEvent, GenerateError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            match this {
                Self::Starting(begin) => match ready!(begin.as_mut().poll(context)) {
                    Ok(running) => *this = Self::Running(Box::new(running)),
                    Err(error) => {
                        *this = Self::Ended;
                        return Poll::Ready(Some(Err(error)));
                    }
                },
                Self::Running(running) => {
                    let event = ready!(Pin::new(&mut running.stream).poll_next(context));
                    match event {
                        Some(StreamEvent::Delta { index, text, .. }) => {
                            if text.is_empty() {
                                continue;
                            }
                            let reasoning = String::new();
                            let delta = GenerateDelta {
                                index,
                                text,
                                reasoning,
                            };
                            return Poll::Ready(Some(Ok(GenerateEvent::Delta(delta))));
                        }
                        Some(StreamEvent::Finished(output)) => {
                            let end = running.finish(*output);
                            *this = Self::Ended;
                            return Poll::Ready(Some(end));
                        }
                        None => *this = Self::Ended,
                    }
                }
                Self::Ended => return Poll::Ready(None),
            }
        }
    }
}

impl Running {
    fn finish(&mut self, output: RequestOutput) -> Result<GenerateEvent, GenerateError> {
        let mut response = response(&self.engine, self.model.clone(), output)?;
        response.id = self.id.take();
        response.metadata.extend(std::mem::take(&mut self.metadata));
        Ok(GenerateEvent::Finished(Box::new(response)))
    }
}

fn response(
    engine: &Engine,
    model: String,
    output: RequestOutput,
) -> Result<GenerateResponse, GenerateError> {
    for answer in &output.outputs {
        let error = match answer.finish_reason {
            Ended::Error => {
                let message = answer.error.clone();
                let message = message.unwrap_or_else(|| "the sequence failed".to_owned());
                GenerateError::new(ErrorKind::Engine, message)
            }
            Ended::Cancelled => GenerateError::cancelled(),
            Ended::Stop | Ended::Length => continue,
        };
        return Err(error.with_provider(NAME));
    }
    let prompt_tokens = output.prompt_token_ids.len() as u64;
    let completion_tokens = output.outputs.iter();
    let completion_tokens = completion_tokens.map(|answer| answer.token_ids.len() as u64);
    let mut usage = Usage::new(prompt_tokens, completion_tokens.sum());
    usage.cached_tokens = u64::from(output.num_cached_tokens);
    let first = output.outputs.first();
    let seed = first.map(|answer| answer.seed);
    let stop = first.and_then(|answer| answer.stop_reason.clone());
    let outputs = output.outputs.into_iter();
    let choices = outputs.map(|answer| choice(engine, answer)).collect();
    let mut response = GenerateResponse::of_choices(model, choices);
    response.usage = usage;
    response.gen_time_ms = output.metrics.e2e_s * 1000.0;
    let metadata = &mut response.metadata;
    if let Some(seed) = seed {
        metadata.insert("seed".to_owned(), seed.into());
    }
    if let Some(stop) = stop {
        let stop = match stop {
            StopReason::Token(id) => json!(id),
            StopReason::Text(text) => json!(text),
        };
        metadata.insert("stop_reason".to_owned(), stop);
    }
    Ok(response)
}

fn choice(engine: &Engine, answer: CompletionOutput) -> Choice {
    let entry = |at: PositionLogprobs| TokenLogprob {
        token: engine.token_text(at.chosen.token_id),
        logprob: f64::from(at.chosen.logprob),
        top: at
            .top
            .iter()
            .map(|one| (engine.token_text(one.token_id), f64::from(one.logprob)))
            .collect(),
    };
    let logprobs = answer.logprobs;
    Choice {
        index: answer.index,
        content: answer.text,
        reasoning: None,
        finish_reason: match answer.finish_reason {
            Ended::Length => FinishReason::Length,
            _ => FinishReason::Stop,
        },
        tool_calls: Vec::new(),
        logprobs: logprobs.map(|all| all.into_iter().map(entry).collect()),
    }
}

fn refusal(refused: &SubmitError, is_chat: bool) -> GenerateError {
    let message = with_causes(refused);
    let input = if is_chat { "messages" } else { "prompt" };
    let error = match refused {
        SubmitError::Params(of) => GenerateError::invalid(of.field(), message),
        SubmitError::PromptTooLong { .. } | SubmitError::TooManyBlocks { .. } => {
            GenerateError::new(ErrorKind::ContextLength, message).with_field(input)
        }
        SubmitError::Overloaded { .. } => GenerateError::new(ErrorKind::RateLimit, message),
        SubmitError::ShutDown => GenerateError::new(ErrorKind::Engine, message),
        _ => GenerateError::invalid(input, message),
    };
    error.with_provider(NAME)
}

fn with_causes(error: &dyn Error) -> String {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    let messages: Vec<_> = causes.map(ToString::to_string).collect();
    messages.join(": ")
}
