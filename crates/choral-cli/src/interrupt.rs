//! Ctrl-C: the first ends what is going on, the second ends the program.

use crate::EXIT_INTERRUPTED;
use anyhow::{Context as _, Result};
use std::sync::{Arc, Mutex, PoisonError};

type Action = Box<dyn FnOnce() + Send>;

/// What Ctrl-C does at the moment.
#[derive(Clone, Default)]
pub(crate) struct Interrupt {
    action: Arc<Mutex<Option<Action>>>,
}

impl Interrupt {
    /// Takes Ctrl-C over for the whole program. Without an action it ends it.
    pub(crate) fn install() -> Result<Self> {
        let interrupt = Self::default();
        let installed = interrupt.clone();
        ctrlc::set_handler(move || match installed.set(None) {
            Some(action) => action(),
            None => std::process::exit(EXIT_INTERRUPTED.into()),
        })
        .context("cannot take over Ctrl-C")?;
        Ok(interrupt)
    }

    /// Has the next Ctrl-C run `action`, on another thread, while the guard lives.
    /// One after that ends the program.
    pub(crate) fn during(&self, action: impl FnOnce() + Send + 'static) -> Guard<'_> {
        self.set(Some(Box::new(action)));
        Guard(self)
    }

    fn set(&self, action: Option<Action>) -> Option<Action> {
        let mut current = self.action.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut current, action)
    }
}

/// Keeps an action of [`Interrupt::during`].
pub(crate) struct Guard<'a>(&'a Interrupt);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.0.set(None);
    }
}
