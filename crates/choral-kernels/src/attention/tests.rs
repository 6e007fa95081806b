use super::*;
use crate::Isa;
use crate::bf16::{bf16_to_f32, round_bf16};
use crate::matmul::Element;

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

#[derive(Clone, Copy)]
struct Case {
    heads: usize,
    kv_heads: usize,
    dim: usize,
    window: Option<usize>,
    element: Element,
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

    fn shape(&self) -> AttentionShape {
        AttentionShape {
            heads: self.heads,
            scale: 1.0 / (self.dim as f32).sqrt(),
            window: self.window,
        }
    }

    /// Softmax of the visible scores times the values, in f64.
    fn naive(&self, s: &Sequence) -> Vec<f64> {
        let stored = |x: f32| match self.element {
            Element::Bf16 => f64::from(bf16_to_f32(round_bf16(x))),
            Element::F32 => f64::from(x),
        };
        let (group, dim) = (self.heads / self.kv_heads, self.dim);
        let mut out = Vec::new();
        for t in 0..s.len {
            for h in 0..self.heads {
                let first = self.window.map_or(0, |w| (t + 1).saturating_sub(w));
                let kv = |p: usize| (p * self.kv_heads + h / group) * dim;
                let scores: Vec<f64> = (first..=t)
                    .map(|p| {
                        let dot: f64 = (0..dim)
                            .map(|d| {
                                f64::from(s.q[(t * self.heads + h) * dim + d])
                                    * stored(s.k[kv(p) + d])
                            })
                            .sum();
                        (dot / (dim as f64).sqrt()).exp()
                    })
                    .collect();
                let sum: f64 = scores.iter().sum();
                for d in 0..dim {
                    out.push(
                        (first..=t)
                            .zip(&scores)
                            .map(|(p, w)| w / sum * stored(s.v[kv(p) + d]))
                            .sum(),
                    );
                }
            }
        }
        out
    }

    /// Runs sequences together, each in chunks of `chunk` tokens, in blocks handed
    /// out in an odd order from memory full of NaN.
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
        let mut memory =
            KvMemory::new(self.element, total, self.kv_heads, self.dim).expect("memory");
        match &mut memory.data {
            Data::Bf16 { keys, values } => {
                keys.as_flattened_mut().fill(0x7fc0);
                values.as_flattened_mut().fill(0x7fc0);
            }
            Data::F32 { keys, values } => {
                keys.as_flattened_mut().fill(f32::NAN);
                values.as_flattened_mut().fill(f32::NAN);
            }
        }
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
            let (mut q, mut k, mut v, mut who) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
            for (i, s) in sequences.iter().enumerate().filter(|(_, s)| start < s.len) {
                let end = (start + chunk).min(s.len);
                positions.extend(start as u32..end as u32);
                cu_tokens.push(positions.len() as u32);
                block_ids.extend(&tables[i]);
                cu_blocks.push(block_ids.len() as u32);
                q.extend(&s.q[start * self.heads * self.dim..end * self.heads * self.dim]);
                k.extend(&s.k[start * self.kv_heads * self.dim..end * self.kv_heads * self.dim]);
                v.extend(&s.v[start * self.kv_heads * self.dim..end * self.kv_heads * self.dim]);
                who.push((i, end - start));
            }
            let rows = Rows {
                positions: &positions,
                cu_tokens: &cu_tokens,
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

const CASES: [Case; 5] = [
    Case {
        heads: 4,
        kv_heads: 2,
        dim: 32,
        window: None,
        element: Element::Bf16,
    },
    Case {
        heads: 3,
        kv_heads: 3,
        dim: 24,
        window: None,
        element: Element::F32,
    },
    Case {
        heads: 8,
        kv_heads: 1,
        dim: 16,
        window: Some(20),
        element: Element::F32,
    },
    Case {
        heads: 10,
        kv_heads: 1,
        dim: 64,
        window: Some(16),
        element: Element::Bf16,
    },
    Case {
        heads: 2,
        kv_heads: 1,
        dim: 2,
        window: Some(1),
        element: Element::F32,
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
fn a_copied_block_reads_as_its_source() {
    let mut memory = KvMemory::new(Element::F32, 3, 2, 16).expect("memory");
    if let Data::F32 { keys, values } = &mut memory.data {
        keys.as_flattened_mut()
            .iter_mut()
            .enumerate()
            .for_each(|(i, k)| *k = i as f32);
        values
            .as_flattened_mut()
            .iter_mut()
            .enumerate()
            .for_each(|(i, v)| *v = i as f32);
    }
    memory.copy_block(0, 2);
    let Data::F32 { keys, values } = &memory.data else {
        panic!("asked for f32")
    };
    assert_eq!(keys[..32], keys[64..]);
    assert_eq!(values[..32], values[64..]);
}

#[test]
#[should_panic(expected = "no block for position 16")]
fn a_position_without_a_block_is_refused() {
    let compute = Compute::new(Isa::Scalar, 1);
    let mut memory = KvMemory::new(Element::F32, 1, 1, 2).expect("memory");
    let rows = Rows {
        positions: &[16],
        cu_tokens: &[0, 1],
        cu_blocks: &[0, 1],
        block_ids: &[0],
    };
    memory.store(&compute, &rows, |_, _| &[0.0, 0.0], |_, _| &[0.0, 0.0]);
}
