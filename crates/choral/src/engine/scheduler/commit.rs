//! What a step leaves behind: tokens, answers that split off, and ends.

use super::sequence::{Finish, Sequence};
use super::step::{Committed, Draw, Ended, ScheduledStep, SeqId};
use super::{RequestId, Scheduler};
use crate::engine::request::FinishReason;
use crate::kv::{BlockTable, Tokens};
use std::ops::ControlFlow;

impl Scheduler {
    /// Takes in what a step computed: one draw for each that its rows asked for,
    /// in their order. Appends what came of each to `committed`, in the same order.
    pub(crate) fn commit(
        &mut self,
        step: &ScheduledStep,
        draws: &[Draw],
        committed: &mut Vec<Committed>,
    ) {
        let mut draws = draws.iter().copied();
        for row in &step.rows {
            let sequence = &mut self.slab[row.seq];
            sequence.num_computed = row.start + row.len;
            sequence.num_reported = sequence.num_reported.max(row.prompt_positions.end);
            let tokens = Tokens {
                prompt: &sequence.prompt,
                output: &sequence.output,
                mix: sequence.rules.mix.number(),
                images: &sequence.rules.images,
            };
            let (table, num_computed) = (&mut sequence.table, sequence.num_computed);
            self.ledger.seal(table, tokens, num_computed);
            self.ledger.slide(table, num_computed);
            if !row.completes {
                continue;
            }
            let num_forks = std::mem::take(&mut sequence.num_forks);
            let first_choice = sequence.choice;
            let mut own = None;
            for choice in first_choice..=first_choice + num_forks {
                let has_draw = row.num_draws > 0;
                let draw = has_draw.then(|| draws.next().expect("one for each"));
                let verdict = judge(&self.slab[row.seq], draw);
                committed.push(Committed {
                    request: row.request,
                    choice,
                    has_draw,
                    finish: verdict.clone().break_value(),
                });
                match verdict.continue_value() {
                    // The answers that split off share the sequence as it is
                    // before its own token, so that one comes last.
                    Some(token) if choice == first_choice => own = Some(token),
                    Some(token) => self.fork(row.seq, choice, token),
                    None => {}
                }
            }
            match own {
                Some(token) => self.slab[row.seq].output.push(token),
                None => self.end(row.seq),
            }
        }
        debug_assert_eq!(draws.len(), 0, "every draw was asked for");
    }

    /// Ends all sequences of a step that could not be computed.
    pub(crate) fn fail_step(&mut self, step: &ScheduledStep, ended: &mut Vec<Ended>) {
        for row in &step.rows {
            self.end_reported(row.seq, ended);
        }
    }

    /// Ends all answers of a request that are still in the making.
    pub(crate) fn abort(&mut self, request: RequestId, ended: &mut Vec<Ended>) {
        for id in self.requests.get(&request).cloned().unwrap_or_default() {
            self.end_reported(id, ended);
        }
    }

    /// Ends one answer of a request, if it is still in the making; returns whether
    /// it was. Answers that have not split off yet cannot be ended one by one, nor
    /// need they be: they have no token that could be the last.
    pub(crate) fn abort_choice(&mut self, request: RequestId, choice: u32) -> bool {
        let sequences = self.requests.get(&request).into_iter().flatten();
        let found = sequences
            .copied()
            .find(|&id| self.slab[id].choice == choice && self.slab[id].num_forks == 0);
        if let Some(id) = found {
            self.end(id);
        }
        found.is_some()
    }

    /// Every request that is not done, oldest first.
    pub(crate) fn live_requests(&self) -> Vec<RequestId> {
        let mut requests: Vec<_> = self.requests.keys().copied().collect();
        requests.sort_unstable();
        requests
    }

    pub(crate) fn is_live(&self, request: RequestId) -> bool {
        self.requests.contains_key(&request)
    }

    /// Splits `choice` off from a sequence whose prompt was just computed. It
    /// starts with all the computed blocks, or without a free slot with none.
    fn fork(&mut self, from: SeqId, choice: u32, token: u32) {
        let has_slot = self.running.len() < self.config.max_num_seqs;
        let parent = &self.slab[from];
        let mut child = Sequence {
            request: parent.request,
            choice,
            arrival: parent.arrival,
            prompt: parent.prompt.clone(),
            output: vec![token],
            num_computed: 0,
            table: BlockTable::empty(),
            rules: parent.rules.clone(),
            num_forks: 0,
            num_reported: parent.num_reported,
            was_admitted: true,
        };
        if has_slot {
            child.table = self.ledger.fork(&parent.table);
            child.num_computed = parent.num_computed;
            child.reserve(&self.ledger);
        }
        let request = child.request;
        let id = self.slab.insert(child);
        self.requests
            .get_mut(&request)
            .expect("the parent is live")
            .push(id);
        if has_slot {
            self.insert_running(id);
        } else {
            self.insert_waiting(id);
        }
    }

    /// Ends a sequence, and with it the answers that have not split off yet.
    fn end_reported(&mut self, id: SeqId, ended: &mut Vec<Ended>) {
        let sequence = &self.slab[id];
        let (request, first) = (sequence.request, sequence.choice);
        ended.extend((first..=first + sequence.num_forks).map(|choice| Ended { request, choice }));
        self.end(id);
    }

    /// The last of a sequence.
    fn end(&mut self, id: SeqId) {
        self.release_blocks(id);
        self.running.retain(|&other| other != id);
        self.waiting.retain(|&other| other != id);
        let request = self.slab.remove(id).request;
        let siblings = self.requests.get_mut(&request).expect("it was live");
        siblings.retain(|&other| other != id);
        if siblings.is_empty() {
            self.requests.remove(&request);
        }
    }
}

/// The token that a sequence goes on with, or why it does not. Without a draw it
/// has had all that it asked for.
fn judge(sequence: &Sequence, draw: Option<Draw>) -> ControlFlow<Finish, u32> {
    match draw {
        None => ControlFlow::Break(Finish::LENGTH),
        Some(Draw::Failed) => ControlFlow::Break(Finish {
            reason: FinishReason::Error,
            stop: None,
        }),
        Some(Draw::Token(token)) => {
            let num_before = sequence.output.len();
            match sequence.rules.verdict(num_before, token) {
                Some(finish) => ControlFlow::Break(finish),
                None => ControlFlow::Continue(token),
            }
        }
    }
}
