//! Connections that break, servers that lie, hubs that refuse.

use super::server::{Announced, Hub, Reply, Request, Shelf, blob_name};
use super::{COMMIT, HASTY, ID, content, failure, fetch, fetcher};
use crate::hub::Patience;
use std::path::{Path, PathBuf};
use std::time::Duration;

const FILE: &str = "m-Q4_K_M.gguf";
const SIZE: usize = 300_000;

fn shelf() -> Shelf {
    Shelf::of(&[(FILE, content(SIZE))])
}

/// A hub whose answers to requests for files are changed.
fn hub(change: impl Fn(Reply, &Request, usize) -> Reply + Send + Sync + 'static) -> Hub {
    let shelf = shelf();
    Hub::start(move |request, num_before| {
        let reply = shelf.answer(request);
        if request.is_for_file() {
            change(reply, request, num_before)
        } else {
            reply
        }
    })
}

fn part(cache: &Path) -> PathBuf {
    let blob = blob_name(FILE, &content(SIZE));
    let folder = cache.join("models--org--model-GGUF/blobs");
    folder.join(format!("{blob}.incomplete"))
}

#[track_caller]
fn assert_whole(path: &Path) {
    assert!(
        std::fs::read(path).expect("there") == content(SIZE),
        "other content"
    );
}

#[test]
fn a_broken_connection_is_taken_up_where_it_broke() {
    let hub = hub(|reply, _, num_before| match num_before {
        0 => reply.cut_after(100_000),
        1 => reply.cut_after(50_000),
        _ => reply,
    });
    let cache = tempfile::tempdir().expect("a folder");
    assert_whole(&fetch(&fetcher(&hub, cache.path()), ID).expect("fetched"));
    assert_eq!(hub.starts(), [None, Some(100_000), Some(150_000)]);
    assert!(!part(cache.path()).exists());
}

#[test]
fn a_later_run_goes_on_where_an_earlier_one_gave_up() {
    let hub = hub(|reply, _, num_before| {
        if num_before < 3 {
            reply.cut_after(70_000)
        } else {
            reply
        }
    });
    let cache = tempfile::tempdir().expect("a folder");
    let fetcher = fetcher(&hub, cache.path());
    let error = failure(&fetcher, ID);
    assert!(error.contains(FILE), "{error}");
    assert_eq!(
        std::fs::metadata(part(cache.path())).expect("kept").len(),
        210_000
    );
    assert_whole(&fetch(&fetcher, ID).expect("fetched"));
    assert_eq!(
        hub.starts(),
        [None, Some(70_000), Some(140_000), Some(210_000)]
    );
}

#[test]
fn a_server_without_ranges_sends_all_again() {
    let hub = Hub::start(move |request, num_before| {
        let whole = Request {
            from: None,
            ..request.clone()
        };
        let reply = shelf().answer(&whole);
        if request.is_for_file() && num_before == 0 {
            reply.cut_after(90_000)
        } else {
            reply
        }
    });
    let cache = tempfile::tempdir().expect("a folder");
    assert_whole(&fetch(&fetcher(&hub, cache.path()), ID).expect("fetched"));
    assert_eq!(hub.starts(), [None, Some(90_000)]);
}

#[test]
fn a_server_that_denies_what_it_sent_is_given_up() {
    let hub = hub(|reply, request, _| match request.from {
        None => reply.cut_after(90_000),
        Some(_) => Reply::status(416),
    });
    let cache = tempfile::tempdir().expect("a folder");
    let error = failure(&fetcher(&hub, cache.path()), ID);
    assert!(error.contains("status 416"), "{error}");
    assert_eq!(hub.starts(), [None, Some(90_000), None, Some(90_000)]);
}

#[test]
fn a_server_that_is_silent_has_lost_the_connection() {
    let hub = hub(|reply, _, num_before| Reply {
        silence: (num_before == 0).then_some(Duration::from_secs(5)),
        ..reply
    });
    let cache = tempfile::tempdir().expect("a folder");
    let patience = Patience {
        silence: Duration::from_millis(400),
        ..HASTY
    };
    let fetcher = fetcher(&hub, cache.path()).patience(patience);
    assert_whole(&fetch(&fetcher, ID).expect("fetched"));
    assert_eq!(hub.starts(), [None, Some(SIZE / 4)]);
}

