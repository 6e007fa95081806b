//! An executor without a model, for tests of everything above one.
//!
//! [`FakeExecutor`] keeps what a real one keeps, a pool of KV blocks, but each slot
//! holds only the token and the position that were written to it. Its logits are a
//! hash of what a row *reads back* through its block table. So a wrong table, a
//! missed copy, a stale prefix or a slot written twice changes the answer, and
//! [`fake_logits`], which knows no blocks, says what the answer should have been.

use super::batch::{BLOCK_TOKENS, Batch, BlockId, ExecError, Executor, StepResult};
use crossbeam_channel::{Receiver, Sender};
use std::collections::HashMap;

/// The fake model's number of layers.
pub(crate) const FAKE_LAYERS: usize = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slot {
    token: u32,
    position: u32,
}

const EMPTY: Slot = Slot {
    token: u32::MAX,
    position: u32::MAX,
};

/// Something that goes wrong when a certain token is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The logits at that token's position are NaN.
    NanLogits,
    /// The step fails.
    Error,
    /// The executor panics.
    Panic,
}

/// An executor whose logits are a hash of each sequence's tokens.
#[derive(Debug)]
pub(crate) struct FakeExecutor {
    vocab_size: usize,
    memory: Vec<[Slot; BLOCK_TOKENS]>,
    faults: HashMap<u32, Fault>,
    gate: Option<(Sender<()>, Receiver<()>)>,
}

/// Holds an executor at the start of each step.
#[derive(Debug)]
pub(crate) struct Gate {
    arrivals: Receiver<()>,
    permits: Sender<()>,
}

impl Gate {
    /// Waits until a step has arrived at the gate.
    pub(crate) fn wait_for_step(&self) {
        let _ = self.arrivals.recv();
    }

    /// Lets one step through, now or when it comes.
    pub(crate) fn permit_step(&self) {
        let _ = self.permits.send(());
    }

    /// Takes the gate away: this and all later steps run freely.
    pub(crate) fn open(self) {
        drop(self);
    }
}

impl FakeExecutor {
    /// An executor with `num_blocks` blocks and `vocab_size` tokens.
    pub(crate) fn new(num_blocks: usize, vocab_size: usize) -> Self {
        Self {
            vocab_size,
            memory: vec![[EMPTY; BLOCK_TOKENS]; num_blocks],
            faults: HashMap::new(),
            gate: None,
        }
    }

    /// Lets `fault` happen whenever `token` is run.
    #[must_use]
    pub(crate) fn with_fault(mut self, token: u32, fault: Fault) -> Self {
        self.faults.insert(token, fault);
        self
    }

    /// Holds every step until the gate lets it through.
    #[must_use]
    pub(crate) fn with_gate(mut self) -> (Self, Gate) {
        let (arrive, arrivals) = crossbeam_channel::unbounded();
        let (permits, permitted) = crossbeam_channel::unbounded();
        self.gate = Some((arrive, permitted));
        (self, Gate { arrivals, permits })
    }

    fn slot(&self, blocks: &[BlockId], position: usize) -> Slot {
        self.memory[blocks[position / BLOCK_TOKENS].0 as usize][position % BLOCK_TOKENS]
    }

    fn fault(&self, token: u32, fault: Fault) -> bool {
        self.faults.get(&token) == Some(&fault)
    }
}

impl Executor for FakeExecutor {
    fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    fn num_layers(&self) -> usize {
        FAKE_LAYERS
    }

    fn num_blocks(&self) -> usize {
        self.memory.len()
    }

    fn block_bytes(&self) -> usize {
        size_of::<[Slot; BLOCK_TOKENS]>()
    }

    fn forward(&mut self, batch: &Batch, result: &mut StepResult) -> Result<(), ExecError> {
        if let Some((arrive, permitted)) = &self.gate {
            let _ = arrive.send(());
            let _ = permitted.recv();
        }
        check_batch(batch, self.memory.len()).map_err(ExecError::Failed)?;
        for &(from, to) in &batch.copies {
            self.memory[to.0 as usize] = self.memory[from.0 as usize];
        }
        for &token in &batch.token_ids {
            if self.fault(token, Fault::Error) {
                return Err(ExecError::Failed(format!("token {token} is cursed")));
            }
            assert!(!self.fault(token, Fault::Panic), "token {token} is haunted");
        }
        // All rows are written before any is read, as in a layer of a real model.
        for row in rows(batch) {
            for (&token, &position) in row.token_ids.iter().zip(row.positions) {
                let block = row.blocks[position as usize / BLOCK_TOKENS];
                self.memory[block.0 as usize][position as usize % BLOCK_TOKENS] =
                    Slot { token, position };
            }
        }
        result.logits.clear();
        result.hidden_l2.clear();
        for row in rows(batch) {
            for at in row.first..row.first + row.token_ids.len() {
                let wants = |list: &[u32]| list.binary_search(&(at as u32)).is_ok();
                let (logits, hidden) = (wants(&batch.logit_tokens), wants(&batch.hidden_tokens));
                if !logits && !hidden {
                    continue;
                }
                let last = batch.positions[at] as usize;
                let state = (0..=last)
                    .map(|position| self.slot(row.blocks, position))
                    .fold(0, |state, slot| absorb(state, slot.token, slot.position));
                if logits && self.fault(batch.token_ids[at], Fault::NanLogits) {
                    result.logits.extend(vec![f32::NAN; self.vocab_size]);
                } else if logits {
                    result.logits.extend(logits_of(state, self.vocab_size));
                }
                if hidden {
                    result.hidden_l2.extend(hidden_of(state));
                }
            }
        }
        Ok(())
    }
}

