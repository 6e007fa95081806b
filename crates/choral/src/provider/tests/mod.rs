//! What is promised of every provider, on one that is scripted and on the local engine.

mod batch;
mod local;
mod types;

use super::*;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

/// A provider that answers a prompt with itself in capitals when it is told to.
#[derive(Default)]
pub(crate) struct Scripted {
    gate: Arc<Mutex<Gate>>,
    num_begun: AtomicUsize,
    num_running: Arc<AtomicUsize>,
    most_running: AtomicUsize,
}

#[derive(Default)]
struct Gate {
    is_held: bool,
    /// Prompts that are let through while it is held.
    open: Vec<String>,
    failing: HashMap<String, ErrorKind>,
    wakers: Vec<Waker>,
}

impl Scripted {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Answers nothing until it is let.
    pub(crate) fn held() -> Self {
        let scripted = Self::new();
        scripted.gate.lock().unwrap().is_held = true;
        scripted
    }

    pub(crate) fn failing(self, prompt: &str, kind: ErrorKind) -> Self {
        let mut gate = self.gate.lock().unwrap();
        gate.failing.insert(prompt.to_owned(), kind);
        drop(gate);
        self
    }

    pub(crate) fn let_through(&self, prompt: &str) {
        let mut gate = self.gate.lock().unwrap();
        gate.open.push(prompt.to_owned());
        gate.wakers.drain(..).for_each(Waker::wake);
    }

    pub(crate) fn num_begun(&self) -> usize {
        self.num_begun.load(Ordering::SeqCst)
    }

    pub(crate) fn num_running(&self) -> usize {
        self.num_running.load(Ordering::SeqCst)
    }

    pub(crate) fn most_running(&self) -> usize {
        self.most_running.load(Ordering::SeqCst)
    }
}

/// Counts down when a request ends, whichever way.
struct Running(Arc<AtomicUsize>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Provider for Scripted {
    fn name(&self) -> &'static str {
        "scripted"
    }

    fn model(&self) -> &'static str {
        "capitals"
    }

    fn capabilities(&self) -> &Capabilities {
        &LocalProvider::CAPABILITIES
    }

    fn generate(&self, request: GenerateRequest) -> BoxFuture<'_, Outcome> {
        let Input::Prompt(prompt) = request.input else {
            panic!("the script has prompts only");
        };
        Box::pin(async move {
            self.num_begun.fetch_add(1, Ordering::SeqCst);
            let running = self.num_running.fetch_add(1, Ordering::SeqCst) + 1;
            self.most_running.fetch_max(running, Ordering::SeqCst);
            let _running = Running(Arc::clone(&self.num_running));
            std::future::poll_fn(|context| {
                let mut gate = self.gate.lock().unwrap();
                if !gate.is_held || gate.open.contains(&prompt) {
                    return Poll::Ready(());
                }
                gate.wakers.push(context.waker().clone());
                Poll::Pending
            })
            .await;
            let failing = self.gate.lock().unwrap().failing.get(&prompt).copied();
            if let Some(kind) = failing {
                return Err(GenerateError::new(kind, "as the script says"));
            }
            let mut response = GenerateResponse::of_choices("capitals", Vec::new());
            response.content = prompt.to_uppercase();
            response.id = request.id;
            response.usage = Usage::new(prompt.len() as u64, 1);
            Ok(response)
        })
    }

    fn stream(
        &self,
        _request: GenerateRequest,
    ) -> BoxStream<'_, Result<GenerateEvent, GenerateError>> {
        unreachable!("no test streams from the script")
    }
}
