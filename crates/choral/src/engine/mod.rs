//! Decides who runs, runs it, and hands out what came of it.

pub mod batch;
pub mod request;
mod scheduler;
pub mod testing;
