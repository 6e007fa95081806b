//! Figures worked out by hand, and the promises of a plan.

use super::*;
use crate::model::Hyper;
use choral_formats::{Gguf, ModelFile, gguf::Writer};

const GIB: u64 = 1 << 30;

/// Qwen2.5-0.5B, from its published `config.json`; no weights needed.
fn qwen25_half_billion() -> DecoderSpec {
    let (layers, hidden) = (24, 896);
    let mut spec = tiny();
    spec.vocab_size = 151_936;
    spec.hidden_size = hidden;
    spec.num_layers = layers;
    spec.num_heads = 14;
    spec.num_kv_heads = 2;
    spec.head_dim = 64;
    spec.ffn.size = 4864;
    spec.max_context = 32_768;
    spec.layers = vec![spec.layers[0]; layers];
    spec
}

/// What a header says, without a single layer's tensor.
fn tiny() -> DecoderSpec {
    let mut writer = Writer::new();
    writer
        .set("general.architecture", "qwen2")
        .set("qwen2.embedding_length", 32u32)
        .set("qwen2.block_count", 1u32)
        .set("qwen2.attention.head_count", 4u32)
        .set("qwen2.attention.head_count_kv", 2u32)
        .set("qwen2.feed_forward_length", 64u32)
        .set("qwen2.context_length", 100u32)
        .set("qwen2.attention.layer_norm_rms_epsilon", 1e-6f32);
    let info = choral_formats::TensorInfo {
        name: "token_embd.weight".into(),
        dtype: choral_formats::Dtype::F32,
        shape: vec![40, 32],
    };
    writer.tensor(info, vec![0; 40 * 32 * 4]).expect("a tensor");
    let bytes = writer.to_bytes().expect("a file");
    let file = ModelFile::Gguf(Gguf::from_bytes("tiny.gguf", bytes).expect("a good file"));
    let (architecture, hyper) = Hyper::open(&file).expect("a known family");
    (architecture.spec)(&hyper).expect("a complete header")
}

fn try_plan(
    spec: &DecoderSpec,
    numeric: Numeric,
    options: &PlanOptions,
    memory: u64,
) -> Result<EnginePlan, ModelError> {
    spec.plan(numeric, spec.float_weight_bytes(numeric), options, memory)
}

fn plan(spec: &DecoderSpec, options: &PlanOptions, memory: u64) -> EnginePlan {
    try_plan(spec, Numeric::Bf16, options, memory).expect("it fits")
}

#[test]
fn qwen25_half_billion_takes_25_megabytes_of_cache_for_2048_tokens_in_f16() {
    let spec = qwen25_half_billion();
    // 24 layers x 2 (keys, values) x 2 heads x 64 x 2 bytes.
    assert_eq!(spec.kv_token_bytes(KvTypes::both(KvType::F16)), 12_288);
    assert_eq!(
        spec.kv_token_bytes(KvTypes::both(KvType::F16)) * 2048,
        25_165_824
    );
    // Nothing is padded at this shape: a block is sixteen tokens.
    assert_eq!(
        spec.kv_block_bytes(KvTypes::both(KvType::Bf16)),
        16 * 12_288
    );
    assert_eq!(
        spec.kv_block_bytes(KvTypes::both(KvType::F32)),
        2 * 16 * 12_288
    );
}

#[test]
fn qwen25_half_billion_has_494_million_weights() {
    // Its card says 0.49 B; biases and norms are the 0.07 million not counted.
    let weights = 493_961_216;
    let spec = qwen25_half_billion();
    assert_eq!(spec.float_weight_bytes(Numeric::Bf16), 2 * weights);
    assert_eq!(spec.float_weight_bytes(Numeric::F32), 4 * weights);
}

#[test]
fn heads_that_are_no_multiple_of_a_vector_are_counted_with_their_padding() {
    let mut spec = tiny();
    spec.head_dim = 24;
    // Keys 24 wide, values padded to 32; two heads, sixteen positions, two bytes.
    assert_eq!(
        spec.kv_block_bytes(KvTypes::both(KvType::Bf16)),
        2 * 16 * (24 + 32) * 2
    );
    assert_eq!(
        spec.kv_token_bytes(KvTypes::both(KvType::F16)),
        2 * 2 * 24 * 2
    );
}

