//! Decides which tokens run in the next step.
//!
//! Owns every [`Sequence`] and the ids of their KV blocks. Knows nothing of
//! tensors, text, threads or time: that is what makes it testable.
//! Read [`Scheduler::schedule`] first, then [`Scheduler::commit`].
//!
//! The rules, which the property tests hold it to:
//!
//! - **First come, first served.** The older of two sequences gets tokens, slots
//!   and blocks first, and nobody overtakes the head of the queue. The oldest of
//!   those that run has a row in every step. So nobody starves.
//! - **Decoding rows first**, one token each; then prompt chunks by age; then new
//!   sequences. A step has at most `max_num_batched_tokens` tokens of at most
//!   `max_num_seqs` sequences.
//! - **A sequence gets the blocks for all its tokens when it is admitted**, and
//!   one at a time while it decodes. Of windowed layers it gets as many as it can need
//!   at a time, and gives up those that it has passed before it asks for others.
//! - **When blocks run out, the youngest gives way**: its blocks are freed, its tokens
//!   kept, and it waits to be computed again. Room is made by age, before anything is
//!   placed, and victims are picked by youth, so a victim never has a row in the step
//!   that preempts it.
//! - **One prompt, `n` answers**: the prompt is computed once. At its end all
//!   answers draw from the same logits, and share its blocks until they write.

#[cfg(any(test, debug_assertions))]
mod check;
mod commit;
mod sequence;
mod step;

#[cfg(test)]
mod tests;

pub(crate) use sequence::{Finish, RequestId, Rules, Sequence};
pub(crate) use step::{Admission, Committed, Draw, Ended, ScheduledRow, ScheduledStep, SeqId};

use super::batch::{BLOCK_TOKENS, Batch, KvKind, RowAdapter};
use crate::kv::{BlockLedger, BlockTable, KvNeeds, OutOfBlocks};
use sequence::Slab;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// The scheduler's limits, all at least 1.
#[derive(Debug, Clone)]
pub(crate) struct SchedulerConfig {
    /// Sequences in one step.
    pub(crate) max_num_seqs: usize,
    /// Tokens in one step. At least `max_num_seqs`, or decoding rows could keep
    /// the oldest prompt waiting.
    pub(crate) max_num_batched_tokens: usize,
    /// Tokens of one sequence in one step.
    pub(crate) prefill_chunk: usize,
    /// Rows of prompt logits in one step: vocabularies are large.
    pub(crate) max_prompt_logit_rows: usize,
    /// Blocks in the KV pool.
    pub(crate) num_blocks: u32,
    /// What the model's layers keep; at least one kind.
    pub(crate) kinds: Vec<KvKind>,
    pub(crate) prefix_caching: bool,
}

impl SchedulerConfig {
    /// What sequences need of the pool.
    pub(crate) fn needs(&self) -> KvNeeds {
        let step_tokens = self.prefill_chunk.min(self.max_num_batched_tokens);
        KvNeeds::new(self.kinds.clone(), step_tokens)
    }
}

/// A request that the whole pool could not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooManyBlocks {
    pub(crate) needed: usize,
    pub(crate) available: usize,
}

/// Totals since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct SchedulerTotals {
    pub(crate) num_preemptions: u64,
    /// Tokens looked up in the prefix cache.
    pub(crate) prefix_query_tokens: u64,
    /// Those of them that it had.
    pub(crate) prefix_hit_tokens: u64,
}

/// Every sequence, and who of them runs.
#[derive(Debug)]
pub(crate) struct Scheduler {
    config: SchedulerConfig,
    needs: KvNeeds,
    ledger: BlockLedger,
    slab: Slab,
    /// A request's live sequences. Before its prompt is computed there is one.
    requests: HashMap<RequestId, Vec<SeqId>>,
    /// By rank, oldest first. These hold blocks; all others hold none.
    running: Vec<SeqId>,
    /// By rank, oldest first: new ones, preempted ones, and answers that split
    /// off when no slot was free.
    waiting: VecDeque<SeqId>,
    num_arrived: u64,
    totals: SchedulerTotals,
}

impl Scheduler {
    pub(crate) fn new(config: SchedulerConfig) -> Self {
        let needs = config.needs();
        Self {
            ledger: BlockLedger::new(needs.clone(), config.num_blocks, config.prefix_caching),
            needs,
            config,
            slab: Slab::default(),
            requests: HashMap::new(),
            running: Vec::new(),
            waiting: VecDeque::new(),
            num_arrived: 0,
            totals: SchedulerTotals::default(),
        }
    }

