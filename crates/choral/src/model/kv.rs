//! Which layers keep their keys and values together, and the memory they lie in.
//!
//! Layers that see equally far back are of one [kind](KvKind). A block of memory holds
//! sixteen positions of one *group* of layers, and all groups are of one size, so that
//! one pool of blocks serves all of them: the size is the greatest that divides every
//! kind's number of layers. A model whose layers all see alike is one group.

use super::{DecoderSpec, KvTypes, ModelError};
use crate::engine::batch::KvKind;
use choral_kernels::attention::KvMemory;

/// How a model's layers share blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KvLayout {
    kinds: Vec<KvKind>,
    layers_per_group: usize,
    /// By layer.
    places: Vec<Place>,
}

/// Where a layer keeps its keys and values.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Place {
    /// Whose blocks it uses.
    group: usize,
    /// Which of a block's layers it is.
    slot: usize,
}

impl KvLayout {
    /// For sequences of up to `context` tokens: a window that holds as many is none.
    pub fn new(spec: &DecoderSpec, context: usize) -> Self {
        let windows = spec.layers.iter().map(|layer| layer.window);
        Self::of(
            windows
                .map(|window| window.filter(|&w| w < context))
                .collect(),
        )
    }

    /// One group of all layers, which keep everything, windows or not.
    pub fn whole(spec: &DecoderSpec) -> Self {
        Self::of(vec![None; spec.layers.len()])
    }

    fn of(windows: Vec<Option<usize>>) -> Self {
        let mut kinds = windows.clone();
        // `None` comes first.
        kinds.sort_unstable();
        kinds.dedup();
        let count = |kind| windows.iter().filter(|&&window| window == kind).count();
        let layers_per_group = kinds
            .iter()
            .fold(0, |size, &kind| divisor(size, count(kind)));
        let mut places = vec![Place::default(); windows.len()];
        let mut num_groups = 0;
        let kinds = kinds.into_iter().map(|kind| {
            let layers = places.iter_mut().zip(&windows).filter(|(_, w)| **w == kind);
            for (at, (place, _)) in layers.enumerate() {
                place.group = num_groups + at / layers_per_group;
                place.slot = at % layers_per_group;
            }
            let groups = count(kind) / layers_per_group;
            num_groups += groups;
            KvKind {
                window: kind,
                groups,
            }
        });
        Self {
            kinds: kinds.collect(),
            layers_per_group,
            places,
        }
    }

    /// The kinds of layers. Groups are counted from those of the first kind on.
    pub fn kinds(&self) -> &[KvKind] {
        &self.kinds
    }

    /// Groups of layers, of all kinds.
    pub fn num_groups(&self) -> usize {
        self.kinds.iter().map(|kind| kind.groups).sum()
    }

    /// Layers in each group.
    pub fn layers_per_group(&self) -> usize {
        self.layers_per_group
    }

    /// Bytes of one block, as it lies in memory.
    pub fn block_bytes(&self, spec: &DecoderSpec, types: KvTypes) -> u64 {
        let layer = types.block_bytes(spec.num_kv_heads, spec.head_dim);
        (self.layers_per_group as u64).saturating_mul(layer as u64)
    }
}

/// The greatest common divisor.
fn divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { divisor(b, a % b) }
}

/// Blocks of keys and values, for any group of a model's layers.
#[derive(Debug)]
pub struct KvBlocks {
    layout: KvLayout,
    /// `[layers_per_group]`.
    slots: Vec<KvMemory>,
}

impl KvBlocks {
    /// Reserves memory for `num_blocks` blocks.
    ///
    /// # Errors
    /// [`ModelError::NoMemory`].
    pub fn new(
        spec: &DecoderSpec,
        layout: KvLayout,
        types: KvTypes,
        num_blocks: usize,
    ) -> Result<Self, ModelError> {
        let slots = (0..layout.layers_per_group).map(|_| {
            KvMemory::new(types, num_blocks, spec.num_kv_heads, spec.head_dim).ok_or_else(|| {
                let block = layout.block_bytes(spec, types);
                ModelError::NoMemory {
                    what: "keys and values",
                    bytes: (num_blocks as u64).saturating_mul(block),
                }
            })
        });
        let slots = slots.collect::<Result<_, _>>()?;
        Ok(Self { layout, slots })
    }

    /// How layers share them.
    pub fn layout(&self) -> &KvLayout {
        &self.layout
    }

    /// Copies a whole block.
    ///
    /// # Panics
    /// If a block is out of range.
    pub fn copy(&mut self, from: u32, to: u32) {
        for slot in &mut self.slots {
            slot.copy_block(from, to);
        }
    }

    /// Whose blocks a layer uses, and where in them it keeps what.
    pub(super) fn layer(&mut self, layer: usize) -> (usize, &mut KvMemory) {
        let Place { group, slot } = self.layout.places[layer];
        (group, &mut self.slots[slot])
    }
}

#[cfg(test)]
mod tests;
