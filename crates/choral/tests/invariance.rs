//! The promise: what a sequence gets does not depend on what shares its batch.
//!
//! Every request is first run alone, on one thread, with nothing cached. Then the
//! same requests run together in many ways, and tokens and log-probabilities must be
//! the same bit for bit.

use choral::engine::batch::BLOCK_TOKENS;
use choral::engine::{EngineMetrics, GenerationStream, StreamEvent};
use choral::machine::Isa;
use choral::manual::Decoder;
use choral::model::{KvType, Numeric};
use choral::sampling::SamplingStrategy;
use choral::{Engine, Prompt, Request, RequestOutput, SamplingParams};
use std::path::{Path, PathBuf};

const NUM_REQUESTS: usize = 64;

/// The model that ships (`None`), and golden ones with biases, head norms and
/// frequencies of their own.
fn models() -> [Option<PathBuf>; 3] {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/models");
    [
        None,
        Some(golden.join("qwen3/hf")),
        Some(golden.join("tinyllama/gguf/tinyllama-Q4_0.gguf")),
    ]
}

/// A way to run requests together.
#[derive(Debug, Clone, Copy)]
struct Way {
    together: usize,
    threads: usize,
    prefill_chunk: usize,
    prefix_caching: bool,
    /// Memory for one sequence of that many blocks; `None`: plenty.
    num_blocks: Option<usize>,
    /// Submit the second half only when the first has begun to answer.
    in_two_waves: bool,
    /// Keys and values other than the numeric's own.
    kv: Option<KvType>,
    /// The arithmetic; `None`: the one that is chosen for the file.
    numeric: Option<Numeric>,
    /// The instruction set; `None`: the best.
    isa: Option<Isa>,
}

const PLENTY: Way = Way {
    together: 64,
    threads: 2,
    prefill_chunk: 64,
    prefix_caching: true,
    num_blocks: None,
    in_two_waves: false,
    kv: None,
    numeric: None,
    isa: None,
};

const WAYS: [Way; 10] = [
    Way {
        together: 1,
        threads: 2,
        prefill_chunk: 512,
        ..PLENTY
    },
    Way {
        together: 2,
        threads: 1,
        prefill_chunk: 1,
        ..PLENTY
    },
    Way {
        together: 3,
        prefill_chunk: 7,
        prefix_caching: false,
        ..PLENTY
    },
    Way {
        together: 7,
        threads: 1,
        prefill_chunk: 16,
        in_two_waves: true,
        ..PLENTY
    },
    Way {
        together: 16,
        prefill_chunk: 33,
        ..PLENTY
    },
    Way {
        together: 33,
        threads: 1,
        prefill_chunk: 512,
        in_two_waves: true,
        ..PLENTY
    },
    Way {
        together: 64,
        prefill_chunk: 128,
        prefix_caching: false,
        ..PLENTY
    },
    Way {
        together: 64,
        prefill_chunk: 2,
        in_two_waves: true,
        ..PLENTY
    },
    // So little memory that sequences are put back and computed again all the time.
    Way {
        num_blocks: Some(32),
        prefill_chunk: 50,
        ..PLENTY
    },
    Way {
        num_blocks: Some(24),
        prefix_caching: false,
        threads: 1,
        ..PLENTY
    },
];

/// Numbers that look random and are the same everywhere.
struct Noise(u64);

impl Noise {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) as usize % n
    }
}

