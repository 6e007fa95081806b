//! The model, its workers and its cache memory on this machine's CPU.

use crate::engine::batch::{Batch, ExecError, Executor, KvKind, StepResult};
use crate::model::{KvBlocks, KvLayout, KvTypes, Model, ModelError, Scratch};
use choral_kernels::{Compute, WorkCounts};
use std::sync::Arc;

/// Runs a [`Model`] on the CPU.
#[derive(Debug)]
pub struct CpuExecutor {
    model: Arc<Model>,
    compute: Compute,
    kv: KvBlocks,
    num_blocks: usize,
    kv_types: KvTypes,
    scratch: Scratch,
}

impl CpuExecutor {
    /// Reserves memory for `num_blocks` blocks of keys and values, kept as the model's
    /// numeric says.
    ///
    /// # Errors
    /// If the operating system refuses so much.
    pub fn new(model: Arc<Model>, compute: Compute, num_blocks: usize) -> Result<Self, ModelError> {
        let types = model.numeric().kv_types();
        Self::with_kv_types(model, compute, num_blocks, types)
    }

    /// The same, with keys and values kept as `kv_types`.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_kv_types(
        model: Arc<Model>,
        compute: Compute,
        num_blocks: usize,
        kv_types: KvTypes,
    ) -> Result<Self, ModelError> {
        let layout = KvLayout::new(model.spec(), usize::MAX);
        Self::with_layout(model, compute, num_blocks, kv_types, layout)
    }

    /// The same, with layers that share blocks as `layout` says.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_layout(
        model: Arc<Model>,
        compute: Compute,
        num_blocks: usize,
        kv_types: KvTypes,
        layout: KvLayout,
    ) -> Result<Self, ModelError> {
        let kv = KvBlocks::new(model.spec(), layout, kv_types, num_blocks)?;
        let scratch = Scratch::default();
        Ok(Self {
            model,
            compute,
            kv,
            num_blocks,
            kv_types,
            scratch,
        })
    }
}

impl Executor for CpuExecutor {
    fn vocab_size(&self) -> usize {
        self.model.spec().vocab_size
    }

    fn num_layers(&self) -> usize {
        self.model.spec().num_layers
    }

    fn kv_kinds(&self) -> Vec<KvKind> {
        self.kv.layout().kinds().to_vec()
    }

    fn num_blocks(&self) -> usize {
        self.num_blocks
    }

    fn block_bytes(&self) -> usize {
        let layout = self.kv.layout();
        layout.block_bytes(self.model.spec(), self.kv_types) as usize
    }

    fn forward(&mut self, batch: &Batch, result: &mut StepResult) -> Result<(), ExecError> {
        for &(from, to) in &batch.copies {
            self.kv.copy(from.0, to.0);
        }
        self.model.forward(
            &self.compute,
            &mut self.kv,
            batch,
            &mut self.scratch,
            result,
        );
        Ok(())
    }

    fn work(&self) -> WorkCounts {
        self.compute.work()
    }

    fn run_parallel(&self, n: usize, task: &(dyn Fn(usize) + Sync)) {
        self.compute.run(n, task);
    }
}