#[test]
fn wrong_content_is_deleted_and_named() {
    let hub = hub(|mut reply, _, num_before| {
        if num_before == 0 {
            reply.body[1234] ^= 1;
        }
        reply
    });
    let cache = tempfile::tempdir().expect("a folder");
    let fetcher = fetcher(&hub, cache.path());
    let error = failure(&fetcher, ID);
    let mut wrong = content(SIZE);
    wrong[1234] ^= 1;
    let (expected, found) = (super::sha256(&content(SIZE)), super::sha256(&wrong));
    assert!(
        error.contains(&format!(
            "`{FILE}`: expected sha256 {expected}, found {found}"
        )),
        "{error}"
    );
    assert!(!part(cache.path()).exists());
    assert_whole(&fetch(&fetcher, ID).expect("fetched"));
    assert_eq!(hub.starts(), [None, None]);
}

#[test]
fn a_foreign_beginning_does_not_survive_the_checksum() {
    let hub = hub(|reply, _, _| reply);
    let cache = tempfile::tempdir().expect("a folder");
    let part = part(cache.path());
    std::fs::create_dir_all(part.parent().expect("a folder")).expect("made");
    std::fs::write(&part, vec![7; 1000]).expect("written");
    let fetcher = fetcher(&hub, cache.path());
    assert!(failure(&fetcher, ID).contains("expected sha256"));
    // One that is longer than the file is not even taken up.
    std::fs::write(&part, vec![7; SIZE + 1]).expect("written");
    assert_whole(&fetch(&fetcher, ID).expect("fetched"));
    assert_eq!(hub.starts(), [Some(1000), None]);
}

#[test]
fn an_announced_length_that_is_not_the_files_is_refused_before_anything_is_kept() {
    for wrong in [SIZE - 1, SIZE + 1, 0] {
        let hub = hub(move |reply, _, _| reply.announcing(Announced::Length(wrong)));
        let cache = tempfile::tempdir().expect("a folder");
        let error = failure(&fetcher(&hub, cache.path()), ID);
        let expected = format!("`{FILE}`: expected {SIZE} bytes, found {wrong}");
        assert_eq!(error, expected);
        assert_eq!(
            std::fs::metadata(part(cache.path())).expect("begun").len(),
            0
        );
    }
}

#[test]
fn a_range_of_another_file_is_refused_and_what_is_there_kept() {
    for range in ["bytes 0-299999/300000", "bytes 100000-299999/300001"] {
        let hub = hub(move |mut reply, _, num_before| {
            if num_before == 0 {
                return reply.cut_after(100_000);
            }
            reply.headers.retain(|(name, _)| *name != "Content-Range");
            reply.with("Content-Range", range)
        });
        let cache = tempfile::tempdir().expect("a folder");
        let error = failure(&fetcher(&hub, cache.path()), ID);
        assert!(error.contains("expected"), "{error}");
        assert_eq!(
            std::fs::metadata(part(cache.path())).expect("kept").len(),
            100_000
        );
    }
}

#[test]
fn a_body_of_no_announced_length_may_neither_be_longer_nor_shorter() {
    let cache = tempfile::tempdir().expect("a folder");
    let long = hub(|mut reply, _, _| {
        reply.body.extend([0; 10]);
        reply.announcing(Announced::Nothing)
    });
    let error = failure(&fetcher(&long, cache.path()), ID);
    assert_eq!(
        error,
        format!("`{FILE}`: expected {SIZE} bytes, found more")
    );
    assert!(!part(cache.path()).exists());

    let short = hub(|reply, _, num_before| {
        let reply = reply.announcing(Announced::Nothing);
        if num_before == 0 {
            reply.cut_after(1000)
        } else {
            reply
        }
    });
    assert_whole(&fetch(&fetcher(&short, cache.path()), ID).expect("fetched"));
    assert_eq!(short.starts(), [None, Some(1000)]);
}

#[test]
fn a_busy_server_is_asked_again_when_it_says() {
    let hub = hub(|reply, _, num_before| match num_before {
        0 => Reply::status(429).with("Retry-After", "0"),
        1 => Reply::status(503),
        _ => reply,
    });
    let cache = tempfile::tempdir().expect("a folder");
    assert_whole(&fetch(&fetcher(&hub, cache.path()), ID).expect("fetched"));
    assert_eq!(hub.starts().len(), 3);
}

#[test]
fn a_wait_beyond_patience_is_an_error_that_says_how_long() {
    let hub = hub(|_, _, _| Reply::status(429).with("Retry-After", "900"));
    let cache = tempfile::tempdir().expect("a folder");
    let error = failure(&fetcher(&hub, cache.path()), ID);
    assert!(
        error.ends_with("status 429, it asks to wait 900 s"),
        "{error}"
    );
    assert_eq!(hub.starts().len(), 1);
}

