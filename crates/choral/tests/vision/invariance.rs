//! What a sequence with pictures gets does not depend on what shares its batch, nor what
//! an encoder makes of a picture on the others.

use crate::{reference, sources, values};
use choral::engine::batch::BLOCK_TOKENS;
use choral::model::Numeric;
use choral::vision::{ImageEmbedding, Patches};
use choral::{Engine, EngineBuilder, Request, RequestOutput, SamplingParams};

const IMAGE: u32 = 854;

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

    fn unit(&mut self) -> f32 {
        self.below(1 << 20) as f32 / (1 << 19) as f32 - 1.0
    }
}

fn builder() -> EngineBuilder {
    let [(_, builder), _] = sources();
    builder
}

/// Pictures of many shapes, and two of the same.
fn pictures(noise: &mut Noise) -> Vec<ImageEmbedding> {
    let shapes = [(1, 1), (2, 3), (2, 3), (5, 2), (4, 9), (9, 9)];
    let picture = |(rows, columns)| {
        let values = (0..rows * columns * 64).map(|_| noise.unit()).collect();
        ImageEmbedding::new(rows, columns, 64, values).expect("whole")
    };
    shapes.into_iter().map(picture).collect()
}

/// Prompts with none to three pictures, many of which begin alike.
fn requests() -> Vec<Request> {
    let mut noise = Noise(3);
    let pictures = pictures(&mut noise);
    let mut requests = Vec::new();
    for index in 0..40_u32 {
        let mut tokens = vec![842, 844, 847, 198];
        let mut images = Vec::new();
        for _ in 0..noise.below(4) {
            tokens.extend([850, IMAGE, 851]);
            images.push(pictures[noise.below(pictures.len())].clone());
            tokens.extend((0..noise.below(3)).map(|_| noise.below(840) as u32));
        }
        tokens.extend((0..=noise.below(30)).map(|_| noise.below(840) as u32));
        let params = SamplingParams {
            max_tokens: Some(1 + noise.below(80) as u32),
            temperature: if index % 2 == 0 { 0.0 } else { 0.9 },
            seed: Some(u64::from(index)),
            n: 1 + index % 3 / 2,
            logprobs: Some(2),
            ignore_eos: true,
            ..SamplingParams::default()
        };
        let request = Request::new(tokens).with_images(images).with_params(params);
        requests.push(request.with_id(index.to_string()));
    }
    requests
}

/// Tokens, and log-probabilities to the last bit.
fn bits(output: &RequestOutput) -> Vec<(Vec<u32>, Vec<u32>)> {
    let answers = output.outputs.iter().map(|answer| {
        let logprobs = answer.logprobs.iter().flatten();
        let logprobs = logprobs.map(|at| at.chosen.logprob.to_bits());
        (answer.token_ids.clone(), logprobs.collect())
    });
    answers.collect()
}

fn run(engine: &Engine, requests: Vec<Request>) -> Vec<Vec<(Vec<u32>, Vec<u32>)>> {
    let outputs = engine.generate_requests(requests);
    let outputs = outputs
        .iter()
        .map(|output| output.as_ref().expect("accepted"));
    outputs.map(bits).collect()
}

#[test]
fn a_batch_with_pictures_is_its_parts_bit_for_bit() {
    let alone = builder()
        .numeric(Numeric::Bf16)
        .threads(1)
        .prefix_caching(false)
        .build()
        .expect("a good model");
    let expected: Vec<_> = requests()
        .into_iter()
        .flat_map(|request| run(&alone, vec![request]))
        .collect();
    assert!(expected.iter().all(|answers| !answers.is_empty()));
    let block = 2 * 3 * 2 * 16 * 2 * BLOCK_TOKENS as u64;
    for (chunk, threads, caching, num_blocks) in [
        (512, 2, true, 4096),
        (1, 1, true, 4096),
        (7, 2, false, 4096),
        (16, 1, true, 4096),
        // So little memory that sequences are put back and computed again all the time.
        (33, 2, true, 32),
        (50, 1, false, 24),
    ] {
        let engine = builder()
            .numeric(Numeric::Bf16)
            .threads(threads)
            .prefill_chunk(chunk)
            .prefix_caching(caching)
            .max_model_len(24 * BLOCK_TOKENS)
            .max_num_seqs(16)
            .kv_memory(num_blocks * block)
            .build()
            .expect("a good model");
        let found = run(&engine, requests());
        for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
            assert_eq!(found, expected, "request {index}, chunks of {chunk}");
        }
        if num_blocks < 100 {
            assert!(
                engine.metrics().num_preemptions > 0,
                "memory was to be short"
            );
        }
    }
}

