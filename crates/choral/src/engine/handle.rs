//! The caller's side: checks a request, queues it, and hands out its stream.
//!
//! Everything that can be refused is refused here, on the caller's thread, before
//! the engine hears of it.

use super::command::{Command, Submission};
use super::config::{EngineConfig, EngineParts, ImageInput};
use super::core::{Core, State};
use super::error::{ChatError, StartError, SubmitError};
use super::images::{ImageNames, ImageSlots, PromptImages, expand};
use super::lora::Mixes;
use super::mailbox::Mailbox;
use super::metrics::EngineMetrics;
use super::output;
use super::queue::{NoPlace, Place, Queue};
use super::relay::relay;
use super::reply::{Reply, Subject};
use super::request::{Prompt, Request, RequestOutput, RequestSize};
use super::scheduler::{RequestId, Rules, Scheduler, SchedulerConfig};
use super::stream::GenerationStream;
use crate::builder::{EngineBuilder, ModelInfo};
use crate::kv::KvNeeds;
use crate::sampling::{ParamError, Sampler, SamplingParams, fresh_seed};
use crate::text::{ChatTemplate, EncodeOptions, TemplateInput, Tokenizer};
use crate::vision::ImageEmbedding;
use crossbeam_channel::Sender;
use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

/// How far the engine thread may be ahead of the output thread, in steps.
const REPORTS_IN_FLIGHT: usize = 2;

/// A running engine. Clones are handles on the same one; when the last is gone it
/// shuts down.
#[derive(Debug, Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    commands: Sender<Command>,
    queue: Arc<Queue>,
    metrics: Arc<Mutex<EngineMetrics>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    num_requests: AtomicU64,
    tokenizer: Option<Tokenizer>,
    end_token_ids: Arc<[u32]>,
    max_model_len: usize,
    info: Option<Arc<ModelInfo>>,
    vocab_size: usize,
    num_blocks: usize,
    needs: KvNeeds,
    adapters: Vec<String>,
    mixes: Mutex<Mixes>,
    images: Option<ImageInput>,
    image_names: Mutex<ImageNames>,
}

/// A request that can run.
struct Checked {
    request_id: String,
    text: Option<String>,
    prompt: Arc<[u32]>,
    params: SamplingParams,
    rules: Rules,
}

impl Engine {
    /// Chooses a model and limits for an engine.
    pub fn builder() -> EngineBuilder {
        EngineBuilder::default()
    }

    /// What runs, if the engine was made by [`Engine::builder`].
    pub fn info(&self) -> Option<&ModelInfo> {
        self.shared.info.as_deref()
    }

