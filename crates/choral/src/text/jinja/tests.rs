//! Templates against jinja2's own output, and against hostile ones.

use serde_json::{Value, json};

use super::{DateTime, Error, Kind, RenderLimits, Template};

fn render(source: &str, variables: &Value) -> Result<String, Error> {
    let now = DateTime::new(2026, 3, 14, 15, 9, 26).expect("a valid date");
    let variables = variables.as_object().expect("variables are an object");
    Template::parse(source)?.render(
        variables.iter().map(|(name, value)| (name.as_str(), value)),
        now,
        RenderLimits::default(),
    )
}

#[test]
fn scratch() {
    let set = std::env::var("CHORAL_GOLDEN").unwrap();
    let s: Value = serde_json::from_str(
        &std::fs::read_to_string(format!("{set}/templates/snippets.json")).unwrap(),
    )
    .unwrap();
    let mut bad = 0;
    for c in s["snippets"].as_array().unwrap() {
        let r = render(c["template"].as_str().unwrap(), &s["variables"]);
        match (&r, c["text"].as_str()) {
            (Ok(t), Some(w)) if t == w => {}
            (Err(_), None) => {}
            _ => {
                bad += 1;
                println!(
                    "FAIL {}\n  got  {r:?}\n  want {:?}",
                    c["template"], c["text"]
                );
            }
        }
    }
    let e: Value = serde_json::from_str(
        &std::fs::read_to_string(format!("{set}/templates/expected.json")).unwrap(),
    )
    .unwrap();
    let mut ok = 0;
    for (t, cs) in e["expected"].as_object().unwrap() {
        let src = std::fs::read_to_string(format!("{set}/templates/jinja/{t}")).unwrap();
        for (k, x) in cs.as_object().unwrap() {
            let case = &e["cases"][k];
            let mut v = serde_json::Map::new();
            for (a, b) in e["special_tokens"].as_object().unwrap() {
                v.insert(a.clone(), b.clone());
            }
            v.insert("messages".into(), case["messages"].clone());
            v.insert(
                "tools".into(),
                case.get("tools").cloned().unwrap_or(Value::Null),
            );
            v.insert(
                "add_generation_prompt".into(),
                case["add_generation_prompt"].clone(),
            );
            if let Some(kw) = case.get("kwargs").and_then(|k| k.as_object()) {
                for (a, b) in kw {
                    v.insert(a.clone(), b.clone());
                }
            }
            let r = render(&src, &Value::Object(v));
            match (&r, x["text"].as_str()) {
                (Ok(t), Some(w)) if t == w => ok += 1,
                (Err(e), None) => {
                    ok += 1;
                    println!("err ok {t} {k}: {e} / {}", x["error"]);
                }
                _ => {
                    bad += 1;
                    println!(
                        "FAIL {t} {k}\n  got  {r:?}\n  want {:?} {:?}",
                        x["text"], x["error"]
                    );
                }
            }
        }
    }
    println!("ok {ok} bad {bad}");
    let _ = (json!(0), Kind::Limit);
}

fn kind_of(source: &str) -> Kind {
    let started = std::time::Instant::now();
    let r = render(
        source,
        &json!({"messages": [{"role": "user", "content": "hi"}]}),
    );
    println!(
        "{:?} {:?} {}",
        started.elapsed(),
        r.as_ref().map(String::len),
        &source[..source.len().min(70)]
    );
    match r {
        Ok(text) => panic!("rendered {} bytes", text.len()),
        Err(error) => {
            println!("   {error}");
            error.kind
        }
    }
}

