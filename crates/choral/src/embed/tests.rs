use super::pooling::{Pool, normalise, shorten};
use super::{Answer, Embedding, Form, NpyWriter, Pooling, Row, RowReader, RowWork, cut};
use crate::engine::Prompt;
use crate::job::{InputFormat, RowCode, RowError, RowHead};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::io::Cursor;

#[test]
fn pooling_takes_the_mean_the_first_the_last_or_all() {
    let states = [1.0, 2.0, 3.0, 4.0, 8.0, 9.0];
    let pooled = |pooling, pieces: &[&[f32]]| {
        let mut pool = Pool::new(pooling, 2);
        for piece in pieces {
            pool.add(piece);
        }
        pool.finish()
    };
    for pieces in [vec![&states[..]], vec![&states[..2], &[], &states[2..]]] {
        assert_eq!(pooled(Pooling::Mean, &pieces), [4.0, 5.0]);
        assert_eq!(pooled(Pooling::Cls, &pieces), [1.0, 2.0]);
        assert_eq!(pooled(Pooling::Last, &pieces), [8.0, 9.0]);
        assert_eq!(pooled(Pooling::None, &pieces), states);
    }
}

#[test]
fn a_vector_of_zeros_stays_what_it_is() {
    let mut values = [3.0, -4.0, 0.0, 0.0];
    normalise(&mut values, 2);
    assert_eq!(values, [0.6, -0.8, 0.0, 0.0]);
    // Squares that no float has room for.
    let mut values = [3e30, 4e30];
    normalise(&mut values, 2);
    assert!((values[0] - 0.6).abs() < 1e-6 && (values[1] - 0.8).abs() < 1e-6);
}

#[test]
fn vectors_are_shortened_each() {
    let mut values = vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    shorten(&mut values, 3, 2);
    assert_eq!(values, [1.0, 2.0, 4.0, 5.0]);
    shorten(&mut values, 2, 2);
    assert_eq!(values, [1.0, 2.0, 4.0, 5.0]);
}

#[test]
fn cutting_takes_the_end_of_the_text_and_not_what_is_around_it() {
    let cut = |ids: &[u32], plain: &[u32], most| {
        let mut ids = ids.to_vec();
        cut(&mut ids, plain, most);
        ids
    };
    assert_eq!(cut(&[2, 7, 8, 9, 3], &[7, 8, 9], 4), [2, 7, 8, 3]);
    assert_eq!(cut(&[2, 7, 8, 9, 3], &[7, 8, 9], 2), [2, 3]);
    assert_eq!(cut(&[2, 7, 8, 9, 3], &[7, 8, 9], 1), [2]);
    assert_eq!(cut(&[7, 8, 9], &[7, 8, 9], 2), [7, 8]);
    assert_eq!(cut(&[2, 3], &[], 1), [2]);
    // A tokenizer that reads the text differently on its own.
    assert_eq!(cut(&[2, 7, 8, 9, 3], &[7, 1, 9], 3), [2, 7, 8]);
}

proptest! {
    #[test]
    fn a_cut_text_has_the_tokens_that_it_may_have(
        before in 0_usize..3, plain in 0_usize..20, after in 0_usize..3, most in 1_usize..30,
    ) {
        let around = |n| std::iter::repeat_n(99, n);
        let text: Vec<u32> = (0..plain as u32).collect();
        let all = around(before).chain(text.iter().copied()).chain(around(after));
        let mut ids: Vec<u32> = all.collect();
        let len = ids.len();
        cut(&mut ids, &text, most);
        prop_assert_eq!(ids.len(), len.min(most));
        if most >= before + after {
            prop_assert!(ids.ends_with(&vec![99; after]));
        }
    }

    #[test]
    fn no_line_panics(line in "\\PC{0,60}") {
        let _ = rows(&line);
        let _ = rows(&format!("{{\"url\": {line}}}"));
    }
}

fn rows(input: &str) -> Vec<Row> {
    let reader = RowReader::new(Cursor::new(input.to_owned()), InputFormat::Jsonl);
    reader.map(|row| row.expect("memory can be read")).collect()
}

fn work(value: &Value) -> Result<RowWork, RowError> {
    let [row] = rows(&value.to_string()).try_into().expect("one row");
    row.work
}