    /// Starts an engine: one thread that computes and one that turns tokens into
    /// text.
    ///
    /// # Errors
    /// A limit is out of its range, or there are no threads to be had.
    pub fn start(parts: EngineParts, config: EngineConfig) -> Result<Self, StartError> {
        config.validate(&parts)?;
        let EngineParts {
            executor,
            tokenizer,
            end_token_ids,
            max_model_len,
            images,
            info,
        } = parts;
        let limits = SchedulerConfig {
            max_num_seqs: config.max_num_seqs,
            max_num_batched_tokens: config.max_num_batched_tokens,
            prefill_chunk: config.prefill_chunk,
            max_prompt_logit_rows: config.max_prompt_logit_rows,
            num_blocks: executor.num_blocks() as u32,
            kinds: executor.kv_kinds(),
            prefix_caching: config.prefix_caching,
        };
        let needs = limits.needs();
        let (commands, obeyed) = crossbeam_channel::unbounded();
        let (reports, reported) = relay(REPORTS_IN_FLIGHT, config.max_num_seqs);
        let mut shared = Shared {
            commands: commands.clone(),
            queue: Queue::new(config.queue_capacity),
            metrics: Arc::default(),
            threads: Mutex::default(),
            num_requests: AtomicU64::new(0),
            tokenizer,
            end_token_ids: end_token_ids.into(),
            max_model_len,
            info,
            vocab_size: executor.vocab_size(),
            num_blocks: executor.num_blocks(),
            needs: needs.clone(),
            adapters: executor.adapters().to_vec(),
            mixes: Mutex::new(Mixes::new(executor.adapters())),
            images,
            image_names: Mutex::default(),
        };
        let core = Core {
            scheduler: Scheduler::new(limits),
            executor,
            commands: obeyed,
            reports,
            queue: Arc::clone(&shared.queue),
            metrics: Arc::clone(&shared.metrics),
            end_token_ids: Arc::clone(&shared.end_token_ids),
            on_step: config.on_step,
            state: State::new(config.max_num_seqs, needs.num_groups()),
        };
        let output = thread::Builder::new()
            .name("choral-output".to_owned())
            .spawn(move || output::run(&reported, &commands))?;
        // If there is no second thread, the first ends with its channel.
        let engine = thread::Builder::new()
            .name("choral-engine".to_owned())
            .spawn(move || core.run())?;
        shared.threads = Mutex::new(vec![engine, output]);
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// What a request would come to, without running it.
    ///
    /// # Errors
    /// Those of [`submit`](Self::submit) that are the request's own.
    pub fn check(&self, request: &Request) -> Result<RequestSize, SubmitError> {
        let Checked { prompt, rules, .. } = self.shared.check(request.clone())?;
        Ok(RequestSize {
            num_prompt_tokens: prompt.len(),
            max_new_tokens: rules.max_new_tokens,
        })
    }

    /// Queues a request, or says at once why not.
    ///
    /// # Errors
    /// The request cannot be honoured, the queue is full
    /// ([`Overloaded`](SubmitError::Overloaded)), or the engine is gone.
    pub fn submit(&self, request: Request) -> Result<GenerationStream, SubmitError> {
        let checked = self.shared.check(request)?;
        let place = self.shared.queue.try_enter();
        self.shared.send(checked, place)
    }

    /// Queues a request, waiting while the queue is full.
    ///
    /// # Errors
    /// The request cannot be honoured, or the engine is gone.
    pub fn submit_wait(&self, request: Request) -> Result<GenerationStream, SubmitError> {
        let checked = self.shared.check(request)?;
        let place = self.shared.queue.enter();
        self.shared.send(checked, place)
    }

    /// [`submit_wait`](Self::submit_wait), without blocking the thread.
    ///
    /// # Errors
    /// The request cannot be honoured, or the engine is gone.
    pub async fn submit_async(&self, request: Request) -> Result<GenerationStream, SubmitError> {
        let checked = self.shared.check(request)?;
        let place = poll_fn(|context| self.shared.queue.poll_enter(context)).await;
        self.shared.send(checked, place)
    }

    /// Continues any number of prompts, and returns what came of each, in their
    /// order. A prompt that is refused does not keep the others from being run.
    pub fn generate(
        &self,
        prompts: impl IntoIterator<Item = impl Into<Prompt>>,
        params: &SamplingParams,
    ) -> Vec<Result<RequestOutput, SubmitError>> {
        let requests = prompts.into_iter().map(|prompt| {
            let request = Request::new(prompt);
            request.with_params(params.clone())
        });
        self.generate_requests(requests)
    }

    /// [`generate`](Self::generate), with a name and parameters for each.
    /// `requests` is drawn from no faster than the queue takes them in.
    pub fn generate_requests(
        &self,
        requests: impl IntoIterator<Item = Request>,
    ) -> Vec<Result<RequestOutput, SubmitError>> {
        let streams: Vec<_> = requests
            .into_iter()
            .map(|request| {
                let stream = self.submit_wait(request)?;
                stream.want_only_output();
                Ok(stream)
            })
            .collect();
        streams
            .into_iter()
            .map(|stream| stream.map(GenerationStream::wait))
            .collect()
    }

    /// Where the engine stands, as of the last step boundary. Never waits for it.
    pub fn metrics(&self) -> EngineMetrics {
        let metrics = &self.shared.metrics;
        let metrics = *metrics.lock().unwrap_or_else(PoisonError::into_inner);
        metrics.with_queued(&self.shared.queue)
    }

    /// Ends the engine at the next step boundary and waits for its threads.
    /// Answers that are not complete end as
    /// [`Cancelled`](super::request::FinishReason::Cancelled), with what they have.
    pub fn shutdown(&self) {
        self.shared.shutdown();
    }

    /// The tokenizer, if it was started with one.
    pub fn tokenizer(&self) -> Option<&Tokenizer> {
        self.shared.tokenizer.as_ref()
    }

    /// The text that a token adds; what is no UTF-8 shows as U+FFFD. Empty without a
    /// tokenizer.
    pub fn token_text(&self, token_id: u32) -> String {
        let tokenizer = self.tokenizer();
        let bytes = tokenizer.and_then(|tokenizer| tokenizer.token_bytes(token_id));
        String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
    }

    /// The chat template that comes with the model; `None` if it has none, or if the
    /// engine was not made by [`Engine::builder`].
    ///
    /// # Errors
    /// If it does not parse.
    pub fn chat_template(&self) -> Result<Option<ChatTemplate>, ChatError> {
        let (Some(info), Some(tokenizer)) = (self.info(), self.tokenizer()) else {
            return Ok(None);
        };
        Ok(ChatTemplate::from_file(&info.file, tokenizer)?)
    }

    /// Messages as a prompt: rendered by `template`
    /// ([`render_chat`](ChatTemplate::render_chat)) and tokenised. The template writes
    /// special tokens itself, so none are added, and what it writes is read as special
    /// tokens: so is what a message says, as in transformers.
    ///
    /// ```
    /// use choral::text::TemplateInput;
    /// use choral::{Engine, Request};
    /// use serde_json::json;
    ///
    /// let engine = Engine::builder().build()?;
    /// let template = engine.chat_template()?.expect("the model that ships has one");
    /// let messages = vec![json!({"role": "user", "content": "Who are you?"})];
    /// let prompt = engine.chat_prompt(&template, TemplateInput::new(messages))?;
    /// let answer = engine.submit(Request::new(prompt))?.wait();
    /// assert!(!answer.outputs[0].text.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The template refuses the messages, or their text cannot be tokenised.
    pub fn chat_prompt(
        &self,
        template: &ChatTemplate,
        input: TemplateInput,
    ) -> Result<Prompt, ChatError> {
        let tokenizer = self.tokenizer().ok_or(ChatError::NoTokenizer)?;
        let text = template.render_chat(input)?;
        let options = EncodeOptions {
            add_special: false,
            parse_special: true,
        };
        Ok(Prompt::Tokens(tokenizer.encode(&text, options)?))
    }

    /// Most tokens of prompt and answer together.
    pub fn max_model_len(&self) -> usize {
        self.shared.max_model_len
    }

    /// How many tokens the model knows.
    pub fn vocab_size(&self) -> usize {
        self.shared.vocab_size
    }

    /// Names of the adapters that requests may run with.
    pub fn adapters(&self) -> &[String] {
        &self.shared.adapters
    }

    /// How requests come with pictures; `None` if the model reads text only.
    pub fn images(&self) -> Option<&ImageInput> {
        self.shared.images.as_ref()
    }

    /// The tokens by which the model ends an answer.
    pub fn end_token_ids(&self) -> &[u32] {
        &self.shared.end_token_ids
    }
}

impl Shared {
    fn check(&self, request: Request) -> Result<Checked, SubmitError> {
        let Request {
            request_id,
            prompt,
            params,
            parse_special,
            diagnostics,
            lora,
            images,
        } = request;
        params.validate(self.vocab_size)?;
        if !params.stop.is_empty() && self.tokenizer.is_none() {
            return Err(SubmitError::NoTokenizer { what: "`stop`" });
        }
        // A map of mixes is never left half-changed.
        let mixes = self.mixes.lock();
        let mix = mixes.unwrap_or_else(PoisonError::into_inner).of(&lora)?;
        let (text, prompt) = self.tokenize(prompt, parse_special)?;
        let (prompt, images) = self.place_images(prompt, images)?;
        let num_tokens = prompt.len();
        let wants_none = params.max_tokens == Some(0);
        let room = self.max_model_len.checked_sub(num_tokens);
        let room =
            room.filter(|room| *room > 0 || wants_none)
                .ok_or(SubmitError::PromptTooLong {
                    num_tokens,
                    max_model_len: self.max_model_len,
                })?;
        if params.min_tokens as usize > room {
            let expected = format!("at most {room}, for which the context has room");
            let found = params.min_tokens.to_string();
            return Err(ParamError::new("min_tokens", expected, found).into());
        }
        let rules = Rules {
            n: params.n,
            max_new_tokens: params.max_tokens.map_or(room, |max| room.min(max as usize)),
            min_tokens: params.min_tokens as usize,
            end_token_ids: if params.ignore_eos {
                Arc::default()
            } else {
                Arc::clone(&self.end_token_ids)
            },
            stop_token_ids: params.stop_token_ids.clone(),
            prompt_logits: params.prompt_logprobs.is_some(),
            diagnostics,
            mix,
            images,
        };
        let needed = self.needs.blocks(rules.most_computed(num_tokens));
        let available = self.num_blocks;
        if needed > available {
            return Err(SubmitError::TooManyBlocks { needed, available });
        }
        Ok(Checked {
            request_id,
            text,
            prompt,
            params,
            rules,
        })
    }

