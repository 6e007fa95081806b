//! A server that speaks the vendors' published APIs, and fails on demand.
//!
//! It stands in for OpenAI, Anthropic, Ollama and LM Studio on one port, so that a
//! client can be tested without keys, money or a network. It follows the vendors'
//! documents and their own SDKs, which `sdk/check.py` runs against it; it knows nothing
//! of choral's client. Every answer is a function of the request ([`chat_answer`],
//! [`prompt_answer`]), so that a test can tell that the right answer came to the right
//! request. Start at [`MockServer::builder`]; what goes wrong is a [`Fault`], what was
//! seen is in the [`Log`].
//!
//! ```
//! use choral_mock::{Fault, MockServer};
//!
//! let server = MockServer::builder()
//!     .seed(7)
//!     .random_faults(0.2, [Fault::Status(429, None), Fault::Reset])
//!     .start()?;
//! println!("point a client at {}", server.openai_url());
//! assert_eq!(server.log().num_requests(), 0);
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! A request can bring its own faults, one an attempt: in the header `x-mock-fault`, or
//! in its prompt, `[[mock:429;retry-after=1,reset,ok]]`. `503*` fails forever, `500*3`
//! three times. `[[mock:words=N]]` makes the answer N words longer.

mod answer;
mod anthropic;
mod app;
mod batch;
mod connection;
mod control;
mod deliver;
mod fault;
mod gate;
mod ollama;
mod openai;
mod rate;
mod record;
mod reply;
mod schema;
mod server;
mod time;
mod vendor;

pub use answer::{chat_answer, image_tag, prompt_answer};
pub use app::{BatchEnd, BatchPace, MODELS};
pub use fault::{Fault, FaultError, RetryHint, Script};
pub use rate::RateLimit;
pub use record::{Log, Outcome, RequestRecord};
pub use server::{Builder, MockServer};
pub use vendor::INVALID_KEY;
