//! The ledger without a scheduler. (With one, it is property-tested there.)

mod windows;

use super::*;
use crate::engine::batch::{Batch, BlockId, BlockTables, KvKind};

/// `num_blocks` blocks of tokens that begin with `first`.
fn stream(first: u32, num_blocks: usize) -> Vec<u32> {
    (first..).take(num_blocks * BLOCK_TOKENS).collect()
}

/// A ledger for a model whose layers all see alike.
fn plain(num_blocks: u32, prefix_caching: bool) -> BlockLedger {
    let needs = KvNeeds::new(vec![KvKind::WHOLE], 512);
    BlockLedger::new(needs, num_blocks, prefix_caching)
}

/// Makes one position writable; returns the copies that are to be done.
fn write(
    ledger: &mut BlockLedger,
    table: &mut BlockTable,
    position: usize,
) -> Result<Vec<(BlockId, BlockId)>, OutOfBlocks> {
    let mut copies = Vec::new();
    let made = ledger.make_writable(table, position..position + 1, &mut copies);
    made.map(|()| copies)
}

/// Opens a table for all of `tokens` and computes them.
fn compute(ledger: &mut BlockLedger, tokens: &[u32]) -> (BlockTable, usize) {
    let opened = ledger.open(tokens.into(), tokens.len(), 0);
    let (mut table, num_cached) = opened.expect("there is room");
    ledger.seal(&mut table, tokens.into(), tokens.len());
    (table, num_cached)
}

fn check(ledger: &BlockLedger, tables: &[&BlockTable]) {
    ledger
        .check_integrity(tables.iter().copied())
        .expect("integrity");
}

#[test]
fn a_released_block_keeps_its_content_until_its_memory_is_needed() {
    let mut ledger = plain(4, true);
    let (mut a, _) = compute(&mut ledger, &stream(0, 2));
    ledger.release(&mut a);
    assert_eq!(ledger.num_available(), 4);
    assert_eq!(ledger.cached_tokens(stream(0, 2)[..].into(), 32), 32);
    // Free blocks are taken before cached ones.
    let (mut b, _) = compute(&mut ledger, &stream(100, 2));
    assert_eq!(ledger.cached_tokens(stream(0, 2)[..].into(), 32), 32);
    // One more is needed: the end of the older prefix goes first.
    let (mut c, _) = compute(&mut ledger, &stream(200, 1));
    assert_eq!(ledger.cached_tokens(stream(0, 2)[..].into(), 32), 16);
    check(&ledger, &[&a, &b, &c]);
    ledger.release(&mut b);
    ledger.release(&mut c);
    check(&ledger, &[]);
    assert_eq!(ledger.num_available(), 4);
}

#[test]
fn the_least_recently_used_prefix_is_evicted_first() {
    let mut ledger = plain(3, true);
    for first in [0, 100, 200, 0] {
        let (mut table, _) = compute(&mut ledger, &stream(first, 1));
        ledger.release(&mut table);
    }
    let _table = compute(&mut ledger, &stream(300, 1));
    let cached = |first| ledger.cached_tokens(stream(first, 1)[..].into(), 16);
    assert_eq!([0, 100, 200].map(cached), [16, 0, 16]);
}

#[test]
fn a_hit_needs_the_same_tokens_after_the_same_tokens() {
    let mut ledger = plain(8, true);
    let tokens = stream(0, 2);
    let (table, _) = compute(&mut ledger, &tokens);
    let mut cached = |tokens: &[u32]| ledger.cached_tokens(tokens.into(), tokens.len());
    assert_eq!(cached(&tokens), 32);
    assert_eq!(cached(&tokens[..31]), 16, "full blocks only");
    let mut last_differs = tokens.clone();
    last_differs[31] = 7;
    assert_eq!(cached(&last_differs), 16);
    let mut first_differs = tokens.clone();
    first_differs[0] = 7;
    assert_eq!(cached(&first_differs), 0);
    assert_eq!(
        cached(&tokens[16..]),
        0,
        "the second block is not a first one"
    );
    assert_eq!(
        ledger.cached_tokens(tokens[..].into(), 31),
        16,
        "not further than readable"
    );
    check(&ledger, &[&table]);
}

#[test]
fn a_prefix_with_adapters_is_another_prefix() {
    let mut ledger = plain(8, true);
    let all = stream(0, 2);
    let with = |mix| Tokens {
        mix,
        ..Tokens::from(&all[..])
    };
    let mut tables = Vec::new();
    for mix in [0, 1, 2] {
        assert_eq!(ledger.cached_tokens(with(mix), 32), 0, "{mix}");
        let (mut table, _) = ledger.open(with(mix), 32, 0).expect("room");
        ledger.seal(&mut table, with(mix), 32);
        assert_eq!(ledger.cached_tokens(with(mix), 32), 32, "{mix}");
        tables.push(table);
    }
    check(&ledger, &tables.iter().collect::<Vec<_>>());
}

#[test]
fn a_prefix_may_end_in_the_answer() {
    let mut ledger = plain(8, true);
    let tokens = stream(0, 2);
    let (_table, _) = compute(&mut ledger, &tokens);
    for split in 0..=32 {
        let (prompt, output) = tokens.split_at(split);
        let mix = 0;
        let tokens = Tokens {
            prompt,
            output,
            mix,
            images: &crate::engine::NO_IMAGES,
        };
        assert_eq!(ledger.cached_tokens(tokens, 32), 32);
        assert_eq!(tokens.pieces(5..20).concat(), stream(0, 2)[5..20]);
    }
}

