//! Memory of layers with a sliding window, counted in a running engine.

use choral::{Engine, Request, SamplingParams};
use std::path::Path;
use std::sync::{Arc, Mutex};

/// Blocks in use after the step that computed position `at` of a sequence that decodes.
fn blocks_used(model: &str, prefix_caching: bool) -> impl Fn(usize) -> usize {
    const PROMPT: usize = 10;
    const ANSWER: u32 = 290;
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/models");
    let used = Arc::new(Mutex::new(Vec::new()));
    let watched = Arc::clone(&used);
    let engine = Engine::builder()
        .model(golden.join(model))
        .threads(1)
        .prefix_caching(prefix_caching)
        .on_step(Box::new(move |stats| {
            let used = stats.engine.kv_blocks_used;
            watched.lock().expect("no panic").push(used);
        }))
        .build()
        .expect("a golden model");
    let prompt: Vec<u32> = (0..PROMPT as u32).map(|at| 20 + at * 7).collect();
    let params = SamplingParams {
        max_tokens: Some(ANSWER),
        ignore_eos: true,
        seed: Some(1),
        ..SamplingParams::default()
    };
    let request = Request::new(prompt).with_params(params);
    let output = engine.submit(request).expect("a good request").wait();
    assert_eq!(output.outputs[0].token_ids.len(), ANSWER as usize);
    engine.shutdown();
    let used = std::mem::take(&mut *used.lock().expect("no panic"));
    // The first step computes the prompt, each other one a token.
    move |at| used[at + 1 - PROMPT]
}

#[test]
fn what_windowed_layers_hold_does_not_grow_with_the_context() {
    const WINDOW: usize = 16;
    for prefix_caching in [false, true] {
        // Five layers with a window and one without, each a group of its own.
        let used = blocks_used("gemma3_text/hf", prefix_caching);
        // A window's length into the sequence, all layers hold one block.
        assert_eq!(used(WINDOW - 2), 6);
        // After position 31, the next query sees 17 to 31: one block. After 127, 113 to
        // 127.
        assert_eq!(used(2 * WINDOW - 1), 2 + 5);
        assert_eq!(used(8 * WINDOW - 1), 8 + 5);
        // After position 40, 26 to 40: two blocks, one of which it is in. So after 280.
        assert_eq!(used(40), 3 + 5 * 2);
        assert_eq!(used(280), 18 + 5 * 2);
        // Every other layer: a group of each.
        let used = blocks_used("gpt_oss_mxfp4/hf", prefix_caching);
        assert_eq!(used(2 * WINDOW - 1), 2 + 1);
        assert_eq!(used(8 * WINDOW - 1), 8 + 1);
    }
}

#[test]
fn without_windows_every_layer_holds_everything() {
    let used = blocks_used("qwen2/hf", false);
    assert_eq!([used(31), used(127), used(280)], [2, 8, 18]);
}
