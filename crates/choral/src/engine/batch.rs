//! The one seam between scheduling and computing: a step's work, and its result.
//!
//! A [`Batch`] is ragged: rows of different sequences lie one behind the other,
//! with no padding. The scheduler fills it, an [`Executor`] reads it; they share
//! [`BlockId`]s and nothing else.

use choral_kernels::WorkCounts;

/// Tokens per KV block. Attention walks a sequence's cache block by block in
/// this size, so it is part of the order of accumulation.
pub const BLOCK_TOKENS: usize = 16;

/// Names one block of KV memory: [`BLOCK_TOKENS`] positions in every layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockId(pub u32);

/// An adapter that a row runs with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RowAdapter {
    /// The row.
    pub row: u32,
    /// One of [`Executor::adapters`], by index.
    pub adapter: u32,
    /// Multiplies what it changes.
    pub scale: f32,
}

/// One step's work. All vectors are reused from step to step.
#[derive(Debug, Default, Clone)]
pub struct Batch {
    /// Blocks to copy before anything is computed (copy-on-write): source,
    /// destination. Copied whole and in this order: a later copy may overwrite an
    /// earlier one's source.
    pub copies: Vec<(BlockId, BlockId)>,
    /// `[tokens]`: the tokens to run, row after row.
    pub token_ids: Vec<u32>,
    /// `[tokens]`: each token's position in its own sequence.
    pub positions: Vec<u32>,
    /// `[rows + 1]`: row `r` is tokens `cu_tokens[r]..cu_tokens[r + 1]`, which
    /// are consecutive positions of one sequence.
    pub cu_tokens: Vec<u32>,
    /// `[rows + 1]`: row `r` owns `block_ids[cu_blocks[r]..cu_blocks[r + 1]]`.
    pub cu_blocks: Vec<u32>,
    /// Block tables, row after row: position `p` of a row lives in its block
    /// `p / BLOCK_TOKENS`, slot `p % BLOCK_TOKENS`.
    pub block_ids: Vec<BlockId>,
    /// Indices into `token_ids`, ascending, whose logits are wanted.
    pub logit_tokens: Vec<u32>,
    /// Indices into `token_ids` whose hidden-state norms are wanted
    /// (diagnostics; normally empty).
    pub hidden_tokens: Vec<u32>,
    /// Adapters of rows, by row; each at most once a row. Rows without have none.
    pub adapters: Vec<RowAdapter>,
}

impl Batch {
    /// Number of rows (sequences) in this step.
    pub fn num_rows(&self) -> usize {
        self.cu_tokens.len().saturating_sub(1)
    }

    /// Empties the batch, keeping its memory.
    pub fn clear(&mut self) {
        self.copies.clear();
        self.token_ids.clear();
        self.positions.clear();
        self.cu_tokens.clear();
        self.cu_tokens.push(0);
        self.cu_blocks.clear();
        self.cu_blocks.push(0);
        self.block_ids.clear();
        self.logit_tokens.clear();
        self.hidden_tokens.clear();
        self.adapters.clear();
    }

    /// Appends a row: tokens, given in two pieces, at consecutive positions from
    /// `start` on, and the blocks that hold the sequence up to the last of them.
    /// Returns the index of the row's first token in the batch.
    pub fn push_row(
        &mut self,
        token_ids: [&[u32]; 2],
        start: usize,
        block_ids: &[BlockId],
    ) -> usize {
        let first = self.token_ids.len();
        for piece in token_ids {
            self.token_ids.extend_from_slice(piece);
        }
        let end = start + self.token_ids.len() - first;
        self.positions.extend((start..end).map(|p| p as u32));
        self.cu_tokens.push(self.token_ids.len() as u32);
        self.block_ids.extend_from_slice(block_ids);
        self.cu_blocks.push(self.block_ids.len() as u32);
        first
    }
}

/// What a step computed. Reused from step to step.
#[derive(Debug, Default)]
pub struct StepResult {
    /// `[logit_tokens, vocab]`, row-major.
    pub logits: Vec<f32>,
    /// `[hidden_tokens, layers + 1]`: L2 norms of the embedding output, of the
    /// output of layers 1 to n - 1, and of the final norm's output.
    pub hidden_l2: Vec<f32>,
}

/// Why a step could not be computed. It ends the step's sequences, not the engine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecError {
    /// The executor failed as a whole.
    #[error("step failed: {0}")]
    Failed(String),
}

/// Computes steps. Lives on the engine thread.
pub trait Executor: Send {
    /// Width of a row of logits.
    fn vocab_size(&self) -> usize;

    /// Layers of the model (`hidden_l2` has one entry more).
    fn num_layers(&self) -> usize;

    /// How many KV blocks the pool holds.
    fn num_blocks(&self) -> usize;

    /// Bytes of one KV block over all layers.
    fn block_bytes(&self) -> usize;

    /// Names of the adapters that rows may run with.
    fn adapters(&self) -> &[String] {
        &[]
    }

    /// Runs one step and fills `result`.
    ///
    /// # Errors
    /// A fault of the executor; logits that are not finite are not a fault of
    /// the executor but of the sequence, and are the engine's to find.
    fn forward(&mut self, batch: &Batch, result: &mut StepResult) -> Result<(), ExecError>;

    /// What matrix products have cost since the start, if it is counted.
    fn work(&self) -> WorkCounts {
        WorkCounts::default()
    }

    /// Runs `task(0..n)` on the compute workers (order and thread unspecified)
    /// and returns when all are done. Used to sample rows side by side.
    fn run_parallel(&self, n: usize, task: &(dyn Fn(usize) + Sync)) {
        (0..n).for_each(task);
    }
}
