//! What vendors have in common.

use super::*;
use choral::provider::GenerateParams;

#[test]
fn numbers_are_sent_as_they_were_written() {
    let params = GenerateParams {
        temperature: Some(0.7),
        top_p: Some(0.95),
        logit_bias: Some(BTreeMap::from([(50_256, -1.1)])),
        seed: Some(u64::MAX),
        ..GenerateParams::default()
    };
    let request = GenerateRequest::prompt("x").params(params);
    let sent = Value::Object(given(&request)).to_string();
    let expected = r#"{"temperature":0.7,"top_p":0.95,"logit_bias":{"50256":-1.1},"seed":18446744073709551615}"#;
    assert_eq!(sent, expected);
}

#[test]
fn statuses_have_their_kinds() {
    for (status, kind) in [
        (400, ErrorKind::InvalidRequest),
        (401, ErrorKind::Auth),
        (403, ErrorKind::Auth),
        (404, ErrorKind::NotFound),
        (408, ErrorKind::Timeout),
        (409, ErrorKind::Server),
        (413, ErrorKind::InvalidRequest),
        (429, ErrorKind::RateLimit),
        (500, ErrorKind::Server),
        (529, ErrorKind::Server),
    ] {
        let status = StatusCode::from_u16(status).unwrap();
        assert_eq!(kind_of(status), kind, "{status}");
    }
    // What the issue of retries is about: these and no others.
    let retried = (400..600).filter(|status| {
        let status = StatusCode::from_u16(*status).unwrap();
        kind_of(status).is_retryable()
    });
    let mut expected = vec![408, 409, 429];
    expected.extend(500..600);
    assert_eq!(retried.collect::<Vec<_>>(), expected);
}

#[test]
fn an_excerpt_is_short_and_whole_characters() {
    let long = "ü".repeat(10_000);
    let excerpt = excerpt(long.as_bytes());
    assert_eq!(excerpt.chars().count(), EXCERPT_CHARS + 3);
}

#[test]
fn a_server_cannot_make_up_answers_without_end() {
    let mut drafts = Drafts::default();
    let error = drafts.draft(u32::MAX).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed);
}
