//! Claims about sampling, checked against references made elsewhere.

mod explog;
mod filters;
mod golden;
mod params;
mod rng;
mod sampler;
mod statistics;
mod strategy;

use super::{SampleContext, SampleError, Sampled, Sampler, SamplerScratch, SamplingParams};

/// Parameters that change nothing: draw from the model's own distribution.
fn neutral() -> SamplingParams {
    SamplingParams {
        temperature: 1.0,
        top_k: 0,
        top_p: 1.0,
        ..SamplingParams::default()
    }
}

fn greedy() -> SamplingParams {
    SamplingParams {
        temperature: 0.0,
        ..neutral()
    }
}

fn sample(
    params: &SamplingParams,
    logits: &[f32],
    context: &SampleContext<'_>,
) -> Result<Sampled, SampleError> {
    let sampler = Sampler::new(params, params.seed.unwrap_or(0), 0);
    sampler.sample(&mut SamplerScratch::new(), logits, context)
}

/// The token that is drawn without a prompt or an answer so far.
fn draw(params: &SamplingParams, logits: &[f32]) -> u32 {
    sample(params, logits, &SampleContext::default())
        .unwrap()
        .token_id
}