    /// Queues a request. `prompt` is not empty and `request` is new.
    ///
    /// # Errors
    /// If it could not run even alone. Everything else gets its turn.
    pub(crate) fn add(
        &mut self,
        request: RequestId,
        prompt: Arc<[u32]>,
        rules: Rules,
    ) -> Result<(), TooManyBlocks> {
        assert!(!prompt.is_empty(), "callers refuse empty prompts");
        let needed = self.needs.blocks(rules.most_computed(prompt.len()));
        let available = self.ledger.num_blocks();
        if needed > available {
            return Err(TooManyBlocks { needed, available });
        }
        let id = self.slab.insert(Sequence {
            request,
            choice: 0,
            arrival: self.num_arrived,
            prompt,
            output: Vec::new(),
            num_computed: 0,
            table: BlockTable::empty(),
            num_forks: rules.n - 1,
            rules: Arc::new(rules),
            num_reported: 0,
            was_admitted: false,
        });
        self.num_arrived += 1;
        self.requests.insert(request, vec![id]);
        self.waiting.push_back(id);
        Ok(())
    }

    /// Fills `batch` and `step` with the next step's work. There is some whenever
    /// there are sequences. [`commit`](Self::commit) or
    /// [`fail_step`](Self::fail_step) comes next.
    pub(crate) fn schedule(&mut self, batch: &mut Batch, step: &mut ScheduledStep) {
        batch.clear();
        step.clear();
        self.reserve_tables(batch);
        self.make_room(batch, step);
        self.place_decoding(batch, step);
        self.place_prefilling(batch, step);
        self.admit(batch, step);
    }

    /// Makes room in the batch's memory for all that those that run may come to hold.
    fn reserve_tables(&self, batch: &mut Batch) {
        let mut tables = batch.tables.as_mut_slice();
        for (kind, &KvKind { groups, .. }) in self.needs.kinds().iter().enumerate() {
            let most = |&id: &SeqId| self.needs.most_blocks(kind, self.slab[id].most_computed());
            let num_blocks = self.running.iter().map(most).sum();
            let (own, others) = tables.split_at_mut(groups);
            for table in own {
                table.block_ids.reserve(num_blocks);
            }
            tables = others;
        }
    }

    /// Makes what runs in this step writable, by age, preempting from the youngest on
    /// where blocks run out.
    fn make_room(&mut self, batch: &mut Batch, step: &mut ScheduledStep) {
        let decodes = |id: &&SeqId| self.slab[**id].num_to_run() == 1;
        let num_decoding = self.running.iter().filter(decodes).count();
        let mut prefill_budget = self.config.max_num_batched_tokens - num_decoding;
        let mut at = 0;
        while at < self.running.len() {
            let id = self.running[at];
            at += 1;
            let mut len = self.slab[id].num_to_run();
            if len > 1 {
                len = len.min(self.config.prefill_chunk).min(prefill_budget);
                prefill_budget -= len;
            }
            if len > 0 && self.make_writable(id, len, batch, step).is_err() {
                // It was the youngest itself, so nobody comes after it.
                return;
            }
        }
    }

    /// Makes the next `len` positions of `id` writable, preempting from the youngest on
    /// until there are blocks for them.
    fn make_writable(
        &mut self,
        id: SeqId,
        len: usize,
        batch: &mut Batch,
        step: &mut ScheduledStep,
    ) -> Result<(), OutOfBlocks> {
        loop {
            let sequence = &mut self.slab[id];
            let positions = sequence.num_computed..sequence.num_computed + len;
            let (table, copies) = (&mut sequence.table, &mut batch.copies);
            if self.ledger.make_writable(table, positions, copies).is_ok() {
                return Ok(());
            }
            let victim = self.running.pop().expect("`id` runs");
            self.preempt(victim);
            step.num_preempted += 1;
            if victim == id {
                return Err(OutOfBlocks);
            }
        }
    }

    /// Rows with one token to run, oldest first.
    fn place_decoding(&mut self, batch: &mut Batch, step: &mut ScheduledStep) {
        for at in 0..self.running.len() {
            let id = self.running[at];
            if self.slab[id].num_to_run() == 1 && self.budget(batch) > 0 {
                self.place(id, 1, batch, step);
            }
        }
    }

    /// Chunks of sequences that are on their way to their last token.
    fn place_prefilling(&mut self, batch: &mut Batch, step: &mut ScheduledStep) {
        for at in 0..self.running.len() {
            let id = self.running[at];
            // Those with one token to run were placed above, or the budget is spent.
            if self.slab[id].num_to_run() > 1 {
                let len = self.chunk(id, batch, step).min(self.slab[id].room());
                self.place(id, len, batch, step);
            }
        }
    }

