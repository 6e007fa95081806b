mod bidirectional;
mod tables;

use super::store::{Numbers, Side};
use super::*;
use crate::Isa;
use crate::bf16::{bf16_to_f32, round_bf16};

fn noise(seed: u64, len: usize) -> Vec<f32> {
    let mut state = seed * 2 + 1;
    (0..len)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}

/// One sequence: how it is cut into chunks, and its blocks.
struct Sequence {
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    len: usize,
}

/// What is read of `[.., dim]` numbers that were stored.
fn rounded(kind: KvType, dim: usize, x: &[f32]) -> Vec<f64> {
    let group = |x: &[f32]| -> Vec<f64> {
        let d = x.iter().fold(0.0_f32, |a, x| a.max(x.abs())) / 127.0;
        let stored = half::f16::from_f32(d).to_f64();
        let quant = |x: &f32| f64::from((x * (1.0 / d)).round());
        x.iter().map(|x| quant(x) * stored).collect()
    };
    match kind {
        KvType::F32 => x.iter().map(|&x| f64::from(x)).collect(),
        KvType::F16 => x.iter().map(|&x| half::f16::from_f32(x).to_f64()).collect(),
        KvType::Bf16 => x
            .iter()
            .map(|&x| f64::from(bf16_to_f32(round_bf16(x))))
            .collect(),
        KvType::Q8_0 => x
            .chunks(dim)
            .flat_map(|head| head.chunks(32).flat_map(group))
            .collect(),
    }
}

/// What was never stored must never be read.
fn fill_with_nan(memory: &mut KvMemory) {
    for side in [&mut memory.keys, &mut memory.values] {
        match &mut side.numbers {
            Numbers::F32(all) => all.as_flattened_mut().fill(f32::NAN),
            Numbers::F16(all) => all.as_flattened_mut().fill(0x7e00),
            Numbers::Bf16(all) => all.as_flattened_mut().fill(0x7fc0),
            Numbers::Q8 { quants, scales } => {
                quants.as_flattened_mut().fill(77);
                scales.as_flattened_mut().fill(0x7e00);
            }
        }
    }
}

#[derive(Clone, Copy)]
struct Case {
    heads: usize,
    kv_heads: usize,
    dim: usize,
    softcap: Option<f32>,
    window: Option<usize>,
    types: KvTypes,
    sinks: Option<&'static [f32]>,
}

impl Case {
    fn sequence(&self, seed: u64, len: usize) -> Sequence {
        Sequence {
            q: noise(seed, len * self.heads * self.dim)
                .iter()
                .map(|x| x * 4.0)
                .collect(),
            k: noise(seed + 1, len * self.kv_heads * self.dim),
            v: noise(seed + 2, len * self.kv_heads * self.dim),
            len,
        }
    }

