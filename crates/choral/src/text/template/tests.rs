//! Which template is used, with which variables.

use std::collections::BTreeMap;

use choral_formats::Gguf;
use choral_formats::gguf::Writer;
use serde_json::{Value, json};

use super::{ChatTemplate, TemplateError, TemplateInput, parse_tool_arguments};
use crate::text::Tokenizer;
use crate::text::jinja::RenderLimits;

fn template(source: &str) -> ChatTemplate {
    let special = BTreeMap::from([("bos_token".into(), "<s>".into())]);
    ChatTemplate::new(source, special).expect("parses")
}

fn input(kwargs: &Value) -> TemplateInput {
    TemplateInput {
        messages: json!([{"role": "user", "content": "hi"}]),
        kwargs: kwargs.as_object().expect("an object").clone(),
        ..TemplateInput::default()
    }
}

#[test]
fn variables_are_those_of_transformers() {
    let source = "{{ bos_token }}|{{ tools }}|{{ documents }}|{{ add_generation_prompt }}|\
                  {{ thinking }}|{{ messages[0].content }}";
    let render = |kwargs: Value| template(source).render(&input(&kwargs)).expect("renders");
    assert_eq!(render(json!({})), "<s>|None|None|False||hi");
    assert_eq!(
        render(json!({"thinking": true, "bos_token": "B", "documents": [1]})),
        "B|None|[1]|False|True|hi"
    );
}

#[test]
fn template_arguments_may_not_replace_the_conversation() {
    for name in ["messages", "tools", "add_generation_prompt"] {
        let found = template("").render(&input(&json!({ name: 1 })));
        assert_eq!(found, Err(TemplateError::ReservedName(name.into())));
    }
}

#[test]
fn refusals_failures_and_limits_are_told_apart() {
    let error = |source: &str| {
        template(source)
            .render(&input(&json!({})))
            .expect_err("an error")
    };
    assert_eq!(
        error("{{ raise_exception('no system role') }}"),
        TemplateError::Raised("no system role".into())
    );
    assert!(matches!(
        error("\n{{ nothing.there }}"),
        TemplateError::Failed { line: 2, .. }
    ));
    let small = RenderLimits {
        max_steps: 1000,
        max_bytes: 1000,
    };
    let found = template("{% for i in range(9999) %}{% endfor %}")
        .with_limits(small)
        .render(&input(&json!({})));
    assert!(matches!(found, Err(TemplateError::Limit { line: 1, .. })));
    assert!(matches!(
        ChatTemplate::new("{{", BTreeMap::new()),
        Err(TemplateError::Syntax { line: 1, .. })
    ));
}

