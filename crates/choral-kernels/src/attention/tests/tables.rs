//! What a block table must have, and need not.

use super::*;

#[test]
#[should_panic(expected = "no block for position 16")]
fn a_position_without_a_block_is_refused() {
    let compute = Compute::new(Isa::Scalar, 1);
    let mut memory = KvMemory::new(KvTypes::both(KvType::F32), 1, 1, 2).expect("memory");
    let rows = Rows {
        positions: &[16],
        cu_tokens: &[0, 1],
        first_blocks: &[0],
        cu_blocks: &[0, 1],
        block_ids: &[0],
    };
    memory.store(&compute, &rows, |_, _| &[0.0, 0.0], |_, _| &[0.0, 0.0]);
}

/// One query at position 40 whose table begins with block 1.
fn attend_from_block_1(window: usize) {
    let compute = Compute::new(Isa::Scalar, 1);
    let memory = KvMemory::new(KvTypes::both(KvType::F32), 2, 1, 2).expect("memory");
    let shape = AttentionShape {
        heads: 1,
        scale: 1.0,
        softcap: None,
        window: Some(window),
        bidirectional: false,
        sinks: None,
    };
    let rows = Rows {
        positions: &[40],
        cu_tokens: &[0, 1],
        first_blocks: &[1],
        cu_blocks: &[0, 2],
        block_ids: &[0, 1],
    };
    paged_attention(
        &compute,
        &shape,
        &memory,
        &rows,
        (&[0.0; 2], 2),
        &mut [0.0; 2],
    );
}

#[test]
fn a_window_that_ends_where_the_table_begins_is_whole() {
    // Positions 16 to 40.
    attend_from_block_1(25);
}

#[test]
#[should_panic(expected = "no block for position 15")]
fn a_window_with_a_part_that_was_given_back_is_refused() {
    attend_from_block_1(26);
}
