//! The one seam between scheduling and computing: a step's work, and its result.
//!
//! A [`Batch`] is ragged: rows of different sequences lie one behind the other,
//! with no padding. The scheduler fills it, an [`Executor`] reads it; they share
//! [`BlockId`]s and nothing else.

use crate::vision::ImageEmbedding;
use choral_kernels::WorkCounts;

/// Tokens per KV block. Attention walks a sequence's cache block by block in
/// this size, so it is part of the order of accumulation.
pub const BLOCK_TOKENS: usize = 16;

/// Names one block of KV memory: [`BLOCK_TOKENS`] positions in every layer of one
/// group, whichever asks for it.
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

/// Tokens of a step that are a picture's: their vectors are the picture's, not the
/// embedding's.
#[derive(Debug, Clone)]
pub struct ImageRows {
    /// Index of the first of them in the step.
    pub first_token: u32,
    /// How many.
    pub len: u32,
    /// Which of the picture's tokens the first is.
    pub first_row: u32,
    /// The picture.
    pub image: ImageEmbedding,
}

/// The layers that see equally far back, and so keep the same positions.
///
/// They are cut into groups of equally many layers, as many in every kind's, so that
/// one pool of blocks serves all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvKind {
    /// How many positions a query sees, itself included; `None`: all.
    pub window: Option<usize>,
    /// Groups of layers; each takes its own block for the same positions.
    pub groups: usize,
}

impl KvKind {
    /// All layers of a model in one group, none with a window.
    pub const WHOLE: Self = Self {
        window: None,
        groups: 1,
    };

    /// The first of its sequence's blocks that a query at `position`, or one behind
    /// it, can see.
    pub fn first_block(self, position: usize) -> usize {
        self.window.map_or(0, |window| {
            (position + 1).saturating_sub(window.max(1)) / BLOCK_TOKENS
        })
    }

    /// The most blocks that one of its groups holds at a time for a sequence of
    /// `num_tokens` tokens that runs up to `step_tokens` of them in a step.
    pub fn most_blocks(self, num_tokens: usize, step_tokens: usize) -> usize {
        let all = num_tokens.div_ceil(BLOCK_TOKENS);
        self.window.map_or(all, |window| {
            // A step's tokens and what the first of them sees, wherever it begins.
            let span = window.max(1).saturating_add(step_tokens.max(1)) - 1;
            all.min((span - 1).div_ceil(BLOCK_TOKENS) + 1)
        })
    }
}

/// A step's block tables in one group of layers.
#[derive(Debug, Default, Clone)]
pub struct BlockTables {
    /// `[rows]`: which of its sequence's blocks row `r`'s table begins with. What lies
    /// before it, no token of the row sees.
    pub first_blocks: Vec<u32>,
    /// `[rows + 1]`: row `r` owns `block_ids[cu_blocks[r]..cu_blocks[r + 1]]`.
    pub cu_blocks: Vec<u32>,
    /// Row after row: position `p` of a row lives in its sequence's block
    /// `p / BLOCK_TOKENS`, slot `p % BLOCK_TOKENS`.
    pub block_ids: Vec<BlockId>,
}

impl BlockTables {
    fn clear(&mut self) {
        self.first_blocks.clear();
        self.cu_blocks.clear();
        self.cu_blocks.push(0);
        self.block_ids.clear();
    }

    /// Ends a row whose blocks were appended: they are its sequence's from
    /// `first_block` on.
    pub fn end_row(&mut self, first_block: usize) {
        self.first_blocks.push(first_block as u32);
        self.cu_blocks.push(self.block_ids.len() as u32);
    }
}

/// One step's work. All vectors are reused from step to step.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Blocks to copy before anything is computed (copy-on-write): source,
    /// destination. Copied whole and in this order: a later copy may overwrite an
    /// earlier one's source.
    pub copies: Vec<(BlockId, BlockId)>,
    /// `[tokens]`: the tokens to run, row after row.
    pub token_ids: Vec<u32>,
    /// `[tokens]`: each token's position in its own sequence.
    pub positions: Vec<u32>,
    /// `[tokens]`: what each token's rotary embedding turns by, in time, height and
    /// width: its position, unless pictures are at it or before it.
    pub turns: Vec<[u32; 3]>,
    /// `[rows + 1]`: row `r` is tokens `cu_tokens[r]..cu_tokens[r + 1]`, which
    /// are consecutive positions of one sequence.
    pub cu_tokens: Vec<u32>,
    /// `[groups]`: where rows lie, in each group of layers.
    pub tables: Vec<BlockTables>,
    /// Indices into `token_ids`, ascending, whose logits are wanted.
    pub logit_tokens: Vec<u32>,
    /// Indices into `token_ids` whose hidden-state norms are wanted
    /// (diagnostics; normally empty).
    pub hidden_tokens: Vec<u32>,
    /// Adapters of rows, by row; each at most once a row. Rows without have none.
    pub adapters: Vec<RowAdapter>,
    /// Tokens that are pictures', by token.
    pub images: Vec<ImageRows>,
}

impl Default for Batch {
    /// For a model whose layers are one group.
    fn default() -> Self {
        Self::new(1)
    }
}

impl Batch {
    /// An empty batch for a model whose layers are in that many groups.
    pub fn new(groups: usize) -> Self {
        let mut batch = Self {
            copies: Vec::new(),
            token_ids: Vec::new(),
            positions: Vec::new(),
            turns: Vec::new(),
            cu_tokens: Vec::new(),
            tables: vec![BlockTables::default(); groups],
            logit_tokens: Vec::new(),
            hidden_tokens: Vec::new(),
            adapters: Vec::new(),
            images: Vec::new(),
        };
        batch.clear();
        batch
    }

    /// Number of rows (sequences) in this step.
    pub fn num_rows(&self) -> usize {
        self.cu_tokens.len().saturating_sub(1)
    }

    /// Empties the batch, keeping its memory.
    pub fn clear(&mut self) {
        self.copies.clear();
        self.token_ids.clear();
        self.positions.clear();
        self.turns.clear();
        self.cu_tokens.clear();
        self.cu_tokens.push(0);
        self.tables.iter_mut().for_each(BlockTables::clear);
        self.logit_tokens.clear();
        self.hidden_tokens.clear();
        self.adapters.clear();
        self.images.clear();
    }

    /// Appends a row: tokens, given in two pieces, at consecutive positions from
    /// `start` on. Its blocks go to the [`tables`](Self::tables), a row in each.
    /// Returns the index of the row's first token in the batch.
    pub fn push_row(&mut self, token_ids: [&[u32]; 2], start: usize) -> usize {
        let first = self.token_ids.len();
        for piece in token_ids {
            self.token_ids.extend_from_slice(piece);
        }
        let end = start + self.token_ids.len() - first;
        self.positions.extend((start..end).map(|p| p as u32));
        self.turns.extend((start..end).map(|p| [p as u32; 3]));
        self.cu_tokens.push(self.token_ids.len() as u32);
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

    /// What its layers keep. A batch's groups are those of the first kind, then those
    /// of the second, and so on.
    fn kv_kinds(&self) -> Vec<KvKind> {
        vec![KvKind::WHOLE]
    }

    /// How many KV blocks the pool holds.
    fn num_blocks(&self) -> usize;

    /// Bytes of one KV block: of one group of layers.
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