#[test]
fn smaller_caches_hold_more_tokens() {
    let spec = qwen25_half_billion();
    let tokens = |key_type, value_type| {
        let options = PlanOptions {
            kv_bytes: Some(100_000_000),
            key_type,
            value_type,
            ..PlanOptions::default()
        };
        let plan = plan(&spec, &options, 4 * GIB);
        assert_eq!(plan.kv_types, options.kv_types(Numeric::Bf16));
        (plan.kv_block_bytes, plan.kv_tokens())
    };
    // 24 layers x 2 heads x 16 positions, each with keys and values of 64 numbers:
    // 128 bytes in f16 and bf16, 2 x (32 + 2) in q8_0.
    assert_eq!(tokens(None, None), (768 * 256, 508 * 16));
    assert_eq!(tokens(Some(KvType::F16), None), (768 * 256, 508 * 16));
    let q8 = Some(KvType::Q8_0);
    assert_eq!(tokens(q8, q8), (768 * 136, 957 * 16));
    assert_eq!(tokens(q8, Some(KvType::F32)), (768 * 324, 401 * 16));
}

/// Layers that take turns: `window` in all but every `every`th.
fn set_windows(spec: &mut DecoderSpec, window: usize, every: usize) {
    let windows = (1..=spec.num_layers).map(|layer| Some(window).filter(|_| layer % every != 0));
    spec.set_windows(windows);
}

/// Gemma 3 1B, from its published `config.json`, as far as memory goes.
fn gemma3_1b() -> DecoderSpec {
    let mut spec = qwen25_half_billion();
    spec.num_layers = 26;
    spec.layers = vec![spec.layers[0]; 26];
    spec.num_heads = 4;
    spec.num_kv_heads = 1;
    spec.head_dim = 256;
    set_windows(&mut spec, 512, 6);
    spec
}

#[test]
fn gemma3_1b_keeps_less_than_a_fifth_of_a_long_context() {
    let mut spec = gemma3_1b();
    let options = PlanOptions {
        context: Some(32_768),
        max_num_seqs: Some(4),
        max_num_batched_tokens: Some(512),
        ..PlanOptions::default()
    };
    let with = plan(&spec, &options, 64 * GIB);
    // 22 layers with windows and 4 without: groups of two. Keys and values of one head,
    // 16 positions of 256 numbers of 2 bytes.
    assert_eq!(with.kv_block_bytes, 2 * 2 * 16 * 256 * 2);
    // 2 groups of 2048 blocks; 11 of those in which 512 tokens of a step and 511 before
    // them lie, wherever they begin: 64 and one.
    assert_eq!(with.blocks_of(32_768), 2 * 2048 + 11 * 65);
    assert_eq!(with.num_kv_blocks, 4 * 4811);
    assert_eq!(with.sequences_of(32_768), 4);
    assert_eq!(with.kv_tokens(), 4 * 32_768);
    // Below a window, all layers hold all.
    assert_eq!(with.blocks_of(256), 13 * 16);
    let f16 = KvTypes::both(KvType::F16);
    // A token's keys and values are 1024 bytes in each layer.
    let kept = spec.kv_sequence_bytes(f16, 32_768, 512);
    assert_eq!(kept, (4 * 32_768 + 22 * 1023) * 1024);

    spec.set_windows([None; 26]);
    let without = plan(&spec, &options, 64 * GIB);
    assert_eq!(without.kv_block_bytes, 26 * 2 * 16 * 256 * 2);
    assert_eq!(without.num_kv_blocks, 4 * 2048);
    let whole = spec.kv_sequence_bytes(f16, 32_768, 512);
    assert_eq!(whole, 26 * 32_768 * 1024);
    // 158 MB a sequence, of 872.
    assert_eq!(with.kv_bytes() / 4, 4811 * 32_768);
    assert_eq!(without.kv_bytes() / 4, 2048 * 26 * 16_384);
}

