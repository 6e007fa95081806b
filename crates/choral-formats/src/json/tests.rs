use std::path::Path;

use super::JsonObject;

fn parse(json: &str) -> JsonObject {
    JsonObject::from_slice(Path::new("config.json"), json.as_bytes()).unwrap()
}

#[test]
fn fields_convert_to_what_they_are() {
    let config = parse(
        r#"{"n": 64, "theta": 10000, "eps": 1e-6, "tied": true, "act": "silu",
            "ids": [1, 2], "mixed": [1, 2.5], "kinds": ["a", "b"], "flags": [true], "neg": -1}"#,
    );
    assert_eq!(config.u32("n").unwrap(), Some(64));
    assert_eq!(config.usize("n").unwrap(), Some(64));
    assert_eq!(config.i64("neg").unwrap(), Some(-1));
    assert_eq!(config.f32("theta").unwrap(), Some(10000.0));
    assert_eq!(config.f64("eps").unwrap(), Some(1e-6));
    assert_eq!(config.bool("tied").unwrap(), Some(true));
    assert_eq!(config.str("act").unwrap(), Some("silu"));
    assert_eq!(config.u32s("ids").unwrap(), Some(vec![1, 2]));
    assert_eq!(config.f64s("mixed").unwrap(), Some(vec![1.0, 2.5]));
    assert_eq!(config.strs("kinds").unwrap(), Some(vec!["a", "b"]));
    assert_eq!(config.bools("flags").unwrap(), Some(vec![true]));
}

#[test]
fn defaults_fill_what_is_not_there_and_leave_null() {
    let config = parse(r#"{"n": 1, "window": null}"#);
    let completed = config.with_defaults(r#"{"n": 2, "window": 4096, "eps": 1e-5}"#);
    assert_eq!(completed.u32("n").unwrap(), Some(1));
    assert_eq!(completed.u32("window").unwrap(), None);
    assert_eq!(completed.f32("eps").unwrap(), Some(1e-5));
    assert_eq!(config.f32("eps").unwrap(), None);
}

#[test]
fn null_is_absent_where_absence_is_allowed() {
    let config = parse(r#"{"head_dim": null}"#);
    assert_eq!(config.u32("head_dim").unwrap(), None);
    assert_eq!(config.u32("other").unwrap(), None);
    assert!(config.object("head_dim").unwrap().is_none());
    assert!(!config.has("head_dim") && config.get("head_dim").is_some());
    assert_eq!(
        config.required::<u32>("head_dim").unwrap_err().to_string(),
        "config.json: field `head_dim`: expected an integer from 0 to 4294967295, found null"
    );
    assert_eq!(
        config.required::<u32>("other").unwrap_err().to_string(),
        "config.json: field `other` is missing"
    );
}

#[test]
fn integers_must_be_written_as_integers_that_fit() {
    for (json, found) in [
        ("\"64\"", "string \"64\""),
        ("[32]", "array of 1"),
        ("64.0", "number 64.0"),
        ("-1", "number -1"),
        ("4294967296", "number 4294967296"),
        ("1e3", "number 1000.0"),
        ("true", "bool true"),
        ("{}", "object with 0 fields"),
    ] {
        let error = parse(&format!("{{\"n\":{json}}}"))
            .u32("n")
            .unwrap_err()
            .to_string();
        let expected = "an integer from 0 to 4294967295";
        assert_eq!(
            error,
            format!("config.json: field `n`: expected {expected}, found {found}")
        );
    }
}

#[test]
fn floats_must_be_numbers_that_fit() {
    let config = parse(r#"{"text": "10000", "large": 1e300}"#);
    assert!(config.f32("text").is_err());
    assert!(config.f32("large").is_err());
    assert_eq!(config.f64("large").unwrap(), Some(1e300));
}

#[test]
fn nested_fields_are_named_by_their_whole_path() {
    let config =
        parse(r#"{"text_config": {"rope_scaling": {"factor": "x"}}, "l": [{"k": 1}, {}]}"#);
    let text = config.object("text_config").unwrap().unwrap();
    let rope = text.object("rope_scaling").unwrap().unwrap();
    assert_eq!(
        rope.f32("factor").unwrap_err().to_string(),
        "config.json: field `text_config.rope_scaling.factor`: \
         expected a number within the range of f32, found string \"x\""
    );
    let list = config.objects("l").unwrap().unwrap();
    assert_eq!(list[0].u32("k").unwrap(), Some(1));
    assert_eq!(
        list[1].required::<u32>("k").unwrap_err().to_string(),
        "config.json: field `l[1].k` is missing"
    );
    assert_eq!(
        config.object("l").unwrap_err().to_string(),
        "config.json: field `l`: expected an object, found array of 2"
    );
}

#[test]
fn elements_of_arrays_are_named_by_index() {
    assert_eq!(
        parse(r#"{"ids": [1, "x"]}"#)
            .u32s("ids")
            .unwrap_err()
            .to_string(),
        "config.json: field `ids`: expected an array, each element an integer \
         from 0 to 4294967295, found string \"x\" at index 1"
    );
}

#[test]
fn token_ids_may_be_one_or_many() {
    let config = parse(r#"{"one": 2, "many": [2, 3], "bad": [-1], "none": null}"#);
    assert_eq!(config.one_or_more_u32("one").unwrap(), Some(vec![2]));
    assert_eq!(config.one_or_more_u32("many").unwrap(), Some(vec![2, 3]));
    assert_eq!(config.one_or_more_u32("none").unwrap(), None);
    assert!(config.one_or_more_u32("bad").is_err());
}

#[test]
fn what_is_not_an_object_is_refused() {
    for json in [
        "",
        "[]",
        "null",
        "3",
        "{",
        "{\"a\":1}}",
        "\u{feff}{}",
        "{\"a\":NaN}",
    ] {
        let result = JsonObject::from_slice(Path::new("config.json"), json.as_bytes());
        let error = result.unwrap_err().to_string();
        assert!(error.starts_with("config.json: "), "{json}: {error}");
    }
}

#[test]
fn deep_nesting_is_refused_and_does_not_overflow_the_stack() {
    let json = format!("{{\"a\":{}", "[".repeat(100_000));
    let error = JsonObject::from_slice(Path::new("config.json"), json.as_bytes()).unwrap_err();
    assert!(error.to_string().contains("recursion limit"), "{error}");
}

#[test]
fn a_huge_file_is_refused_before_it_is_parsed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    // A sparse file: it takes no space.
    std::fs::File::create(&path)
        .unwrap()
        .set_len(1 << 40)
        .unwrap();
    let error = JsonObject::open(&path).unwrap_err().to_string();
    assert!(error.ends_with("file size: expected at most 33554432 bytes, found 1099511627776"));
}

#[cfg(unix)]
#[test]
fn devices_are_refused_without_being_read() {
    let error = JsonObject::open("/dev/zero").unwrap_err().to_string();
    assert_eq!(
        error,
        "/dev/zero: file type: expected a regular file, found a device, pipe or socket"
    );
}
