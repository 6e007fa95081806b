//! How fast is one layer's attention, by sequences and length?
//!
//! `cargo bench -p choral-kernels --bench attention`. Heads are those of a 1.1B model
//! (32 queries, 4 keys and values, of 64). Bytes are the keys and values in view.

use choral_kernels::attention::{
    AttentionShape, BLOCK, KvMemory, KvType, KvTypes, Rows, paged_attention,
};
use choral_kernels::{Compute, Isa};
use divan::Bencher;
use divan::counter::BytesCount;

const HEADS: usize = 32;
const KV_HEADS: usize = 4;
const DIM: usize = 64;

/// Some sequences of one length that each compute their last tokens.
#[derive(Debug, Clone, Copy)]
struct Case {
    sequences: usize,
    length: usize,
    new_tokens: usize,
}

const fn case(sequences: usize, length: usize, new_tokens: usize) -> Case {
    Case {
        sequences,
        length,
        new_tokens,
    }
}

#[divan::bench(args = [
    case(1, 192, 1), case(8, 192, 1), case(64, 192, 1), case(64, 1024, 1), case(1, 512, 512),
])]
fn attend(bencher: Bencher<'_, '_>, case: Case) {
    let isa = Isa::from_env().expect("CHORAL_ISA names a set that this CPU has");
    let threads = std::thread::available_parallelism().map_or(1, Into::into);
    let compute = Compute::new(isa, threads);
    let per_sequence = case.length.div_ceil(BLOCK);
    let blocks = case.sequences * per_sequence;
    let types = KvTypes::both(KvType::Bf16);
    let mut memory = KvMemory::new(types, blocks, KV_HEADS, DIM).expect("memory");

    let sequences = 0..=case.sequences as u32;
    let cu_blocks: Vec<u32> = sequences.clone().map(|s| s * per_sequence as u32).collect();
    let block_ids: Vec<u32> = (0..blocks as u32).collect();
    let first_blocks = vec![0; case.sequences];
    let from = |first: usize| {
        let positions: Vec<u32> = (0..case.sequences)
            .flat_map(|_| first as u32..case.length as u32)
            .collect();
        let tokens = (case.length - first) as u32;
        let cu_tokens: Vec<u32> = sequences.clone().map(|s| s * tokens).collect();
        (positions, cu_tokens)
    };
    let (positions, cu_tokens) = from(0);
    let all = Rows {
        positions: &positions,
        cu_tokens: &cu_tokens,
        first_blocks: &first_blocks,
        cu_blocks: &cu_blocks,
        block_ids: &block_ids,
    };
    let stored: Vec<f32> = (0..DIM).map(|d| d as f32 * 0.01).collect();
    memory.store(&compute, &all, |_, _| &stored, |_, _| &stored);

    let (positions, cu_tokens) = from(case.length - case.new_tokens);
    let rows = Rows {
        positions: &positions,
        cu_tokens: &cu_tokens,
        ..all
    };
    let shape = AttentionShape {
        heads: HEADS,
        scale: 0.125,
        softcap: None,
        window: None,
        bidirectional: false,
        sinks: None,
    };
    let width = HEADS * DIM;
    let q = vec![0.5; positions.len() * width];
    let mut out = vec![0.0; positions.len() * width];
    let bytes = blocks * types.block_bytes(KV_HEADS, DIM);
    bencher
        .counter(BytesCount::new(bytes))
        .bench_local(|| paged_attention(&compute, &shape, &memory, &rows, (&q, width), &mut out));
}

fn main() {
    divan::main();
}