    /// Takes in waiting sequences, oldest first, until the head finds no room.
    fn admit(&mut self, batch: &mut Batch, step: &mut ScheduledStep) {
        while let Some(&id) = self.waiting.front() {
            let num_slots = self.config.max_num_seqs.saturating_sub(self.running.len());
            if num_slots < self.slots_wanted(id) || self.chunk(id, batch, step) == 0 {
                return;
            }
            if !self.open_table(id) {
                return;
            }
            self.waiting.pop_front();
            let sequence = &mut self.slab[id];
            if !sequence.was_admitted {
                sequence.was_admitted = true;
                step.admitted.push(Admission {
                    request: sequence.request,
                    num_cached_tokens: sequence.num_computed,
                });
            }
            self.insert_running(id);
            let len = self.chunk(id, batch, step).min(self.slab[id].room());
            self.place(id, len, batch, step);
        }
    }

    /// Slots that must be free before `id` is admitted. Answers that find no slot
    /// when they split off wait for one and compute the prompt again; with the
    /// prefix cache that is less than a block, without it all of the prompt, so
    /// then the slots are waited for at the start.
    fn slots_wanted(&self, id: SeqId) -> usize {
        if self.ledger.caches_prefixes() || self.running.is_empty() {
            1
        } else {
            let n = self.slab[id].num_forks as usize + 1;
            n.min(self.config.max_num_seqs)
        }
    }

    /// Gives a waiting sequence blocks for all its tokens, if there is room.
    fn open_table(&mut self, id: SeqId) -> bool {
        let readable = self.slab[id].readable();
        if self.is_being_computed(id, readable) {
            return false;
        }
        // Every running sequence can then grow by a block before anybody must be
        // preempted: without this, a newcomer and the youngest would take turns in
        // throwing each other out. It also keeps the preempted from coming back
        // for what was just taken from them. An empty engine gives all it has.
        let spare = if self.running.is_empty() {
            0
        } else {
            self.running.len() + 1
        };
        let sequence = &mut self.slab[id];
        let Some((table, num_cached)) = self.ledger.open(sequence.tokens(), readable, spare) else {
            assert!(
                !self.running.is_empty(),
                "`add` refuses what an empty pool cannot hold"
            );
            return false;
        };
        sequence.table = table;
        sequence.num_computed = num_cached;
        sequence.reserve(&self.ledger);
        if readable > 0 && self.ledger.caches_prefixes() {
            self.totals.prefix_query_tokens += sequence.len() as u64;
            self.totals.prefix_hit_tokens += num_cached as u64;
        }
        true
    }

    /// Whether somebody is at work on at least half of what `id` would have to
    /// compute. Then waiting saves more than it costs: rows of a batch job that
    /// share an instruction find it in the cache, instead of computing it side by
    /// side in their first step.
    fn is_being_computed(&mut self, id: SeqId, readable: usize) -> bool {
        if !self.ledger.caches_prefixes() || readable < BLOCK_TOKENS {
            return false;
        }
        let sequence = &self.slab[id];
        let readable_prompt = &sequence.prompt[..readable.min(sequence.prompt.len())];
        let shared = self
            .running
            .iter()
            .map(|&other| &self.slab[other])
            .filter(|other| other.num_to_run() > 1)
            .filter(|other| other.rules.mix == sequence.rules.mix)
            .map(|other| {
                let images = other.rules.images.num_common(&sequence.rules.images);
                num_common(&other.prompt, readable_prompt).min(images)
            })
            .max()
            .unwrap_or(0);
        let shared = shared / BLOCK_TOKENS * BLOCK_TOKENS;
        let cached = self.ledger.cached_tokens(sequence.tokens(), readable);
        shared > cached && 2 * (shared - cached) >= sequence.len() - cached
    }

    /// Tokens that this step has room for.
    fn budget(&self, batch: &Batch) -> usize {
        self.config.max_num_batched_tokens - batch.token_ids.len()
    }

    /// How many of its next tokens `id` may run in this step.
    fn chunk(&self, id: SeqId, batch: &Batch, step: &ScheduledStep) -> usize {
        let sequence = &self.slab[id];
        let len = sequence
            .num_to_run()
            .min(self.config.prefill_chunk)
            .min(self.budget(batch));
        let (from, to) = sequence.prompt_logits_owed();
        let from = from.max(sequence.num_computed);
        if from >= to {
            return len;
        }
        let num_taken: usize = step.rows.iter().map(|row| row.prompt_positions.len()).sum();
        let num_rows = self.config.max_prompt_logit_rows - num_taken;
        if to - from <= num_rows {
            return len;
        }
        len.min(from + num_rows - sequence.num_computed)
    }

