//! The engine as a provider, with the model that ships.

use super::*;
use crate::text::ChatTemplate;
use crate::{Engine, EnginePool, SamplingParams};
use std::collections::BTreeMap;
use std::sync::LazyLock;

static PROVIDER: LazyLock<LocalProvider> = LazyLock::new(|| {
    let engine = Engine::builder().threads(1).kv_memory(32 << 20).build();
    LocalProvider::new(engine.unwrap())
});

fn prompts() -> impl Iterator<Item = GenerateRequest> {
    (0..24).map(|i| {
        let request = GenerateRequest::prompt(format!("Once upon a time there were {i} foxes"));
        request.with_id(format!("row-{i}")).max_tokens(12).seed(i)
    })
}

fn requests() -> Vec<GenerateRequest> {
    let chats = (0..8).map(|i| {
        let message = Message::user(format!("Count to {}.", i + 2));
        let request = GenerateRequest::messages([message]).max_tokens(12);
        if i % 2 == 0 {
            request.temperature(0.0)
        } else {
            request.seed(1 << i)
        }
    });
    prompts().chain(chats).collect()
}

/// Everything but what depends on the run.
fn facts(mut answer: GenerateResponse) -> GenerateResponse {
    answer.gen_time_ms = 0.0;
    answer.usage.cached_tokens = 0;
    // Greedy answers draw a seed and do not use it.
    answer.metadata.remove("seed");
    answer
}

#[track_caller]
fn check_batch_equals_one_by_one(provider: &LocalProvider, requests: &[GenerateRequest]) {
    let one_by_one: Vec<_> = requests
        .iter()
        .map(|request| facts(provider.generate_blocking(request.clone()).unwrap()))
        .collect();
    for concurrency in [1, 5, 64] {
        let options = BatchOptions::default().batch_size(concurrency);
        let batch = provider.batch_generate_blocking(requests.to_vec(), &options);
        let batch: Vec<_> = batch.unwrap().into_iter().map(facts).collect();
        assert_eq!(batch, one_by_one, "{concurrency} at a time");
    }
}

#[test]
fn a_batch_equals_its_requests_one_by_one() {
    check_batch_equals_one_by_one(&PROVIDER, &requests());
}

/// The model that ships is a GGUF file. These are folders as transformers writes them, one
/// of them in seven parts.
#[test]
fn a_batch_over_safetensors_equals_its_requests_one_by_one() {
    let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/models");
    for model in ["qwen3/hf", "llama3/hf"] {
        let engine = Engine::builder()
            .model(golden.join(model))
            .threads(1)
            .kv_memory(32 << 20)
            .build();
        let provider = LocalProvider::new(engine.unwrap());
        let requests: Vec<_> = prompts().collect();
        check_batch_equals_one_by_one(&provider, &requests);
        let texts = provider.batch_generate_blocking(requests, &BatchOptions::default());
        let texts: std::collections::HashSet<_> = texts
            .unwrap()
            .into_iter()
            .map(|answer| answer.content)
            .collect();
        assert!(texts.len() > 12, "{model} says one thing to all: {texts:?}");
    }
}

#[test]
fn an_answer_is_the_engines_own() {
    let params = SamplingParams {
        max_tokens: Some(10),
        seed: Some(5),
        logprobs: Some(1),
        ..SamplingParams::default()
    };
    let engine = &PROVIDER.engines().engines()[0];
    let expected = engine.generate(["The little fox"], &params).remove(0);
    let expected = expected.unwrap();
    let request = GenerateRequest::prompt("The little fox");
    let params = GenerateParams {
        max_tokens: Some(10),
        seed: Some(5),
        logprobs: Some(1),
        ..GenerateParams::default()
    };
    let answer = PROVIDER.generate_blocking(request.params(params)).unwrap();
    assert_eq!(answer.content, expected.outputs[0].text);
    assert_eq!(answer.metadata["seed"], 5);
    assert_eq!(
        answer.usage.prompt_tokens as usize,
        expected.prompt_token_ids.len()
    );
    let num_tokens = expected.outputs[0].token_ids.len();
    assert_eq!(answer.usage.completion_tokens as usize, num_tokens);
    let logprobs = answer.logprobs.unwrap();
    assert_eq!(logprobs.len(), num_tokens);
    let drawn = expected.outputs[0].logprobs.as_ref().unwrap()[0].chosen;
    assert_eq!(logprobs[0].logprob, f64::from(drawn.logprob));
    assert_eq!(logprobs[0].token, engine.token_text(drawn.token_id));
    assert!(answer.gen_time_ms > 0.0);
}

#[test]
fn the_pieces_of_a_stream_are_the_answer() {
    let request = || {
        GenerateRequest::prompt("Once upon a time")
            .max_tokens(16)
            .seed(3)
            .with_id("s")
    };
    let mut text = String::new();
    let mut end = None;
    for event in BlockingStream::new(PROVIDER.stream(request())) {
        match event.unwrap() {
            GenerateEvent::Delta(delta) => text.push_str(&delta.text),
            GenerateEvent::Finished(response) => end = Some(response),
        }
    }
    let end = end.expect("a stream ends with its response");
    assert_eq!(end.content, text);
    assert_eq!(end.id.as_deref(), Some("s"));
    assert_eq!(
        facts(*end),
        facts(PROVIDER.generate_blocking(request()).unwrap())
    );
}

#[test]
fn a_system_prompt_makes_a_prompt_a_conversation() {
    let whole = [Message::system("Be brief."), Message::user("Who are you?")];
    let whole = GenerateRequest::messages(whole)
        .max_tokens(8)
        .temperature(0.0);
    let parts = GenerateRequest::prompt("Who are you?")
        .system("Be brief.")
        .max_tokens(8)
        .temperature(0.0);
    let answers = [whole, parts].map(|request| facts(PROVIDER.generate_blocking(request).unwrap()));
    assert_eq!(answers[0], answers[1]);
}

