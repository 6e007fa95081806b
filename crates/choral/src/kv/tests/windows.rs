//! The ledger where layers have windows.

use super::*;
use proptest::prelude::*;
use std::collections::HashMap;

const STEP: usize = 32;

fn kind(window: impl Into<Option<usize>>, groups: usize) -> KvKind {
    KvKind {
        window: window.into(),
        groups,
    }
}

fn ledger(kinds: Vec<KvKind>, num_blocks: u32, prefix_caching: bool) -> BlockLedger {
    BlockLedger::new(KvNeeds::new(kinds, STEP), num_blocks, prefix_caching)
}

/// A sequence, as far as a scheduler would know it.
struct Running {
    table: BlockTable,
    tokens: Vec<u32>,
    num_computed: usize,
}

/// A ledger, and what a model would have written to its blocks.
struct World {
    kinds: Vec<KvKind>,
    ledger: BlockLedger,
    /// Of each block: which group wrote to it, and all tokens up to the last written.
    written: HashMap<BlockId, (usize, Vec<u32>)>,
    running: Vec<Running>,
}

impl World {
    fn new(kinds: Vec<KvKind>, num_blocks: u32, prefix_caching: bool) -> Self {
        Self {
            ledger: ledger(kinds.clone(), num_blocks, prefix_caching),
            kinds,
            written: HashMap::new(),
            running: Vec::new(),
        }
    }

    /// Begins a sequence; returns how many of its tokens were cached.
    fn open(&mut self, tokens: Vec<u32>) -> Option<usize> {
        let all = Tokens::from(&tokens[..]);
        let (table, num_computed) = self.ledger.open(all, tokens.len() - 1, 0)?;
        self.running.push(Running {
            table,
            tokens,
            num_computed,
        });
        self.check();
        Some(num_computed)
    }

    /// Runs the next `len` tokens of a sequence; `false` if there are no blocks.
    fn run(&mut self, at: usize, len: usize) -> bool {
        let running = &mut self.running[at];
        let start = running.num_computed;
        let end = running.tokens.len().min(start + len);
        let mut copies = Vec::new();
        let table = &mut running.table;
        let made = self.ledger.make_writable(table, start..end, &mut copies);
        if made.is_err() {
            return false;
        }
        for (from, to) in copies {
            let content = self.written[&from].clone();
            self.written.insert(to, content);
        }
        let tables = rows(&self.ledger, &self.kinds, table, end);
        for (group, table) in tables.iter().enumerate() {
            let first = table.first_blocks[0] as usize;
            for block in start / BLOCK_TOKENS..blocks_for(end) {
                let known = running.tokens[..end.min((block + 1) * BLOCK_TOKENS)].to_vec();
                let block = table.block_ids[block - first];
                self.written.insert(block, (group, known));
            }
        }
        running.num_computed = end;
        let all = Tokens::from(&running.tokens[..]);
        self.ledger.seal(&mut running.table, all, end);
        self.ledger.slide(&mut running.table, end);
        self.check();
        true
    }

    fn fork(&mut self, at: usize, own: u32) {
        let parent = &self.running[at];
        let mut tokens = parent.tokens[..parent.num_computed].to_vec();
        tokens.extend([own; 40]);
        let running = Running {
            table: self.ledger.fork(&parent.table),
            tokens,
            num_computed: parent.num_computed,
        };
        self.running.push(running);
        self.check();
    }

    fn release(&mut self, at: usize) {
        let mut running = self.running.swap_remove(at);
        self.ledger.release(&mut running.table);
        self.check();
    }

    /// The invariants; and that every table holds what its next token sees of its own
    /// tokens.
    fn check(&self) {
        let tables = self.running.iter().map(|running| &running.table);
        self.ledger.check_integrity(tables).expect("integrity");
        for Running {
            table,
            tokens,
            num_computed,
        } in &self.running
        {
            let mut group = 0;
            for (kind, tables) in self.kinds.iter().zip(&table.columns) {
                assert_eq!(tables.first, kind.first_block(*num_computed));
                assert!(tables.stacks.len() <= kind.most_blocks(usize::MAX, STEP));
                for at in tables.first..blocks_for(*num_computed) {
                    let stack = tables.get(at).expect("what is seen is held");
                    let end = (*num_computed).min((at + 1) * BLOCK_TOKENS);
                    for (height, block) in self.ledger.pool.blocks(stack).enumerate() {
                        let (by, known) = &self.written[&block];
                        assert_eq!(*by, group + height, "whose block it is");
                        assert_eq!(known[..end], tokens[..end], "what it holds");
                    }
                }
                group += kind.groups;
            }
        }
    }
}

/// The row that a batch has for the first `end` tokens.
fn rows(
    ledger: &BlockLedger,
    kinds: &[KvKind],
    table: &BlockTable,
    end: usize,
) -> Vec<BlockTables> {
    let mut batch = Batch::new(kinds.iter().map(|kind| kind.groups).sum());
    ledger.write_row(table, end, &mut batch.tables);
    batch.tables
}

