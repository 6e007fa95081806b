//! Rows to requests to a provider, and its outcomes to answers.

use crate::job::{
    Answer, Endpoint, Form, InputFormat, ModelNames, Row, RowCode, RowHead, RowInput, RowReader,
    reply, seeded,
};
use crate::provider::{ErrorKind, GenerateError, GenerateRequest, GenerateResponse, Input};
use crate::sampling::SamplingParams;
use serde_json::{Map, Value, json};

fn rows(text: &str, base: &Value) -> Vec<Row> {
    let base = base.as_object().cloned().unwrap_or_default();
    let names = vec!["gpt-4o-mini".to_owned()];
    RowReader::lines(
        text.as_bytes(),
        InputFormat::Jsonl,
        SamplingParams::default(),
    )
    .with_models(ModelNames { names, any: false })
    .for_provider(base)
    .map(|row| row.expect("memory can be read"))
    .collect()
}

#[track_caller]
fn request(line: &Value, base: &Value) -> GenerateRequest {
    let row = rows(&line.to_string(), base).remove(0);
    match row.work.expect("right").input {
        RowInput::Request(request) => *request,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_rows_own_fields_win() {
    let base = json!({"max_tokens": 5, "temperature": 0.5, "logprobs": 2, "system": "Be brief."});
    let plain = request(&json!({"custom_id": "a", "prompt": "Once"}), &base);
    assert_eq!(plain.input, Input::Prompt("Once".to_owned()));
    assert_eq!(plain.system.as_deref(), Some("Be brief."));
    assert_eq!(plain.params.max_tokens, Some(5));
    assert_eq!(plain.params.seed, None);
    let own = request(
        &json!({"prompt": "x", "max_completion_tokens": 9, "logprobs": true, "top_logprobs": 3,
            "temperature": null, "model": "gpt-4o-mini"}),
        &base,
    );
    assert_eq!(own.params.max_tokens, Some(9));
    assert_eq!(own.params.logprobs, Some(3));
    assert_eq!(own.params.temperature, Some(0.5));
    let off = request(&json!({"prompt": "x", "logprobs": false}), &base);
    assert_eq!(off.params.logprobs, None);
}

#[test]
fn a_conversation_that_begins_with_instructions_gets_no_others() {
    let base = json!({"system": "Be brief."});
    let chat = |role: &str| json!({"messages": [{"role": role, "content": "Rhyme."}]});
    assert_eq!(request(&chat("system"), &base).system, None);
    assert_eq!(request(&chat("developer"), &base).system, None);
    let system = request(&chat("user"), &base).system;
    assert_eq!(system.as_deref(), Some("Be brief."));
}

#[test]
fn what_is_no_request_is_the_rows_error() {
    let line = |body: Value| {
        let row = json!({"custom_id": "a", "method": "POST", "url": "/v1/chat/completions",
            "body": body});
        row.to_string()
    };
    let messages = json!([{"role": "user", "content": "Hi"}]);
    for (text, code, field) in [
        ("{broken".to_owned(), RowCode::InvalidJson, None),
        (
            json!({}).to_string(),
            RowCode::InvalidPrompt,
            Some("prompt"),
        ),
        (
            json!({"prompt": [1, 2]}).to_string(),
            RowCode::InvalidPrompt,
            Some("prompt"),
        ),
        (
            json!({"prompt": "x", "messages": messages}).to_string(),
            RowCode::InvalidPrompt,
            Some("messages"),
        ),
        (
            json!({"prompt": "x", "tempo": 1}).to_string(),
            RowCode::UnknownParameter,
            Some("tempo"),
        ),
        (
            json!({"prompt": "x", "top_p": "much"}).to_string(),
            RowCode::InvalidParameter,
            Some("top_p"),
        ),
        (
            json!({"prompt": "x", "model": "gpt-9"}).to_string(),
            RowCode::UnknownModel,
            Some("model"),
        ),
        (
            json!({"prompt": "x", "max_tokens": 1, "max_completion_tokens": 2}).to_string(),
            RowCode::InvalidParameter,
            Some("max_completion_tokens"),
        ),
        (
            line(json!({"model": "gpt-9", "messages": messages})),
            RowCode::UnknownModel,
            Some("body.model"),
        ),
        (
            line(json!({"prompt": "x"})),
            RowCode::InvalidParameter,
            Some("body.prompt"),
        ),
        (
            line(json!({"messages": messages, "stream": true})),
            RowCode::InvalidParameter,
            Some("body.stream"),
        ),
    ] {
        let error = rows(&text, &json!({})).remove(0).work.expect_err(&text);
        assert_eq!(
            (error.code, error.field.as_deref()),
            (code, field),
            "{error:?}"
        );
    }
}

#[test]
fn what_only_the_service_knows_is_passed_on_in_openais_format() {
    let line = json!({"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {
        "model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 7,
        "reasoning_effort": "low", "user": "u", "stream": false, "n": null}});
    let row = rows(&line.to_string(), &json!({"max_tokens": 3})).remove(0);
    let model = "gpt-4o-mini".to_owned();
    let endpoint = Endpoint::Chat;
    assert_eq!(row.head.form, Form::OpenAi { endpoint, model });
    let Ok(RowInput::Request(request)) = row.work.map(|work| work.input) else {
        panic!("a request");
    };
    assert_eq!(request.params.max_tokens, Some(7));
    let extra = json!({"reasoning_effort": "low", "user": "u"});
    assert_eq!(Value::Object(request.params.extra), extra);
}

#[test]
fn a_row_without_a_seed_gets_one_only_of_a_job_that_has_one() {
    let seed = |request: GenerateRequest, row: u64, job| {
        let head = RowHead {
            index: row,
            ..RowHead::default()
        };
        seeded(request, &head, job).params.seed
    };
    let plain = || GenerateRequest::prompt("x");
    assert_eq!(seed(plain(), 0, None), None);
    assert_eq!(seed(plain().seed(7), 0, Some(1)), Some(7));
    let (first, second) = (seed(plain(), 0, Some(1)), seed(plain(), 1, Some(1)));
    assert_ne!(first, second);
    assert!(first.is_some_and(|seed| seed < 1 << 31));
}

#[test]
fn an_answer_has_what_was_said_and_nothing_of_the_run() {
    let mut response: GenerateResponse = serde_json::from_value(json!({
        "id": null, "content": "Hello", "reasoning": "They greet.", "model": "m",
        "finish_reason": "tool_calls",
        "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
        "tool_calls": [{"id": "c", "type": "function",
            "function": {"name": "f", "arguments": "{}"}}],
        "logprobs": null, "others": [], "metadata": {"attempts": 3, "request_id": "r"},
        "gen_time_ms": 12.5, "raw_response": null,
    }))
    .expect("a response");
    let line = |response: &GenerateResponse, form: Form| -> Value {
        let head = RowHead {
            custom_id: Some("a".to_owned()),
            form,
            ..RowHead::default()
        };
        let mut line = Vec::new();
        reply(head, Ok(response.clone())).answer.write(&mut line);
        serde_json::from_slice(&line).expect("JSON")
    };
    let own = line(&response, Form::Own);
    let call = json!({"id": "c", "type": "function",
        "function": {"name": "f", "arguments": "{}"}});
    assert_eq!(
        own["outputs"],
        json!([{"index": 0, "text": "Hello", "reasoning": "They greet.", "tool_calls": [call],
            "token_ids": null, "finish_reason": "tool_calls", "stop_reason": null,
            "logprobs": null, "seed": null}])
    );
    let usage = json!({"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7});
    assert_eq!(own["usage"], usage);
    response.gen_time_ms = 99.0;
    response.metadata = Map::new();
    assert_eq!(line(&response, Form::Own), own);
    let form = Form::OpenAi {
        endpoint: Endpoint::Chat,
        model: "m".to_owned(),
    };
    let choice = &line(&response, form)["response"]["body"]["choices"][0];
    assert_eq!(choice["message"]["tool_calls"], json!([call]));
    assert_eq!(choice["finish_reason"], "tool_calls");
}

#[test]
fn an_outcome_that_is_an_error_is_the_rows() {
    let error = GenerateError::new(ErrorKind::ContextLength, "too long")
        .with_field("messages")
        .with_provider("openai")
        .with_status(400)
        .with_attempts(3)
        .with_request_id("req_7");
    let answer: Answer = reply(RowHead::default(), Err(error)).answer;
    let error = answer.error.expect("an error");
    assert_eq!(error.code, RowCode::Provider);
    assert_eq!(error.field.as_deref(), Some("messages"));
    // Neither attempts nor ids: another run has others.
    assert_eq!(error.message, "openai: too long (status 400)");
}