#[test]
fn gpt_oss_20b_keeps_half_and_a_little() {
    let mut spec = qwen25_half_billion();
    spec.num_kv_heads = 8;
    set_windows(&mut spec, 128, 2);
    let options = PlanOptions {
        context: Some(8192),
        max_num_seqs: Some(8),
        prefill_chunk: Some(256),
        ..PlanOptions::default()
    };
    let plan = plan(&spec, &options, 64 * GIB);
    // Twelve layers in a block. 256 tokens of a step and 127 before them: 24 blocks and
    // one.
    assert_eq!(plan.kv_block_bytes, 12 * 2 * 16 * 8 * 64 * 2);
    assert_eq!(plan.blocks_of(8192), 512 + 25);
    assert_eq!(plan.num_kv_blocks, 8 * 537);
}

#[test]
fn a_model_of_windows_alone_has_room_for_any_context() {
    let mut spec = qwen25_half_billion();
    spec.set_windows([Some(4096); 24]);
    // 512 tokens of a step and 4095 before them lie in 289 blocks: 56.8 MB.
    let block = spec.kv_block_bytes(KvTypes::both(KvType::F16));
    let options = PlanOptions {
        kv_bytes: Some(289 * block),
        max_num_batched_tokens: Some(512),
        ..PlanOptions::default()
    };
    let fits = plan(&spec, &options, 16 * GIB);
    assert_eq!((fits.context, fits.context_cut_to_memory), (32_768, false));
    assert_eq!(fits.sequences_of(32_768), 1);
    // One less, and the context is what all positions of a sequence fit.
    let options = PlanOptions {
        kv_bytes: Some(288 * block),
        ..options
    };
    let cut = plan(&spec, &options, 16 * GIB);
    assert_eq!((cut.context, cut.context_cut_to_memory), (288 * 16, true));
}

#[test]
fn a_window_as_long_as_the_context_is_none() {
    let mut spec = gemma3_1b();
    let options = |context| PlanOptions {
        context: Some(context),
        ..PlanOptions::default()
    };
    let groups = |spec: &DecoderSpec, context| {
        let plan = plan(spec, &options(context), 64 * GIB);
        plan.kv_layout.num_groups()
    };
    assert_eq!([groups(&spec, 512), groups(&spec, 513)], [1, 13]);
    spec.set_windows([Some(100); 26]);
    assert_eq!([groups(&spec, 100), groups(&spec, 101)], [1, 1]);
}

#[test]
fn a_plan_stays_within_its_memory() {
    let spec = qwen25_half_billion();
    for memory in [GIB + GIB / 8, 2 * GIB, 4 * GIB, 16 * GIB, 512 * GIB] {
        let plan = plan(&spec, &PlanOptions::default(), memory);
        assert!(plan.total_bytes() <= memory, "{memory}: {plan:?}");
        assert!(plan.max_num_batched_tokens >= plan.max_num_seqs);
        assert!(plan.kv_tokens() >= plan.context, "one sequence always fits");
        assert_eq!(plan.context_cut_to_memory, plan.context < spec.max_context);
    }
}

#[test]
fn keys_and_values_never_get_more_than_could_be_used() {
    let spec = tiny();
    let plan = plan(&spec, &PlanOptions::default(), 512 * GIB);
    assert_eq!(plan.max_num_seqs, 256);
    assert_eq!(plan.context, 100);
    assert_eq!(plan.num_kv_blocks, 256 * 7);
    assert_eq!(plan.sequences_of(100), 256);
    assert_eq!(plan.sequences_of(0), plan.num_kv_blocks);
}

#[test]
fn little_memory_shortens_an_unstated_context_and_says_so() {
    let spec = qwen25_half_billion();
    let weights = spec.float_weight_bytes(Numeric::Bf16);
    let plan = plan(&spec, &PlanOptions::default(), weights + 100_000_000);
    assert!(plan.context_cut_to_memory);
    assert_eq!(plan.context, plan.kv_tokens());
    assert!(plan.step_bytes <= 25_000_000);
}

