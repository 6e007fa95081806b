//! Which services there are, and what is known of each.

use super::{anthropic, ollama, openai};
use crate::client::Explain;
use crate::protocol::Protocol;
use choral::provider::{BatchKind, Capabilities, LocalProvider, PromptStyle};

/// A kind of service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// OpenAI.
    OpenAi,
    /// Anthropic.
    Anthropic,
    /// Ollama, by its own protocol.
    Ollama,
    /// LM Studio.
    LmStudio,
    /// vLLM's server.
    Vllm,
    /// llama.cpp's server.
    LlamaCpp,
    /// Any other that speaks OpenAI's protocol.
    Compatible,
}

/// Which of OpenAI's protocols is spoken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Api {
    /// `/chat/completions`: prompts are asked as messages.
    #[default]
    Chat,
    /// `/completions`: prompts are continued as they stand. No messages.
    Completions,
    /// `/responses`: OpenAI's newer protocol.
    Responses,
}

const OPENAI_CHAT: &[&str] = &[
    "n",
    "max_tokens",
    "temperature",
    "top_p",
    "frequency_penalty",
    "presence_penalty",
    "logit_bias",
    "seed",
    "stop",
    "logprobs",
];

const OPENAI_RESPONSES: &[&str] = &["max_tokens", "temperature", "top_p", "logprobs"];

const ANTHROPIC: &[&str] = &["max_tokens", "temperature", "top_k", "top_p", "stop"];

const OLLAMA: &[&str] = &[
    "max_tokens",
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "typical_p",
    "repetition_penalty",
    "repeat_last_n",
    "frequency_penalty",
    "presence_penalty",
    "seed",
    "stop",
    "logprobs",
];

const VLLM: &[&str] = &[
    "n",
    "max_tokens",
    "min_tokens",
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "repetition_penalty",
    "frequency_penalty",
    "presence_penalty",
    "logit_bias",
    "allowed_token_ids",
    "seed",
    "stop",
    "stop_token_ids",
    "include_stop_str_in_output",
    "ignore_eos",
    "skip_special_tokens",
    "logprobs",
];

const LLAMA_CPP: &[&str] = &[
    "n",
    "max_tokens",
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "typical_p",
    "repetition_penalty",
    "repeat_last_n",
    "frequency_penalty",
    "presence_penalty",
    "logit_bias",
    "seed",
    "stop",
    "ignore_eos",
    "logprobs",
];

const LM_STUDIO: &[&str] = &[
    "max_tokens",
    "temperature",
    "top_k",
    "top_p",
    "repetition_penalty",
    "frequency_penalty",
    "presence_penalty",
    "logit_bias",
    "seed",
    "stop",
];

const CHAT: Capabilities = Capabilities {
    batch: BatchKind::Concurrent,
    vendor_batch: false,
    prompts: PromptStyle::Message,
    messages: true,
    streaming: true,
    tools: true,
    images: true,
    json_object: true,
    json_schema: true,
    exact_seeds: false,
    parameters: OPENAI_CHAT,
    extra: true,
    model_listing: true,
    default_concurrency: 8,
};

