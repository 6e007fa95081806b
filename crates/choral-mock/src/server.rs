//! Starts and stops the two listeners.
//!
//! Owns the runtime, so that tests without one can use a server too, and the accept
//! loop: connections are numbered here, and served by hyper over a socket that can be
//! broken. The other listener stands for a foreign origin: it asks for no key, fails
//! never, and records what it was sent.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::middleware;
use axum::response::Response;
use axum::routing::get;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tower::ServiceExt;

use crate::app::{App, BatchEnd, BatchPace, Settings};
use crate::connection::{Connection, Socket};
use crate::fault::{Fault, Script};
use crate::rate::RateLimit;
use crate::record::Log;
use crate::{anthropic, control, gate, ollama, openai};

/// A running server. It stops when it is dropped.
#[derive(Debug)]
pub struct MockServer {
    runtime: Option<Runtime>,
    address: SocketAddr,
    elsewhere_address: SocketAddr,
    log: Log,
    elsewhere_log: Log,
}

impl MockServer {
    /// A server without faults on a free port.
    pub fn start() -> io::Result<Self> {
        Self::builder().start()
    }

    /// A server to be configured.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// `http://127.0.0.1:PORT`: the base URL of Anthropic's and Ollama's clients.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// `http://127.0.0.1:PORT/v1`: the base URL of OpenAI's clients.
    pub fn openai_url(&self) -> String {
        format!("{}/v1", self.url())
    }

    /// The address that redirects lead to.
    pub fn elsewhere_url(&self) -> String {
        format!("http://{}", self.elsewhere_address)
    }

    /// What the server saw.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// What the listener that redirects lead to saw.
    pub fn elsewhere_log(&self) -> &Log {
        &self.elsewhere_log
    }
}

impl Drop for MockServer {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Not by waiting, which a test's own runtime would forbid.
            runtime.shutdown_background();
        }
    }
}

/// Settings of a server.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    settings: Settings,
    port: u16,
}

impl Builder {
    /// The port; without it, a free one.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Repeats the same random faults for the same requests.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.settings.plan.seed = seed;
        self
    }

    /// This part of all requests, of 1, meets one of these faults.
    #[must_use]
    pub fn random_faults(
        mut self,
        probability: f64,
        faults: impl IntoIterator<Item = Fault>,
    ) -> Self {
        self.settings.plan.random = Some((probability, faults.into_iter().collect()));
        self
    }

    /// The attempts of every request meet these faults, one after the other.
    #[must_use]
    pub fn script(mut self, script: Script) -> Self {
        self.settings.plan.script = script;
        self
    }

    /// The script and the random faults concern only paths with this in them.
    #[must_use]
    pub fn faults_on(mut self, path: &str) -> Self {
        self.settings.plan.paths.push(path.to_owned());
        self
    }

    /// Requests and tokens a window, for each key; beyond, 429.
    #[must_use]
    pub fn rate_limit(mut self, limit: RateLimit) -> Self {
        self.settings.limit = Some(limit);
        self
    }

    /// A wait before every answer.
    #[must_use]
    pub fn latency(mut self, latency: Duration) -> Self {
        self.settings.latency = latency;
        self
    }

    /// A pause after every event of a stream.
    #[must_use]
    pub fn pace(mut self, pace: Duration) -> Self {
        self.settings.pace = pace;
        self
    }

    /// Takes this key and others given so, and no other.
    #[must_use]
    pub fn key(mut self, key: &str) -> Self {
        self.settings.keys.push(key.to_owned());
        self
    }

    /// Asks for no key, as local servers do.
    #[must_use]
    pub fn without_keys(mut self) -> Self {
        self.settings.open = true;
        self
    }

    /// The models that exist, in place of [`crate::MODELS`].
    #[must_use]
    pub fn models(mut self, models: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.settings.models = models.into_iter().map(Into::into).collect();
        self
    }

    /// How batches move on.
    #[must_use]
    pub fn batch_pace(mut self, pace: BatchPace) -> Self {
        self.settings.batch_pace = pace;
        self
    }

    /// How batches end.
    #[must_use]
    pub fn batch_end(mut self, end: BatchEnd) -> Self {
        self.settings.batch_end = end;
        self
    }

    /// Listens and serves, on threads of its own.
    pub fn start(self) -> io::Result<MockServer> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("choral-mock")
            .enable_all()
            .build()?;
        let guard = runtime.enter();
        let (elsewhere_listener, elsewhere_address) = listen(0)?;
        let (listener, address) = listen(self.port)?;
        let elsewhere_settings = Settings {
            models: self.settings.models.clone(),
            open: true,
            ..Settings::default()
        };
        let elsewhere = Arc::new(App::new(elsewhere_settings, None));
        let elsewhere_log = elsewhere.log.clone();
        let link = (format!("http://{elsewhere_address}"), elsewhere_log.clone());
        let app = Arc::new(App::new(self.settings, Some(link)));
        let log = app.log.clone();
        runtime.spawn(accept(elsewhere_listener, elsewhere));
        runtime.spawn(accept(listener, app));
        drop(guard);
        Ok(MockServer {
            runtime: Some(runtime),
            address,
            elsewhere_address,
            log,
            elsewhere_log,
        })
    }
}

fn listen(port: u16) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    Ok((TcpListener::from_std(listener)?, address))
}

async fn accept(listener: TcpListener, app: Arc<App>) {
    let router = router(&app);
    loop {
        // Too many open files pass; there is nothing better to do than to go on.
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        // A pause of 40 ms between the events of a stream would be the kernel's, not ours.
        let _ = stream.set_nodelay(true);
        let connection = Arc::new(Connection::new(app.log.connected()));
        let socket = Socket {
            stream,
            connection: Arc::clone(&connection),
            log: app.log.clone(),
        };
        tokio::spawn(serve(socket, connection, router.clone()));
    }
}

async fn serve(socket: Socket, connection: Arc<Connection>, router: Router) {
    let service = service_fn(|request: hyper::Request<hyper::body::Incoming>| {
        let router = router.clone();
        let connection = Arc::clone(&connection);
        async move {
            let mut request: Request = request.map(Body::new);
            request.extensions_mut().insert(connection);
            let served: Result<Response, Infallible> = router.oneshot(request).await;
            served
        }
    });
    let serving =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service);
    tokio::select! {
        // What a client did to its connection is in the log.
        _ = serving => {}
        () = connection.broken() => {}
    }
}

fn router(app: &Arc<App>) -> Router {
    let router = Router::new()
        .merge(openai::routes())
        .merge(anthropic::routes())
        .merge(ollama::routes())
        .route("/__mock/log", get(control::log))
        .route("/__mock/elsewhere", get(control::elsewhere_log))
        .route("/__mock/clear", axum::routing::post(control::clear))
        .fallback(gate::unknown)
        .method_not_allowed_fallback(gate::wrong_method);
    router
        .layer(middleware::from_fn_with_state(Arc::clone(app), gate::pass))
        .with_state(Arc::clone(app))
}
