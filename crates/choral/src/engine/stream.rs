//! The reader's end of one request.

use super::command::Command;
use super::mailbox::{Mailbox, StreamEvent};
use super::request::RequestOutput;
use super::scheduler::RequestId;
use crossbeam_channel::Sender;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// One request's events, as they come: a [`Stream`](futures_core::Stream) that needs
/// no runtime, or with a `for` loop a blocking iterator ([`Events`]).
///
/// It is not an [`Iterator`] itself: that has the method names of `StreamExt`, and
/// neither could then be called without naming its trait.
///
/// The texts of an answer's deltas, put together, are its text in the final
/// output. Events that are not fetched are joined, and the engine never waits for
/// a reader. Dropping the stream before its end cancels the request at the next
/// step boundary.
#[derive(Debug)]
pub struct GenerationStream {
    request: RequestId,
    request_id: String,
    seed: u64,
    prompt: Arc<[u32]>,
    mailbox: Arc<Mailbox>,
    commands: Sender<Command>,
    is_finished: bool,
}

impl GenerationStream {
    pub(super) fn new(
        request: RequestId,
        request_id: String,
        seed: u64,
        prompt: Arc<[u32]>,
        mailbox: Arc<Mailbox>,
        commands: Sender<Command>,
    ) -> Self {
        Self {
            request,
            request_id,
            seed,
            prompt,
            mailbox,
            commands,
            is_finished: false,
        }
    }

    /// The caller's name for the request.
    pub fn request_id(&self) -> &str {
        &self.request_id
    }

    /// The seed that its answers draw with, given or fresh.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The prompt's tokens, as they are run.
    pub fn prompt_token_ids(&self) -> &[u32] {
        &self.prompt
    }

    /// Waits for the next event; `None` after the last.
    pub fn next_event(&mut self) -> Option<StreamEvent> {
        if self.is_finished {
            return None;
        }
        let event = self.mailbox.wait();
        Some(self.note(event))
    }

    /// Waits for the end and returns everything that came of the request.
    ///
    /// # Panics
    /// If the stream has yielded [`StreamEvent::Finished`] already.
    pub fn wait(mut self) -> RequestOutput {
        self.want_only_output();
        let mut events = std::iter::from_fn(|| self.next_event());
        let output = events.find_map(StreamEvent::into_output);
        output.expect("the output has not been taken yet")
    }

    /// [`wait`](Self::wait), without blocking the thread.
    ///
    /// # Panics
    /// If the stream has yielded [`StreamEvent::Finished`] already.
    pub async fn finished(mut self) -> RequestOutput {
        self.want_only_output();
        loop {
            let event = std::future::poll_fn(|context| self.poll(context)).await;
            let event = event.expect("the output has not been taken yet");
            if let Some(output) = event.into_output() {
                return output;
            }
        }
    }

    /// Ends the request at the next step boundary. What was drawn until then
    /// still comes, and then an output whose unfinished answers are
    /// [`Cancelled`](super::request::FinishReason::Cancelled).
    pub fn cancel(&self) {
        // An engine that is gone has nothing left to cancel.
        let _ = self.commands.send(Command::Abort {
            request: self.request,
            choice: None,
        });
    }

    /// Throws away all deltas, for a reader that will only [`wait`](Self::wait).
    pub(super) fn want_only_output(&self) {
        self.mailbox.want_only_output();
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<StreamEvent>> {
        if self.is_finished {
            return Poll::Ready(None);
        }
        self.mailbox
            .poll(context)
            .map(|event| Some(self.note(event)))
    }

    fn note(&mut self, event: StreamEvent) -> StreamEvent {
        self.is_finished = matches!(event, StreamEvent::Finished(_));
        event
    }
}

impl StreamEvent {
    fn into_output(self) -> Option<RequestOutput> {
        match self {
            Self::Finished(output) => Some(*output),
            Self::Delta { .. } => None,
        }
    }
}

/// A stream's events, each waited for.
#[derive(Debug)]
pub struct Events(GenerationStream);

impl Iterator for Events {
    type Item = StreamEvent;

    fn next(&mut self) -> Option<StreamEvent> {
        self.0.next_event()
    }
}

impl IntoIterator for GenerationStream {
    type Item = StreamEvent;
    type IntoIter = Events;

    fn into_iter(self) -> Events {
        Events(self)
    }
}

impl futures_core::Stream for GenerationStream {
    type Item = StreamEvent;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<StreamEvent>> {
        self.poll(context)
    }
}

impl Drop for GenerationStream {
    fn drop(&mut self) {
        if !self.is_finished {
            self.want_only_output();
            self.cancel();
        }
    }
}
