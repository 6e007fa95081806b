use serde_json::json;

use super::{
    Asked, Finish, Tool, ToolChoice, Turn, chat_answer, embedding, image_tag, prompt_answer, tokens,
};

fn asked(text: &str) -> Asked {
    Asked {
        turns: vec![Turn::new("user", text)],
        ..Asked::default()
    }
}

#[test]
fn an_answer_names_its_conversation_and_no_other() {
    let hello = chat_answer(&[("user", "hello")]);
    assert_eq!(hello, chat_answer(&[("user", "hello")]));
    assert!(hello.ends_with(" to: hello"), "{hello}");
    let others = [
        chat_answer(&[("system", "hello")]),
        chat_answer(&[("system", "x"), ("user", "hello")]),
        chat_answer(&[("user", "hell"), ("o", "")]),
        prompt_answer("hello"),
        chat_answer(&[("user", "hello ")]),
    ];
    for other in others {
        assert_ne!(hello.split(' ').nth(1), other.split(' ').nth(1));
    }
}

#[test]
fn digests_are_of_sha256() {
    // printf 'user\x1fhello\x1e' | sha256sum
    assert!(chat_answer(&[("user", "hello")]).starts_with("Answer ffe83f00ad9e "));
    // printf 'pixels' | sha256sum
    assert_eq!(image_tag(b"pixels"), "<image 6ec9c2b0eb14>");
}

#[test]
fn tokens_join_to_the_text() {
    for text in ["", " ", "a", " a  b\nc ", "né\u{a0}x"] {
        assert_eq!(tokens(text).concat(), text);
    }
    assert_eq!(tokens("one two"), ["one", " two"]);
}

#[test]
fn length_counts_tokens_and_says_so() {
    let answer = Asked {
        max_tokens: Some(2),
        ..asked("one two three")
    }
    .answer(0);
    assert_eq!(answer.tokens.len(), 2);
    assert_eq!(answer.finish, Finish::Length);
    let all = asked("one two three").answer(0);
    let exact = Asked {
        max_tokens: Some(all.num_tokens()),
        ..asked("one two three")
    }
    .answer(0);
    assert_eq!(exact.finish, Finish::Stop);
    assert_eq!(exact.text(), all.text());
}

#[test]
fn the_first_stop_string_ends_the_text_before_itself() {
    let stop = vec!["three".to_owned(), "two".to_owned(), String::new()];
    let answer = Asked {
        stop,
        ..asked("one two three")
    }
    .answer(0);
    assert!(answer.text().ends_with("one "), "{}", answer.text());
    assert_eq!(answer.finish, Finish::StopString("two".to_owned()));
}

#[test]
fn choices_differ() {
    assert_ne!(asked("x").answer(0).text(), asked("x").answer(1).text());
}

#[test]
fn tools_are_called_when_named_or_required_and_their_arguments_fit() {
    let schema = json!({
        "type": "object",
        "properties": {
            "city": { "type": "string" },
            "days": { "type": "integer", "minimum": 3 },
            "unit": { "enum": ["C", "F"] },
            "where": { "$ref": "#/$defs/place" },
        },
        "$defs": { "place": { "type": "array", "items": { "type": "number" }, "minItems": 2 } },
    });
    let tools = vec![
        Tool {
            name: "weather".into(),
            schema,
        },
        Tool {
            name: "clock".into(),
            schema: json!({}),
        },
    ];
    let with = |text: &str, tool_choice| {
        Asked {
            tools: tools.clone(),
            tool_choice,
            ..asked(text)
        }
        .answer(0)
    };

    let called = with("the weather please", ToolChoice::Auto);
    assert_eq!(called.finish, Finish::ToolCalls);
    assert_eq!(called.calls.len(), 1);
    let arguments = &called.calls[0].arguments;
    assert_eq!(arguments["days"], 3);
    assert_eq!(arguments["unit"], "C");
    assert_eq!(arguments["where"], json!([0.5, 0.5]));
    assert!(arguments["city"].is_string());

    assert_eq!(with("weather and clock", ToolChoice::Auto).calls.len(), 2);
    assert!(with("hello", ToolChoice::Auto).calls.is_empty());
    assert!(with("weather", ToolChoice::Never).calls.is_empty());
    assert_eq!(with("hello", ToolChoice::Required).calls[0].name, "weather");
    assert_eq!(
        with("hello", ToolChoice::Named("clock".into())).calls[0].name,
        "clock"
    );
}

#[test]
fn a_schema_that_contains_itself_ends() {
    let schema = json!({ "type": "object", "properties": { "again": { "$ref": "#" } } });
    let tools = vec![Tool {
        name: "deep".into(),
        schema,
    }];
    assert_eq!(
        Asked {
            tools,
            ..asked("deep")
        }
        .answer(0)
        .calls
        .len(),
        1
    );
}

#[test]
fn a_marker_makes_an_answer_longer() {
    assert_eq!(
        asked("x [[mock:words=50]]").answer(0).tokens.len(),
        3 + 2 + 50
    );
}

#[test]
fn embeddings_have_norm_one_and_depend_on_the_text() {
    let one = embedding("one", 100);
    assert_eq!(one.len(), 100);
    assert!((one.iter().map(|value| value * value).sum::<f32>() - 1.0).abs() < 1e-5);
    assert_ne!(one, embedding("two", 100));
}