/// One picture, text, and a question at the end.
fn question(image: &ImageEmbedding, last: u32) -> Request {
    let mut tokens = vec![842, 844, 847, 198, 850, IMAGE, 851];
    tokens.extend([300, 301, last]);
    let params = SamplingParams {
        max_tokens: Some(4),
        temperature: 0.0,
        ignore_eos: true,
        logprobs: Some(0),
        ..SamplingParams::default()
    };
    Request::new(tokens)
        .with_image(image.clone())
        .with_params(params)
}

#[test]
fn equal_pictures_share_their_prefix_and_others_never_do() {
    let mut noise = Noise(11);
    // Of one shape, so that only what they show differs.
    let mut picture = || {
        let values = (0..36 * 64).map(|_| noise.unit()).collect();
        ImageEmbedding::new(4, 9, 64, values).expect("whole")
    };
    let (a, b) = (picture(), picture());
    let copy = ImageEmbedding::new(4, 9, 64, a.to_f32()).expect("whole");
    let fresh = || {
        let builder = builder().numeric(Numeric::F32).threads(1);
        builder.build().expect("a good model")
    };
    let engine = fresh();
    let ask = |request: Request| engine.submit(request).expect("accepted").wait();
    let first = ask(question(&a, 302));
    assert_eq!(first.num_cached_tokens, 0);
    // 5 + 36 + 4 tokens: two whole blocks come from the cache, which end in the picture.
    let again = ask(question(&copy, 303));
    assert_eq!(again.num_cached_tokens, 32);
    let other = ask(question(&b, 302));
    assert_eq!(other.num_cached_tokens, 0);
    for (output, request) in [(again, question(&a, 303)), (other, question(&b, 302))] {
        let alone = fresh().submit(request).expect("accepted").wait();
        assert_eq!(bits(&output), bits(&alone));
    }
}

#[test]
fn different_pictures_do_not_wait_for_each_other() {
    let mut noise = Noise(12);
    let engine = builder().threads(1).max_num_batched_tokens(512).build();
    let engine = engine.expect("a good model");
    let requests = (0..8).map(|_| {
        let values = (0..36 * 64).map(|_| noise.unit()).collect();
        let image = ImageEmbedding::new(4, 9, 64, values).expect("whole");
        let mut request = question(&image, 302);
        request.params.max_tokens = Some(1);
        request
    });
    let requests: Vec<_> = requests.collect();
    // All are in the queue before the first step, or soon after it.
    for output in engine.generate_requests(requests) {
        output.expect("accepted");
    }
    let steps = engine.metrics().num_steps;
    assert!(steps <= 4, "{steps} steps for one token each");
}

fn random_patches(noise: &mut Noise, height: usize, width: usize, len: usize) -> Patches {
    Patches {
        grid: [1, height, width],
        values: (0..height * width * len).map(|_| noise.unit()).collect(),
    }
}

#[test]
fn an_embedding_is_the_pictures_own_whatever_is_encoded_beside_it() {
    for source in 0..2 {
        for numeric in [Numeric::Bf16, Numeric::F32] {
            let encoder = |threads| {
                let (name, builder) = sources().into_iter().nth(source).expect("two sources");
                let builder = builder.numeric(numeric).threads(threads);
                (name, builder.build_image_encoder().expect("a good encoder"))
            };
            let ((_, alone), (source, together)) = (encoder(1), encoder(2));
            let len = together.geometry().patch_len();
            let mut noise = Noise(5);
            // The last ones do not fit in one step, and one not in any.
            let sizes = [
                (2, 2),
                (8, 10),
                (4, 2),
                (12, 12),
                (2, 30),
                (40, 60),
                (40, 60),
                (66, 64),
            ];
            let images: Vec<_> = sizes
                .into_iter()
                .map(|(height, width)| random_patches(&mut noise, height, width, len))
                .collect();
            let all = together.encode(&images).expect("encoded");
            assert_eq!(all.len(), images.len());
            for (image, found) in images.iter().zip(&all) {
                let own = alone.encode(std::slice::from_ref(image)).expect("encoded");
                let bits = |e: &ImageEmbedding| -> Vec<u32> {
                    e.to_f32().into_iter().map(f32::to_bits).collect()
                };
                assert_eq!(bits(found), bits(&own[0]), "{source} {:?}", image.grid);
            }
        }
    }
}

#[test]
fn pictures_of_the_golden_set_have_names_of_their_own() {
    let all = values();
    let images = all["images"].as_object().expect("images");
    let made: Vec<_> = images.values().map(reference).collect();
    for (i, a) in made.iter().enumerate() {
        for b in &made[i + 1..] {
            assert_ne!(a.content_hash(), b.content_hash());
        }
    }
}
