//! `choral tokenize`, `detokenize` and `template`.

use super::{choral, golden, lines};
use serde_json::{Value, json};

const HF: &str = "golden/models/qwen2/hf";
const GGUF: &str = "golden/models/tinyllama/gguf/tinyllama-Q8_0.gguf";

/// The prompts of a golden model that are text.
fn prompts(model: &str) -> Vec<(String, bool, Value)> {
    let golden = golden(&format!("models/{model}/golden.json"));
    let prompts = golden["prompts"].as_object().expect("prompts");
    let texts = prompts.values().filter_map(|prompt| {
        let text = prompt["text"].as_str()?.to_owned();
        let special = prompt["add_special_tokens"].as_bool()?;
        Some((text, special, prompt["ids"].clone()))
    });
    texts.collect()
}

#[test]
fn stdin_is_tokenised_byte_for_byte() {
    for model in ["qwen2", "llama3", "tinyllama"] {
        let path = format!("golden/models/{model}/hf");
        for (text, special, ids) in prompts(model) {
            let mut args = vec!["tokenize", "-m", &path, "--json"];
            args.extend((!special).then_some("--no-special"));
            let answer = choral(&args, text.clone()).json().remove(0);
            assert_eq!(answer, json!({ "ids": ids }), "{model} {text:?}");
        }
    }
}

#[test]
fn lines_are_tokenised_one_by_one() {
    let all = prompts("qwen2");
    let inputs = all
        .iter()
        .map(|(text, special, _)| json!({"text": text, "add_special": special}));
    let answers = choral(&["tokenize", "-m", HF, "--jsonl"], lines(inputs)).json();
    assert_eq!(answers.len(), all.len());
    for (answer, (_, _, ids)) in answers.iter().zip(&all) {
        assert_eq!(answer["ids"], *ids);
    }
}

#[test]
fn special_tokens_in_a_text_are_parsed_unless_told_not_to() {
    let count = |more: &[&str]| {
        let mut args = vec!["tokenize", "-m", HF, "-p", "<|im_end|>", "--count"];
        args.extend(more);
        choral(&args, "").text()
    };
    assert_eq!(count(&[]), "1\n");
    assert_ne!(count(&["--no-parse-special"]), "1\n");
    let line = lines([json!({"text": "<|im_end|>", "parse_special": false})]);
    let answer = choral(&["tokenize", "-m", HF, "--jsonl"], line)
        .json()
        .remove(0);
    assert!(answer["ids"].as_array().expect("ids").len() > 1);
}

#[test]
fn tokens_are_shown_one_a_line() {
    let args = ["tokenize", "-m", GGUF, "-p", "Hello\n"];
    insta::assert_snapshot!(choral(&args, "").text(), @r#"
      1  "<s>"  (special)
    466  " H"
    533  "e"
    274  "ll"
    536  "o"
     13  "\n"
    "#);
}

#[test]
fn ids_become_text_again() {
    let all = prompts("qwen2");
    let inputs = all.iter().map(|(_, _, ids)| json!({ "ids": ids }));
    let answers = choral(&["detokenize", "-m", HF, "--jsonl"], lines(inputs)).json();
    for (answer, (text, ..)) in answers.iter().zip(&all) {
        assert_eq!(answer["text"], **text);
    }
    let (text, _, ids) = &all[0];
    let plain = choral(&["detokenize", "-m", HF], ids.to_string()).text();
    assert_eq!(plain, **text);
    let json = choral(&["detokenize", "-m", HF, "--json"], ids.to_string()).json();
    assert_eq!(json, [json!({ "text": text })]);
}

#[test]
fn special_tokens_can_be_left_out_of_the_text() {
    let ids = choral(&["tokenize", "-m", HF, "-p", "a<|im_end|>", "--json"], "")
        .json()
        .remove(0);
    let ids = ids["ids"].to_string();
    let text = |more: &[&str]| {
        let mut args = vec!["detokenize", "-m", HF, "-p", &ids];
        args.extend(more);
        choral(&args, "").text()
    };
    assert_eq!(text(&[]), "a<|im_end|>");
    assert_eq!(text(&["--skip-special"]), "a");
}

#[test]
fn conversations_are_rendered_as_transformers_does() {
    let golden = golden("models/qwen2/golden.json");
    for (name, case) in golden["chat"].as_object().expect("cases") {
        let args = ["template", "-m", HF, "--input", "-", "--json"];
        let answer = choral(&args, case["input"].to_string()).json().remove(0);
        assert_eq!(answer["text"], case["text"], "{name}");
    }
}

#[test]
fn one_message_is_a_conversation() {
    let args = ["template", "-m", HF, "-p", "Hi!", "--system", "Be brief."];
    insta::assert_snapshot!(choral(&args, "").text(), @r#"
    <|im_start|>system
    Be brief.<|im_end|>
    <|im_start|>user
    Hi!<|im_end|>
    <|im_start|>assistant
    "#);
}

#[test]
fn a_template_file_sees_special_tokens_and_arguments() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("t.jinja");
    let template = "{{ bos_token }}|{{ eos_token }}|{{ style }}|{{ strftime_now('%Y-%m-%d') }}|\
                    {{ messages[0]['tool_calls'][0].function.arguments.x }}";
    std::fs::write(&path, template).expect("a file");
    let path = path.to_str().expect("UTF-8");
    let call = json!({"function": {"name": "f", "arguments": "{\"x\": 7}"}});
    let input = json!({
        "messages": [{"role": "assistant", "tool_calls": [call]}],
        "kwargs": {"style": "short"},
        "special_tokens": {"bos_token": "<s>", "eos_token": null},
        "now": "2026-03-14T15:09:26",
    });
    let args = ["template", "--template", path, "--input", "-"];
    let text = choral(&args, input.to_string()).text();
    assert_eq!(text, "<s>||short|2026-03-14|7");
}

#[test]
fn the_words_of_the_other_commands_are_understood() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("t.jinja");
    let source =
        "{{ eos_token }}|{{ style }}|{{ messages[0].content }}|{{ add_generation_prompt }}";
    std::fs::write(&path, source).expect("a file");
    let path = path.to_str().expect("UTF-8");
    let messages = json!([{"role": "user", "content": "Hi"}]);
    let render = |args: &[&str], input: &Value| {
        choral(
            &[&["template", "--input", "-"], args].concat(),
            input.to_string(),
        )
        .text()
    };
    let of_file = ["--chat-template-file", path];
    assert_eq!(render(&of_file, &messages), "||Hi|True");
    let object = json!({"messages": messages, "chat_template_kwargs": {"style": "short"}});
    assert_eq!(render(&of_file, &object), "|short|Hi|True");
    // A model beside it lends its special tokens.
    let of_model = ["--chat-template", source, "-m", HF];
    assert_eq!(render(&of_model, &messages), "<|im_end|>||Hi|True");
    let chatml = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n";
    assert_eq!(render(&["--chat-template", "chatml"], &messages), chatml);
    let no_answer = json!({"messages": messages, "add_generation_prompt": false});
    assert_eq!(render(&of_file, &no_answer), "||Hi|False");
}

