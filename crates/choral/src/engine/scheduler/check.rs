//! The scheduler's invariants, for tests and for debug builds that go idle.

use super::{Scheduler, SeqId};
use crate::engine::batch::BLOCK_TOKENS;

impl Scheduler {
    /// Whether blocks are conserved and every sequence is where it belongs. To be
    /// called between steps.
    pub(crate) fn check_integrity(&self) -> Result<(), String> {
        let tables = self.slab.iter().map(|sequence| &sequence.table);
        self.ledger.check_integrity(tables)?;
        self.check_ranks(self.running.iter())?;
        self.check_ranks(self.waiting.iter())?;
        let num_live = self.slab.iter().count();
        if self.running.len() + self.waiting.len() != num_live {
            return Err(format!("{num_live} sequences do not all run or wait"));
        }
        if self.requests.values().map(Vec::len).sum::<usize>() != num_live {
            return Err(format!("{num_live} sequences do not all have a request"));
        }
        for id in &self.waiting {
            let sequence = &self.slab[*id];
            if sequence.num_computed > 0 || !sequence.table.columns().is_empty() {
                return Err(format!("{sequence:?} waits and holds blocks"));
            }
        }
        for id in &self.running {
            let sequence = &self.slab[*id];
            let computed = sequence.num_computed;
            if sequence.num_to_run() == 0 {
                return Err(format!("{sequence:?} has nothing to run"));
            }
            if computed > sequence.table.room() {
                return Err(format!("{sequence:?} has lost blocks"));
            }
            for (&kind, column) in self.needs.kinds().iter().zip(sequence.table.columns()) {
                if column.first() != kind.first_block(computed) {
                    return Err(format!("{sequence:?} holds too much or too little"));
                }
                let most = kind.most_blocks(usize::MAX, self.needs.step_tokens());
                if column.end() - column.first() > most {
                    return Err(format!("{sequence:?} holds more than was planned"));
                }
                let room = column.end() * BLOCK_TOKENS;
                if kind.window.is_none() && sequence.num_to_run() > 1 && sequence.len() > room {
                    return Err(format!("{sequence:?} was admitted without all its blocks"));
                }
            }
        }
        Ok(())
    }

    fn check_ranks<'a>(&self, ids: impl Iterator<Item = &'a SeqId>) -> Result<(), String> {
        let ranks: Vec<_> = ids.map(|&id| self.slab[id].rank()).collect();
        if ranks.is_sorted_by(|a, b| a < b) {
            Ok(())
        } else {
            Err(format!("out of order: {ranks:?}"))
        }
    }
}