/// Prompts from 1 to 180 tokens, half of them with a common beginning; answers from 1
/// to 113 tokens (so some end early), drawn in different ways.
fn requests() -> Vec<Request> {
    let mut noise = Noise(7);
    let common: Vec<u32> = (0..70).map(|i| 20 + i % 60).collect();
    (0..NUM_REQUESTS)
        .map(|i| {
            let mut prompt = if i % 2 == 0 {
                common.clone()
            } else {
                Vec::new()
            };
            let own = 1 + noise.below(110);
            prompt.extend((0..own).map(|_| 10 + noise.below(500) as u32));
            let temperature = [0.0, 0.8, 1.3][i % 3];
            let params = SamplingParams {
                n: if i % 16 == 4 { 3 } else { 1 },
                // Long answers outgrow the room that admission left them.
                max_tokens: Some((if i % 4 == 0 { 90 } else { 1 }) + noise.below(24) as u32),
                ignore_eos: i % 4 == 0,
                temperature,
                top_k: [0, 40][i % 2],
                top_p: [1.0, 0.9, 0.95][i % 3],
                repetition_penalty: [1.0, 1.2][i / 2 % 2],
                seed: Some(i as u64),
                logprobs: Some(2),
                prompt_logprobs: (i % 8 == 3).then_some(1),
                ..SamplingParams::default()
            };
            Request::new(Prompt::Tokens(prompt))
                .with_id(i.to_string())
                .with_params(params)
        })
        .collect()
}

/// Prompts of up to 240 tokens that begin with the same 180, or with 100 of them, or
/// with none; answers of up to 140 tokens, some of them several to a prompt.
fn long_requests() -> Vec<Request> {
    let mut noise = Noise(3);
    let common: Vec<u32> = (0..180).map(|i| 20 + i * i % 97).collect();
    (0..12)
        .map(|i| {
            let mut prompt = common[..[180, 100, 0][i % 3]].to_vec();
            let own = 1 + noise.below(60);
            prompt.extend((0..own).map(|_| 10 + noise.below(500) as u32));
            let params = SamplingParams {
                n: if i % 6 == 3 { 3 } else { 1 },
                max_tokens: Some(60 + noise.below(80) as u32),
                ignore_eos: true,
                temperature: [0.0, 1.0][i % 2],
                seed: Some(i as u64),
                logprobs: Some(1),
                prompt_logprobs: (i == 7).then_some(1),
                ..SamplingParams::default()
            };
            Request::new(Prompt::Tokens(prompt))
                .with_id(i.to_string())
                .with_params(params)
        })
        .collect()
}

/// What must not change: everything but times and what came from the cache.
fn essence(output: &RequestOutput) -> String {
    let answers = output.outputs.iter().map(|o| {
        let logprobs = o.logprobs.as_ref().map(|all| {
            let bits =
                |l: &choral::engine::request::TokenLogprob| (l.token_id, l.logprob.to_bits());
            all.iter()
                .map(|p| (bits(&p.chosen), p.top.iter().map(bits).collect::<Vec<_>>()))
                .collect::<Vec<_>>()
        });
        format!(
            "{} {:?} {:?} {:?} {logprobs:?}",
            o.index, o.token_ids, o.text, o.finish_reason
        )
    });
    let prompt: Option<Vec<_>> = output.prompt_logprobs.as_ref().map(|all| {
        all.iter()
            .map(|p| p.as_ref().map(|p| p.chosen.logprob.to_bits()))
            .collect()
    });
    format!("{} {prompt:?}", answers.collect::<Vec<_>>().join("\n"))
}

fn engine(model: Option<&PathBuf>, way: &Way) -> Engine {
    let mut builder = Engine::builder();
    if let Some(path) = model {
        builder = builder.model(path);
    }
    if let Some(numeric) = way.numeric {
        builder = builder.numeric(numeric);
    }
    if let Some(isa) = way.isa {
        builder = builder.isa(isa);
    }
    if let Some(kind) = way.kv {
        builder = builder.key_type(kind).value_type(kind);
    }
    builder = builder
        .threads(way.threads)
        .max_num_seqs(way.together)
        .max_num_batched_tokens(512)
        .prefill_chunk(way.prefill_chunk)
        .prefix_caching(way.prefix_caching)
        .max_model_len(way.num_blocks.map_or(512, |blocks| blocks * BLOCK_TOKENS));
    if way.num_blocks.is_some() {
        let file = builder.open().expect("a model");
        let (architecture, hyper) = choral::model::Hyper::open(&file).expect("a known family");
        let spec = (architecture.spec)(&hyper).expect("a good configuration");
        let plan = builder.plan(&file, &spec, 1 << 40).expect("memory");
        let num_blocks = plan.blocks_of(plan.context) as u64;
        builder = builder.kv_memory(plan.kv_block_bytes * num_blocks);
    }
    builder.build().expect("an engine")
}

