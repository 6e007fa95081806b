//! Every kind of service, by its own protocol, against a server that follows the vendors'
//! documents.

mod common;

use choral::provider::{
    BatchOptions, BlockingStream, ErrorKind, FinishReason, GenerateEvent, GenerateRequest, Image,
    Message, Provider, ProviderExt, ResponseFormat, Tool, Usage, block_on,
};
use choral_mock::{INVALID_KEY, MockServer, RateLimit, chat_answer, prompt_answer};
use choral_providers::{Api, Kind, ServerState};
use common::{KEY, client, expected, openai};
use std::sync::Arc;
use std::time::Duration;

/// The one program: nothing in it knows who answers.
fn hundred(provider: &Arc<dyn Provider>) -> (Vec<String>, Usage) {
    let requests = (0..100).map(|i| GenerateRequest::prompt(format!("Question {i}")));
    let options = BatchOptions::default();
    let answers = provider.batch_generate_blocking(requests.map(|r| r.max_tokens(20)), &options);
    let answers = answers.unwrap();
    let usage = answers.iter().map(|answer| answer.usage).sum();
    (
        answers.into_iter().map(|answer| answer.content).collect(),
        usage,
    )
}

#[test]
fn one_program_runs_a_hundred_prompts_through_every_kind() {
    let server = MockServer::start().unwrap();
    for kind in Kind::ALL {
        let provider: Arc<dyn Provider> = Arc::new(client(&server, kind).build().unwrap());
        let (answers, usage) = hundred(&provider);
        for (i, answer) in answers.iter().enumerate() {
            let whole = expected(&format!("Question {i}"));
            assert!(
                whole.starts_with(answer.as_str()),
                "{}: {answer}",
                kind.name()
            );
            assert!(!answer.is_empty());
        }
        assert!(usage.prompt_tokens >= 200 && usage.completion_tokens >= 100);
        assert_eq!(
            usage.total_tokens,
            usage.prompt_tokens + usage.completion_tokens
        );
    }
    let local = choral_providers::create("local").unwrap();
    let (answers, usage) = hundred(&local);
    assert_eq!(answers.len(), 100);
    assert!(usage.completion_tokens > 100);
}

#[test]
fn conversations_streams_and_pictures_go_through_every_kind() {
    let server = MockServer::start().unwrap();
    let turns = [
        Message::system("Be brief."),
        Message::user("What is a fox?"),
        Message::assistant("An animal."),
        Message::user("And a dog?"),
    ];
    let answer = chat_answer(&[
        ("system", "Be brief."),
        ("user", "What is a fox?"),
        ("assistant", "An animal."),
        ("user", "And a dog?"),
    ]);
    for kind in Kind::ALL {
        let provider = client(&server, kind).build().unwrap();
        let request = GenerateRequest::messages(turns.clone());
        let whole = provider.generate_blocking(request.clone()).unwrap();
        assert_eq!(whole.content, answer, "{}", kind.name());
        assert_eq!(whole.finish_reason, FinishReason::Stop);
        let mut text = String::new();
        let mut end = None;
        for event in BlockingStream::new(provider.stream(request)) {
            match event.unwrap() {
                GenerateEvent::Delta(delta) => text.push_str(&delta.text),
                GenerateEvent::Finished(whole) => end = Some(whole),
            }
        }
        let end = end.unwrap();
        assert_eq!((&text, &end.content), (&answer, &answer), "{}", kind.name());
        assert_eq!(end.usage, whole.usage, "{}", kind.name());

        let bytes = b"not really a picture";
        let picture = GenerateRequest::prompt("What is this?");
        let picture = picture.image(Image::bytes("image/png", bytes));
        let seen = provider.generate_blocking(picture).unwrap();
        assert!(!seen.content.is_empty());
    }
}