#[test]
fn what_the_engine_cannot_do_is_refused_by_name() {
    let tool = Tool {
        name: "f".to_owned(),
        description: None,
        parameters: serde_json::json!({}),
        strict: None,
    };
    let mut foreign = GenerateRequest::prompt("x");
    foreign
        .params
        .extra
        .insert("reasoning_effort".to_owned(), "low".into());
    for (request, field) in [
        (GenerateRequest::prompt("x").tool(tool), "tools"),
        (
            GenerateRequest::prompt("x").image(Image::bytes("image/png", b"x")),
            "images",
        ),
        (
            GenerateRequest::prompt("x").response_format(ResponseFormat::JsonObject),
            "response_format",
        ),
        (foreign, "reasoning_effort"),
    ] {
        let error = PROVIDER.generate_blocking(request).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert_eq!(error.field(), Some(field));
        assert!(!error.is_retryable());
    }
}

#[test]
fn a_bad_request_does_not_keep_others_from_being_answered() {
    let long = "word ".repeat(50_000);
    let mut hot = GenerateRequest::prompt("x").max_tokens(2);
    hot.params.temperature = Some(-1.0);
    let requests = [
        GenerateRequest::prompt("The fox").max_tokens(2),
        GenerateRequest::prompt(long),
        hot,
        GenerateRequest::prompt("The dog").max_tokens(2),
    ];
    let outcomes = PROVIDER.batch_generate_with_errors_blocking(requests, &BatchOptions::default());
    let errors: Vec<_> = outcomes
        .iter()
        .map(|outcome| outcome.as_ref().err().map(|e| (e.kind(), e.field())))
        .collect();
    assert_eq!(
        errors,
        [
            None,
            Some((ErrorKind::ContextLength, Some("prompt"))),
            Some((ErrorKind::InvalidRequest, Some("temperature"))),
            None
        ]
    );
}

#[test]
fn a_full_queue_is_waited_for() {
    let engine = Engine::builder()
        .threads(1)
        .kv_memory(16 << 20)
        .max_num_seqs(2)
        .queue_capacity(1)
        .build()
        .unwrap();
    let provider = LocalProvider::new(engine);
    let options = BatchOptions::default().max_concurrency(40);
    let requests = (0..40).map(|i| GenerateRequest::prompt("The fox").max_tokens(2).seed(i));
    let answers = provider.batch_generate_blocking(requests, &options);
    assert_eq!(answers.unwrap().len(), 40);
}

#[test]
fn dropped_requests_leave_the_engine() {
    let engine = &PROVIDER.engines().engines()[0];
    let options = BatchOptions::default();
    let long = (0..4).map(|i| GenerateRequest::prompt(format!("{i}")).max_tokens(100_000));
    let mut outcomes = PROVIDER.batch(long, &options);
    let mut context = std::task::Context::from_waker(Waker::noop());
    let next = futures_core::Stream::poll_next(std::pin::Pin::new(&mut outcomes), &mut context);
    assert!(next.is_pending());
    drop(outcomes);
    // What ran is gone at a step boundary soon: other tests share the engine.
    let answer = PROVIDER.generate_blocking(GenerateRequest::prompt("x").max_tokens(1));
    assert!(answer.is_ok());
    assert!(engine.metrics().num_waiting <= 64);
}

#[test]
fn a_pool_holds_its_weights_once_and_answers_like_one_engine() {
    let pool = Engine::builder().threads(2).kv_memory(32 << 20);
    let pool = pool.build_pool(3).unwrap();
    assert_eq!(pool.engines().len(), 3);
    // One for each engine and one for the pool: there is no other copy.
    let model = pool.model().unwrap();
    assert_eq!(Arc::strong_count(model), 4);
    let kv: u64 = pool
        .engines()
        .iter()
        .map(|engine| engine.info().unwrap().plan.kv_bytes())
        .sum();
    assert!(kv <= 32 << 20);
    let provider = LocalProvider::new(pool.clone());
    let options = BatchOptions::default();
    let answers = provider.batch_generate_blocking(requests(), &options);
    let expected = PROVIDER.batch_generate_blocking(requests(), &options);
    let answers: Vec<_> = answers.unwrap().into_iter().map(facts).collect();
    let expected: Vec<_> = expected.unwrap().into_iter().map(facts).collect();
    assert_eq!(answers, expected);
    for engine in pool.engines() {
        let generated = engine.metrics().generated_tokens;
        assert!(generated > 0, "every engine has had something to do");
    }
}

#[test]
fn a_pool_of_nobody_is_refused() {
    let error = Engine::builder().build_pool(0).unwrap_err();
    assert_eq!(error.to_string(), "`engines` is 0, expected 1 to 1024");
}

#[test]
fn a_pool_of_one_engine_is_that_engine() {
    let engine = PROVIDER.engines().engines()[0].clone();
    let pool = EnginePool::from(engine);
    assert!(pool.model().is_none());
    let params = SamplingParams {
        max_tokens: Some(2),
        ..SamplingParams::default()
    };
    let outputs = pool.generate(["The fox", "The dog"], &params);
    assert!(outputs.iter().all(Result::is_ok));
}

#[test]
fn another_template_can_be_used() {
    let template = ChatTemplate::new("{{ messages[0].content }}", BTreeMap::new()).unwrap();
    let provider = PROVIDER.clone().chat_template(template);
    let chat = GenerateRequest::messages([Message::user("The fox")])
        .max_tokens(4)
        .temperature(0.0);
    let answer = provider.generate_blocking(chat).unwrap();
    assert_eq!(answer.usage.completion_tokens, 4);
}