#[test]
fn a_server_that_always_fails_is_given_up() {
    let hub = hub(|_, _, _| Reply::status(500));
    let cache = tempfile::tempdir().expect("a folder");
    let error = failure(&fetcher(&hub, cache.path()), ID);
    assert!(error.contains("status 500"), "{error}");
    assert_eq!(hub.starts().len(), HASTY.attempts as usize);
}

#[test]
fn a_gated_repository_says_how_to_get_in() {
    for (status, code) in [(401, "GatedRepo"), (403, "GatedRepo"), (403, "")] {
        let hub = hub(move |_, _, _| Reply::status(status).with("X-Error-Code", code));
        let cache = tempfile::tempdir().expect("a folder");
        let fetcher = fetcher(&hub, cache.path());
        let error = failure(&fetcher, ID);
        assert!(
            error.contains(&format!("`{ID}` is not open to everyone (status {status})")),
            "{error}"
        );
        assert!(error.contains(&format!("{}/{ID}", hub.address)), "{error}");
        assert!(error.contains("HF_TOKEN or --hf-token"), "{error}");
        let error = failure(&fetcher.token("hf_secret").expect("a token"), ID);
        assert!(error.contains("the token was refused"), "{error}");
        assert!(!error.contains("hf_secret"), "{error}");
        assert_eq!(hub.starts().len(), 2, "a refusal is not repeated");
    }
}

#[test]
fn what_is_not_there_is_named() {
    let cache = tempfile::tempdir().expect("a folder");
    let none = Hub::start(|_, _| Reply::status(401).with("X-Error-Code", "RepoNotFound"));
    let error = failure(&fetcher(&none, cache.path()), "org/typo");
    assert!(
        error.starts_with(&format!("no repository `org/typo` at {}", none.address)),
        "{error}"
    );
    let none = Hub::start(|_, _| Reply::status(404));
    let error = failure(&fetcher(&none, cache.path()), "org/typo");
    assert!(error.starts_with("no repository `org/typo`"), "{error}");
    let none = Hub::start(|_, _| Reply::status(404).with("X-Error-Code", "RevisionNotFound"));
    let error = failure(&fetcher(&none, cache.path()), "org/model-GGUF@v9");
    assert_eq!(error, "`org/model-GGUF` has no revision `v9`");
    let hub = hub(|reply, _, _| reply);
    let error = failure(&fetcher(&hub, cache.path()), "org/model-GGUF:Q2_K");
    assert_eq!(error, "`org/model-GGUF` has no Q2_K, it has Q4_K_M");
}

#[test]
fn a_hostile_description_leads_nowhere() {
    let cache = tempfile::tempdir().expect("a folder");
    let of = |body: String| {
        let hub = Hub::start(move |_, _| Reply {
            status: 200,
            body: body.clone().into_bytes(),
            ..Reply::default()
        });
        failure(&fetcher(&hub, cache.path()), ID)
    };
    for path in [
        "../../../../evil.gguf",
        "/etc/evil.gguf",
        "a\\\\..\\\\b.gguf",
        "c:evil.gguf",
        "a//b.gguf",
    ] {
        let error = of(format!(
            r#"{{"sha": "{COMMIT}", "siblings": [{{"rfilename": "{path}"}}]}}"#
        ));
        assert!(error.contains("has no model"), "{path}: {error}");
    }
    let error = of(r#"{"sha": "../../x", "siblings": []}"#.to_owned());
    assert!(error.contains("expected a commit"), "{error}");
    assert!(of("<html>".to_owned()).contains("expected the description of a repository"));
    let etag = r#"{"rfilename": "m.gguf", "size": 1, "blobId": "../../../x"}"#;
    let error = of(format!(r#"{{"sha": "{COMMIT}", "siblings": [{etag}]}}"#));
    assert!(error.contains("ETag"), "{error}");
    assert!(!cache.path().join("models--org--model-GGUF/blobs").exists());
}

#[test]
fn a_foreign_index_names_no_files_elsewhere() {
    let index = br#"{"weight_map": {"a": "../../../../evil"}}"#;
    let shelf = Shelf::of(&[
        ("config.json", b"{}".to_vec()),
        ("model.safetensors.index.json", index.to_vec()),
    ]);
    let hub = Hub::start(move |request, _| shelf.answer(request));
    let cache = tempfile::tempdir().expect("a folder");
    let error = failure(&fetcher(&hub, cache.path()), ID);
    assert!(error.contains("../../../../evil"), "{error}");
}
