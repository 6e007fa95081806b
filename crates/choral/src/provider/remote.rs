//! Batches that a vendor runs when it has time: cheaper, and hours later.
//!
//! A batch outlives the process that made it. So what is needed to find it again is a
//! [`BatchTicket`], which the caller stores; everything else is asked of the vendor.

use super::BoxFuture;
use super::error::GenerateError;
use super::request::GenerateRequest;
use super::response::GenerateResponse;
use serde::{Deserialize, Serialize};

/// What finds a batch again. Store it when [`submit`](RemoteBatch::submit) returns it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchTicket {
    /// The provider's name.
    pub provider: String,
    /// The model.
    pub model: String,
    /// The vendor's id of the batch.
    pub id: String,
    /// The vendor's id of the uploaded input, if it has one.
    pub input_file_id: Option<String>,
    /// Ids of the requests, in their order.
    pub request_ids: Vec<String>,
}

/// Where a batch stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BatchState {
    /// The vendor reads the input.
    Validating,
    /// It runs.
    InProgress,
    /// The vendor writes the output.
    Finalizing,
    /// A cancellation is under way.
    Cancelling,
    /// All requests have been run.
    Completed,
    /// The input was refused: nothing ran.
    Failed,
    /// Time ran out: some requests may have been run.
    Expired,
    /// It was cancelled: some requests may have been run.
    Cancelled,
}

impl BatchState {
    /// Whether nothing more will happen.
    pub fn is_end(self) -> bool {
        matches!(
            self,
            Self::Completed | Self::Failed | Self::Expired | Self::Cancelled
        )
    }
}

/// How many requests stand where.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchCounts {
    /// All.
    pub total: u64,
    /// Answered.
    pub completed: u64,
    /// In error, cancelled or expired.
    pub failed: u64,
}

/// How large a batch may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// Requests.
    pub max_requests: usize,
    /// Bytes, as [`RemoteBatch::size`] counts them.
    pub max_bytes: usize,
}

/// Where a batch stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchStatus {
    /// The stage.
    pub state: BatchState,
    /// How many requests stand where.
    pub counts: BatchCounts,
    /// What was wrong with the input, by line.
    pub errors: Vec<String>,
}

/// What came of one request of a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct RemoteOutcome {
    /// The request's id.
    pub id: String,
    /// The answer, or why there is none.
    pub result: Result<GenerateResponse, GenerateError>,
}

/// The code of an error after which nobody knows whether a batch was made.
pub const BATCH_UNKNOWN: &str = "batch_unknown";

/// A vendor's service for batches.
pub trait RemoteBatch: Send + Sync {
    /// How many bytes a request takes of a batch. Nothing is sent.
    ///
    /// # Errors
    /// The request can be in no batch; [`submit`](Self::submit) would refuse all of them
    /// because of it.
    fn size(&self, request: &GenerateRequest) -> Result<usize, GenerateError>;

    /// Most requests in a batch, and most bytes of them.
    fn limits(&self) -> BatchLimits;

    /// Sends a batch off. Requests without an id get their place in the batch, from 0.
    ///
    /// If a connection breaks while the batch is being made, it may have been made: such
    /// an error is not retried, and has the code [`BATCH_UNKNOWN`].
    fn submit(
        &self,
        requests: Vec<GenerateRequest>,
    ) -> BoxFuture<'_, Result<BatchTicket, GenerateError>>;

    /// Where a batch stands.
    fn status<'a>(
        &'a self,
        ticket: &'a BatchTicket,
    ) -> BoxFuture<'a, Result<BatchStatus, GenerateError>>;

    /// What came of a batch that has ended: an outcome for each request, in the order of
    /// [`BatchTicket::request_ids`].
    fn results<'a>(
        &'a self,
        ticket: &'a BatchTicket,
    ) -> BoxFuture<'a, Result<Vec<RemoteOutcome>, GenerateError>>;

    /// Asks for a batch to be ended. It ends some time later.
    fn cancel<'a>(
        &'a self,
        ticket: &'a BatchTicket,
    ) -> BoxFuture<'a, Result<BatchStatus, GenerateError>>;

    /// Waits until a batch has ended, asking now and then, and tells `progress` each time.
    /// Errors that may pass are passed over.
    fn wait<'a>(
        &'a self,
        ticket: &'a BatchTicket,
        progress: &'a mut (dyn FnMut(&BatchStatus) + Send),
    ) -> BoxFuture<'a, Result<BatchStatus, GenerateError>>;
}
