//! Several engines over one set of weights.
//!
//! One engine already computes many sequences together, and a second one on the same
//! cores makes neither faster. What a pool is for is keeping kinds of work apart, so
//! that short questions need not share their steps with long prompts, and machines whose
//! cores one engine does not fill. Weights are packed and held once; keys and values,
//! threads and queues are each engine's own.

use crate::engine::{Engine, Prompt, Request, RequestOutput, SubmitError};
use crate::model::Model;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Engines that answer alike.
#[derive(Debug, Clone)]
pub struct EnginePool {
    engines: Arc<[Engine]>,
    /// The one that comes first among equally busy ones.
    turn: Arc<AtomicUsize>,
    model: Option<Arc<Model>>,
}

impl From<Engine> for EnginePool {
    fn from(engine: Engine) -> Self {
        Self::new(vec![engine], None)
    }
}

impl EnginePool {
    /// `engines` are not empty.
    pub(crate) fn new(engines: Vec<Engine>, model: Option<Arc<Model>>) -> Self {
        assert!(!engines.is_empty(), "a pool has at least one engine");
        Self {
            engines: engines.into(),
            turn: Arc::default(),
            model,
        }
    }

    /// The engines; at least one.
    pub fn engines(&self) -> &[Engine] {
        &self.engines
    }

    /// The weights that all engines compute with, if
    /// [`build_pool`](crate::EngineBuilder::build_pool) made the pool.
    pub fn model(&self) -> Option<&Arc<Model>> {
        self.model.as_ref()
    }

    /// The engine with the fewest answers to give; of several, each in turn.
    pub fn least_busy(&self) -> &Engine {
        if let [engine] = &*self.engines {
            return engine;
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.engines.len();
        let (before, from) = self.engines.split_at(turn);
        let load = |engine: &&Engine| {
            let metrics = engine.metrics();
            metrics.num_running + metrics.num_waiting
        };
        let least = from.iter().chain(before).min_by_key(load);
        least.expect("a pool has at least one engine")
    }

    /// Runs requests on all engines, and returns what came of each, in their order.
    pub fn generate_requests(
        &self,
        requests: impl IntoIterator<Item = Request>,
    ) -> Vec<Result<RequestOutput, SubmitError>> {
        let submit = |request| self.least_busy().submit_wait(request);
        let streams: Vec<_> = requests.into_iter().map(submit).collect();
        let streams = streams.into_iter();
        streams
            .map(|stream| stream.map(crate::engine::GenerationStream::wait))
            .collect()
    }

    /// The same for prompts with the same parameters.
    pub fn generate(
        &self,
        prompts: impl IntoIterator<Item = impl Into<Prompt>>,
        params: &crate::SamplingParams,
    ) -> Vec<Result<RequestOutput, SubmitError>> {
        self.generate_requests(
            prompts
                .into_iter()
                .map(|prompt| Request::new(prompt).with_params(params.clone())),
        )
    }

    /// Ends all engines.
    pub fn shutdown(&self) {
        for engine in &*self.engines {
            engine.shutdown();
        }
    }
}
