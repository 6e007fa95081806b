use super::{PromptTemplate, PromptTemplateError};
use crate::text::RenderLimits;
use serde_json::{Value, json};

fn fields(object: &Value) -> Vec<(String, Value)> {
    let object = object.as_object().expect("an object").clone();
    object.into_iter().collect()
}

fn render(source: &str, row: &Value) -> Result<String, PromptTemplateError> {
    let template = PromptTemplate::parse(source).expect("a template");
    template.render(&fields(row))
}

fn variables(source: &str) -> Vec<String> {
    let template = PromptTemplate::parse(source).expect("a template");
    template.variables().map(str::to_owned).collect()
}

#[test]
fn fields_stand_where_they_are_named() {
    let row = json!({"text": "Tea {{ hot }}", "n": 3, "tags": ["a", "b"], "meta": {"lang": "de"}});
    let check = |source: &str, expected: &str| {
        assert_eq!(render(source, &row).as_deref(), Ok(expected), "{source}");
    };
    check("Summarise: {{ text }}", "Summarise: Tea {{ hot }}");
    check("{{ n }}/{{ meta.lang }}/{{ tags[1] }}", "3/de/b");
    check(
        "{% for tag in tags %}{{ loop.index }}{{ tag }} {% endfor %}",
        "1a 2b ",
    );
    check("{{ text | upper | replace('TEA', 'x') }}", "x {{ HOT }}");
}

#[test]
fn a_name_that_no_field_has_is_told_with_those_that_there_are() {
    let row = json!({"title": "a", "body": "b"});
    let error = render("x\n{{ text }}", &row).expect_err("an error");
    assert_eq!(
        error.to_string(),
        "prompt template, line 2: 'text' is undefined; the row's fields are title, body"
    );
    for source in [
        "{% if text %}{% endif %}",
        "{% for x in text %}{% endfor %}",
        "{{ text ~ 'a' }}",
        "{{ text or 'a' }}",
        "{{ text | upper }}",
        "{{ title.length_of }}",
        "{% set y = text %}",
        "{{ [1][3] }}",
    ] {
        let error = render(source, &row).expect_err(source);
        assert!(
            matches!(error, PromptTemplateError::Undefined { .. }),
            "{source}"
        );
    }
    let error = render("{{ a }}", &json!({})).expect_err("an error");
    assert!(
        error.to_string().ends_with("the row has no fields"),
        "{error}"
    );
}

#[test]
fn what_may_be_missing_can_be_asked_for() {
    let row = json!({"title": "a", "meta": {}});
    let check = |source: &str, expected: &str| {
        assert_eq!(render(source, &row).as_deref(), Ok(expected), "{source}");
    };
    check("{{ text | default('none') }}", "none");
    check("{{ meta.lang | default('en') | upper }}", "EN");
    check("{% if text is defined %}{{ text }}{% endif %}.", ".");
    check("{{ 1 if meta.lang is not defined else 2 }}", "1");
    check("{{ 'title' in meta }}", "False");
}

#[test]
fn null_prints_as_nothing() {
    let row = json!({"text": null});
    assert_eq!(render("[{{ text }}]", &row).as_deref(), Ok("[]"));
    assert_eq!(
        render("{{ text or 'empty' }}", &row).as_deref(),
        Ok("empty")
    );
    assert_eq!(render("{{ text is none }}", &row).as_deref(), Ok("True"));
}

#[test]
fn variables_are_the_names_that_come_from_outside() {
    let check =
        |source: &str, expected: &[&str]| assert_eq!(variables(source), expected, "{source}");
    check("no names", &[]);
    check("{{ b }} {{ a.c }} {{ b }} {{ 'd' }}", &["b", "a"]);
    check("{{ f(x, y=z) | join(sep) }}", &["f", "x", "z", "sep"]);
    check(
        "{% for m in messages %}{{ m.text }}{{ loop.index }}{% endfor %}",
        &["messages"],
    );
    check(
        "{% for m in list if m.ok or all %}{% else %}{{ m }}{% endfor %}",
        &["list", "all", "m"],
    );
    check("{% set x = y %}{{ x }}{% set y = 1 %}{{ y }}", &["y"]);
    check("{% if a %}{% set x = 1 %}{% endif %}{{ x }}", &["a"]);
    check(
        "{% with a = b %}{{ a }}{{ c }}{% endwith %}{{ a }}",
        &["b", "c", "a"],
    );
    check(
        "{% macro m(p, q=r) %}{{ p }}{{ q }}{{ s }}{{ m(1) }}{% endmacro %}{{ m(t) }}",
        &["r", "s", "t"],
    );
    check(
        "{% set ns = namespace(n=0) %}{% set ns.n = k %}{{ ns.n }}",
        &["k"],
    );
    check(
        "{{ range(n) | list }}{{ x[i:j] }}{{ a if b else c }}",
        &["n", "x", "i", "j", "b", "a", "c"],
    );
    check(
        "{{ text is defined }}{{ d | default(e) }}",
        &["text", "d", "e"],
    );
}

#[test]
fn a_template_that_makes_no_sense_is_refused_before_any_row() {
    let error = PromptTemplate::parse("a\n{{ text }").expect_err("an error");
    assert!(
        matches!(error, PromptTemplateError::Syntax { line: 2, .. }),
        "{error}"
    );
    assert!(error.to_string().starts_with("prompt template, line 2: "));
}

#[test]
fn a_template_that_runs_away_is_stopped() {
    let doubling = "{% set ns = namespace(t=text) %}{% for i in range(90) %}{% set ns.t = ns.t ~ ns.t %}{% endfor %}";
    let template = PromptTemplate::parse(doubling).expect("a template");
    let limits = RenderLimits {
        max_steps: 1_000_000,
        max_bytes: 1 << 20,
    };
    let rendered = template
        .with_limits(limits)
        .render(&fields(&json!({"text": "abc"})));
    assert!(
        matches!(rendered, Err(PromptTemplateError::Limit { .. })),
        "{rendered:?}"
    );
}

#[test]
fn a_template_may_refuse_a_row() {
    let source = "{% if n > 2 %}{{ raise_exception('too many') }}{% endif %}ok";
    assert_eq!(render(source, &json!({"n": 1})).as_deref(), Ok("ok"));
    let error = render(source, &json!({"n": 3})).expect_err("an error");
    assert_eq!(error.to_string(), "prompt template: too many");
}