#[test]
fn a_child_never_outlives_its_parent_in_the_cache() {
    let mut ledger = plain(6, true);
    // Two sequences compute the same two blocks side by side, unknown to each other.
    let tokens = stream(0, 2);
    let open = |ledger: &mut BlockLedger| ledger.open(tokens[..].into(), 0, 0).expect("room").0;
    let (mut a, mut b) = (open(&mut ledger), open(&mut ledger));
    ledger.seal(&mut a, tokens[..].into(), 16);
    ledger.seal(&mut b, tokens[..].into(), 32);
    // `b` came second to the first block and first to the second.
    ledger.seal(&mut a, tokens[..].into(), 32);
    assert_eq!(
        a.blocks(),
        b.blocks(),
        "each has what the other was first to compute"
    );
    check(&ledger, &[&a, &b]);
    ledger.release(&mut a);
    check(&ledger, &[&b]);
    assert_eq!(ledger.num_idle(), 0, "`b` still holds both");
    ledger.release(&mut b);
    for num_left in [1, 0] {
        let mut hog = ledger
            .open(stream(500, 6 - num_left)[..].into(), 0, 0)
            .expect("room")
            .0;
        assert_eq!(ledger.cached_tokens(tokens[..].into(), 32), num_left * 16);
        check(&ledger, &[&hog]);
        ledger.release(&mut hog);
        check(&ledger, &[]);
    }
}

#[test]
fn a_shared_block_is_copied_by_every_writer_but_the_last() {
    let mut ledger = plain(8, true);
    let tokens = &stream(0, 2)[..20];
    let (mut a, _) = compute(&mut ledger, tokens);
    let (mut b, mut c) = (ledger.fork(&a), ledger.fork(&a));
    check(&ledger, &[&a, &b, &c]);
    let shared = a.blocks()[1];
    let mut write = |table: &mut BlockTable| write(&mut ledger, table, 20).expect("room");
    // Shared by three, by two, and by nobody else.
    let (copy_a, copy_b, copy_c) = (write(&mut a), write(&mut b), write(&mut c));
    assert_eq!(copy_a, [(shared, a.blocks()[1])]);
    assert_eq!(copy_b, [(shared, b.blocks()[1])]);
    assert_eq!(copy_c, []);
    assert_eq!(write(&mut a), [], "it has its own now");
    assert_eq!(
        [&a, &b, &c].map(|table| table.blocks()[0]),
        [a.blocks()[0]; 3]
    );
    check(&ledger, &[&a, &b, &c]);
}

#[test]
fn a_table_grows_by_one_block_at_its_end() {
    let mut ledger = plain(2, false);
    let mut table = ledger.open(stream(0, 1)[..].into(), 0, 0).expect("room").0;
    assert_eq!(write(&mut ledger, &mut table, 15), Ok(vec![]));
    assert_eq!(table.blocks().len(), 1);
    assert_eq!(write(&mut ledger, &mut table, 16), Ok(vec![]));
    assert_eq!(table.blocks().len(), 2);
    assert_eq!(write(&mut ledger, &mut table, 32), Err(OutOfBlocks));
    check(&ledger, &[&table]);
}

#[test]
fn what_does_not_fit_changes_nothing() {
    let mut ledger = plain(4, true);
    let (mut a, _) = compute(&mut ledger, &stream(0, 2));
    ledger.release(&mut a);
    // 4 available; the 2 cached ones are wanted themselves, so 2 are left for 3.
    let longer = stream(0, 5);
    assert!(ledger.open(longer[..].into(), longer.len(), 0).is_none());
    assert!(
        ledger.open(longer[..64].into(), 64, 1).is_none(),
        "none to spare"
    );
    check(&ledger, &[]);
    assert_eq!((ledger.num_available(), ledger.num_idle()), (4, 2));
    let (table, num_cached) = ledger.open(longer[..64].into(), 64, 0).expect("fits");
    assert_eq!((table.blocks().len(), num_cached), (4, 32));
    check(&ledger, &[&table]);
}

#[test]
fn without_a_cache_nothing_is_kept() {
    let mut ledger = plain(4, false);
    let (mut table, _) = compute(&mut ledger, &stream(0, 2));
    ledger.release(&mut table);
    assert_eq!((ledger.num_available(), ledger.num_idle()), (4, 0));
    assert_eq!(compute(&mut ledger, &stream(0, 2)).1, 0);
}

#[test]
fn idle_blocks_leave_in_the_order_in_which_they_came_and_from_the_middle() {
    let mut list = list::BlockList::new(5);
    for at in [3, 1, 4, 0] {
        list.push_newest(BlockId(at));
    }
    list.remove(BlockId(1));
    assert!(!list.contains(BlockId(1)) && !list.contains(BlockId(2)));
    assert!(list.iter().eq([3, 4, 0].map(BlockId)));
    assert_eq!(list.oldest(), Some(BlockId(3)));
    list.remove(BlockId(3));
    list.push_newest(BlockId(3));
    assert!(list.iter().eq([4, 0, 3].map(BlockId)));
    for block in [4, 0, 3].map(BlockId) {
        assert_eq!(list.oldest(), Some(block));
        list.remove(block);
    }
    assert_eq!(list.oldest(), None);
}