    fn shape(&self) -> AttentionShape<'static> {
        AttentionShape {
            heads: self.heads,
            scale: 1.0 / (self.dim as f32).sqrt(),
            softcap: self.softcap,
            window: self.window,
            bidirectional: false,
            sinks: self.sinks,
        }
    }

    /// The first block that a query at `position` or behind it sees.
    fn first_block(&self, position: usize) -> usize {
        self.window
            .map_or(0, |w| (position + 1).saturating_sub(w) / BLOCK)
    }

    /// Softmax of the visible scores times the values, in f64.
    fn naive(&self, s: &Sequence) -> Vec<f64> {
        let k = rounded(self.types.keys, self.dim, &s.k);
        let v = rounded(self.types.values, self.dim, &s.v);
        let (group, dim) = (self.heads / self.kv_heads, self.dim);
        let mut out = Vec::new();
        for t in 0..s.len {
            for h in 0..self.heads {
                let first = self.window.map_or(0, |w| (t + 1).saturating_sub(w));
                let kv = |p: usize| (p * self.kv_heads + h / group) * dim;
                let scores: Vec<f64> = (first..=t)
                    .map(|p| {
                        let dot: f64 = (0..dim)
                            .map(|d| f64::from(s.q[(t * self.heads + h) * dim + d]) * k[kv(p) + d])
                            .sum();
                        let score = dot / (dim as f64).sqrt();
                        let capped = |cap: f64| cap * (score / cap).tanh();
                        self.softcap
                            .map_or(score, |cap| capped(f64::from(cap)))
                            .exp()
                    })
                    .collect();
                let sink = self.sinks.map_or(0.0, |s| f64::from(s[h]).exp());
                let sum: f64 = scores.iter().sum::<f64>() + sink;
                for d in 0..dim {
                    out.push(
                        (first..=t)
                            .zip(&scores)
                            .map(|(p, w)| w / sum * v[kv(p) + d])
                            .sum(),
                    );
                }
            }
        }
        out
    }

    /// Runs sequences together, each in chunks of `chunk` tokens, in blocks handed
    /// out in an odd order from memory full of NaN. Tables have no more than what is
    /// seen.
    fn paged(
        &self,
        isa: Isa,
        threads: usize,
        chunk: usize,
        sequences: &[Sequence],
    ) -> Vec<Vec<f32>> {
        let compute = Compute::new(isa, threads);
        let per = |s: &Sequence| s.len.div_ceil(BLOCK);
        let total: usize = sequences.iter().map(per).sum::<usize>() + 3;
        let mut memory = KvMemory::new(self.types, total, self.kv_heads, self.dim).expect("memory");
        fill_with_nan(&mut memory);
        let mut free: Vec<u32> = (0..total as u32).rev().collect();
        free.rotate_left(2);
        let tables: Vec<Vec<u32>> = sequences
            .iter()
            .map(|s| (0..per(s)).map(|_| free.pop().unwrap()).collect())
            .collect();
        let mut out: Vec<Vec<f32>> = sequences.iter().map(|_| Vec::new()).collect();
        let mut start = 0;
        while sequences.iter().any(|s| start < s.len) {
            let (mut positions, mut cu_tokens, mut cu_blocks, mut block_ids) =
                (Vec::new(), vec![0], vec![0], Vec::new());
            let mut first_blocks = Vec::new();
            let (mut q, mut k, mut v, mut who) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
            for (i, s) in sequences.iter().enumerate().filter(|(_, s)| start < s.len) {
                let end = (start + chunk).min(s.len);
                positions.extend(start as u32..end as u32);
                cu_tokens.push(positions.len() as u32);
                let first = self.first_block(start);
                first_blocks.push(first as u32);
                block_ids.extend(&tables[i][first..end.div_ceil(BLOCK)]);
                cu_blocks.push(block_ids.len() as u32);
                q.extend(&s.q[start * self.heads * self.dim..end * self.heads * self.dim]);
                k.extend(&s.k[start * self.kv_heads * self.dim..end * self.kv_heads * self.dim]);
                v.extend(&s.v[start * self.kv_heads * self.dim..end * self.kv_heads * self.dim]);
                who.push((i, end - start));
            }
            let rows = Rows {
                positions: &positions,
                cu_tokens: &cu_tokens,
                first_blocks: &first_blocks,
                cu_blocks: &cu_blocks,
                block_ids: &block_ids,
            };
            let at = |t: usize, h: usize| (t * self.kv_heads + h) * self.dim;
            memory.store(
                &compute,
                &rows,
                |t, h| &k[at(t, h)..at(t, h) + self.dim],
                |t, h| &v[at(t, h)..at(t, h) + self.dim],
            );
            let width = self.heads * self.dim;
            let mut got = vec![0.0; positions.len() * width];
            paged_attention(
                &compute,
                &self.shape(),
                &memory,
                &rows,
                (&q, width),
                &mut got,
            );
            let mut rest = &got[..];
            for (i, tokens) in who {
                let (mine, others) = rest.split_at(tokens * width);
                out[i].extend(mine);
                rest = others;
            }
            start += chunk;
        }
        out
    }
}

const fn types(keys: KvType, values: KvType) -> KvTypes {
    KvTypes { keys, values }
}