#[test]
fn a_template_that_refuses_is_an_error_in_json_too() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let check = |template: &str, expected: &str| {
        let path = folder.path().join("t.jinja");
        std::fs::write(&path, template).expect("a file");
        let path = path.to_str().expect("UTF-8");
        let args = ["template", "--template", path, "-p", "Hi!", "--json"];
        let ran = choral(&args, "");
        let answer: Value = serde_json::from_str(&ran.stdout).expect("JSON");
        assert_eq!(answer, json!({ "error": expected }));
        assert_eq!(ran.error(), format!("choral: {expected}"));
    };
    check(
        "{{ raise_exception('no roles') }}",
        "chat template: no roles",
    );
    check(
        "{% for i in range(10 ** 9) %}{% endfor %}",
        "chat template, line 1: range of 1000000000 elements is larger than 100000",
    );
}

#[test]
fn wrong_input_is_named() {
    let check = |args: &[&str], stdin: &[u8], expected: &str| {
        let error = choral(args, stdin).error();
        assert!(error.starts_with(expected), "{error}");
    };
    check(
        &["tokenize", "-m", HF],
        b"ab\xff",
        "choral: stdin: not UTF-8: byte 2 is no part of a character",
    );
    check(
        &["tokenize", "-m", HF, "--jsonl"],
        b"{\"text\": 1}",
        "choral: stdin: line 1: invalid type: integer `1`",
    );
    check(
        &["tokenize", "-m", HF, "-f", "nothing-here"],
        b"",
        "choral: nothing-here: No such file",
    );
    check(
        &["detokenize", "-m", HF, "-p", "1 x"],
        b"",
        "choral: `x` is not a token id",
    );
    check(
        &["template", "-m", HF, "--input", "-"],
        b"{\"messages\": 1}",
        "choral: `messages` is no array",
    );
    check(
        &["template", "-m", HF, "--input", "-"],
        b"{\"messages\": [], \"now\": \"noon\"}",
        "choral: `now` is `noon`, expected a time such as",
    );
}

#[test]
fn a_tokenizer_needs_no_weights_and_a_missing_template_is_named() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let from = super::repository().join(HF).join("tokenizer.json");
    std::fs::copy(from, folder.path().join("tokenizer.json")).expect("a copy");
    let model = folder.path().to_str().expect("UTF-8");
    let ids = choral(&["tokenize", "-m", model, "-p", "Hello", "--json"], "").json();
    assert_eq!(ids, [json!({"ids": [39, 68, 270, 78]})]);
    assert_eq!(
        choral(&["template", "-m", model, "-p", "Hello"], "").error(),
        "choral: the model has no chat template: give one with --chat-template or \
         --chat-template-file"
    );
}