#[test]
fn keys_and_models_that_are_wrong_are_told_apart() {
    let server = MockServer::start().unwrap();
    for kind in [Kind::OpenAi, Kind::Anthropic] {
        let wrong = client(&server, kind).api_key(INVALID_KEY).build().unwrap();
        let error = wrong.generate_blocking("x").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Auth, "{error}");
        assert_eq!(error.attempts(), 1);
    }
    for kind in [Kind::OpenAi, Kind::Anthropic, Kind::Ollama] {
        let url = client(&server, kind);
        let (base, _) = (server.url(), url);
        let base = if kind == Kind::OpenAi {
            server.openai_url()
        } else {
            base
        };
        let builder = choral_providers::Builder::new(kind, "no-such-model");
        let provider = builder.base_url(base).api_key(KEY).build().unwrap();
        let error = provider.generate_blocking("x").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    }
}

#[test]
fn openais_three_protocols_answer() {
    let server = MockServer::start().unwrap();
    let responses = openai(&server).api(Api::Responses).build().unwrap();
    let answer = responses.generate_blocking("x").unwrap();
    assert_eq!(answer.content, expected("x"));
    let completions = choral_providers::Builder::new(Kind::OpenAi, "gpt-3.5-turbo-instruct")
        .base_url(server.openai_url())
        .api_key(KEY)
        .api(Api::Completions)
        .build()
        .unwrap();
    let request = GenerateRequest::prompt("Once upon").max_tokens(200);
    let answer = completions.generate_blocking(request.clone()).unwrap();
    assert_eq!(answer.content, prompt_answer("Once upon"));
    for provider in [&responses, &completions] {
        let events = BlockingStream::new(provider.stream(request.clone()));
        let events: Result<Vec<_>, _> = events.collect();
        let events = events.unwrap();
        let Some(GenerateEvent::Finished(whole)) = events.last() else {
            panic!("a stream ends with its answer");
        };
        let pieces = events.iter().filter_map(|event| match event {
            GenerateEvent::Delta(delta) => Some(delta.text.as_str()),
            GenerateEvent::Finished(_) => None,
        });
        assert_eq!(pieces.collect::<String>(), whole.content);
    }
    let chat = GenerateRequest::messages([Message::user("x")]);
    let error = completions.generate_blocking(chat).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

#[test]
fn tools_are_called_and_json_is_asked_for() {
    let server = MockServer::start().unwrap();
    let tool = Tool {
        name: "get_weather".to_owned(),
        description: Some("The weather in a city".to_owned()),
        parameters: serde_json::json!({"type": "object", "properties": {
            "city": {"type": "string"}}, "required": ["city"]}),
        strict: None,
    };
    for kind in [Kind::OpenAi, Kind::Anthropic, Kind::Ollama] {
        let provider = client(&server, kind).build().unwrap();
        let mut request = GenerateRequest::prompt("Weather in Rome?").tool(tool.clone());
        if kind != Kind::Ollama {
            request.tool_choice = Some(choral::provider::ToolChoice::Required);
        }
        // Whether it is called is the model's affair; the request must be one.
        let whole = provider.generate_blocking(request.clone()).unwrap();
        let events = BlockingStream::new(provider.stream(request));
        let Some(Ok(GenerateEvent::Finished(streamed))) = events.last() else {
            panic!("a stream ends with its answer");
        };
        assert_eq!(streamed.tool_calls.len(), whole.tool_calls.len());
        for call in &whole.tool_calls {
            assert_eq!(call.name, "get_weather");
            let arguments: serde_json::Value = serde_json::from_str(&call.arguments).unwrap();
            assert!(arguments.is_object());
        }
    }
    for kind in [Kind::OpenAi, Kind::Ollama] {
        let provider = client(&server, kind).build().unwrap();
        let request = GenerateRequest::prompt("Answer in JSON");
        let request = request.response_format(ResponseFormat::JsonObject);
        provider.generate_blocking(request).unwrap();
    }
    let schema = serde_json::json!({"type": "object", "properties": {
        "city": {"type": "string"}, "people": {"type": "integer"}},
        "required": ["city", "people"], "additionalProperties": false});
    for kind in [Kind::OpenAi, Kind::Anthropic, Kind::Ollama] {
        let provider = client(&server, kind).build().unwrap();
        let format = ResponseFormat::json_schema("city", schema.clone());
        let request = GenerateRequest::prompt("Rome").response_format(format);
        let answer = provider.generate_blocking(request).unwrap();
        let read: serde_json::Value = serde_json::from_str(&answer.content).unwrap();
        assert!(
            read["city"].is_string() && read["people"].is_i64(),
            "{read}"
        );
    }
}

#[test]
fn log_probabilities_come_with_every_token() {
    let server = MockServer::start().unwrap();
    for kind in [Kind::OpenAi, Kind::Ollama] {
        let provider = client(&server, kind).build().unwrap();
        let mut request = GenerateRequest::prompt("Rome").max_tokens(6);
        request.params.logprobs = Some(2);
        let whole = provider.generate_blocking(request.clone()).unwrap();
        let tokens = whole.logprobs.as_ref().unwrap();
        let text: String = tokens.iter().map(|token| &*token.token).collect();
        assert_eq!(text, whole.content, "{}", kind.name());
        assert!(tokens.iter().all(|token| token.top.len() == 2));
        let events = BlockingStream::new(provider.stream(request));
        let Some(Ok(GenerateEvent::Finished(streamed))) = events.last() else {
            panic!("a stream ends with its answer");
        };
        assert_eq!(streamed.logprobs, whole.logprobs, "{}", kind.name());
    }
}

#[test]
fn models_are_listed_and_states_told() {
    let server = MockServer::start().unwrap();
    for kind in [
        Kind::OpenAi,
        Kind::Anthropic,
        Kind::Ollama,
        Kind::Compatible,
    ] {
        let provider = client(&server, kind).build().unwrap();
        let models = block_on(provider.models()).unwrap();
        let model = provider.model().to_owned();
        assert!(models.contains(&model), "{}: {models:?}", kind.name());
    }
    let compatible = client(&server, Kind::Compatible).build().unwrap();
    let state = block_on(compatible.wait_until_ready(Duration::from_secs(5)));
    assert_eq!(state.unwrap(), ServerState::Ready);
    drop(server);
    let state = block_on(compatible.server_state());
    assert_eq!(state.unwrap(), ServerState::Unreachable);
}

#[test]
fn ollama_lists_loads_and_fetches_models() {
    let server = MockServer::start().unwrap();
    let remote = client(&server, Kind::Ollama).build().unwrap();
    let ollama = remote.ollama().unwrap();
    let tags = block_on(ollama.tags()).unwrap();
    assert!(tags.iter().any(|model| model.name == "llama3.2:latest"));
    block_on(ollama.keep_alive(None)).unwrap();
    let running = block_on(ollama.running()).unwrap();
    assert_eq!(running.len(), 1);
    assert_eq!(block_on(remote.server_state()).unwrap(), ServerState::Ready);
    block_on(ollama.keep_alive(Some(Duration::ZERO))).unwrap();
    let state = block_on(remote.server_state()).unwrap();
    assert_eq!(state, ServerState::NotLoaded);
    let steps = BlockingStream::new(ollama.pull("qwen3:0.6b"));
    let steps: Vec<_> = steps.collect::<Result<_, _>>().unwrap();
    assert_eq!(steps.last().unwrap().status, "success");
    let most = steps.iter().map(|step| step.total).max().unwrap();
    assert!(steps.iter().any(|step| most > 0 && step.completed == most));
    let pulled: Vec<_> = BlockingStream::new(ollama.pull("missing-model")).collect();
    assert!(pulled.last().unwrap().is_err());
    let anthropic = client(&server, Kind::Anthropic).build().unwrap();
    assert!(anthropic.ollama().is_none());
}

#[test]
fn a_servers_limits_are_kept_to() {
    let limit = RateLimit::requests(10, Duration::from_secs(1));
    let server = MockServer::builder().rate_limit(limit).start().unwrap();
    for kind in [Kind::OpenAi, Kind::Anthropic] {
        let provider = client(&server, kind).max_concurrency(4).build().unwrap();
        let prompts = (0..25).map(|i| format!("Question {i}"));
        let options = BatchOptions::default();
        let answers = provider.batch_generate_blocking(prompts, &options).unwrap();
        assert_eq!(answers.len(), 25);
    }
    let refused = server.log().requests();
    let refused = refused.iter().filter(|request| request.status == Some(429));
    // Those that were under way when the last one was counted.
    let refused = refused.count();
    assert!(refused <= 20, "{refused} requests were refused");
}
