//! A stream's events, with an ear for Ctrl-C.

use choral::engine::{GenerationStream, StreamEvent};
use futures_core::Stream;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::task::{Context, Poll, Wake, Waker};

/// What the listening thread sleeps for.
enum News {
    Event,
    Interrupt,
}

/// Wakes the listening thread.
struct Bell(Sender<News>);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        // Nobody listens once the stream has ended.
        let _ = self.0.send(News::Event);
    }
}

/// Waits for the events of one stream.
pub(crate) struct Listener {
    stream: GenerationStream,
    sender: Sender<News>,
    receiver: Receiver<News>,
    waker: Waker,
    is_interrupted: bool,
}

impl Listener {
    pub(crate) fn new(stream: GenerationStream) -> Self {
        let (sender, receiver) = mpsc::channel();
        Self {
            stream,
            waker: Waker::from(Arc::new(Bell(sender.clone()))),
            sender,
            receiver,
            is_interrupted: false,
        }
    }

    /// What cancels the request, from any thread. Its output still comes.
    pub(crate) fn canceller(&self) -> impl FnOnce() + Send + use<> {
        let sender = self.sender.clone();
        move || {
            // A stream that has ended needs no cancelling.
            let _ = sender.send(News::Interrupt);
        }
    }

    /// Whether the request was cancelled.
    pub(crate) fn is_interrupted(&self) -> bool {
        self.is_interrupted
    }

    /// Waits for the next event; none after the last.
    pub(crate) fn next(&mut self) -> Option<StreamEvent> {
        loop {
            let mut context = Context::from_waker(&self.waker);
            if let Poll::Ready(event) = Pin::new(&mut self.stream).poll_next(&mut context) {
                return event;
            }
            let news = self.receiver.recv().expect("`self` has a sender");
            if matches!(news, News::Interrupt) {
                self.is_interrupted = true;
                self.stream.cancel();
            }
        }
    }
}
