//! What an engine has done and is doing, in numbers.

use super::queue::Queue;
use serde::Serialize;

/// A snapshot of one engine. Totals count from its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct EngineMetrics {
    /// Answers that are being computed.
    pub num_running: usize,
    /// Requests that have not run yet, and answers that wait to run again.
    pub num_waiting: usize,
    /// KV blocks that sequences hold.
    pub kv_blocks_used: usize,
    /// KV blocks kept for their content alone; they are given up when needed.
    pub kv_blocks_cached: usize,
    /// KV blocks that there are.
    pub kv_blocks_total: usize,
    /// Tokens that were looked up in the prefix cache.
    pub prefix_query_tokens: u64,
    /// Those of them that it had.
    pub prefix_hit_tokens: u64,
    /// Sequences that had to give up their blocks and be computed again.
    pub num_preemptions: u64,
    /// Tokens of prompts that were run, and of answers that were run again.
    pub prompt_tokens: u64,
    /// Tokens drawn.
    pub generated_tokens: u64,
    /// Steps run.
    pub num_steps: u64,
    /// Seconds spent in steps.
    pub busy_s: f64,
    /// Seconds that the last step took.
    pub last_step_s: f64,
}

impl EngineMetrics {
    /// Tokens drawn per second spent in steps; 0 before the first.
    pub fn tokens_per_s(&self) -> f64 {
        if self.busy_s > 0.0 {
            self.generated_tokens as f64 / self.busy_s
        } else {
            0.0
        }
    }

    /// The engine thread counts those that have run before. The rest stand in the
    /// queue, or are on their way to it.
    pub(super) fn with_queued(mut self, queue: &Queue) -> Self {
        self.num_waiting += queue.num_taken();
        self
    }
}

/// One step, for [`EngineConfig::on_step`](super::EngineConfig::on_step).
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct StepStats {
    /// Which step, from 1.
    pub step: u64,
    /// Sequences in it.
    pub num_rows: usize,
    /// Tokens of prompts, and of answers that are computed again.
    pub num_prefill_tokens: usize,
    /// Tokens that continue an answer, one a sequence.
    pub num_decode_tokens: usize,
    /// Tokens drawn.
    pub num_drawn: usize,
    /// Requests that ran for the first time.
    pub num_admitted: usize,
    /// Sequences that were preempted to make room.
    pub num_preempted: usize,
    /// Bytes of packed weights that its matrix products read from memory.
    pub weight_bytes: u64,
    /// Products of one token's 32 activations with a tile of 16 outputs (512
    /// multiply-adds each).
    pub tile_products: u64,
    /// Blocks of 16 by 32 quantised weights that were turned into bf16 for them.
    pub unpacked_blocks: u64,
    /// Seconds to decide what runs.
    pub schedule_s: f64,
    /// Seconds in the executor.
    pub forward_s: f64,
    /// Seconds to draw tokens.
    pub sample_s: f64,
    /// Seconds for all of the step.
    pub step_s: f64,
    /// The engine after the step.
    pub engine: EngineMetrics,
}
