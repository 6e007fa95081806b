//! An executor without a model, for tests of everything above one.
//!
//! [`FakeExecutor`] keeps what a real one keeps, a pool of KV blocks, but each slot
//! holds only the token, the position and the group of layers that were written to it.
//! Its logits are a hash of what a row *reads back* through its block tables, in each
//! group as far as its window reaches. So a wrong table, a missed copy, a stale prefix,
//! a block given back too early or a slot written twice changes the answer, and
//! [`fake_logits`], which knows no blocks, says what the answer should have been.
//! Adapters change what is written: with them a token counts as [`changed`]; and so do
//! pictures, and what a token turns by ([`placed`]).

use super::batch::{
    BLOCK_TOKENS, Batch, BlockId, BlockTables, ExecError, Executor, KvKind, StepResult,
};
use crate::vision::ContentHash;
use crossbeam_channel::{Receiver, Sender};
use std::collections::HashMap;

/// The fake model's number of layers.
pub(crate) const FAKE_LAYERS: usize = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slot {
    token: u32,
    position: u32,
    group: u32,
}

const EMPTY: Slot = Slot {
    token: u32::MAX,
    position: u32::MAX,
    group: u32::MAX,
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
    kinds: Vec<KvKind>,
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
            kinds: vec![KvKind::WHOLE],
            memory: vec![[EMPTY; BLOCK_TOKENS]; num_blocks],
            faults: HashMap::new(),
            gate: None,
        }
    }

    /// The same with layers of those kinds.
    #[must_use]
    pub(crate) fn with_kinds(mut self, kinds: Vec<KvKind>) -> Self {
        self.kinds = kinds;
        self
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

    /// What a query at position `last` of row `row` sees.
    fn read(&self, batch: &Batch, row: usize, last: usize) -> u64 {
        let tables: Vec<_> = batch.tables.iter().map(|t| Table::of(t, row)).collect();
        fold(&self.kinds, last, |group, position| {
            let block = tables[group].block(position);
            self.memory[block.0 as usize][position % BLOCK_TOKENS]
        })
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

    fn kv_kinds(&self) -> Vec<KvKind> {
        self.kinds.clone()
    }

    fn block_bytes(&self) -> usize {
        size_of::<[Slot; BLOCK_TOKENS]>()
    }

    fn forward(&mut self, batch: &Batch, result: &mut StepResult) -> Result<(), ExecError> {
        if let Some((arrive, permitted)) = &self.gate {
            let _ = arrive.send(());
            let _ = permitted.recv();
        }
        check_batch(batch, &self.kinds, self.memory.len()).map_err(ExecError::Failed)?;
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
        for (group, tables) in batch.tables.iter().enumerate() {
            for row in rows(batch) {
                for (at, (&token, &position)) in (row.first..).zip(tokens_of(&row)) {
                    let token = placed(token, position, batch.turns[at], picture(batch, at));
                    let block = Table::of(tables, row.index).block(position as usize);
                    let slot = &mut self.memory[block.0 as usize];
                    slot[position as usize % BLOCK_TOKENS] = Slot {
                        token: changed(token, &row.adapters),
                        position,
                        group: group as u32,
                    };
                }
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
                let state = self.read(batch, row.index, last);
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

fn tokens_of<'a>(row: &Row<'a>) -> impl Iterator<Item = (&'a u32, &'a u32)> {
    row.token_ids.iter().zip(row.positions)
}

/// The picture that token `at` of a batch is of, and which of its tokens.
fn picture(batch: &Batch, at: usize) -> Option<(ContentHash, usize)> {
    let rows = batch.images.iter().find(|rows| {
        let first = rows.first_token as usize;
        (first..first + rows.len as usize).contains(&at)
    })?;
    let token = rows.first_row as usize + at - rows.first_token as usize;
    assert!(
        token < rows.image.num_tokens(),
        "a token that the picture lacks"
    );
    Some((rows.image.content_hash(), token))
}

/// What a token counts as that turns by something else than its position, or that is a
/// picture's.
pub(crate) fn placed(
    token: u32,
    position: u32,
    turn: [u32; 3],
    picture: Option<(ContentHash, usize)>,
) -> u32 {
    let mut state = 0;
    if turn != [position; 3] {
        state = turn
            .iter()
            .fold(1, |state, &by| mix(state ^ mix(u64::from(by))));
    }
    if let Some((ContentHash(hash), at)) = picture {
        state = mix(state ^ mix(hash as u64) ^ (at as u64) << 32);
    }
    token ^ state as u32
}

/// What a token counts as for a row with these adapters and scales.
pub(crate) fn changed(token: u32, adapters: &[(u32, f32)]) -> u32 {
    let absorb = |state: u64, &(adapter, scale): &(u32, f32)| {
        mix(state ^ mix(u64::from(adapter) << 32 | u64::from(scale.to_bits())))
    };
    token ^ adapters.iter().fold(0, absorb) as u32
}

/// The logits that follow `tokens`, without windows.
pub(crate) fn fake_logits(tokens: &[u32], vocab_size: usize) -> Vec<f32> {
    fake_logits_of(&[KvKind::WHOLE], tokens, vocab_size)
}

/// The hidden norms at the last of `tokens`, without windows.
pub(crate) fn fake_hidden_l2(tokens: &[u32]) -> Vec<f32> {
    fake_hidden_l2_of(&[KvKind::WHOLE], tokens)
}

/// The logits that follow `tokens` with layers of those kinds.
pub(crate) fn fake_logits_of(kinds: &[KvKind], tokens: &[u32], vocab_size: usize) -> Vec<f32> {
    logits_of(state_of(kinds, tokens), vocab_size)
}

/// The hidden norms at the last of `tokens` with layers of those kinds.
pub(crate) fn fake_hidden_l2_of(kinds: &[KvKind], tokens: &[u32]) -> Vec<f32> {
    hidden_of(state_of(kinds, tokens)).to_vec()
}

fn state_of(kinds: &[KvKind], tokens: &[u32]) -> u64 {
    fold(kinds, tokens.len() - 1, |group, position| Slot {
        token: tokens[position],
        position: position as u32,
        group: group as u32,
    })
}

/// All that a query at position `last` sees, group by group.
fn fold(kinds: &[KvKind], last: usize, slot: impl Fn(usize, usize) -> Slot) -> u64 {
    let groups = kinds
        .iter()
        .flat_map(|kind| (0..kind.groups).map(move |_| kind));
    let mut state = 0;
    for (group, kind) in groups.enumerate() {
        let first = kind.window.map_or(0, |w| (last + 1).saturating_sub(w));
        for position in first..=last {
            let Slot {
                token,
                position,
                group,
            } = slot(group, position);
            let place = mix(u64::from(token) << 32 | u64::from(position));
            state = mix(state ^ place ^ u64::from(group) << 7);
        }
    }
    state
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
    index: usize,
    first: usize,
    token_ids: &'a [u32],
    positions: &'a [u32],
    adapters: Vec<(u32, f32)>,
}

/// A row's blocks in one group.
#[derive(Clone, Copy)]
struct Table<'a> {
    first: usize,
    blocks: &'a [BlockId],
}

impl<'a> Table<'a> {
    fn of(tables: &'a BlockTables, row: usize) -> Self {
        let blocks = tables.cu_blocks[row] as usize..tables.cu_blocks[row + 1] as usize;
        Self {
            first: tables.first_blocks[row] as usize,
            blocks: &tables.block_ids[blocks],
        }
    }

    fn block(self, position: usize) -> BlockId {
        self.blocks[position / BLOCK_TOKENS - self.first]
    }
}

fn rows(batch: &Batch) -> impl Iterator<Item = Row<'_>> {
    (0..batch.num_rows()).map(|row| {
        let tokens = batch.cu_tokens[row] as usize..batch.cu_tokens[row + 1] as usize;
        let own = batch.adapters.iter().filter(|a| a.row as usize == row);
        Row {
            index: row,
            first: tokens.start,
            token_ids: &batch.token_ids[tokens.clone()],
            positions: &batch.positions[tokens],
            adapters: own.map(|a| (a.adapter, a.scale)).collect(),
        }
    })
}

/// Says what is wrong with a batch, if anything is: rows without tokens, padding,
/// positions that are not consecutive, tables with other blocks than those that the
/// row's tokens see, blocks outside of the pool or of two groups, and blocks that one
/// row writes and another one holds.
pub(crate) fn check_batch(
    batch: &Batch,
    kinds: &[KvKind],
    num_blocks: usize,
) -> Result<(), String> {
    let num_tokens = batch.token_ids.len();
    let ends_at =
        |cu: &[u32], end: usize| cu.first() == Some(&0) && cu.last() == Some(&(end as u32));
    if !ends_at(&batch.cu_tokens, num_tokens)
        || batch.positions.len() != num_tokens
        || batch.turns.len() != num_tokens
        || !batch.cu_tokens.is_sorted_by(|a, b| a < b)
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
    for row in rows(batch) {
        let (first, last) = (row.positions[0], row.positions[row.positions.len() - 1]);
        if !(first..=last).eq(row.positions.iter().copied()) {
            return Err(format!(
                "positions are not consecutive: {:?}",
                row.positions
            ));
        }
    }
    let copied = batch.copies.iter().flat_map(|&(from, to)| [from, to]);
    let held = batch.tables.iter().flat_map(|tables| &tables.block_ids);
    if let Some(block) = copied
        .chain(held.copied())
        .find(|block| block.0 as usize >= num_blocks)
    {
        return Err(format!("{block:?} is outside of the pool of {num_blocks}"));
    }
    let groups = kinds
        .iter()
        .flat_map(|kind| (0..kind.groups).map(move |_| kind));
    let mut group_of = HashMap::new();
    let mut num_groups = 0;
    for (group, (kind, tables)) in groups.zip(&batch.tables).enumerate() {
        num_groups += 1;
        for &block in &tables.block_ids {
            if *group_of.entry(block).or_insert(group) != group {
                return Err(format!("{block:?} is held by two groups"));
            }
        }
        check_tables(batch, *kind, tables)?;
    }
    if num_groups != batch.tables.len() {
        return Err(format!(
            "{} tables, {num_groups} groups",
            batch.tables.len()
        ));
    }
    Ok(())
}

fn check_tables(batch: &Batch, kind: KvKind, tables: &BlockTables) -> Result<(), String> {
    let num_rows = batch.num_rows();
    if tables.first_blocks.len() != num_rows
        || tables.cu_blocks.len() != num_rows + 1
        || tables.cu_blocks.first() != Some(&0)
        || tables.cu_blocks.last() != Some(&(tables.block_ids.len() as u32))
        || !tables.cu_blocks.is_sorted_by(|a, b| a < b)
    {
        return Err(format!("tables do not add up: {tables:?}"));
    }
    let mut holders: HashMap<BlockId, usize> = HashMap::new();
    for block in &tables.block_ids {
        *holders.entry(*block).or_default() += 1;
    }
    for row in rows(batch) {
        let first = row.positions[0] as usize;
        let last = first + row.positions.len() - 1;
        let table = Table::of(tables, row.index);
        let seen = kind.window.map_or(0, |w| (first + 1).saturating_sub(w));
        let needed = seen / BLOCK_TOKENS..last / BLOCK_TOKENS + 1;
        if needed != (table.first..table.first + table.blocks.len()) {
            let (first, blocks) = (table.first, table.blocks.len());
            return Err(format!(
                "{blocks} blocks from {first} on, expected {needed:?}"
            ));
        }
        let written = &table.blocks[first / BLOCK_TOKENS - table.first..];
        if let Some(block) = written.iter().find(|block| holders[block] > 1) {
            return Err(format!("{block:?} is written by one row and held by two"));
        }
    }
    Ok(())
}
