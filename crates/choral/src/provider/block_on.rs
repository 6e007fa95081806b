//! Futures and streams for callers without a runtime.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

/// Unparks the thread that waits.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for a future on this thread.
///
/// Inside of an async task this holds up the executor's thread: use `.await` there.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    poll_until_ready(|context| future.as_mut().poll(context))
}

fn poll_until_ready<T>(mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(value) = poll(&mut context) {
            return value;
        }
        // A wake-up that came before is not lost: the thread then does not park.
        thread::park();
    }
}

/// A stream's items, each waited for.
#[derive(Debug)]
pub struct BlockingStream<S>(Pin<Box<S>>);

impl<S: futures_core::Stream> BlockingStream<S> {
    /// Makes an iterator of a stream.
    pub fn new(stream: S) -> Self {
        Self(Box::pin(stream))
    }
}

impl<S: futures_core::Stream> Iterator for BlockingStream<S> {
    type Item = S::Item;

    fn next(&mut self) -> Option<S::Item> {
        poll_until_ready(|context| self.0.as_mut().poll_next(context))
    }
}