#[test]
fn arguments_of_tool_calls_become_objects() {
    let call = |arguments: Value| json!({"function": {"name": "f", "arguments": arguments}});
    let mut messages = json!([
        {"role": "assistant", "tool_calls": [call(json!("{\"b\": 1, \"a\": [2]}")), call(json!({"x": 1}))]},
        {"role": "assistant", "tool_calls": [call(json!("not json")), call(json!("[1]"))]},
        {"role": "user", "content": "hi"}
    ]);
    parse_tool_arguments(&mut messages);
    let found = serde_json::to_string(&messages[0]["tool_calls"][0]["function"]["arguments"]);
    assert_eq!(found.expect("JSON"), r#"{"b":1,"a":[2]}"#);
    assert_eq!(messages[0]["tool_calls"][1], call(json!({"x": 1})));
    assert_eq!(messages[1]["tool_calls"][0], call(json!("not json")));
    assert_eq!(messages[1]["tool_calls"][1], call(json!("[1]")));
}

fn gguf(templates: &[(&str, &str)]) -> Gguf {
    let mut writer = Writer::new();
    writer
        .set("tokenizer.ggml.model", "llama")
        .set("tokenizer.ggml.tokens", vec!["<unk>", "<s>", "</s>"]);
    for (key, source) in templates {
        writer.set(*key, *source);
    }
    Gguf::from_bytes("test.gguf", writer.to_bytes().expect("writes")).expect("reads")
}

#[test]
fn a_gguf_file_may_have_another_template_for_tools() {
    let load = |templates: &[(&str, &str)]| {
        let file = gguf(templates);
        let tokenizer = Tokenizer::from_gguf(file.metadata()).expect("loads");
        ChatTemplate::from_gguf(file.metadata(), &tokenizer)
    };
    assert!(load(&[]).expect("no template is no error").is_none());
    let both = load(&[
        (
            "tokenizer.chat_template",
            "plain {{ bos_token }}{{ eos_token }}",
        ),
        (
            "tokenizer.chat_template.tool_use",
            "tools {{ tools|length }}",
        ),
    ]);
    let both = both.expect("parses").expect("a template");
    let mut input = input(&json!({}));
    assert_eq!(both.render(&input).as_deref(), Ok("plain <s></s>"));
    input.tools = Some(json!([]));
    assert_eq!(both.render(&input).as_deref(), Ok("plain <s></s>"));
    input.tools = Some(json!([{}]));
    assert_eq!(both.render(&input).as_deref(), Ok("tools 1"));
    assert!(matches!(
        load(&[("tokenizer.chat_template", "{% if %}")]),
        Err(TemplateError::Syntax { .. })
    ));
}

#[test]
fn a_template_file_wins_over_the_configuration() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = gguf(&[]);
    let tokenizer = Tokenizer::from_gguf(file.metadata()).expect("loads");
    let load = || ChatTemplate::from_hf_dir(folder.path(), &tokenizer);
    let write = |name: &str, text: &str| {
        std::fs::write(folder.path().join(name), text).expect("writes");
    };
    assert!(load().expect("no files").is_none());
    write("chat_template.json", r#"{"chat_template": "third"}"#);
    let render = || {
        load()
            .expect("loads")
            .expect("one")
            .render(&input(&json!({})))
    };
    assert_eq!(render().as_deref(), Ok("third"));
    write("tokenizer_config.json", r#"{"chat_template": null}"#);
    assert_eq!(render().as_deref(), Ok("third"));
    write(
        "tokenizer_config.json",
        r#"{"chat_template": [{"name": "rag", "template": "r"}, {"name": "default", "template": "second"}]}"#,
    );
    assert_eq!(render().as_deref(), Ok("second"));
    write("chat_template.jinja", "first");
    assert_eq!(render().as_deref(), Ok("first"));
    std::fs::remove_file(folder.path().join("chat_template.jinja")).expect("removes");
    write("tokenizer_config.json", r#"{"chat_template": 5}"#);
    assert!(matches!(load(), Err(TemplateError::Source(_))));
    write(
        "tokenizer_config.json",
        r#"{"chat_template": [{"name": "rag", "template": "r"}]}"#,
    );
    assert!(matches!(load(), Err(TemplateError::Source(_))));
}

#[test]
fn content_in_parts_is_text_to_a_template_that_does_not_go_through_them() {
    let conversation = || {
        TemplateInput::new(vec![
            json!({"role": "system", "content": "Be kind."}),
            json!({"role": "user", "content": [
                {"type": "text", "text": "What is"},
                {"type": "text", "text": "{'type'}?"},
            ]}),
            json!({"role": "assistant", "content": null}),
        ])
    };
    let plain = "{% for m in messages %}[{{ m.content }}]{% endfor %}";
    let found = template(plain).render_chat(conversation());
    assert_eq!(found.as_deref(), Ok("[Be kind.][What is\n{'type'}?][None]"));
    let as_json = "{% for m in messages %}[{{ m.content | tojson }}]{% endfor %}";
    let found = template(as_json).render_chat(conversation());
    assert_eq!(
        found.as_deref(),
        Ok(r#"["Be kind."]["What is\n{'type'}?"][null]"#)
    );
    let only_text = "{% for m in messages %}{% if m.content is not none and m.content is not string %}\
                     {{ raise_exception('text only') }}{% endif %}[{{ m.content }}]{% endfor %}";
    let found = template(only_text).render_chat(conversation());
    assert_eq!(found.as_deref(), Ok("[Be kind.][What is\n{'type'}?][None]"));
    let goes_through = "{% for m in messages %}{% if m.content is string %}[{{ m.content }}]\
                        {% else %}{% for p in m.content or [] %}<{{ p.text }}>{% endfor %}{% endif %}\
                        {% endfor %}";
    let found = template(goes_through).render_chat(conversation());
    assert_eq!(found.as_deref(), Ok("[Be kind.]<What is><{'type'}?>"));
}

#[test]
fn content_that_is_no_text_is_refused() {
    for (part, found) in [
        (
            json!({"type": "image_url", "image_url": {"url": "x"}}),
            "image_url",
        ),
        (json!({"text": "no type"}), "unknown type"),
        (json!(5), "unknown type"),
    ] {
        let parts = json!([{"type": "text", "text": "a"}, part]);
        let input = TemplateInput::new(vec![json!({"role": "user", "content": parts})]);
        let error = TemplateError::Content {
            message: 0,
            found: found.to_owned(),
        };
        assert_eq!(template("{{ messages }}").render_chat(input), Err(error));
    }
}

#[test]
fn a_picture_stands_where_the_template_has_a_place_for_it() {
    let conversation = |image: serde_json::Value| {
        let parts = json!([image, {"type": "text", "text": "What is it?"}]);
        TemplateInput::new(vec![json!({"role": "user", "content": parts})])
    };
    let shows = "{% for m in messages %}{% for p in m.content %}{% if p.type == 'image' %}<|image|>\
                 {% else %}{{ p.text }}{% endif %}{% endfor %}{% endfor %}";
    let found = template(shows).render_chat(conversation(json!({"type": "image"})));
    assert_eq!(found.as_deref(), Ok("<|image|>What is it?"));
    let refused = Err(TemplateError::Content {
        message: 0,
        found: "image".to_owned(),
    });
    // Nobody has taken this one.
    let left = json!({"type": "image", "image": "a.png"});
    assert_eq!(template(shows).render_chat(conversation(left)), refused);
    for blind in [
        "{% for m in messages %}{{ m.content }}{% endfor %}",
        "{% for m in messages %}{% for p in m.content %}{{ p.text or '' }}{% endfor %}{% endfor %}",
    ] {
        let found = template(blind).render_chat(conversation(json!({"type": "image"})));
        assert_eq!(found, refused);
    }
}

/// Formats that models document.
mod named {
    use super::{ChatTemplate, TemplateInput, json};

    #[track_caller]
    fn check(name: &str, expected: &str) {
        let special = [("bos_token", "<s>"), ("eos_token", "</s>")];
        let special = special.map(|(name, token)| (name.to_owned(), token.to_owned()));
        let template = ChatTemplate::by_name(name, special.into()).expect("it is known");
        let input = TemplateInput::new(vec![
            json!({"role": "system", "content": "Be kind."}),
            json!({"role": "user", "content": "Hi"}),
        ]);
        assert_eq!(template.render(&input).expect("it renders"), expected);
    }

    #[test]
    fn chatml_is_what_qwen_was_trained_on() {
        check(
            "chatml",
            "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n\
             <|im_start|>assistant\n",
        );
    }

    #[test]
    fn zephyr_is_what_tinyllama_chat_was_trained_on() {
        check(
            "zephyr",
            "<|system|>\nBe kind.</s>\n<|user|>\nHi</s>\n<|assistant|>\n",
        );
    }

    #[test]
    fn llama3_is_what_llama_3_was_trained_on() {
        check(
            "llama3",
            "<s><|start_header_id|>system<|end_header_id|>\n\nBe kind.<|eot_id|>\
             <|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>\
             <|start_header_id|>assistant<|end_header_id|>\n\n",
        );
    }

    #[test]
    fn every_name_is_known_and_no_other() {
        assert_eq!(ChatTemplate::names().count(), 3);
        for name in ChatTemplate::names() {
            assert!(ChatTemplate::by_name(name, [].into()).is_some());
        }
        assert!(ChatTemplate::by_name("chatlm", [].into()).is_none());
    }
}
