//! Random schedules. What one answer is must not depend on any of it.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

#[derive(Debug, Clone)]
enum Op {
    Add(Spec),
    /// Aborts the request with this number, modulo how many there are.
    Abort(usize),
    AbortChoice(usize, u32),
    Steps(usize),
}

fn any_spec() -> impl Strategy<Value = Spec> {
    // Prompts are made of a few pieces of one block each, so that many share a
    // prefix, and many have the same block after different ones.
    let pieces = prop::collection::vec(0..2_u32, 0..5);
    let prompt =
        (pieces, 0..70_usize, 2..5_u32, 1..12_usize).prop_map(|(pieces, shared, other, own)| {
            let pieces = pieces.into_iter().flat_map(|piece| tokens(piece, 16));
            pieces
                .take(shared)
                .chain(tokens(other, own))
                .collect::<Vec<_>>()
        });
    let flag = |percent: u32| (0..100_u32).prop_map(move |at| at < percent);
    (
        prompt,
        1..5_u32,
        0..40_usize,
        0..10_usize,
        flag(20),
        flag(10),
        (0..3_u64, 0..4_u64),
        any_images(),
    )
        .prop_map(
            |(prompt, n, max_new, min_tokens, prompt_logits, diagnostics, (seed, mix), images)| {
                let (prompt, images) = fit(prompt, images);
                Spec {
                    images,
                    prompt,
                    n,
                    max_new,
                    min_tokens: min_tokens.min(max_new),
                    prompt_logits,
                    diagnostics,
                    seed,
                    mix,
                }
            },
        )
}

/// Tokens before each picture, and which it is. Mostly none.
fn any_images() -> impl Strategy<Value = Vec<(usize, u32)>> {
    prop_oneof![
        2 => Just(Vec::new()),
        1 => prop::collection::vec((0..12_usize, 0..3_u32), 1..4),
    ]
}

/// Where those pictures begin, as many as a prompt has room for; and the prompt with
/// placeholders there, which have no say in what is computed.
fn fit(mut prompt: Vec<u32>, images: Vec<(usize, u32)>) -> (Vec<u32>, Vec<(usize, u32)>) {
    let pictures = pictures();
    let mut end = 0;
    let mut starts = Vec::new();
    for (before, number) in images {
        let start = end + before;
        end = start + pictures[number as usize].num_tokens();
        if end > prompt.len() {
            break;
        }
        prompt[start..end].fill(1);
        starts.push((start, number));
    }
    (prompt, starts)
}

fn any_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => any_spec().prop_map(Op::Add),
        1 => any::<usize>().prop_map(Op::Abort),
        1 => (any::<usize>(), 0..4_u32).prop_map(|(at, choice)| Op::AbortChoice(at, choice)),
        3 => (1..20_usize).prop_map(Op::Steps),
    ]
}

/// Layers without windows, with windows, and both; windows shorter than a block, as
/// long, and longer, and such as end inside of one.
fn any_kinds() -> impl Strategy<Value = Vec<KvKind>> {
    let window = || 1..50_usize;
    let groups = || 1..4_usize;
    let whole = |groups| KvKind {
        window: None,
        groups,
    };
    let windowed = |(window, groups)| KvKind {
        window: Some(window),
        groups,
    };
    prop_oneof![
        2 => Just(vec![KvKind::WHOLE]),
        2 => window().prop_map(move |window| vec![windowed((window, 1))]),
        3 => (groups(), (window(), groups())).prop_map(move |(g, w)| vec![whole(g), windowed(w)]),
        1 => (window(), window()).prop_map(move |(a, b)| {
            vec![windowed((a, 1)), windowed((a + b, 2))]
        }),
        1 => (groups(), window(), window()).prop_map(move |(g, a, b)| {
            vec![whole(g), windowed((a, 1)), windowed((a + b, 1))]
        }),
    ]
}

fn any_config() -> impl Strategy<Value = SchedulerConfig> {
    let limits = (1..7_usize, 0..60_usize, 1..40_usize, 1..20_usize);
    let memory = (any_kinds(), 0..32_usize, any::<bool>());
    (limits, memory).prop_map(|(limits, memory)| {
        let (max_num_seqs, more_tokens, prefill_chunk, max_prompt_logit_rows) = limits;
        let (kinds, more_blocks, prefix_caching) = memory;
        let mut config = SchedulerConfig {
            max_num_seqs,
            max_num_batched_tokens: max_num_seqs + more_tokens,
            prefill_chunk,
            max_prompt_logit_rows,
            num_blocks: 0,
            kinds,
            prefix_caching,
        };
        // The largest spec has 64 + 11 + 39 - 1 tokens; then, 8 blocks of each group.
        let (needs, more) = (config.needs(), more_blocks * config.needs().num_groups());
        config.num_blocks = (needs.blocks(113) + more) as u32;
        config
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn n_together_are_n_alone_and_no_block_is_lost(
        config in any_config(),
        ops in prop::collection::vec(any_op(), 1..24),
    ) {
        let mut driver = Driver::new(config);
        let mut is_cut = BTreeSet::new();
        for op in ops {
            let num_specs = driver.specs.len();
            match op {
                Op::Add(spec) => {
                    driver.add(spec);
                }
                Op::Abort(at) if num_specs > 0 => {
                    let id = RequestId((at % num_specs) as u64);
                    let mut ended = Vec::new();
                    driver.scheduler.abort(id, &mut ended);
                    for end in ended {
                        prop_assert!(is_cut.insert((end.request, end.choice)));
                    }
                    prop_assert!(!driver.scheduler.is_live(id));
                }
                Op::AbortChoice(at, choice) if num_specs > 0 => {
                    let id = RequestId((at % num_specs) as u64);
                    if driver.scheduler.abort_choice(id, choice) {
                        is_cut.insert((id, choice));
                    }
                }
                Op::Steps(num_steps) => {
                    for _ in 0..num_steps {
                        if !driver.scheduler.is_idle() {
                            driver.step();
                        }
                    }
                }
                Op::Abort(_) | Op::AbortChoice(..) => {}
            }
            driver.scheduler.check_integrity().expect("integrity");
        }
        driver.run();
        for (at, spec) in driver.specs.iter().enumerate() {
            let id = RequestId(at as u64);
            let expected = driver.expected(at);
            for choice in 0..spec.n {
                let full = &expected.answers[&choice];
                let got = driver.results[at].answers.get(&choice);
                if is_cut.contains(&(id, choice)) {
                    let got = got.map_or(&[][..], |got| &got.drawn);
                    prop_assert_eq!(got, &full.drawn[..got.len()]);
                } else {
                    prop_assert_eq!(got, Some(full));
                    prop_assert_eq!(&driver.results[at].prompt_logprobs, &expected.prompt_logprobs);
                    prop_assert_eq!(&driver.results[at].hidden_l2, &expected.hidden_l2);
                }
            }
        }
    }
}
