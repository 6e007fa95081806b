//! The matrices that a forward pass multiplies with, in the order of layers.

use crate::model::names::{At, Role};
use crate::model::tensors::Shape;
use crate::model::{DecoderSpec, Ffn, LayerSpec, MoeSpec, Stored};

/// A matrix that a forward pass multiplies with: what, whose, how large, and whether
/// it has a bias.
pub(super) type Matrix = (Role, At, Shape, Stored);

/// All of them.
pub(in crate::model) fn matrices(spec: &DecoderSpec) -> impl Iterator<Item = Matrix> + '_ {
    let layers = (0..spec.num_layers).flat_map(|layer| spec.layer_matrices(layer));
    let shape = [spec.vocab_size, spec.hidden_size];
    layers.chain([(spec.output_role(), At::default(), shape, Stored::IfPresent)])
}

/// Their shapes.
pub(in crate::model) fn shapes(spec: &DecoderSpec) -> impl Iterator<Item = Shape> + '_ {
    matrices(spec).map(|(_, _, shape, _)| shape)
}

impl DecoderSpec {
    pub(super) fn attention_matrices(&self, layer: usize) -> [Matrix; 4] {
        let (hidden, q, kv) = (self.hidden_size, self.q_width(), self.kv_width());
        let at = At::layer(layer);
        [
            (Role::Q, at, [q, hidden], self.qkv_bias),
            (Role::K, at, [kv, hidden], self.qkv_bias),
            (Role::V, at, [kv, hidden], self.qkv_bias),
            (
                Role::AttentionOutput,
                at,
                [hidden, q],
                self.attention_output_bias,
            ),
        ]
    }

    /// The matrices of a feed-forward part of inner width `size`: gate (if there is
    /// one), up, down.
    fn ffn_matrices(&self, at: At, roles: [Role; 3], size: usize) -> Vec<Matrix> {
        let [gate, up, down] = roles;
        let (hidden, bias) = (self.hidden_size, self.ffn_bias);
        let inner = if self.ffn.gated {
            vec![gate, up]
        } else {
            vec![up]
        };
        let inner = inner
            .into_iter()
            .map(|role| (role, at, [size, hidden], bias));
        inner.chain([(down, at, [hidden, size], bias)]).collect()
    }

    pub(super) fn dense_matrices(&self, layer: usize) -> Vec<Matrix> {
        let roles = [Role::FfnGate, Role::FfnUp, Role::FfnDown];
        self.ffn_matrices(At::layer(layer), roles, self.ffn.size)
    }

    pub(super) fn expert_matrices(
        &self,
        layer: usize,
        expert: usize,
        moe: &MoeSpec,
    ) -> Vec<Matrix> {
        let roles = [Role::ExpertGate, Role::ExpertUp, Role::ExpertDown];
        self.ffn_matrices(At { layer, expert }, roles, moe.size)
    }

    pub(super) fn shared_matrices(&self, layer: usize, moe: &MoeSpec) -> Vec<Matrix> {
        let roles = [Role::SharedGate, Role::SharedUp, Role::SharedDown];
        self.ffn_matrices(At::layer(layer), roles, moe.shared_size)
    }

    pub(super) fn router(&self, layer: usize, moe: &MoeSpec) -> Matrix {
        let shape = [moe.num_experts, self.hidden_size];
        (Role::Router, At::layer(layer), shape, moe.router_bias)
    }

    pub(super) fn shared_router(&self, layer: usize) -> Matrix {
        let shape = [1, self.hidden_size];
        (
            Role::SharedRouter,
            At::layer(layer),
            shape,
            Stored::IfPresent,
        )
    }

    /// The experts of a layer that has some.
    pub(super) fn experts(&self, layer: &LayerSpec) -> Option<&MoeSpec> {
        self.moe.as_ref().filter(|_| layer.ffn == Ffn::Experts)
    }

    /// Every matrix of a layer.
    fn layer_matrices(&self, layer: usize) -> Vec<Matrix> {
        let mut all = self.attention_matrices(layer).to_vec();
        let Some(moe) = self.experts(&self.layers[layer]) else {
            all.extend(self.dense_matrices(layer));
            return all;
        };
        all.push(self.router(layer, moe));
        for expert in 0..moe.num_experts {
            all.extend(self.expert_matrices(layer, expert, moe));
        }
        if moe.shared_size > 0 {
            all.push(self.shared_router(layer));
            all.extend(self.shared_matrices(layer, moe));
        }
        all
    }

    /// The tensor that makes logits.
    pub(super) fn output_role(&self) -> Role {
        if self.tied_embeddings {
            Role::Embedding
        } else {
            Role::Output
        }
    }
}
