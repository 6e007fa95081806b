//! Lines to rows.

use crate::engine::Lora;
use crate::engine::request::Prompt;
use crate::job::{
    ChatInput, Form, InputFormat, PromptTemplate, Row, RowCode, RowInput, RowKey, RowReader,
    RowWork,
};
use crate::sampling::SamplingParams;
use serde_json::json;

fn rows(format: InputFormat, text: &str) -> Vec<Row> {
    let base = SamplingParams {
        max_tokens: Some(32),
        ..SamplingParams::default()
    };
    RowReader::lines(text.as_bytes(), format, base)
        .map(|row| row.expect("memory can be read"))
        .collect()
}

fn json_row(text: &str) -> Row {
    let mut rows = rows(InputFormat::Jsonl, text);
    assert_eq!(rows.len(), 1);
    rows.remove(0)
}

fn work(text: &str) -> RowWork {
    json_row(text)
        .work
        .unwrap_or_else(|error| panic!("{text}: {error:?}"))
}

#[track_caller]
fn check_error(text: &str, code: RowCode, field: Option<&str>, part: &str) {
    let error = json_row(text).work.expect_err(text);
    assert_eq!(
        (error.code, error.field.as_deref()),
        (code, field),
        "{error:?}"
    );
    assert!(error.message.contains(part), "{error:?}");
}

#[test]
fn each_line_of_a_text_file_is_a_prompt() {
    let rows = rows(InputFormat::Text, "one\n\n{\"two\"}\r\n  three \n");
    let heads: Vec<_> = rows
        .iter()
        .map(|row| (row.head.index, row.head.line))
        .collect();
    assert_eq!(heads, [(0, 1), (1, 3), (2, 4)]);
    let prompts: Vec<_> = rows
        .into_iter()
        .map(|row| row.work.expect("text is always a prompt").input)
        .collect();
    let prompt = |text: &str| RowInput::Prompt(Prompt::Text(text.to_owned()));
    assert_eq!(
        prompts,
        [prompt("one"), prompt("{\"two\"}"), prompt("  three ")]
    );
}

