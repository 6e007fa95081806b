//! What a step costs, counted: facts that a clock on a shared machine cannot give.
//!
//! The engine's thread computes alone here, so everything that a step allocates,
//! in kernels, scheduling or sampling, is counted on that thread. (Answers with
//! log-probabilities allocate the lists that they hand out.)

use choral::engine::StepStats;
use choral::model::Numeric;
use choral::{Engine, EngineBuilder, Request, SamplingParams};
use choral_kernels::Isa;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::Path;
use std::sync::{Arc, Mutex};

thread_local! {
    static ALLOCATED: Cell<u64> = const { Cell::new(0) };
}

/// Counts the bytes that each thread asks for.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count(bytes: usize) {
    // Nothing is counted while a thread ends.
    let _ = ALLOCATED.try_with(|allocated| allocated.set(allocated.get() + bytes as u64));
}

// SAFETY: all is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promise.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: the caller's promise.
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(memory, layout) }
    }
}

/// A step, and the bytes that its thread had allocated by its end.
type Watched = (StepStats, u64);

/// Tokens that each answer gets.
const ANSWER: u32 = 40;
/// Tokens of each prompt.
const PROMPT: usize = 20;

/// Runs `batch` prompts of their own together through the model that ships, and
/// returns all steps.
fn run(numeric: Numeric, batch: usize) -> Vec<Watched> {
    run_model(Engine::builder(), numeric, batch)
}

fn run_model(builder: EngineBuilder, numeric: Numeric, batch: usize) -> Vec<Watched> {
    let steps = Arc::new(Mutex::new(Vec::with_capacity(1024)));
    let watched = Arc::clone(&steps);
    let engine = builder
        .numeric(numeric)
        .threads(1)
        .max_num_seqs(64)
        .max_model_len(256)
        .on_step(Box::new(move |stats| {
            let step = (*stats, ALLOCATED.get());
            watched.lock().expect("no panic").push(step);
        }))
        .build()
        .expect("a good model");
    let requests = (0..batch as u32).map(|i| {
        let prompt: Vec<u32> = (0..PROMPT as u32).map(|at| 20 + i + 3 * at).collect();
        Request::new(prompt).with_params(SamplingParams {
            max_tokens: Some(ANSWER),
            ignore_eos: true,
            temperature: [0.0, 0.8][i as usize % 2],
            top_k: [0, 40][i as usize / 2 % 2],
            top_p: [1.0, 0.9][i as usize / 4 % 2],
            seed: Some(u64::from(i)),
            ..SamplingParams::default()
        })
    });
    for output in engine.generate_requests(requests) {
        let output = output.expect("a good request");
        assert_eq!(output.outputs[0].token_ids.len(), ANSWER as usize);
    }
    engine.shutdown();
    std::mem::take(&mut *steps.lock().expect("no panic"))
}

/// Tiles of 16 by 32 weights in the layers' matrices, and in the output matrix, and
/// the bytes of both, as the file has them.
fn tiles_of_the_file() -> (u64, u64, u64) {
    let file = Engine::builder().open().expect("the model that ships");
    let (mut layers, mut output, mut bytes) = (0, 0, 0);
    for tensor in file.tensors().infos() {
        let &[rows, width] = tensor.shape.as_slice() else {
            continue;
        };
        assert!(rows % 16 == 0 && width % 32 == 0, "no padding is needed");
        let tiles = (rows / 16 * (width / 32)) as u64;
        if tensor.name.starts_with("blk.") {
            layers += tiles;
        } else if tensor.name == "output.weight" {
            output += tiles;
        } else {
            // The embedding: a token reads its row.
            continue;
        }
        bytes += tensor.byte_len().expect("a sound file") as u64;
    }
    (layers, output, bytes)
}

/// Rows that products of `rows` are computed for: those, and on AMX as many more as
/// make all tiles alike (fewer than there are tiles).
fn multiplied(numeric: Numeric, rows: usize) -> u64 {
    let tiles = rows.div_ceil(16).max(1);
    let rows = if numeric == Numeric::Bf16 && Isa::detect().has_tiles() {
        tiles * rows.div_ceil(tiles)
    } else {
        rows
    };
    rows as u64
}

#[test]
fn a_step_reads_weights_once_and_computes_nothing_for_padding() {
    let (layers, output, bytes) = tiles_of_the_file();
    for numeric in [Numeric::Q8, Numeric::Bf16] {
        for batch in [1, 8, 32, 64] {
            for (step, _) in run(numeric, batch) {
                let what = format!("{numeric:?}, {batch} prompts: {step:?}");
                assert_eq!(step.weight_bytes, bytes, "{what}");
                let tokens = multiplied(numeric, step.num_prefill_tokens + step.num_decode_tokens);
                let drawn = multiplied(numeric, step.num_drawn);
                let products = tokens * layers + drawn * output;
                assert_eq!(step.tile_products, products, "{what}");
                let unpacked = match numeric {
                    Numeric::Q8 => 0,
                    _ => layers + output,
                };
                assert_eq!(step.unpacked_blocks, unpacked, "{what}");
            }
        }
    }
}

#[test]
fn a_steady_step_allocates_nothing() {
    for numeric in [Numeric::Q8, Numeric::Bf16, Numeric::F32] {
        for batch in [1, 8, 32, 64] {
            check_steady_steps(&run(numeric, batch), batch);
        }
    }
}

/// Answers pass their windows of 16 positions more than twice meanwhile, and give up
/// blocks and take others.
#[test]
fn a_steady_step_of_a_model_with_windows_allocates_nothing() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/models");
    for name in ["gemma3_text/hf", "gpt_oss_mxfp4/hf"] {
        for (batch, prefix_caching) in [(1, true), (8, false), (8, true), (64, true)] {
            let builder = Engine::builder()
                .model(golden.join(name))
                .prefix_caching(prefix_caching);
            check_steady_steps(&run_model(builder, Numeric::Bf16, batch), batch);
        }
    }
}

fn check_steady_steps(steps: &[Watched], batch: usize) {
    // All answers go on, before and after.
    let steady = |(step, _): &Watched| step.num_drawn == batch && step.engine.num_running == batch;
    let steady: Vec<_> = steps.iter().copied().filter(steady).collect();
    assert!(steady.len() >= 30, "{batch} prompts");
    // The first two decide how much memory all others need.
    for pair in steady[1..].windows(2) {
        let [(_, before), (step, after)] = pair else {
            unreachable!("pairs")
        };
        assert_eq!(after - before, 0, "bytes, {batch} prompts: {step:?}");
    }
}
