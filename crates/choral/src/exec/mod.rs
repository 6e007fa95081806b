//! Executors: what computes a step.

mod cpu;

pub use choral_kernels::Compute;
pub use cpu::CpuExecutor;