const CASES: [Case; 11] = [
    Case {
        heads: 4,
        kv_heads: 2,
        dim: 32,
        softcap: None,
        window: None,
        types: types(KvType::Bf16, KvType::Bf16),
        sinks: None,
    },
    Case {
        heads: 3,
        kv_heads: 3,
        dim: 24,
        softcap: None,
        window: None,
        types: types(KvType::F32, KvType::F32),
        sinks: None,
    },
    Case {
        heads: 8,
        kv_heads: 1,
        dim: 16,
        softcap: Some(2.0),
        window: Some(20),
        types: types(KvType::F32, KvType::F32),
        sinks: None,
    },
    Case {
        heads: 10,
        kv_heads: 1,
        dim: 64,
        softcap: None,
        window: Some(16),
        types: types(KvType::Bf16, KvType::Bf16),
        sinks: None,
    },
    Case {
        heads: 2,
        kv_heads: 1,
        dim: 2,
        softcap: None,
        window: Some(1),
        types: types(KvType::F32, KvType::F32),
        sinks: None,
    },
    Case {
        heads: 4,
        kv_heads: 2,
        dim: 48,
        softcap: Some(2.0),
        window: None,
        types: types(KvType::Q8_0, KvType::Q8_0),
        sinks: None,
    },
    Case {
        heads: 7,
        kv_heads: 1,
        dim: 64,
        softcap: None,
        window: None,
        types: types(KvType::Q8_0, KvType::F16),
        sinks: None,
    },
    Case {
        heads: 6,
        kv_heads: 1,
        dim: 40,
        softcap: None,
        window: Some(20),
        types: types(KvType::F16, KvType::Q8_0),
        sinks: None,
    },
    Case {
        heads: 5,
        kv_heads: 1,
        dim: 80,
        softcap: Some(2.0),
        window: None,
        types: types(KvType::F16, KvType::Bf16),
        sinks: None,
    },
    Case {
        heads: 4,
        kv_heads: 2,
        dim: 32,
        softcap: None,
        window: None,
        types: types(KvType::Q8_0, KvType::Q8_0),
        sinks: Some(&[0.5, -3.0, 4.0, f32::NEG_INFINITY]),
    },
    Case {
        heads: 2,
        kv_heads: 2,
        dim: 16,
        softcap: None,
        window: Some(18),
        types: types(KvType::F32, KvType::F16),
        sinks: Some(&[2.5, 0.0]),
    },
];

#[test]
fn equals_softmax_of_the_visible_positions() {
    for case in CASES {
        for len in [1, 15, 16, 17, 50] {
            let s = case.sequence(len as u64, len);
            let want = case.naive(&s);
            let got = &case.paged(Isa::Scalar, 1, 7, std::slice::from_ref(&s))[0];
            for (g, w) in got.iter().zip(&want) {
                assert!((f64::from(*g) - w).abs() < 2e-5, "{g} {w}");
            }
        }
    }
}

#[test]
fn chunks_neighbours_threads_and_instruction_sets_change_nothing() {
    for case in CASES {
        let sequences: Vec<Sequence> = [1, 40, 16, 33]
            .into_iter()
            .map(|len| case.sequence(len as u64, len))
            .collect();
        let alone: Vec<Vec<f32>> = sequences
            .iter()
            .map(|s| {
                case.paged(Isa::Scalar, 1, 1, std::slice::from_ref(s))
                    .remove(0)
            })
            .collect();
        for isa in Isa::available() {
            for threads in [1, 2] {
                for chunk in [1, 5, 16, 64] {
                    assert_eq!(
                        case.paged(isa, threads, chunk, &sequences),
                        alone,
                        "{}",
                        isa.name()
                    );
                }
            }
        }
    }
}

