//! Executors: what computes a step.

mod cpu;

pub use cpu::CpuExecutor;