fn run(
    model: Option<&PathBuf>,
    way: &Way,
    requests: &[Request],
    order: &[usize],
) -> (Vec<String>, EngineMetrics) {
    let engine = engine(model, way);
    let submit = |i: &usize| {
        engine
            .submit_wait(requests[*i].clone())
            .expect("a good request")
    };
    let (first, second) = order.split_at(if way.in_two_waves { order.len() / 2 } else { 0 });
    let mut streams: Vec<GenerationStream> = first.iter().map(submit).collect();
    if let Some(stream) = streams.last_mut() {
        // The first wave is on its way when the second comes.
        assert!(!matches!(
            stream.next_event(),
            None | Some(StreamEvent::Finished(_))
        ));
    }
    streams.extend(second.iter().map(submit));
    let mut results = vec![String::new(); requests.len()];
    for stream in streams {
        let output = stream.wait();
        let i: usize = output.request_id.parse().expect("a number");
        results[i] = essence(&output);
    }
    (results, engine.metrics())
}

/// `like` says what all ways have in common.
fn check(model: Option<&PathBuf>, like: Way) {
    check_with(model, like, &requests());
}

fn check_with(model: Option<&PathBuf>, like: Way, requests: &[Request]) {
    let Way {
        kv, numeric, isa, ..
    } = like;
    let alone = Way {
        together: 1,
        threads: 1,
        prefix_caching: false,
        ..like
    };
    let engine_alone = engine(model, &alone);
    let alone = |request: &Request| {
        let stream = engine_alone.submit(request.clone());
        essence(&stream.expect("a good request").wait())
    };
    let want: Vec<String> = requests.iter().map(alone).collect();
    drop(engine_alone);
    let mut noise = Noise(99);
    let mut num_preemptions = Vec::new();
    for way in WAYS {
        let way = Way {
            kv,
            numeric,
            isa,
            ..way
        };
        let mut order: Vec<usize> = (0..requests.len()).collect();
        for i in (1..order.len()).rev() {
            order.swap(i, noise.below(i + 1));
        }
        let (got, metrics) = run(model, &way, requests, &order);
        for i in 0..requests.len() {
            assert_eq!(got[i], want[i], "{model:?}: request {i} in {way:?}");
        }
        if way.num_blocks.is_some() {
            num_preemptions.push(metrics.num_preemptions);
        }
        if way.prefix_caching && way.num_blocks.is_none() {
            assert!(
                metrics.prefix_hit_tokens > 0,
                "{way:?} was meant to hit the cache"
            );
        }
    }
    assert!(
        num_preemptions.iter().all(|&n| n > 0),
        "{model:?}: {num_preemptions:?}: with little memory, some were meant to be put back"
    );
}

#[test]
fn the_model_that_ships_gives_each_sequence_what_it_gets_alone() {
    check(models()[0].as_ref(), PLENTY);
}

#[test]
fn a_model_with_head_norms_gives_each_sequence_what_it_gets_alone() {
    check(models()[1].as_ref(), PLENTY);
}

#[test]
fn a_quantised_model_gives_each_sequence_what_it_gets_alone() {
    for numeric in [Numeric::Bf16, Numeric::Q8] {
        let numeric = Some(numeric);
        check(models()[2].as_ref(), Way { numeric, ..PLENTY });
    }
}

/// Caps and windows; windows, sinks and experts of MXFP4; experts; layers without
/// rotation; norms after parts and over all heads; `LongRoPE`.
#[test]
fn every_kind_of_layer_gives_each_sequence_what_it_gets_alone() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/models");
    for name in [
        "gemma2",
        "gemma3_text",
        "glm4",
        "gpt_oss_mxfp4",
        "mixtral",
        "olmo2",
        "phi3",
        "qwen3_moe",
        "smollm3_mix",
    ] {
        check(Some(&golden.join(name).join("hf")), PLENTY);
    }
}