#[test]
fn rows_that_share_blocks_are_computed_as_if_alone() {
    let isa = Isa::detect();
    for case in CASES {
        // Nine sequences that go on from the same 48 positions, and two others.
        let (shared, width, kv) = (48, case.heads * case.dim, case.kv_heads * case.dim);
        let base = case.sequence(1, shared);
        let sequences: Vec<Sequence> = (0..11)
            .map(|i| {
                let mut s = case.sequence(10 + i, shared + 1 + i as usize * 3);
                if i != 2 && i != 7 {
                    s.k[..shared * kv].copy_from_slice(&base.k);
                    s.v[..shared * kv].copy_from_slice(&base.v);
                }
                s
            })
            .collect();
        for threads in [1, 2] {
            let compute = Compute::new(isa, threads);
            let mut memory = KvMemory::new(case.types, 100, case.kv_heads, case.dim).unwrap();
            fill_with_nan(&mut memory);
            let mut next = 3_u32..;
            let mut tables = Vec::new();
            let (mut positions, mut cu_blocks, mut block_ids) = (Vec::new(), vec![0], Vec::new());
            let mut first_blocks = Vec::new();
            let mut q = Vec::new();
            for (i, s) in sequences.iter().enumerate() {
                let blocks = s.len.div_ceil(BLOCK);
                let own = if i == 2 || i == 7 { 0 } else { shared / BLOCK };
                let mut table: Vec<u32> = (0..own as u32).collect();
                table.extend(next.by_ref().take(blocks - own));
                let all: Vec<u32> = (0..s.len as u32).collect();
                let rows = Rows {
                    positions: &all,
                    cu_tokens: &[0, s.len as u32],
                    first_blocks: &[0],
                    cu_blocks: &[0, blocks as u32],
                    block_ids: &table,
                };
                let at = |t: usize, h: usize| t * kv + h * case.dim;
                memory.store(
                    &compute,
                    &rows,
                    |t, h| &s.k[at(t, h)..][..case.dim],
                    |t, h| &s.v[at(t, h)..][..case.dim],
                );
                positions.push(s.len as u32 - 1);
                // Some rows of those that share still hold what none sees any more.
                let first = if i % 3 == 0 {
                    0
                } else {
                    case.first_block(s.len - 1)
                };
                first_blocks.push(first as u32);
                block_ids.extend(&table[first..]);
                cu_blocks.push(block_ids.len() as u32);
                tables.push(table);
                q.extend(&s.q[(s.len - 1) * width..]);
            }
            let cu_tokens: Vec<u32> = (0..=sequences.len() as u32).collect();
            let run = |rows: &Rows<'_>, q: &[f32]| {
                let mut out = vec![0.0; rows.positions.len() * width];
                paged_attention(&compute, &case.shape(), &memory, rows, (q, width), &mut out);
                out
            };
            let together = run(
                &Rows {
                    positions: &positions,
                    cu_tokens: &cu_tokens,
                    first_blocks: &first_blocks,
                    cu_blocks: &cu_blocks,
                    block_ids: &block_ids,
                },
                &q,
            );
            for (i, table) in tables.iter().enumerate() {
                let rows = Rows {
                    positions: &positions[i..=i],
                    cu_tokens: &[0, 1],
                    first_blocks: &[0],
                    cu_blocks: &[0, table.len() as u32],
                    block_ids: table,
                };
                let own = i * width..(i + 1) * width;
                assert_eq!(together[own.clone()], run(&rows, &q[own]), "row {i}");
            }
        }
    }
}

#[test]
fn a_copied_block_reads_as_its_source() {
    for case in CASES {
        let s = case.sequence(5, BLOCK);
        let compute = Compute::new(Isa::detect(), 1);
        let mut memory = KvMemory::new(case.types, 3, case.kv_heads, case.dim).expect("memory");
        let positions: Vec<u32> = (0..BLOCK as u32).collect();
        let mut rows = Rows {
            positions: &positions,
            cu_tokens: &[0, BLOCK as u32],
            first_blocks: &[0],
            cu_blocks: &[0, 1],
            block_ids: &[0],
        };
        let at = |t: usize, h: usize| (t * case.kv_heads + h) * case.dim;
        memory.store(
            &compute,
            &rows,
            |t, h| &s.k[at(t, h)..][..case.dim],
            |t, h| &s.v[at(t, h)..][..case.dim],
        );
        memory.copy_block(0, 2);
        let run = |rows: &Rows<'_>| {
            let mut out = vec![0.0; s.q.len()];
            let width = case.heads * case.dim;
            paged_attention(
                &compute,
                &case.shape(),
                &memory,
                rows,
                (&s.q, width),
                &mut out,
            );
            out
        };
        let want = run(&rows);
        rows.block_ids = &[2];
        assert_eq!(run(&rows), want);
        rows.block_ids = &[1];
        assert_ne!(run(&rows), want);
    }
}

#[test]
fn bytes_are_those_of_numbers_scales_and_padding() {
    // 64 numbers: two groups of 32 + 2 bytes.
    let bytes = KvType::ALL.map(|t| t.bytes(64));
    assert_eq!(bytes, [256, 128, 128, 68]);
    // 40 numbers: a tail of eight has a scale of its own.
    assert_eq!(KvType::Q8_0.bytes(40), 44);
    // Values are padded to 48.
    let types = types(KvType::Q8_0, KvType::Q8_0);
    assert_eq!(types.block_bytes(3, 40), 3 * 16 * (44 + 52));
    for case in CASES {
        let memory = KvMemory::new(case.types, 5, case.kv_heads, case.dim).expect("memory");
        let size = |side: &Side| match &side.numbers {
            Numbers::F32(all) => size_of_val(&all[..]),
            Numbers::F16(all) | Numbers::Bf16(all) => size_of_val(&all[..]),
            Numbers::Q8 { quants, scales } => size_of_val(&quants[..]) + size_of_val(&scales[..]),
        };
        assert_eq!(
            size(&memory.keys) + size(&memory.values),
            5 * case.types.block_bytes(case.kv_heads, case.dim)
        );
    }
}