/// What is known of a service.
pub(crate) struct Facts {
    pub(crate) default_url: Option<&'static str>,
    /// Variables that may hold the URL, the first that is set wins.
    pub(crate) url_variables: &'static [&'static str],
    pub(crate) key_variable: &'static str,
    pub(crate) needs_key: bool,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::OpenAi,
        Self::Anthropic,
        Self::Ollama,
        Self::LmStudio,
        Self::Vllm,
        Self::LlamaCpp,
        Self::Compatible,
    ];

    /// The name that [`create`](crate::create) takes.
    pub fn name(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
            Self::Ollama => "ollama",
            Self::LmStudio => "lmstudio",
            Self::Vllm => "vllm",
            Self::LlamaCpp => "llamacpp",
            Self::Compatible => "compatible",
        }
    }

    /// The kind of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    pub(crate) fn facts(self) -> Facts {
        let (default_url, url_variables, key_variable): (_, &'static [&'static str], _) = match self
        {
            Self::OpenAi => (
                Some("https://api.openai.com/v1"),
                &["OPENAI_BASE_URL"],
                "OPENAI_API_KEY",
            ),
            Self::Anthropic => (
                Some("https://api.anthropic.com"),
                &["ANTHROPIC_BASE_URL"],
                "ANTHROPIC_API_KEY",
            ),
            Self::Ollama => (
                Some("http://127.0.0.1:11434"),
                &["OLLAMA_BASE_URL", "OLLAMA_HOST"],
                "OLLAMA_API_KEY",
            ),
            Self::LmStudio => (
                Some("http://127.0.0.1:1234/v1"),
                &["LMSTUDIO_BASE_URL"],
                "LMSTUDIO_API_KEY",
            ),
            Self::Vllm => (
                Some("http://127.0.0.1:8000/v1"),
                &["VLLM_BASE_URL"],
                "VLLM_API_KEY",
            ),
            Self::LlamaCpp => (
                Some("http://127.0.0.1:8080/v1"),
                &["LLAMACPP_BASE_URL"],
                "LLAMA_API_KEY",
            ),
            Self::Compatible => (
                None,
                &["OPENAI_COMPATIBLE_BASE_URL"],
                "OPENAI_COMPATIBLE_API_KEY",
            ),
        };
        Facts {
            default_url,
            url_variables,
            key_variable,
            needs_key: matches!(self, Self::OpenAi | Self::Anthropic),
        }
    }

    /// What it can do, as far as its documentation says; `None` if it does not speak
    /// `api`.
    pub fn capabilities(self, api: Api) -> Option<Capabilities> {
        let chat = match self {
            Self::OpenAi => Capabilities {
                vendor_batch: true,
                default_concurrency: 32,
                ..CHAT
            },
            Self::Anthropic => Capabilities {
                vendor_batch: true,
                json_object: false,
                parameters: ANTHROPIC,
                ..CHAT
            },
            Self::Ollama => Capabilities {
                parameters: OLLAMA,
                default_concurrency: 4,
                ..CHAT
            },
            Self::LmStudio => Capabilities {
                json_object: false,
                parameters: LM_STUDIO,
                default_concurrency: 4,
                ..CHAT
            },
            Self::Vllm => Capabilities {
                parameters: VLLM,
                default_concurrency: 64,
                ..CHAT
            },
            Self::LlamaCpp => Capabilities {
                parameters: LLAMA_CPP,
                default_concurrency: 4,
                ..CHAT
            },
            Self::Compatible => CHAT,
        };
        match (self, api) {
            (_, Api::Chat) => Some(chat),
            (Self::Anthropic | Self::Ollama, _) => None,
            (_, Api::Completions) => Some(Capabilities {
                prompts: PromptStyle::Continued,
                messages: false,
                tools: false,
                images: false,
                json_object: false,
                json_schema: false,
                ..chat
            }),
            (Self::OpenAi, Api::Responses) => Some(Capabilities {
                parameters: OPENAI_RESPONSES,
                ..chat
            }),
            // Theirs differ from server to server.
            (_, Api::Responses) => None,
        }
    }

    pub(crate) fn protocol(self, api: Api) -> Box<dyn Protocol> {
        let has_idempotency = self == Self::OpenAi;
        match (self, api) {
            (Self::Anthropic, _) => Box::new(anthropic::Messages),
            (Self::Ollama, _) => Box::new(ollama::Native),
            (_, Api::Chat) => Box::new(openai::Chat {
                max_tokens: if has_idempotency {
                    "max_completion_tokens"
                } else {
                    "max_tokens"
                },
                names: self.names(),
                has_idempotency,
            }),
            (_, Api::Completions) => Box::new(openai::Completions {
                names: self.names(),
                has_idempotency,
            }),
            (_, Api::Responses) => Box::new(openai::Responses),
        }
    }

    /// What it calls parameters that others call otherwise.
    fn names(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::LlamaCpp | Self::LmStudio => &[("repetition_penalty", "repeat_penalty")],
            _ => &[],
        }
    }

    pub(crate) fn explain(self) -> Explain {
        match self {
            Self::Anthropic => anthropic::explain,
            _ => openai::explain,
        }
    }
}

/// A Markdown table of what every provider can do.
pub fn capability_table() -> String {
    let kinds = Kind::ALL.into_iter().map(|kind| {
        let capabilities = kind.capabilities(Api::Chat);
        (kind.name(), capabilities.expect("all of them chat"))
    });
    let kinds: Vec<_> = kinds.collect();
    let local = LocalProvider::CAPABILITIES;
    let kinds = kinds
        .iter()
        .map(|(name, capabilities)| (*name, capabilities));
    let all: Vec<_> = std::iter::once(("local", &local)).chain(kinds).collect();
    Capabilities::table(&all)
}