/// Sequences of up to 380 tokens: 23 windows of Gemma 3 and gpt-oss, and 11 of the
/// others, which have windows in all layers, or in two of three.
#[test]
fn sequences_far_longer_than_windows_get_what_they_get_alone() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/models");
    let folder = tempfile::tempdir().expect("a folder");
    let mut models = vec![
        golden.join("gemma3_text/hf"),
        golden.join("gpt_oss_mxfp4/hf"),
    ];
    for first_windowed in [0, 1] {
        let copy = folder.path().join(first_windowed.to_string());
        std::fs::create_dir(&copy).expect("a folder");
        let original = golden.join("qwen2/hf");
        for entry in std::fs::read_dir(&original).expect("a golden model") {
            let name = entry.expect("a file").file_name();
            std::fs::copy(original.join(&name), copy.join(&name)).expect("a copy");
        }
        let config = copy.join("config.json");
        let text = std::fs::read_to_string(&config).expect("a configuration");
        let mut settings: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(settings["sliding_window"], 32);
        settings["use_sliding_window"] = true.into();
        settings["max_window_layers"] = first_windowed.into();
        std::fs::write(&config, settings.to_string()).expect("room");
        models.push(copy);
    }
    for model in &models {
        check_with(Some(model), PLENTY, &long_requests());
        check_against_all_keys_and_values(model);
    }
}

/// A [`Decoder`] keeps the keys and values of all layers, windows or not.
fn check_against_all_keys_and_values(model: &Path) {
    let prompt: Vec<u32> = (0..150).map(|i| 20 + i * i % 97).collect();
    let (strategy, num_tokens) = (SamplingStrategy::Greedy, 200);
    let decoder = Decoder::open(model).expect("a good model");
    let want = decoder.generate(&prompt, &strategy, 0, num_tokens, &[], |_| true);
    let engine = engine(Some(&model.to_owned()), &PLENTY);
    let request = Request::new(Prompt::Tokens(prompt)).with_params(SamplingParams {
        max_tokens: Some(num_tokens as u32),
        ignore_eos: true,
        temperature: 0.0,
        ..SamplingParams::default()
    });
    let got = engine.submit(request).expect("a good request").wait();
    assert_eq!(got.outputs[0].token_ids, want.expect("room"));
}

#[test]
fn in_f32_each_sequence_gets_what_it_gets_alone() {
    let numeric = Some(Numeric::F32);
    check(models()[1].as_ref(), Way { numeric, ..PLENTY });
}

#[test]
fn quantised_keys_and_values_give_each_sequence_what_it_gets_alone() {
    let kv = Some(KvType::Q8_0);
    check(models()[1].as_ref(), Way { kv, ..PLENTY });
}

#[test]
fn instruction_sets_agree_in_every_numeric_that_they_have_kernels_for() {
    let requests: Vec<Request> = requests().into_iter().take(16).collect();
    for numeric in [Numeric::F32, Numeric::Bf16, Numeric::Q8] {
        let results: Vec<Vec<String>> = Isa::available()
            .into_iter()
            .map(|isa| {
                let way = Way {
                    numeric: Some(numeric),
                    isa: Some(isa),
                    // Sequences are put back and computed again.
                    num_blocks: Some(24),
                    prefill_chunk: 17,
                    ..PLENTY
                };
                let engine = engine(models()[2].as_ref(), &way);
                let outputs = engine.generate_requests(requests.clone());
                let metrics = engine.metrics();
                assert!(metrics.num_preemptions > 0, "{way:?} was meant to preempt");
                outputs
                    .iter()
                    .map(|o| essence(o.as_ref().expect("a good request")))
                    .collect()
            })
            .collect();
        for other in &results[1..] {
            assert_eq!(*other, results[0], "{}", numeric.name());
        }
    }
}
