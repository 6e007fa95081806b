//! Attention of one layer: from the normalised residual stream to what is added to it.

use super::{Linear, Norm};
use crate::model::AttentionSpec;
use choral_kernels::Compute;
use choral_kernels::attention::{AttentionShape, KvMemory, Rows, paged_attention};
use choral_kernels::matmul::{Activations, Inputs};
use choral_kernels::rope::rotate_halves;

/// Weights and rules.
#[derive(Debug)]
pub struct Attention {
    /// Q, K and V, one behind the other.
    pub(crate) qkv: Linear,
    /// Over a head, or over all.
    pub(crate) q_norm: Option<Norm>,
    pub(crate) k_norm: Option<Norm>,
    pub(crate) output: Linear,
    /// `[heads]`.
    pub(crate) sinks: Option<Vec<f32>>,
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
    pub(crate) spec: AttentionSpec,
    pub(crate) window: Option<usize>,
    /// Which of the model's rotary embeddings.
    pub(crate) rope: Option<usize>,
}

/// Memory of a step, kept for the next.
#[derive(Debug, Default)]
pub struct AttentionScratch {
    /// `[tokens, q + k + v]`.
    qkv: Vec<f32>,
    /// `[tokens, heads * head_dim]`.
    attended: Vec<f32>,
    x: Activations,
}

/// A step's cosines and sines, one list a rotary embedding: `[tokens, 2 * pairs]`.
pub(crate) type Angles = [(Vec<f32>, usize)];

impl Attention {
    /// The forms of activations that it takes.
    pub fn inputs(&self) -> Inputs {
        self.qkv.inputs()
    }

    /// Bytes of packed weights.
    pub fn bytes(&self) -> usize {
        self.qkv.bytes() + self.output.bytes()
    }

    /// Stores keys and values of `[tokens, hidden]` activations in `kv`, and makes
    /// `out` (`[tokens, hidden]`) of what the tokens see.
    pub(crate) fn forward(
        &self,
        compute: &Compute,
        x: &Activations,
        kv: &mut KvMemory,
        (rows, angles): (&Rows<'_>, &Angles),
        s: &mut AttentionScratch,
        out: &mut Vec<f32>,
    ) {
        let (dim, tokens, isa) = (self.head_dim, x.rows(), compute.isa());
        let (q_width, kv_width) = (self.heads * dim, self.kv_heads * dim);
        self.qkv.forward(compute, x, &mut s.qkv);

        let stride = self.qkv.width();
        let angles = self.rope.map(|rope| &angles[rope]);
        compute.rows_mut(&mut s.qkv, stride, |t, row| {
            let (q, rest) = row.split_at_mut(q_width);
            for (part, norm) in [(q, &self.q_norm), (&mut rest[..kv_width], &self.k_norm)] {
                if let Some(norm) = norm {
                    norm.apply_to_pieces(isa, part);
                }
                let Some((angles, pairs)) = angles else {
                    continue;
                };
                let (cos, sin) = angles[t * 2 * pairs..][..2 * pairs].split_at(*pairs);
                for head in part.chunks_exact_mut(dim) {
                    rotate_halves(head, cos, sin);
                }
            }
        });

        let qkv = &s.qkv;
        let head = |t: usize, first: usize, h: usize| &qkv[t * stride + first + h * dim..][..dim];
        kv.store(
            compute,
            rows,
            |t, h| head(t, q_width, h),
            |t, h| head(t, q_width + kv_width, h),
        );
        let shape = AttentionShape {
            heads: self.heads,
            scale: self.spec.scale,
            softcap: self.spec.softcap,
            window: self.window,
            bidirectional: self.spec.bidirectional,
            sinks: self.sinks.as_deref(),
        };
        s.attended.resize(tokens * q_width, 0.0);
        paged_attention(compute, &shape, kv, rows, (qkv, stride), &mut s.attended);
        let attended = &s.attended;
        let shape = (tokens, q_width);
        s.x.fill(compute, self.output.inputs(), shape, |t, out| {
            out.copy_from_slice(&attended[t * q_width..][..q_width]);
        });
        self.output.forward(compute, &s.x, out);
    }
}
