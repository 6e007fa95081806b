//! What is asked for, and what is told first.

use super::{TemplateArgs, template};
use choral::text::{ChatTemplate, TemplateInput};
use serde_json::{Value, json};

#[test]
fn a_text_with_jinja_in_it_is_no_name() {
    let text = template("{{ messages[0].content }}", [].into()).expect("text");
    let input = TemplateInput::new(vec![json!({"role": "user", "content": "Hi"})]);
    assert_eq!(text.render(&input).expect("renders"), "Hi");
    assert!(template("chatml", [].into()).is_ok());
    let error = template("chatlm", [].into())
        .expect_err("no such name")
        .to_string();
    for name in ChatTemplate::names() {
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