#[test]
fn hostile_templates_end_in_an_error() {
    let many =
        |open: &str, close: &str, n: usize| format!("{}1{}", open.repeat(n), close.repeat(n));
    for source in [
        "{% for i in range(1000000000000) %}x{% endfor %}".to_owned(),
        "{% for i in range(99999) %}{% for j in range(99999) %}x{% endfor %}{% endfor %}".into(),
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}".into(),
        "{% set ns = namespace(s='ab') %}{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}{{ ns.s|length }}".into(),
        "{% set ns = namespace(s='ab') %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}{{ ns.s|length }}".into(),
        "{% set ns = namespace(s=[1]) %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}{{ ns.s|length }}".into(),
        "{{ 'x' * 100000000000 }}".into(),
        "{{ [1] * 100000000000 }}".into(),
        "{{ '%1000000000d' % 1 }}".into(),
        "{{ '{:>1000000000}'.format(1) }}".into(),
        "{{ 'x'.center(100000000000) }}".into(),
        "{{ 'x'|indent(100000000000) }}".into(),
        "{{ [1]|tojson(indent=100000000000) }}".into(),
        "{% set ns = namespace(s=[]) %}{% for i in range(99999) %}{% set ns.s = [ns.s] %}{% endfor %}{{ ns.s }}".into(),
        "{% set ns = namespace(s=[]) %}{% for i in range(100) %}{% set ns.s = [ns.s, ns.s] %}{% endfor %}{{ ns.s }}".into(),
        "{% set ns = namespace(s=[]) %}{% for i in range(100) %}{% set ns.s = [ns.s, ns.s] %}{% endfor %}{{ ns.s|tojson }}".into(),
        "{% set ns = namespace(s=[], t=[]) %}{% for i in range(100) %}{% set ns.s = [ns.s, ns.s] %}{% set ns.t = [ns.t, ns.t] %}{% endfor %}{{ ns.s == ns.t }}".into(),
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}".into(),
        "{% macro f(n) %}{% if n %}{% for x in [1] %}{% if true %}{{ 1 + (2 * f(n)|length) }}{% endif %}{% endfor %}{% endif %}{% endmacro %}{{ f(1) }}".into(),
        "{% macro f(x) %}{{ caller() }}{% call f(x) %}{{ x }}{% endcall %}{% endmacro %}{% call f(1) %}a{% endcall %}".into(),
        "{% for x in [[1]] recursive %}{{ loop([x]) }}{% endfor %}".into(),
        "{{ range(99999)|map('string')|join('x' * 100000) }}".into(),
        "{{ ('x' * 1000000).replace('x', 'y' * 1000000) }}".into(),
        "{{ ('x ' * 10000000).split()|length }}".into(),
        "{{ ('x' * 50000000)|list|length }}".into(),
        "{% for i in range(99999) %}{% set x = ('a' * 1000000).strip('bcdefg') %}{% endfor %}".into(),
        "{% for i in range(99999) %}{% set x = 'b' in ('a' * 1000000) %}{% endfor %}".into(),
        "{{ many('(', ')') }}".replace("many('(', ')')", &many("(", ")", 20000)),
        format!("{{{{ {} }}}}", many("[", "]", 20000)),
        format!("{{{{ {}1 }}}}", "not ".repeat(20000)),
        format!("{{{{ {}1 }}}}", "-".repeat(20000)),
        format!("{{{{ 1{} }}}}", " + 1".repeat(20000)),
        format!("{{{{ 'a'{} }}}}", "|upper".repeat(20000)),
        format!("{{{{ a{} }}}}", ".b".repeat(20000)),
        format!("{{{{ 1{} }}}}", " if 1 else 1".repeat(20000)),
        format!("{}{}", "{% if 1 %}".repeat(20000), "{% endif %}".repeat(20000)),
        format!("{}", "{% if 1 %}".repeat(20000)),
        "{{ 2 ** 1000000 }}".into(),
        "{{ 9 ** 99 ** 99 }}".into(),
    ] {
        kind_of(&source);
    }
}

#[test]
fn scratch_diff() {
    let j: Value =
        serde_json::from_str(&std::fs::read_to_string("/tmp/diff.json").unwrap()).unwrap();
    let mut bad = 0;
    for c in j["cases"].as_array().unwrap() {
        let r = render(c["t"].as_str().unwrap(), &j["v"]);
        match (&r, c["text"].as_str()) {
            (Ok(t), Some(w)) if t == w => {}
            (Err(_), None) => {}
            _ => {
                bad += 1;
                println!(
                    "DIFF {}\n  got  {:?}\n  want {} {}",
                    c["t"],
                    r.map_err(|e| e.message),
                    c["text"],
                    c["error"]
                );
            }
        }
    }
    println!("bad {bad}");
}
