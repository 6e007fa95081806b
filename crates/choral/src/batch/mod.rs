//! Work of any kind through a provider.
//!
//! [`BatchProcessor`] turns inputs into requests and answers into outputs, many at a time
//! and in order. [`RequestQueue`] is for requests that come one by one, from many
//! threads: workers take them in turn. Both know nothing of what answers; for several
//! engines over one set of weights give them a
//! [`LocalProvider`](crate::provider::LocalProvider) over an
//! [`EnginePool`](crate::EnginePool).

mod processor;
mod queue;

#[cfg(test)]
mod tests;

pub use processor::{BatchProcessor, Processed, ProcessedIter, Progress};
pub use queue::{QueueError, RequestQueue, Ticket};