    /// Puts a request's pictures in the places that its prompt has for them.
    fn place_images(
        &self,
        prompt: Arc<[u32]>,
        images: Vec<ImageEmbedding>,
    ) -> Result<(Arc<[u32]>, PromptImages), SubmitError> {
        let Some(input) = &self.images else {
            return match images.len() {
                0 => Ok((prompt, PromptImages::default())),
                images => Err(SubmitError::NoImages { images }),
            };
        };
        if images.is_empty() && !prompt.contains(&input.placeholder_id) {
            return Ok((prompt, PromptImages::default()));
        }
        let slots = ImageSlots {
            placeholder_id: input.placeholder_id,
            placeholder: &input.placeholder,
            hidden_size: input.hidden_size,
        };
        // A map of names is never left half-changed.
        let names = self.image_names.lock();
        let mut names = names.unwrap_or_else(PoisonError::into_inner);
        let (prompt, images) = expand(&mut names, &prompt, images, &slots)?;
        Ok((prompt.into(), images))
    }

    fn tokenize(
        &self,
        prompt: Prompt,
        parse_special: bool,
    ) -> Result<(Option<String>, Arc<[u32]>), SubmitError> {
        let (text, token_ids) = match prompt {
            Prompt::Tokens(token_ids) => (None, token_ids),
            Prompt::Text(text) => {
                let tokenizer = self.tokenizer.as_ref();
                let tokenizer = tokenizer.ok_or(SubmitError::NoTokenizer { what: "the prompt" })?;
                let options = EncodeOptions {
                    add_special: true,
                    parse_special,
                };
                let token_ids = tokenizer.encode(&text, options)?;
                (Some(text), token_ids)
            }
        };
        if token_ids.is_empty() {
            return Err(SubmitError::EmptyPrompt);
        }
        let vocab_size = self.vocab_size;
        let is_unknown = |token_id: &u32| *token_id as usize >= vocab_size;
        if let Some(index) = token_ids.iter().position(is_unknown) {
            return Err(SubmitError::UnknownToken {
                index,
                token_id: token_ids[index],
                vocab_size,
            });
        }
        Ok((text, token_ids.into()))
    }

