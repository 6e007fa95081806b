//! From a name to a provider.

use super::client::{Client, NetworkOptions, key_header};
use super::kind::{Api, Kind};
use super::limits::RateLimits;
use super::remote::{Remote, Shared};
use super::retry::RetryPolicy;
use super::secret::Secret;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use choral::Engine;
use choral::provider::{ErrorKind, GenerateError, LocalProvider, Provider};
use percent_encoding::percent_decode_str;
use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Makes a provider of a name: `KIND/MODEL`, such as `openai/gpt-4.1-mini`,
/// `anthropic/claude-sonnet-4-5`, `ollama/llama3.2`, `lmstudio/...`, `vllm/...`,
/// `llamacpp/...` or `compatible/...`; or `local` for the model that ships, and
/// `local/PATH` for a GGUF file or a Hugging Face directory.
///
/// Keys and URLs come from the environment; [`Builder`] takes them, and all else.
///
/// # Errors
/// [`Config`](ErrorKind::Config) or [`Auth`](ErrorKind::Auth): nothing is sent yet.
pub fn create(name: &str) -> Result<Arc<dyn Provider>, GenerateError> {
    let (kind, model) = name.split_once('/').unwrap_or((name, ""));
    if kind == "local" {
        let builder = match model {
            "" => Engine::builder(),
            path => Engine::builder().model(path),
        };
        let engine = builder.build();
        let engine = engine.map_err(|error| config(&format!("{name}: {error}")))?;
        return Ok(Arc::new(LocalProvider::new(engine)));
    }
    let known = Kind::named(kind).ok_or_else(|| {
        let known: Vec<_> = Kind::ALL.iter().map(|kind| kind.name()).collect();
        let known = known.join(", ");
        config(&format!(
            "unknown provider `{kind}`, expected local or one of: {known}"
        ))
    })?;
    Ok(Arc::new(Builder::new(known, model).build()?))
}

fn config(message: &str) -> GenerateError {
    GenerateError::new(ErrorKind::Config, message)
}

/// Says everything that can be said of a service.
///
/// ```
/// use choral::provider::Provider;
/// use choral_providers::{Builder, Kind};
/// use std::time::Duration;
///
/// let provider = Builder::new(Kind::Vllm, "Qwen/Qwen3-8B")
///     .base_url("http://10.0.0.7:8000/v1")
///     .max_concurrency(128)
///     .total_timeout(Duration::from_secs(120))
///     .build()?;
/// assert_eq!(provider.max_concurrency(), 128);
/// # Ok::<(), choral::provider::GenerateError>(())
/// ```
#[derive(Clone)]
pub struct Builder {
    kind: Kind,
    api: Api,
    model: String,
    base_url: Option<String>,
    api_key: Option<Result<Secret, GenerateError>>,
    headers: Vec<(String, String)>,
    max_concurrency: Option<usize>,
    poll_interval: Duration,
    network: NetworkOptions,
}

impl fmt::Debug for Builder {
    /// Without the URL, which may hold a password, and without headers' values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers = self.headers.iter().map(|(name, _)| name);
        f.debug_struct("Builder")
            .field("kind", &self.kind)
            .field("api", &self.api)
            .field("model", &self.model)
            .field("api_key", &self.api_key)
            .field("headers", &headers.collect::<Vec<_>>())
            .field("max_concurrency", &self.max_concurrency)
            .field("network", &self.network)
            .finish_non_exhaustive()
    }
}

impl Builder {
    /// A service of that kind, and a model of its.
    pub fn new(kind: Kind, model: impl Into<String>) -> Self {
        Self {
            kind,
            api: Api::default(),
            model: model.into(),
            base_url: None,
            api_key: None,
            headers: Vec::new(),
            max_concurrency: None,
            poll_interval: Duration::from_secs(30),
            network: NetworkOptions::default(),
        }
    }

