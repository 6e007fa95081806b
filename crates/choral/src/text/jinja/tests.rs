//! Templates against jinja2's own output, and hostile ones against the bounds.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{DateTime, Error, Kind, RenderLimits, Template};

fn render(source: &str, variables: &Value) -> Result<String, Error> {
    let now = DateTime::new(2026, 3, 14, 15, 9, 26).expect("a valid date");
    let variables = variables.as_object().expect("an object");
    let variables = variables.iter().map(|(name, value)| (name.as_str(), value));
    Template::parse(source)?.render(variables, now, RenderLimits::default())
}

#[test]
fn expressions_and_tags_give_what_jinja2_gives() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/templates/jinja2.json");
    let text = std::fs::read_to_string(path).expect("readable");
    let golden: Value = serde_json::from_str(&text).expect("JSON");
    let cases = golden["cases"].as_array().expect("cases");
    assert!(cases.len() > 1700);
    let mut failures = Vec::new();
    for case in cases {
        let source = case["template"].as_str().expect("a template");
        let found = render(source, &golden["variables"]);
        let agrees = match (&found, case["text"].as_str()) {
            (Ok(found), Some(wanted)) => found == wanted,
            (Err(_), None) => true,
            _ => false,
        };
        if !agrees {
            failures.push(format!("{source}\n  found {found:?}\n  wanted {case}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn errors_name_their_kind_and_line() {
    let check = |source: &str, kind: Kind, line: usize, message: &str| {
        let error = render(source, &json!({"d": {}})).expect_err("an error");
        assert_eq!((error.kind, error.line), (kind, line), "{source}: {error}");
        assert!(error.message.contains(message), "{source}: {error}");
    };
    check("a\n{{ x.y }}", Kind::Undefined, 2, "'x' is undefined");
    check("\n\n{{ d.z.q }}", Kind::Undefined, 3, "no attribute 'z'");
    check("{% if 1 %}\n{% for %}", Kind::Syntax, 2, "expected");
    check("{{ raise_exception('no ' ~ 1) }}", Kind::Raised, 1, "no 1");
    check("{{ [].append(1) }}", Kind::Security, 1, "append");
    check("{{ 1 + 'a' }}", Kind::Type, 1, "'int' and 'str'");
    check("{{ 1|nothing }}", Kind::Syntax, 1, "nothing");
    check("{% include 'a' %}", Kind::Syntax, 1, "no other templates");
}

/// Templates that would run for ever, exhaust memory or overflow the stack.
fn hostile() -> Vec<String> {
    let doubling = |start: &str, operation: &str, end: &str| {
        format!(
            "{{% set ns = namespace(s={start}) %}}{{% for i in range(100) %}}\
             {{% set ns.s = {operation} %}}{{% endfor %}}{{{{ {end} }}}}"
        )
    };
    let deep = |open: &str, close: &str| {
        format!("{{{{ {}1{} }}}}", open.repeat(20_000), close.repeat(20_000))
    };
    let mut all = vec![
        doubling("'ab'", "ns.s ~ ns.s", "ns.s|length"),
        doubling("'ab'", "ns.s + ns.s", "ns.s|length"),
        doubling("'ab'", "[ns.s, ns.s]|join", "ns.s|length"),
        doubling("'ab'", "ns.s.replace('a', ns.s)", "ns.s|length"),
        doubling("'ab'", "'%s%s' % (ns.s, ns.s)", "ns.s|length"),
        doubling("'ab'", "'{}{}'.format(ns.s, ns.s)", "ns.s|length"),
        doubling("[1]", "ns.s + ns.s", "ns.s|length"),
        doubling("[]", "[ns.s, ns.s]", "ns.s"),
        doubling("[]", "[ns.s, ns.s]", "ns.s|tojson"),
        doubling("[]", "{'a': ns.s, 'b': ns.s}", "ns.s"),
        doubling("[]", "[ns.s]", "ns.s == ns.s").replace("range(100)", "range(99999)"),
        deep("(", ")"),
        deep("[", "]"),
        deep("{1:", "}"),
        deep("a(", ")"),
        deep("a[", "]"),
        deep("not ", ""),
        deep("-", ""),
        deep("", " + 1"),
        deep("", "|upper"),
        deep("", ".b"),
        deep("", " if 1 else 1"),
        deep("", " or 1"),
        deep("", " is defined"),
        "{% if 1 %}".repeat(20_000) + &"{% endif %}".repeat(20_000),
        "{% for x in [1] %}".repeat(20_000),
    ];
    all.extend(
        [
            "{% for i in range(1000000000000) %}x{% endfor %}",
            "{% for i in range(99999) %}{% for j in range(99999) %}x{% endfor %}{% endfor %}",
            "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
            "{% for i in range(99999) %}{% macro f() %}{{ i }}{% endmacro %}\
             {% for j in range(99999) %}{% macro g() %}{% endmacro %}{% endfor %}{% endfor %}",
            "{{ 'x' * 100000000000 }}",
            "{{ [1] * 100000000000 }}",
            "{{ (1,) * 100000000000 }}",
            "{{ '%1000000000d' % 1 }}",
            "{{ '{:>1000000000}'.format(1) }}",
            "{{ '%.1000000000f' % 1 }}",
            "{{ 'x'.center(100000000000) }}",
            "{{ 'x'.zfill(100000000000) }}",
            "{{ '\t'.expandtabs(100000000000) }}",
            "{{ 'x'|indent(100000000000) }}",
            "{{ [1]|batch(100000000000, 1)|list }}",
            "{{ [1]|slice(100000000000)|list }}",
            "{{ [1]|tojson(indent=100000000000) }}",
            "{{ 2 ** 1000000 }}",
            "{{ range(99999)|map('string')|join('x' * 100000) }}",
            "{{ ('x' * 1000000).replace('x', 'y' * 1000000) }}",
            "{{ ('x' * 1000000).replace('', 'y' * 1000000) }}",
            "{{ ('x ' * 10000000).split()|length }}",
            "{{ ('\n' * 100000000).splitlines()|length }}",
            "{{ ('x' * 50000000)|list|length }}",
            "{% for i in range(99999) %}{{ ('a' * 1000000).strip('bcdefg') }}{% endfor %}",
            "{% for i in range(99999) %}{{ 'b' in ('a' * 1000000) }}{% endfor %}",
            "{% set a = 'a' * 1000000 %}{% for i in range(99999) %}{{ a.count('b') }}{% endfor %}",
            "{% set a = {'a' * 1000000: 1} %}{% for i in range(99999) %}\
             {{ a['a' * 1000000] }}{% endfor %}",
            "{{ range(99999)|unique|list|length }}",
            "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
            "{% macro f(n) %}{% if n %}{% for x in [1] %}{{ 1 + (2 * f(n)|length) }}\
             {% endfor %}{% endif %}{% endmacro %}{{ f(1) }}",
            "{% macro f(x) %}{{ caller() }}{% call f(x) %}{{ x }}{% endcall %}{% endmacro %}\
             {% call f(1) %}a{% endcall %}",
            "{% for x in [[1]] recursive %}{{ loop([x]) }}{% endfor %}",
        ]
        .map(str::to_owned),
    );
    all
}

#[test]
fn hostile_templates_end_in_an_error_soon_and_on_a_small_stack() {
    // Threads have 2 MiB by default; half of that must do.
    let thread = std::thread::Builder::new().stack_size(1 << 20);
    let run = || {
        for source in hostile() {
            let started = Instant::now();
            let found = render(&source, &json!({"a": 1}));
            let shown: String = source.chars().take(100).collect();
            let error = match found {
                Err(error) => error,
                Ok(text) => panic!("{shown}: rendered {} bytes", text.len()),
            };
            assert!(
                matches!(error.kind, Kind::Limit | Kind::Syntax | Kind::Type),
                "{shown}: {error}"
            );
            assert!(started.elapsed() < Duration::from_secs(2), "{shown}");
        }
    };
    let handle = thread.spawn(run).expect("a thread");
    handle.join().expect("no overflow, no panic");
}

#[test]
fn deep_but_honest_recursion_is_allowed() {
    // A tool schema nested 20 deep, rendered by a recursive macro.
    let source = "{% macro f(s) %}{% if s.items is defined and s.inner %}\
                  {% for k in s %}{% if k == 'inner' %}<{{ f(s[k]) }}>{% endif %}{% endfor %}\
                  {% else %}leaf{% endif %}{% endmacro %}{{ f(schema) }}";
    let mut schema = json!({});
    for _ in 0..20 {
        schema = json!({ "inner": schema });
    }
    let found = render(source, &json!({ "schema": schema }));
    // The innermost object is empty and writes nothing around itself.
    let wanted = format!("{}leaf{}", "<".repeat(19), ">".repeat(19));
    assert_eq!(found, Ok(wanted));
}

#[test]
fn a_long_conversation_stays_far_from_the_bounds() {
    let message = json!({"role": "user", "content": "word ".repeat(200)});
    let messages = vec![message; 2000];
    let source =
        "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m.content|trim }}<|end|>\n{% endfor %}";
    let text = render(source, &json!({ "messages": messages })).expect("renders");
    assert!(text.len() > 2_000_000);
}

#[test]
fn dates_are_those_of_the_calendar() {
    // Values from GNU date.
    for (seconds, wanted) in [
        (0, "1970-01-01 00:00:00 Thursday 001"),
        (951_782_400, "2000-02-29 00:00:00 Tuesday 060"),
        (1_773_500_966, "2026-03-14 15:09:26 Saturday 073"),
        (4_107_542_399, "2100-02-28 23:59:59 Sunday 059"),
        (4_107_542_400, "2100-03-01 00:00:00 Monday 060"),
    ] {
        let found = DateTime::from_unix(seconds).format("%Y-%m-%d %H:%M:%S %A %j");
        assert_eq!(found, wanted);
    }
    let parsed = DateTime::parse("2026-03-14T15:09:26");
    assert_eq!(parsed, DateTime::new(2026, 3, 14, 15, 9, 26));
    assert_eq!(
        DateTime::parse("2026-03-14"),
        DateTime::new(2026, 3, 14, 0, 0, 0)
    );
    for wrong in [
        "",
        "2026",
        "2026-02-29",
        "2026-13-01",
        "2026-03-14T24:00:00",
        "x-y-zT1:2:3",
    ] {
        assert_eq!(DateTime::parse(wrong), None, "{wrong}");
    }
}