#[test]
fn a_stated_context_that_does_not_fit_is_an_error() {
    let spec = qwen25_half_billion();
    let options = PlanOptions {
        context: Some(32_768),
        kv_bytes: Some(10_000_000),
        ..PlanOptions::default()
    };
    let error = try_plan(&spec, Numeric::Bf16, &options, 4 * GIB).unwrap_err();
    assert_eq!(
        error.to_string(),
        "10000000 bytes for keys and values hold 800 tokens, expected at least 32768"
    );
    let options = PlanOptions {
        context: Some(32_769),
        ..PlanOptions::default()
    };
    let error = try_plan(&spec, Numeric::Bf16, &options, 4 * GIB).unwrap_err();
    assert!(matches!(error, ModelError::Context { asked: 32_769, .. }));
}

#[test]
fn a_context_beyond_the_model_s_must_be_asked_for_twice() {
    let mut options = PlanOptions {
        context: Some(101),
        ..PlanOptions::default()
    };
    assert!(try_plan(&tiny(), Numeric::F32, &options, GIB).is_err());
    options.beyond_trained_context = true;
    assert_eq!(plan(&tiny(), &options, GIB).context, 101);
}

#[test]
fn weights_that_do_not_fit_are_an_error() {
    let error = try_plan(
        &qwen25_half_billion(),
        Numeric::F32,
        &PlanOptions::default(),
        GIB,
    )
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        "weights take 1975844864 bytes in f32, but 1073741824 bytes of memory are left"
    );
}

#[test]
fn limits_asked_for_are_kept_or_refused() {
    let spec = tiny();
    let options = PlanOptions {
        context: Some(64),
        max_num_seqs: Some(3),
        max_num_batched_tokens: Some(5),
        ..PlanOptions::default()
    };
    let kept = plan(&spec, &options, GIB);
    assert_eq!((kept.context, kept.max_num_seqs), (64, 3));
    assert_eq!((kept.max_num_batched_tokens, kept.num_kv_blocks), (5, 12));

    let refused = PlanOptions {
        max_num_batched_tokens: Some(2),
        ..options
    };
    assert_eq!(
        try_plan(&spec, Numeric::F32, &refused, GIB)
            .unwrap_err()
            .to_string(),
        "`max_num_batched_tokens` is 2, expected at least 3, a token for each sequence"
    );
    let none = PlanOptions {
        max_num_seqs: Some(0),
        ..PlanOptions::default()
    };
    assert!(try_plan(&spec, Numeric::F32, &none, GIB).is_err());
}

#[test]
fn what_is_asked_for_is_held_against_the_memory() {
    let spec = qwen25_half_billion();
    let weights = spec.float_weight_bytes(Numeric::Bf16);
    let refused = |options: &PlanOptions| {
        let plan = try_plan(&spec, Numeric::Bf16, options, weights + GIB);
        plan.expect_err("too much").to_string()
    };
    let kv = PlanOptions {
        kv_bytes: Some(500 * GIB),
        max_num_seqs: Some(256),
        ..PlanOptions::default()
    };
    let error = refused(&kv);
    assert!(
        error.starts_with("keys and values take ") && error.contains("weights and steps leave"),
        "{error}"
    );
    let step = PlanOptions {
        max_num_seqs: Some(1_000_000),
        max_num_batched_tokens: Some(1_000_000),
        ..kv
    };
    let error = refused(&step);
    assert!(
        error.starts_with("steps of 1000000 tokens and 1000000 sequences take"),
        "{error}"
    );
    // What could never be used is not held against anything.
    let plenty = PlanOptions {
        kv_bytes: Some(500 * GIB),
        max_num_seqs: Some(2),
        context: Some(1024),
        ..PlanOptions::default()
    };
    let plan = plan(&spec, &plenty, weights + GIB);
    assert_eq!(plan.kv_tokens(), 2 * 1024);
}