    /// Appends the next `len` tokens of `id` to the step.
    fn place(&mut self, id: SeqId, len: usize, batch: &mut Batch, step: &mut ScheduledStep) {
        if len == 0 {
            return;
        }
        let sequence = &self.slab[id];
        let start = sequence.num_computed;
        let end = start + len;
        let first = batch.push_row(sequence.tokens().pieces(start..end), start);
        self.ledger
            .write_row(&sequence.table, end, &mut batch.tables);
        let images = &sequence.rules.images;
        if !images.is_empty() {
            for (turn, position) in batch.turns[first..].iter_mut().zip(start..) {
                *turn = images.turn(position);
            }
            batch.images.extend(images.rows(start..end, first));
        }
        let row = (batch.num_rows() - 1) as u32;
        let members = sequence.rules.mix.members();
        batch
            .adapters
            .extend(members.map(|(adapter, scale)| RowAdapter {
                row,
                adapter,
                scale,
            }));

        let (from, to) = sequence.prompt_logits_owed();
        let (from, to) = (from.max(start), to.min(end));
        let prompt_positions = from..to.max(from);
        let prompt_logits = batch.logit_tokens.len();
        let in_batch = |position: usize| (first + position - start) as u32;
        batch
            .logit_tokens
            .extend(prompt_positions.clone().map(in_batch));

        let completes = end == sequence.len();
        let is_first = completes && sequence.output.is_empty();
        let wants_diagnostics = is_first && sequence.rules.diagnostics;
        let num_draws = if completes && sequence.rules.max_new_tokens > 0 {
            sequence.num_forks + 1
        } else {
            0
        };
        let draw_logits = (num_draws > 0 || wants_diagnostics).then(|| {
            batch.logit_tokens.push(in_batch(end - 1));
            batch.logit_tokens.len() - 1
        });
        let hidden = wants_diagnostics.then(|| {
            batch.hidden_tokens.push(in_batch(end - 1));
            batch.hidden_tokens.len() - 1
        });
        if sequence.output.is_empty() || len > 1 {
            step.num_prefill_tokens += len;
        } else {
            step.num_decode_tokens += len;
        }
        step.rows.push(ScheduledRow {
            seq: id,
            request: sequence.request,
            start,
            len,
            completes,
            num_draws,
            draw_logits,
            prompt_positions,
            prompt_logits,
            hidden,
        });
    }

    /// Frees the blocks of a running sequence and has it wait to be computed again.
    fn preempt(&mut self, id: SeqId) {
        self.release_blocks(id);
        self.slab[id].num_computed = 0;
        self.insert_waiting(id);
        self.totals.num_preemptions += 1;
    }

    /// The one way by which a sequence loses its blocks: finished, aborted and
    /// preempted ones all come through here.
    fn release_blocks(&mut self, id: SeqId) {
        self.ledger.release(&mut self.slab[id].table);
    }

    fn insert_running(&mut self, id: SeqId) {
        let rank = self.slab[id].rank();
        let at = self
            .running
            .partition_point(|&other| self.slab[other].rank() < rank);
        self.running.insert(at, id);
    }

    fn insert_waiting(&mut self, id: SeqId) {
        let rank = self.slab[id].rank();
        let at = self
            .waiting
            .partition_point(|&other| self.slab[other].rank() < rank);
        self.waiting.insert(at, id);
    }

    pub(crate) fn sequence(&self, id: SeqId) -> &Sequence {
        &self.slab[id]
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.running.is_empty() && self.waiting.is_empty()
    }

    pub(crate) fn num_running(&self) -> usize {
        self.running.len()
    }

    /// Sequences that wait and whose prompt has run before: preempted ones, and
    /// answers that split off when no slot was free.
    pub(crate) fn num_waiting_again(&self) -> usize {
        // The queue is served by age, so what was served before comes first.
        self.waiting
            .partition_point(|&id| self.slab[id].was_admitted)
    }

    pub(crate) fn ledger(&self) -> &BlockLedger {
        &self.ledger
    }

    pub(crate) fn totals(&self) -> SchedulerTotals {
        self.totals
    }
}

/// How many tokens two sequences begin with alike.
fn num_common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}