#[test]
fn a_column_gives_up_what_its_window_has_passed() {
    let kinds = vec![kind(None, 2), kind(20, 3)];
    let mut world = World::new(kinds, 100, false);
    world.open(stream(0, 10)).expect("room");
    // The step that is to come and 19 positions before it: up to five blocks.
    assert_eq!(world.ledger.num_available(), 100 - 10 * 2 - 5 * 3);
    for (len, first, end) in [(32, 0, 5), (32, 2, 5), (32, 4, 6), (1, 4, 7)] {
        world.run(0, len);
        let column = &world.running[0].table.columns[1];
        assert!(column.first >= first && column.end() == end, "{column:?}");
    }
    // 97 are computed; the next query sees 78 and what follows: blocks 4 to 6.
    let column = &world.running[0].table.columns[1];
    assert_eq!((column.first, column.stacks.len()), (4, 3));
    assert_eq!(world.ledger.num_available(), 100 - 10 * 2 - 3 * 3);
}

#[test]
fn a_prefix_of_windowed_layers_is_found_without_its_beginning() {
    let mut world = World::new(vec![kind(20, 1)], 7, true);
    let tokens = [stream(0, 6), vec![9]].concat();
    world.open(tokens.clone()).expect("room");
    while world.running[0].num_computed < tokens.len() {
        assert!(world.run(0, STEP));
    }
    world.release(0);
    // Seven blocks, one of which was not full. Take it, and four that are cached: those
    // that went idle first are the first of the prefix.
    world.open(stream(500, 1)).expect("room");
    for at in 1..5 {
        world.open(stream(500 + 16 * at, 1)).expect("room");
    }
    for _ in 0..5 {
        world.release(0);
    }
    // The next query sees 77 to 95 of them, in blocks 4 and 5.
    assert_eq!(world.open(tokens.clone()), Some(96));
    world.release(0);
    let shorter = tokens[..90].to_vec();
    assert_eq!(world.open(shorter), Some(0), "its last blocks are gone");
}

#[test]
fn names_run_out_before_they_take_more_than_was_set_aside() {
    // Windows of one position: nothing at all is needed of a prefix, only its name.
    let mut world = World::new(vec![kind(1, 1)], 8, true);
    for first in 0..20 {
        let tokens = stream(first * 1000, 9);
        world.open(tokens.clone()).expect("room");
        while world.running[0].num_computed < tokens.len() {
            assert!(world.run(0, STEP));
        }
        world.release(0);
    }
    assert_eq!(world.ledger.num_available(), 8);
    let last = stream(19_000, 9);
    assert!(world.open(last).expect("room") > 0, "the newest are known");
}

#[derive(Debug, Clone)]
enum Op {
    /// Pieces of a block, and tokens of its own.
    Open(Vec<u32>, usize),
    Run(usize, usize),
    Fork(usize),
    Release(usize),
}

fn any_op() -> impl Strategy<Value = Op> {
    let pieces = prop::collection::vec(0..2_u32, 0..7);
    prop_oneof![
        2 => (pieces, 1..40_usize).prop_map(|(pieces, own)| Op::Open(pieces, own)),
        6 => (any::<usize>(), 1..=STEP).prop_map(|(at, len)| Op::Run(at, len)),
        1 => any::<usize>().prop_map(Op::Fork),
        2 => any::<usize>().prop_map(Op::Release),
    ]
}

fn any_kinds() -> impl Strategy<Value = Vec<KvKind>> {
    let window = || 1..60_usize;
    prop_oneof![
        Just(vec![KvKind::WHOLE]),
        window().prop_map(|w| vec![kind(w, 1)]),
        (1..4_usize, window(), 1..4_usize).prop_map(|(g, w, h)| vec![kind(None, g), kind(w, h)]),
        (window(), window()).prop_map(|(a, b)| vec![kind(a, 2), kind(a + b, 1)]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

    #[test]
    fn tables_hold_what_they_see_and_no_block_is_lost(
        kinds in any_kinds(),
        more_blocks in 0..60_u32,
        prefix_caching: bool,
        ops in prop::collection::vec(any_op(), 1..60),
    ) {
        let num_blocks = 12 * kinds.iter().map(|kind| kind.groups as u32).sum::<u32>() + more_blocks;
        let mut world = World::new(kinds, num_blocks, prefix_caching);
        for op in ops {
            let num_running = world.running.len();
            match op {
                Op::Open(pieces, own) => {
                    let mut tokens: Vec<_> = pieces
                        .iter()
                        .flat_map(|&piece| stream(piece, 1))
                        .collect();
                    tokens.extend((0..own as u32).map(|at| 7 + at % 3));
                    world.open(tokens);
                }
                Op::Run(at, len) if num_running > 0 => {
                    let at = at % num_running;
                    if world.running[at].num_computed < world.running[at].tokens.len() {
                        world.run(at, len);
                    }
                }
                Op::Fork(at) if num_running > 0 => {
                    let at = at % num_running;
                    // Only what has computed all of its tokens splits.
                    if world.running[at].num_computed == world.running[at].tokens.len() {
                        world.fork(at, num_running as u32);
                    }
                }
                Op::Release(at) if num_running > 0 => world.release(at % num_running),
                Op::Run(..) | Op::Fork(_) | Op::Release(_) => {}
            }
        }
        while !world.running.is_empty() {
            world.release(0);
        }
        prop_assert_eq!(world.ledger.num_available(), num_blocks as usize);
    }
}