    fn send(
        &self,
        checked: Checked,
        place: Result<Place, NoPlace>,
    ) -> Result<GenerationStream, SubmitError> {
        let place = place.map_err(|reason| match reason {
            NoPlace::Full => SubmitError::Overloaded {
                capacity: self.queue.capacity(),
            },
            NoPlace::Closed => SubmitError::ShutDown,
        })?;
        let Checked {
            request_id,
            text,
            prompt,
            params,
            rules,
        } = checked;
        let request = RequestId(self.num_requests.fetch_add(1, Ordering::Relaxed));
        let seed = params.seed.unwrap_or_else(fresh_seed);
        let mailbox = Arc::new(Mailbox::default());
        let stream = GenerationStream::new(
            request,
            request_id.clone(),
            seed,
            Arc::clone(&prompt),
            Arc::clone(&mailbox),
            self.commands.clone(),
        );
        let submission = Submission {
            request,
            prompt: Arc::clone(&prompt),
            rules,
            sampler: Sampler::new(&params, seed, 0),
            prompt_logprobs: params.prompt_logprobs,
            place,
            reply: Reply::new(
                Subject {
                    request,
                    request_id,
                    prompt: text,
                    prompt_token_ids: prompt,
                    tokenizer: self.tokenizer.clone(),
                    params,
                    seed,
                    submitted_at: Instant::now(),
                },
                mailbox,
            ),
        };
        match self.commands.send(Command::Submit(Box::new(submission))) {
            Ok(()) => Ok(stream),
            Err(_) => Err(SubmitError::ShutDown),
        }
    }

    fn shutdown(&self) {
        // If it cannot be told, it is gone.
        let _ = self.commands.send(Command::ShutDown);
        self.queue.close();
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        for thread in threads.drain(..) {
            // The last handle may go on one of these threads, inside `on_step` or
            // a waker. It cannot wait for itself, and ends soon.
            if thread.thread().id() != thread::current().id() {
                // A thread that panicked has said so; its requests have ended.
                let _ = thread.join();
            }
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.shutdown();
    }
}
