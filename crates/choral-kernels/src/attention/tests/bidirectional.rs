//! Attention that sees a whole row: against its formula, and whatever runs beside it.

use super::{Case, Sequence, fill_with_nan, rounded, types};
use crate::attention::{AttentionShape, BLOCK, KvMemory, KvType, Rows, paged_attention};
use crate::{Compute, Isa};

const CASES: [Case; 3] = [
    Case {
        heads: 4,
        kv_heads: 4,
        dim: 12,
        softcap: None,
        window: None,
        types: types(KvType::F32, KvType::F32),
        sinks: None,
    },
    Case {
        heads: 6,
        kv_heads: 2,
        dim: 64,
        softcap: None,
        window: None,
        types: types(KvType::F16, KvType::Q8_0),
        sinks: None,
    },
    Case {
        heads: 10,
        kv_heads: 1,
        dim: 32,
        softcap: None,
        window: None,
        types: types(KvType::Bf16, KvType::F32),
        sinks: None,
    },
];

/// Runs sequences as the rows of one step, in memory full of NaN.
fn run(case: &Case, isa: Isa, threads: usize, sequences: &[Sequence]) -> Vec<Vec<f32>> {
    let compute = Compute::new(isa, threads);
    let (kv, width) = (case.kv_heads * case.dim, case.heads * case.dim);
    let (mut positions, mut cu_tokens, mut cu_blocks) = (Vec::new(), vec![0], vec![0]);
    let (mut q, mut k, mut v) = (Vec::new(), Vec::new(), Vec::new());
    let mut blocks = 0;
    for s in sequences {
        positions.extend(0..s.len as u32);
        cu_tokens.push(positions.len() as u32);
        blocks += s.len.div_ceil(BLOCK) as u32;
        cu_blocks.push(blocks);
        q.extend(&s.q);
        k.extend(&s.k);
        v.extend(&s.v);
    }
    let block_ids: Vec<u32> = (0..blocks).rev().collect();
    let first_blocks = vec![0; sequences.len()];
    let mut memory =
        KvMemory::new(case.types, blocks as usize, case.kv_heads, case.dim).expect("memory");
    fill_with_nan(&mut memory);
    let rows = Rows {
        positions: &positions,
        cu_tokens: &cu_tokens,
        first_blocks: &first_blocks,
        cu_blocks: &cu_blocks,
        block_ids: &block_ids,
    };
    let at = |t: usize, h: usize| t * kv + h * case.dim;
    memory.store(
        &compute,
        &rows,
        |t, h| &k[at(t, h)..][..case.dim],
        |t, h| &v[at(t, h)..][..case.dim],
    );
    let shape = AttentionShape {
        bidirectional: true,
        ..case.shape()
    };
    let mut out = vec![0.0; q.len()];
    paged_attention(&compute, &shape, &memory, &rows, (&q, width), &mut out);
    let mut rest = &out[..];
    let cut = |s: &Sequence| {
        let (own, others) = rest.split_at(s.len * width);
        rest = others;
        own.to_vec()
    };
    sequences.iter().map(cut).collect()
}

/// Softmax of all scores times the values, in f64.
fn naive(case: &Case, s: &Sequence) -> Vec<f64> {
    let k = rounded(case.types.keys, case.dim, &s.k);
    let v = rounded(case.types.values, case.dim, &s.v);
    let (group, dim) = (case.heads / case.kv_heads, case.dim);
    let mut out = Vec::new();
    for (i, q) in s.q.chunks(dim).enumerate() {
        let kv_head = i % case.heads / group;
        let kv = |p: usize| (p * case.kv_heads + kv_head) * dim;
        let weight = |p: usize| {
            let dot: f64 = (0..dim).map(|d| f64::from(q[d]) * k[kv(p) + d]).sum();
            (dot / (dim as f64).sqrt()).exp()
        };
        let weights: Vec<f64> = (0..s.len).map(weight).collect();
        let sum: f64 = weights.iter().sum();
        out.extend((0..dim).map(|d| {
            let terms = weights
                .iter()
                .enumerate()
                .map(|(p, w)| w / sum * v[kv(p) + d]);
            terms.sum::<f64>()
        }));
    }
    out
}

#[test]
fn equals_softmax_of_all_positions() {
    for case in &CASES {
        for len in [1, 2, 15, 16, 17, 50] {
            let s = case.sequence(len as u64, len);
            let want = naive(case, &s);
            let got = &run(case, Isa::Scalar, 1, std::slice::from_ref(&s))[0];
            assert_eq!(got.len(), want.len());
            for (g, w) in got.iter().zip(&want) {
                assert!((f64::from(*g) - w).abs() < 2e-5, "{g} {w}");
            }
        }
    }
}

#[test]
fn neighbours_threads_and_instruction_sets_change_nothing() {
    for case in &CASES {
        let lengths = [1, 40, 16, 33, 1, 7];
        let sequences: Vec<Sequence> = (lengths.into_iter().enumerate())
            .map(|(seed, len)| case.sequence(seed as u64, len))
            .collect();
        let alone: Vec<Vec<f32>> = sequences
            .iter()
            .map(|s| run(case, Isa::Scalar, 1, std::slice::from_ref(s)).remove(0))
            .collect();
        for isa in Isa::available() {
            for threads in [1, 2] {
                let together = run(case, isa, threads, &sequences);
                assert_eq!(together, alone, "{}", isa.name());
            }
        }
    }
}
