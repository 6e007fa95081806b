//! Executors: what computes a step, and what it may take for it.

mod cpu;
mod memory;
mod threads;

pub use cpu::CpuExecutor;
pub use memory::available_memory;
pub use threads::default_threads;