#[test]
fn any_number_of_sequences_may_be_wanted_and_as_many_run_as_there_is_memory_for() {
    let spec = qwen25_half_billion();
    let weights = spec.float_weight_bytes(Numeric::Bf16);
    let wanted = |wanted_num_seqs, memory| {
        let options = PlanOptions {
            wanted_num_seqs,
            context: Some(512),
            ..PlanOptions::default()
        };
        let plan = plan(&spec, &options, memory);
        assert!(plan.total_bytes() <= memory && plan.context == 512);
        assert!(plan.max_num_batched_tokens >= plan.max_num_seqs);
        plan.max_num_seqs
    };
    assert_eq!(wanted(None, weights + 8 * GIB), 256);
    assert_eq!(wanted(Some(3), weights + 8 * GIB), 3);
    assert_eq!(wanted(Some(300), weights + 8 * GIB), 300);
    // 256 tokens of keys and values are 3 MiB, of which half of 1 GiB holds 170. Steps take
    // a quarter of it at most, and half of the rest holds 128.
    for many in [10_000_000, usize::MAX] {
        assert!((128..=170).contains(&wanted(Some(many), weights + GIB)));
        assert!(wanted(Some(many), weights + 64 * GIB) > 1000);
    }
    // Wanting more never makes sequences shorter, nor fewer run.
    for quarter in 1..=80 {
        let of = |wanted| {
            let options = PlanOptions {
                wanted_num_seqs: Some(wanted),
                ..PlanOptions::default()
            };
            plan(&spec, &options, weights + quarter * GIB / 4)
        };
        let (usual, wide) = (of(256), of(usize::MAX));
        assert_eq!(wide.context, usual.context, "{quarter}");
        assert!(wide.max_num_seqs >= usual.max_num_seqs, "{quarter}");
    }
    // What was fixed is not taken for a wish.
    let fixed = PlanOptions {
        max_num_seqs: Some(7),
        wanted_num_seqs: Some(100),
        ..PlanOptions::default()
    };
    assert_eq!(plan(&spec, &fixed, weights + GIB).max_num_seqs, 7);
}

#[test]
fn a_limit_wider_than_a_position_is_named() {
    let most = |name: &str, found: usize| format!("`{name}` is {found}, expected 1 to 2147483647");
    let refused = |options: &PlanOptions| {
        let plan = try_plan(&tiny(), Numeric::F32, options, u64::MAX);
        plan.expect_err("too wide").to_string()
    };
    let found = u32::MAX as usize;
    let seqs = PlanOptions {
        max_num_seqs: Some(found),
        ..PlanOptions::default()
    };
    assert_eq!(refused(&seqs), most("max_num_seqs", found));
    let tokens = PlanOptions {
        max_num_batched_tokens: Some(usize::MAX),
        ..PlanOptions::default()
    };
    assert_eq!(refused(&tokens), most("max_num_batched_tokens", usize::MAX));
    let chunk = PlanOptions {
        prefill_chunk: Some(0),
        ..PlanOptions::default()
    };
    assert_eq!(refused(&chunk), most("prefill_chunk", 0));
}

#[test]
fn what_is_planned_is_what_a_loaded_model_takes() {
    use crate::model::Model;
    use choral_kernels::{Compute, Isa};
    let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/models");
    let compute = Compute::new(Isa::detect(), 1);
    for model in ["qwen2/hf", "qwen3/hf", "tinyllama/gguf/tinyllama-Q4_0.gguf"] {
        let file = ModelFile::open(golden.join(model)).expect("a golden model");
        let file = std::sync::Arc::new(file);
        for numeric in [Numeric::Bf16, Numeric::Q8, Numeric::F32] {
            let model = Model::load(&file, numeric, None, &compute).expect("a golden model");
            let spec = model.spec();
            assert_eq!(
                spec.packed_weight_bytes(&file, numeric).unwrap(),
                model.weight_bytes() as u64
            );
        }
    }
}