fn open_ai(body: &Value) -> Value {
    json!({"custom_id": "a", "method": "POST", "url": "/v1/embeddings", "body": body})
}

#[test]
fn a_row_is_a_text_or_token_ids_under_three_names() {
    for name in ["input", "text", "prompt"] {
        let text = work(&json!({name: "a", "custom_id": "x", "dimensions": 4})).expect("good");
        assert_eq!(text.inputs, [Prompt::from("a")]);
        assert_eq!(text.dimensions, Some(4));
        let ids = work(&json!({name: [1, 2]})).expect("good");
        assert_eq!(ids.inputs, [Prompt::Tokens(vec![1, 2])]);
    }
    for (row, code, field) in [
        (json!({}), RowCode::InvalidPrompt, None),
        (json!({"input": null}), RowCode::InvalidPrompt, None),
        (json!({"input": []}), RowCode::InvalidPrompt, Some("input")),
        (
            json!({"input": ["a"]}),
            RowCode::InvalidPrompt,
            Some("input"),
        ),
        (
            json!({"input": [-1]}),
            RowCode::InvalidPrompt,
            Some("input"),
        ),
        (
            json!({"input": [4_294_967_296_u64]}),
            RowCode::InvalidPrompt,
            Some("input"),
        ),
        (
            json!({"input": "a", "text": "b"}),
            RowCode::InvalidPrompt,
            Some("text"),
        ),
        (
            json!({"input": "a", "model": "m"}),
            RowCode::UnknownParameter,
            Some("model"),
        ),
        (
            json!({"input": "a", "dimensions": 0}),
            RowCode::InvalidParameter,
            Some("dimensions"),
        ),
        (
            json!({"input": "a", "custom_id": 1}),
            RowCode::InvalidParameter,
            Some("custom_id"),
        ),
        (json!(["a"]), RowCode::InvalidJson, None),
    ] {
        let error = work(&row).expect_err("refused");
        assert_eq!((error.code, error.field.as_deref()), (code, field), "{row}");
        assert_eq!(error.line, 1);
    }
}

#[test]
fn an_id_that_comes_twice_is_an_error_of_the_second_row() {
    let twice =
        "{\"custom_id\": \"x\", \"input\": \"a\"}\n\n{\"custom_id\": \"x\", \"input\": \"b\"}";
    let rows = rows(twice);
    assert!(rows[0].work.is_ok());
    let error = rows[1].work.as_ref().expect_err("refused");
    assert_eq!((error.code, error.line), (RowCode::DuplicateCustomId, 3));
    assert_eq!(rows[1].head.index, 1);
}

#[test]
fn open_ais_lines_hold_one_or_more_inputs() {
    let inputs = |input: Value| work(&open_ai(&json!({"model": "m", "input": input})));
    let text = |text: &str| Prompt::from(text);
    assert_eq!(inputs(json!("a")).expect("good").inputs, [text("a")]);
    assert_eq!(
        inputs(json!(["a", " "])).expect("good").inputs,
        [text("a"), text(" ")]
    );
    let ids = |ids: &[u32]| Prompt::Tokens(ids.to_vec());
    assert_eq!(inputs(json!([1, 2])).expect("good").inputs, [ids(&[1, 2])]);
    let both = inputs(json!([[1], [2, 3]])).expect("good").inputs;
    assert_eq!(both, [ids(&[1]), ids(&[2, 3])]);
    for wrong in [
        json!([]),
        json!(null),
        json!([[]]),
        json!(""),
        json!(["a", ""]),
        json!({"a": 1}),
        json!([1, "a"]),
    ] {
        let error = inputs(wrong).expect_err("refused");
        assert_eq!(error.field.as_deref(), Some("body.input"));
    }
    for (key, value) in [
        ("encoding_format", json!("int8")),
        ("dimensions", json!("4")),
        ("user", json!(1)),
        ("temperature", json!(1)),
    ] {
        let error = work(&open_ai(&json!({"input": "a", key: value}))).expect_err("refused");
        assert_eq!(error.field, Some(format!("body.{key}")));
    }
    for (key, value) in [
        ("method", json!("GET")),
        ("url", json!("/v1/completions")),
        ("body", json!("a")),
        ("other", json!(1)),
    ] {
        let mut line = open_ai(&json!({"input": "a"}));
        line[key] = value;
        let rows = rows(&line.to_string());
        assert_eq!(rows[0].form, Form::OpenAi);
        let error = rows[0].work.as_ref().expect_err("refused");
        assert_eq!(error.field.as_deref(), Some(key));
    }
}