    /// Which of OpenAI's protocols is spoken; chat unless said.
    #[must_use]
    pub fn api(mut self, api: Api) -> Self {
        self.api = api;
        self
    }

    /// Where the service is; from the environment or the kind's usual place unless said.
    /// With `/v1` at its end where the service speaks OpenAI's protocol.
    #[must_use]
    pub fn base_url(mut self, url: impl Into<String>) -> Self {
        self.base_url = Some(url.into());
        self
    }

    /// The key; from the environment unless said (`OPENAI_API_KEY`, or the file that
    /// `OPENAI_API_KEY_FILE` names, and so on).
    #[must_use]
    pub fn api_key(mut self, key: &str) -> Self {
        self.api_key = Some(Secret::new(key));
        self
    }

    /// The file that holds the key.
    #[must_use]
    pub fn api_key_file(mut self, path: impl AsRef<Path>) -> Self {
        self.api_key = Some(Secret::from_file(path.as_ref()));
        self
    }

    /// A header to send with everything. Its value is taken for a secret.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Most requests in flight; as [`Kind::capabilities`] says unless said. At least 1.
    #[must_use]
    pub fn max_concurrency(mut self, requests: usize) -> Self {
        self.max_concurrency = Some(requests.max(1));
        self
    }

    /// How long to wait between questions after a vendor's batch; 30 s unless said.
    #[must_use]
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.poll_interval = interval;
        self
    }

    /// Most time for one attempt.
    #[must_use]
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.network.request_timeout = timeout;
        self
    }

    /// Most time for all attempts together.
    #[must_use]
    pub fn total_timeout(mut self, timeout: Duration) -> Self {
        self.network.total_timeout = timeout;
        self
    }

    /// How often and when requests are tried again.
    #[must_use]
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.network.retry = policy;
        self
    }

    /// How many requests and tokens go out in a minute.
    #[must_use]
    pub fn rate_limits(mut self, limits: RateLimits) -> Self {
        self.network.rate_limits = limits;
        self
    }

    /// A file in PEM with authorities that are trusted beside the system's, or those of
    /// `SSL_CERT_FILE`: a company's own.
    #[must_use]
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.network.ca_file = Some(path.into());
        self
    }

    /// All bounds of the network at once.
    #[must_use]
    pub fn network(mut self, options: NetworkOptions) -> Self {
        self.network = options;
        self
    }

    /// Makes the provider. Nothing is sent yet.
    ///
    /// # Errors
    /// If the service needs a key and there is none, or something that was said makes no
    /// sense.
    pub fn build(self) -> Result<Remote, GenerateError> {
        let named = |error: GenerateError| error.with_provider(self.kind.name());
        self.try_build().map_err(named)
    }

    fn try_build(&self) -> Result<Remote, GenerateError> {
        let name = self.kind.name();
        let facts = self.kind.facts();
        if self.model.trim().is_empty() {
            return Err(config(&format!("no model is named, expected {name}/MODEL")));
        }
        let capabilities = self.kind.capabilities(self.api).ok_or_else(|| {
            config(&format!(
                "{:?} is not a protocol that {name} speaks",
                self.api
            ))
        })?;
        let key = match &self.api_key {
            Some(key) => Some(key.clone()?),
            None => Secret::from_env(facts.key_variable)?,
        };
        if key.is_none() && facts.needs_key {
            let variable = facts.key_variable;
            let message = format!("no key: set {variable} or {variable}_FILE");
            return Err(GenerateError::new(ErrorKind::Auth, message));
        }
        let base = self.found_url()?;
        let host = base.host_str().unwrap_or_default();
        let is_loopback = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
        if key.is_some() && base.scheme() == "http" && !is_loopback {
            tracing::warn!(provider = name, "the key is sent without encryption");
        }
        let mut secrets: Vec<_> = key.iter().cloned().collect();
        secrets.extend(secrets_of(&base));
        let headers = self.all_headers(key.as_ref(), &mut secrets)?;
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.expose().len()));
        let concurrency = self
            .max_concurrency
            .unwrap_or(capabilities.default_concurrency);
        let client = Client::new(
            name,
            headers,
            secrets,
            self.network.clone(),
            concurrency,
            self.kind.explain(),
        )?;
        Ok(Remote::new(Shared {
            client,
            protocol: self.kind.protocol(self.api),
            kind: self.kind,
            base,
            model: self.model.clone(),
            capabilities,
            max_concurrency: concurrency,
            poll_interval: self.poll_interval,
        }))
    }

    fn found_url(&self) -> Result<Url, GenerateError> {
        let facts = self.kind.facts();
        let variables = facts.url_variables.iter();
        let mut from_env = variables.filter_map(|name| std::env::var(name).ok());
        let from_env = || from_env.find(|value| !value.trim().is_empty());
        let given = self.base_url.clone().or_else(from_env);
        let given = given.or_else(|| facts.default_url.map(str::to_owned));
        let given = given.ok_or_else(|| {
            let variable = facts.url_variables[0];
            config(&format!("no URL: set {variable} or give one"))
        })?;
        let mut text = given.trim().trim_end_matches('/').to_owned();
        if !text.contains("://") {
            // `OLLAMA_HOST` is a host and perhaps a port.
            text = format!("http://{text}");
        }
        // The URL itself may hold a password, and is not repeated.
        let mut url = Url::parse(&text).map_err(|error| config(&format!("the URL: {error}")))?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(config("the URL is neither http nor https"));
        }
        if self.kind == Kind::Ollama && url.port().is_none() && url.scheme() == "http" {
            let _ = url.set_port(Some(11434));
        }
        if url.host_str() == Some("0.0.0.0") {
            // Where a server listens, not where it is.
            let _ = url.set_host(Some("127.0.0.1"));
        }
        Ok(url)
    }

    fn all_headers(
        &self,
        key: Option<&Secret>,
        secrets: &mut Vec<Secret>,
    ) -> Result<HeaderMap, GenerateError> {
        let mut headers = HeaderMap::new();
        if self.kind == Kind::Anthropic {
            let version = HeaderValue::from_static("2023-06-01");
            headers.insert("anthropic-version", version);
        }
        match key {
            Some(key) if self.kind == Kind::Anthropic => {
                key_header(&mut headers, "x-api-key", "", key)?;
            }
            Some(key) => key_header(&mut headers, "authorization", "Bearer ", key)?,
            None => {}
        }
        for (name, value) in &self.headers {
            let bad = |_| config(&format!("header `{name}` is none"));
            let header = HeaderName::from_bytes(name.as_bytes()).map_err(bad)?;
            let mut text = HeaderValue::from_str(value)
                .map_err(|_| config(&format!("the value of header `{name}` is none")))?;
            text.set_sensitive(true);
            headers.insert(header, text);
            // A scheme and a token, say; either may be quoted alone.
            secrets.extend(value.split_whitespace().map(Secret::of_text));
        }
        Ok(headers)
    }
}

/// What a URL holds that is for the service alone: name and password, as written, as
/// meant and as they are sent, and the values of its query.
fn secrets_of(url: &Url) -> Vec<Secret> {
    let meant = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let mut found = Vec::new();
    if let Some(password) = url.password() {
        let (user, plain) = (meant(url.username()), meant(password));
        found.push(BASE64_STANDARD.encode(format!("{user}:{plain}")));
        found.extend([plain, password.to_owned()]);
    }
    let query = url.query().unwrap_or_default();
    for pair in query.split('&') {
        let value = pair.split_once('=').map_or(pair, |(_, value)| value);
        found.push(value.to_owned());
    }
    let values = url.query_pairs().map(|(_, value)| value.into_owned());
    found.extend(values);
    found.iter().map(|text| Secret::of_text(text)).collect()
}
