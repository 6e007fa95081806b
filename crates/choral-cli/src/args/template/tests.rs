//! Templates by name, against the formats that their models document.

use super::{NAMED, TemplateArgs, named_or_text};
use choral::text::{ChatTemplate, TemplateInput};
use serde_json::{Value, json};

#[track_caller]
fn check(name: &str, expected: &str) {
    let source = named_or_text(name).expect("a name that is known");
    let special = [("bos_token", "<s>"), ("eos_token", "</s>")];
    let special = special.map(|(name, token)| (name.to_owned(), token.to_owned()));
    let template = ChatTemplate::new(source, special.into()).expect("it parses");
    let input = TemplateInput {
        messages: json!([
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": "Hi"},
        ]),
        add_generation_prompt: true,
        ..TemplateInput::default()
    };
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
fn a_text_with_jinja_in_it_is_no_name() {
    assert_eq!(
        named_or_text("{{ messages }}").expect("text"),
        "{{ messages }}"
    );
    let error = named_or_text("chatlm")
        .expect_err("no such name")
        .to_string();
    for (name, _) in NAMED {
        assert!(error.contains(name), "{error}");
    }
}

#[test]
fn the_system_message_comes_first_if_there_is_one() {
    let mut args = TemplateArgs::default();
    let user = json!({"role": "user", "content": "Hi"});
    assert_eq!(args.conversation("Hi"), std::slice::from_ref(&user));
    args.system = Some("Be kind.".to_owned());
    let system: Value = json!({"role": "system", "content": "Be kind."});
    assert_eq!(args.conversation("Hi"), [system, user]);
}