fn head() -> RowHead {
    RowHead {
        index: 4,
        line: 6,
        custom_id: Some("x".to_owned()),
        ..RowHead::default()
    }
}

fn embedding(values: &[f32], dimensions: usize, is_by_token: bool) -> Embedding {
    Embedding {
        values: values.to_vec(),
        dimensions,
        is_by_token,
        num_tokens: 3,
        num_cut: 0,
    }
}

fn json(answer: &Answer) -> Value {
    serde_json::to_value(answer).expect("JSON")
}

#[test]
fn answers_have_the_shape_of_their_rows() {
    let one = embedding(&[0.5, -0.25], 2, false);
    let own = Answer::new(head(), Form::Own, vec![one.clone()], false, "m".to_owned());
    assert_eq!(
        json(&own),
        json!({"custom_id": "x", "row": 4, "embedding": [0.5, -0.25],
            "usage": {"prompt_tokens": 3, "total_tokens": 3}, "error": null})
    );
    let by_token = embedding(&[1.0, 2.0, 3.0, 4.0], 2, true);
    let cut = Embedding {
        num_cut: 1,
        ..by_token
    };
    let own = json(&Answer::new(
        head(),
        Form::Own,
        vec![cut],
        false,
        "m".to_owned(),
    ));
    assert_eq!(own["embedding"], json!([[1.0, 2.0], [3.0, 4.0]]));
    assert_eq!(own["truncated"], true);

    let two = vec![one.clone(), one];
    let line = json(&Answer::new(
        head(),
        Form::OpenAi,
        two,
        true,
        "m".to_owned(),
    ));
    assert_eq!(line["custom_id"], "x");
    assert_eq!(line["error"], Value::Null);
    assert!(
        line["id"]
            .as_str()
            .expect("an id")
            .starts_with("batch_req_")
    );
    assert_eq!(line["response"]["status_code"], 200);
    let body = &line["response"]["body"];
    // 0.5 and -0.25: 0x3f000000 and 0xbe800000, the low byte first.
    let item = |index| json!({"object": "embedding", "index": index, "embedding": "AAAAPwAAgL4="});
    assert_eq!(body["data"], json!([item(0), item(1)]));
    assert_eq!(
        (&body["object"], &body["model"]),
        (&json!("list"), &json!("m"))
    );
    assert_eq!(
        body["usage"],
        json!({"prompt_tokens": 6, "total_tokens": 6})
    );
}

#[test]
fn errors_have_the_shape_of_their_rows() {
    let error = RowError {
        code: RowCode::TooLong,
        message: "long".to_owned(),
        line: 6,
        field: None,
        file: None,
    };
    let own = json(&Answer::failed(head(), Form::Own, error.clone()));
    assert_eq!(own["embedding"], Value::Null);
    let stated = json!({"code": "too_long", "message": "long", "line": 6, "field": null});
    assert_eq!(own["error"], stated);
    let line = json(&Answer::failed(head(), Form::OpenAi, error));
    assert_eq!(line["response"]["status_code"], 400);
    assert_eq!(
        line["response"]["body"]["error"],
        json!({"message": "line 6: long", "type": "invalid_request_error", "param": null, "code": "too_long"})
    );
}

#[test]
fn an_array_begins_with_the_header_that_numpy_writes() {
    let mut bytes = Cursor::new(Vec::new());
    let mut array = NpyWriter::new(&mut bytes, 2).expect("memory");
    array.row(&[1.0, -2.0]).expect("memory");
    array.row(&[0.5, f32::NAN]).expect("memory");
    array.finish().expect("memory");
    let bytes = bytes.into_inner();
    // `numpy.save` of the same array, but for the number of spaces.
    assert_eq!(bytes[..10], *b"\x93NUMPY\x01\x00\x76\x00");
    let header = std::str::from_utf8(&bytes[10..128]).expect("text");
    let stated = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }";
    assert_eq!(header.trim_end_matches([' ', '\n']), stated);
    assert!(header.ends_with('\n'));
    assert_eq!(bytes[128..136], [0, 0, 128, 63, 0, 0, 0, 192]);
    assert_eq!(bytes.len(), 128 + 16);
}