/// The logits that follow `tokens`.
pub(crate) fn fake_logits(tokens: &[u32], vocab_size: usize) -> Vec<f32> {
    logits_of(state_of(tokens), vocab_size)
}

/// The hidden norms at the last of `tokens`.
pub(crate) fn fake_hidden_l2(tokens: &[u32]) -> Vec<f32> {
    hidden_of(state_of(tokens)).to_vec()
}

fn state_of(tokens: &[u32]) -> u64 {
    (0..).zip(tokens).fold(0, |state, (position, &token)| {
        absorb(state, token, position)
    })
}

fn absorb(state: u64, token: u32, position: u32) -> u64 {
    mix(state ^ mix(u64::from(token) << 32 | u64::from(position)))
}

fn logits_of(state: u64, vocab_size: usize) -> Vec<f32> {
    (0..vocab_size as u64)
        .map(|token| unit(state.wrapping_add(mix(token))) * 8.0 - 4.0)
        .collect()
}

fn hidden_of(state: u64) -> [f32; FAKE_LAYERS + 1] {
    std::array::from_fn(|layer| unit(state ^ mix(1000 + layer as u64)))
}

/// A number in [0, 1), from the upper bits.
fn unit(x: u64) -> f32 {
    (mix(x) >> 40) as f32 / (1_u64 << 24) as f32
}

/// The finaliser of `SplitMix64` (Steele, Lea and Flood, 2014).
fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

struct Row<'a> {
    first: usize,
    token_ids: &'a [u32],
    positions: &'a [u32],
    blocks: &'a [BlockId],
}

fn rows(batch: &Batch) -> impl Iterator<Item = Row<'_>> {
    (0..batch.num_rows()).map(|row| {
        let tokens = batch.cu_tokens[row] as usize..batch.cu_tokens[row + 1] as usize;
        let blocks = batch.cu_blocks[row] as usize..batch.cu_blocks[row + 1] as usize;
        Row {
            first: tokens.start,
            token_ids: &batch.token_ids[tokens.clone()],
            positions: &batch.positions[tokens],
            blocks: &batch.block_ids[blocks],
        }
    })
}

/// Says what is wrong with a batch, if anything is: rows without tokens, padding,
/// positions that are not consecutive, tables too short or too long, blocks outside
/// of the pool, and blocks that one row writes and another one holds.
pub(crate) fn check_batch(batch: &Batch, num_blocks: usize) -> Result<(), String> {
    let num_tokens = batch.token_ids.len();
    let ends_at =
        |cu: &[u32], end: usize| cu.first() == Some(&0) && cu.last() == Some(&(end as u32));
    if !ends_at(&batch.cu_tokens, num_tokens)
        || !ends_at(&batch.cu_blocks, batch.block_ids.len())
        || batch.cu_blocks.len() != batch.cu_tokens.len()
        || batch.positions.len() != num_tokens
        || !batch.cu_tokens.is_sorted_by(|a, b| a < b)
        || !batch.cu_blocks.is_sorted_by(|a, b| a < b)
    {
        return Err(format!("rows do not add up: {batch:?}"));
    }
    for list in [&batch.logit_tokens, &batch.hidden_tokens] {
        let inside = list.last().is_none_or(|&at| (at as usize) < num_tokens);
        if !inside || !list.is_sorted_by(|a, b| a < b) {
            return Err(format!(
                "wanted tokens are out of order or outside: {list:?}"
            ));
        }
    }
    let copied = batch.copies.iter().flat_map(|&(from, to)| [from, to]);
    if let Some(block) = copied
        .chain(batch.block_ids.iter().copied())
        .find(|block| block.0 as usize >= num_blocks)
    {
        return Err(format!("{block:?} is outside of the pool of {num_blocks}"));
    }
    let mut holders: HashMap<BlockId, usize> = HashMap::new();
    for block in &batch.block_ids {
        *holders.entry(*block).or_default() += 1;
    }
    for row in rows(batch) {
        let (first, last) = (row.positions[0], row.positions[row.positions.len() - 1]);
        if !(first..=last).eq(row.positions.iter().copied()) {
            return Err(format!(
                "positions are not consecutive: {:?}",
                row.positions
            ));
        }
        if row.blocks.len() != last as usize / BLOCK_TOKENS + 1 {
            return Err(format!("{} blocks for position {last}", row.blocks.len()));
        }
        let written = &row.blocks[first as usize / BLOCK_TOKENS..];
        if let Some(block) = written.iter().find(|block| holders[block] > 1) {
            return Err(format!("{block:?} is written by one row and held by two"));
        }
    }
    Ok(())
}