#[test]
fn a_row_has_its_own_parameters_over_those_of_the_job() {
    let work = work(r#"{"prompt": "x", "temperature": 0, "custom_id": "a"}"#);
    assert_eq!(work.params.temperature, 0.0);
    assert_eq!(work.params.max_tokens, Some(32));
}

#[test]
fn a_prompt_is_text_or_token_ids() {
    let input = |text| work(text).input;
    assert_eq!(
        input(r#"{"prompt": " "}"#),
        RowInput::Prompt(Prompt::Text(" ".to_owned()))
    );
    assert_eq!(
        input(r#"{"prompt": [1, 2]}"#),
        RowInput::Prompt(Prompt::Tokens(vec![1, 2]))
    );
    check_error(
        r#"{"prompt": [1, "2"]}"#,
        RowCode::InvalidPrompt,
        Some("prompt"),
        "token ids",
    );
    check_error(
        r#"{"prompt": 5}"#,
        RowCode::InvalidPrompt,
        Some("prompt"),
        "is 5",
    );
}

#[test]
fn a_prompt_without_anything_in_it_is_an_error() {
    for row in [r#"{"prompt": ""}"#, r#"{"prompt": []}"#] {
        check_error(row, RowCode::InvalidPrompt, Some("prompt"), "is empty");
    }
    let line =
        r#"{"custom_id": "a", "method": "POST", "url": "/v1/completions", "body": {"prompt": ""}}"#;
    check_error(
        line,
        RowCode::InvalidPrompt,
        Some("body.prompt"),
        "is empty",
    );
    let template = PromptTemplate::parse("{{ title }}").expect("a template");
    let row = RowReader::lines(
        r#"{"title": ""}"#.as_bytes(),
        InputFormat::Jsonl,
        SamplingParams::default(),
    )
    .with_template(template)
    .next();
    let error = row.expect("a row").expect("readable").work;
    let error = error.expect_err("empty");
    assert_eq!(
        (error.code, error.field.as_deref()),
        (RowCode::InvalidPrompt, Some("prompt"))
    );
}

#[test]
fn a_list_of_tokens_that_fits_no_context_is_not_kept() {
    let row = |count: usize| {
        let line = format!("{{\"prompt\": {:?}}}", vec![1; count]);
        let base = SamplingParams::default();
        let mut rows =
            RowReader::lines(line.as_bytes(), InputFormat::Jsonl, base).with_max_model_len(8);
        rows.next().expect("a row").expect("readable").work
    };
    assert!(row(8).is_ok());
    let error = row(9).expect_err("too long");
    assert_eq!(error.code, RowCode::TooLong);
    assert!(error.message.contains("9 tokens"), "{error:?}");
    let messages = "{\"a\":1},".repeat(1 << 20);
    let line = format!("{{\"messages\": [{}]}}", messages.trim_end_matches(','));
    check_error(&line, RowCode::TooLong, Some("messages"), "too many values");
}

/// Whether each row is to be answered in OpenAI's shape.
fn forms(text: &[u8]) -> Vec<bool> {
    let base = SamplingParams::default();
    RowReader::lines(text, InputFormat::Jsonl, base)
        .map(|row| row.expect("memory can be read").head.form != Form::Own)
        .collect()
}

#[test]
fn a_line_that_is_broken_has_the_form_of_the_file() {
    let broken = b"{broken\n\"\xff\"\n[1]\n{\"custom_id\": \"x\"}\n";
    let own = b"{\"prompt\": \"x\"}\n";
    let open_ai = b"{\"body\": {}}\n";
    assert_eq!(forms(broken), [false; 4]);
    let with = |first: &[u8], last: &[u8]| forms(&[first, broken, last].concat());
    assert_eq!(
        with(own, open_ai),
        [false, false, false, false, false, true]
    );
    assert_eq!(with(open_ai, own), [true, true, true, true, true, false]);
}

#[test]
fn open_ai_s_rows_are_honoured_or_refused() {
    let check = |url: &str, fields: &str, field: &str, part: &str| {
        let line = format!(
            r#"{{"custom_id": "a", "method": "POST", "url": "{url}", "body": {{{fields}}}}}"#
        );
        check_error(&line, RowCode::InvalidParameter, Some(field), part);
    };
    let messages = r#""messages": [{"role": "user", "content": "x"}]"#;
    for (parameter, field, part) in [
        (
            r#""prompt_logprobs": 1"#,
            "body.prompt_logprobs",
            "no place",
        ),
        (
            r#""top_logprobs": 2"#,
            "body.top_logprobs",
            "`logprobs` is not true",
        ),
        (
            r#""top_logprobs": 2, "logprobs": false"#,
            "body.top_logprobs",
            "`logprobs` is not true",
        ),
    ] {
        let fields = format!("{messages}, {parameter}");
        check("/v1/chat/completions", &fields, field, part);
    }
    check_error(
        r#"{"custom_id": "a", "url": "/v1/completions", "body": {"prompt": "x"}}"#,
        RowCode::InvalidParameter,
        Some("method"),
        "there is no `method`",
    );
}

#[test]
fn messages_go_to_the_template_as_they_are() {
    let work = work(
        r#"{"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}],
            "tools": [{"type": "function"}], "add_generation_prompt": false,
            "chat_template_kwargs": {"enable_thinking": false}}"#
            .replace('\n', " ")
            .as_str(),
    );
    let RowInput::Chat(chat) = work.input else {
        panic!("no chat: {work:?}");
    };
    let content = json!([{"type": "text", "text": "x"}]);
    assert_eq!(
        chat,
        ChatInput {
            messages: vec![json!({"role": "user", "content": content})],
            tools: Some(vec![json!({"type": "function"})]),
            add_generation_prompt: false,
            kwargs: json!({"enable_thinking": false})
                .as_object()
                .expect("object")
                .clone(),
        }
    );
}

#[test]
fn a_row_needs_exactly_one_of_prompt_and_messages() {
    let code = RowCode::InvalidPrompt;
    check_error("{}", code, None, "neither");
    check_error(r#"{"prompt": null}"#, code, None, "neither");
    check_error(
        r#"{"prompt": "x", "messages": []}"#,
        code,
        Some("messages"),
        "both",
    );
    check_error(
        r#"{"prompt": "x", "tools": []}"#,
        code,
        Some("tools"),
        "`messages`",
    );
}

/// Rows of a job with the adapters `sql` and `fr`, the second for all that say nothing.
fn with_adapters(text: &str) -> Row {
    let known = ["sql", "fr"].map(str::to_owned);
    let base = SamplingParams::default();
    let mut rows = RowReader::lines(text.as_bytes(), InputFormat::Jsonl, base)
        .with_adapters(&known, vec![Lora::new("fr").scaled(0.5)]);
    rows.next().expect("a row").expect("memory can be read")
}

#[test]
fn a_row_asks_for_adapters_as_llama_cpp_and_vllm_have_it() {
    let (sql, fr) = (|| Lora::new("sql"), || Lora::new("fr"));
    for (fields, expected) in [
        ("", vec![fr().scaled(0.5)]),
        (r#", "lora": null"#, vec![fr().scaled(0.5)]),
        (r#", "lora": []"#, vec![]),
        (r#", "lora": "sql""#, vec![sql()]),
        (r#", "model": "sql""#, vec![sql()]),
        (r#", "lora": ["sql", "fr"]"#, vec![sql(), fr()]),
        (
            r#", "lora": [{"id": 1, "scale": 2}, {"id": 0}]"#,
            vec![fr().scaled(2.0), sql()],
        ),
        (
            r#", "lora": [{"name": "fr", "scale": -0.5}]"#,
            vec![fr().scaled(-0.5)],
        ),
    ] {
        let row = with_adapters(&format!(r#"{{"prompt": "x"{fields}}}"#));
        assert_eq!(row.work.expect(fields).lora, expected, "{fields}");
    }
    assert_eq!(work(r#"{"prompt": "x"}"#).lora, []);
}

#[test]
fn an_adapter_that_is_not_there_is_an_error_that_lists_those_that_are() {
    for (fields, field, part) in [
        (r#""lora": "sq""#, "lora", "expected adapters of: sql, fr"),
        (
            r#""lora": [{"id": 2}]"#,
            "lora",
            "expected adapters of: sql, fr",
        ),
        (r#""lora": [{"scale": 1}]"#, "lora", "an `id`"),
        (
            r#""lora": [{"id": 0, "scale": "1"}]"#,
            "lora",
            "a number for `scale`",
        ),
        (
            r#""lora": [{"id": 0, "weight": 1}]"#,
            "lora",
            "not `weight`",
        ),
        (r#""lora": 1"#, "lora", "a name, or a list"),
        (r#""model": "sq""#, "model", "expected sql or fr"),
        (r#""model": "sql", "lora": []"#, "lora", "give one"),
    ] {
        let row = with_adapters(&format!(r#"{{"prompt": "x", {fields}}}"#));
        let error = row.work.expect_err(fields);
        assert_eq!(error.field.as_deref(), Some(field), "{error:?}");
        assert!(error.message.contains(part), "{error:?}");
    }
    check_error(
        r#"{"prompt": "x", "lora": "sql"}"#,
        RowCode::InvalidParameter,
        Some("lora"),
        "none is loaded",
    );
}

#[test]
fn nothing_in_a_row_is_ignored() {
    let unknown = RowCode::UnknownParameter;
    check_error(
        r#"{"prompt": "x", "temprature": 1}"#,
        unknown,
        Some("temprature"),
        "unknown",
    );
    check_error(
        r#"{"prompt": "x", "model": "m"}"#,
        RowCode::UnknownModel,
        Some("model"),
        "no model is called `m`",
    );
    let invalid = RowCode::InvalidParameter;
    check_error(
        r#"{"prompt": "x", "max_tokens": 1, "max_completion_tokens": 2}"#,
        invalid,
        Some("max_completion_tokens"),
        "`max_tokens`",
    );
    for row in [
        r#"{"prompt": "x", "logprobs": false, "top_logprobs": 2}"#,
        r#"{"prompt": "x", "top_logprobs": 2, "logprobs": false}"#,
    ] {
        check_error(row, invalid, Some("top_logprobs"), "`logprobs` is false");
    }
    check_error(
        r#"{"messages": ["x"]}"#,
        invalid,
        Some("messages"),
        "list of objects",
    );
    check_error(
        r#"{"prompt": "x", "prompt": "y"}"#,
        RowCode::InvalidJson,
        None,
        "`prompt` comes twice",
    );
}

#[test]
fn a_line_that_is_no_object_says_where_it_goes_wrong() {
    check_error(
        r#"{"prompt": "x""#,
        RowCode::InvalidJson,
        None,
        "(column 14)",
    );
    check_error(
        r#""x""#,
        RowCode::InvalidJson,
        None,
        "expected a JSON object",
    );
    check_error("[]", RowCode::InvalidJson, None, "expected a JSON object");
    check_error(
        r#"{"prompt": "x"} {}"#,
        RowCode::InvalidJson,
        None,
        "trailing",
    );
    check_error(&"[".repeat(100_000), RowCode::InvalidJson, None, "");
    let deep = format!("{{\"prompt\": {}", "[".repeat(100_000));
    check_error(&deep, RowCode::InvalidJson, None, "recursion limit");
}

#[test]
fn errors_name_the_line_and_keep_the_id() {
    let rows = rows(
        InputFormat::Jsonl,
        "{\"prompt\": \"x\"}\n\n{\"temprature\": 1, \"prompt\": \"x\", \"custom_id\": \"b\"}\n",
    );
    assert_eq!(rows[1].head.custom_id.as_deref(), Some("b"));
    assert_eq!((rows[1].head.index, rows[1].head.line), (1, 3));
    assert_eq!(rows[1].work.as_ref().expect_err("unknown").line, 3);
}

#[test]
fn an_id_that_comes_twice_is_an_error_of_the_second_row() {
    let rows = rows(
        InputFormat::Jsonl,
        "{\"custom_id\": \"a\", \"prompt\": \"x\"}\n{\"custom_id\": \"a\", \"prompt\": \"y\"}\n",
    );
    assert!(rows[0].work.is_ok());
    let error = rows[1].work.as_ref().expect_err("twice");
    assert_eq!(error.code, RowCode::DuplicateCustomId);
    // It is called so, but known by its number.
    assert_eq!(rows[1].head.given_id(), Some("a"));
    assert_eq!(rows[1].head.key(), RowKey::Row(1));
    check_error(
        r#"{"custom_id": 5, "prompt": "x"}"#,
        RowCode::InvalidParameter,
        Some("custom_id"),
        "expected a string",
    );
}

#[test]
fn seeds_depend_on_the_job_and_the_key_alone() {
    let id = RowKey::Id("row-0".to_owned());
    let row = RowKey::Row(0);
    assert_eq!(id.to_string(), row.to_string());
    assert_ne!(
        id.seed(1),
        row.seed(1),
        "an id is not a row that looks like it"
    );
    assert_ne!(row.seed(1), row.seed(2));
    assert_ne!(row.seed(1), RowKey::Row(1).seed(1));
    for job in [0, 42, u64::MAX] {
        assert!(row.seed(job) < 1 << 53);
    }
    // hashlib.sha256(b"choral row seed" + (42).to_bytes(8, "little") + b"rrow-0")
    assert_eq!(row.seed(42), 2_003_607_726_556_086);
    // hashlib.sha256(b"choral row seed" + (42).to_bytes(8, "little") + b"iB-7")
    assert_eq!(RowKey::Id("B-7".to_owned()).seed(42), 8_453_318_306_996_637);
}
