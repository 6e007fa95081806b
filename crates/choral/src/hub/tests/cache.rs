//! Without the network.

use super::server::{Hub, Reply, Shelf};
use super::{COMMIT, HASTY, ID, content, failure, fetch, fetcher};
use crate::hub::settings::Settings;
use crate::hub::{Event, Fetcher};
use std::path::{Path, PathBuf};

/// A fetcher that would notice the network: nothing listens at its hub.
fn offline(cache: &Path) -> Fetcher {
    Fetcher {
        settings: Settings {
            endpoint: "http://127.0.0.1:1".to_owned(),
            cache: cache.to_owned(),
            token: None,
            offline: true,
        },
        patience: HASTY,
    }
}

/// Makes what `hf_hub_download` of `huggingface_hub` 2.4.0 was seen to leave: a
/// reference without a line feed, blobs by `ETag`, relative links.
fn made_elsewhere(cache: &Path, id: &str, files: &[&str]) -> PathBuf {
    let folder = cache.join(format!("models--{}", id.replace('/', "--")));
    let snapshot = folder.join("snapshots").join(COMMIT);
    for made in [folder.join("refs"), folder.join("blobs"), snapshot.clone()] {
        std::fs::create_dir_all(made).expect("made");
    }
    std::fs::write(folder.join("refs/main"), COMMIT).expect("written");
    for (number, file) in files.iter().enumerate() {
        let blob = format!("{number:064x}");
        std::fs::write(folder.join("blobs").join(&blob), content(100)).expect("written");
        #[cfg(unix)]
        std::os::unix::fs::symlink(format!("../../blobs/{blob}"), snapshot.join(file))
            .expect("linked");
        #[cfg(not(unix))]
        std::fs::copy(folder.join("blobs").join(&blob), snapshot.join(file)).expect("copied");
    }
    snapshot
}

#[test]
fn what_another_tool_downloaded_is_found_offline() {
    let cache = tempfile::tempdir().expect("a folder");
    let snapshot = made_elsewhere(cache.path(), ID, &["m-Q8_0.gguf", "m-Q2_K.gguf"]);
    let fetcher = offline(cache.path());
    assert_eq!(fetch(&fetcher, ID).ok(), Some(snapshot.join("m-Q8_0.gguf")));
    let named = fetch(&fetcher, "org/model-GGUF:Q2_K").ok();
    assert_eq!(named, Some(snapshot.join("m-Q2_K.gguf")));
    let commit = fetch(&fetcher, &format!("{ID}@{COMMIT}")).ok();
    assert_eq!(commit, Some(snapshot.join("m-Q8_0.gguf")));
}

#[test]
fn offline_says_what_is_missing_and_where() {
    let cache = tempfile::tempdir().expect("a folder");
    let fetcher = offline(cache.path());
    let place = cache.path().display();
    assert_eq!(
        failure(&fetcher, ID),
        format!("offline, and revision main of `{ID}` is not in {place}")
    );
    made_elsewhere(cache.path(), ID, &["m-Q8_0-00001-of-00002.gguf"]);
    assert_eq!(
        failure(&fetcher, ID),
        format!("offline, and m-Q8_0-00002-of-00002.gguf of `{ID}` is not in {place}")
    );
    assert_eq!(
        failure(&fetcher, "org/model-GGUF:Q6_K"),
        format!("offline, and Q6_K of `{ID}` is not in {place}")
    );
}

#[cfg(unix)]
#[test]
fn a_link_whose_content_is_gone_counts_as_missing() {
    let cache = tempfile::tempdir().expect("a folder");
    let snapshot = made_elsewhere(cache.path(), ID, &["m-Q8_0.gguf"]);
    let blob = std::fs::canonicalize(snapshot.join("m-Q8_0.gguf")).expect("a file");
    std::fs::remove_file(blob).expect("removed");
    assert!(failure(&offline(cache.path()), ID).starts_with("offline, and revision main"));

    // And is replaced when the hub can be asked.
    let shelf = Shelf::of(&[("m-Q8_0.gguf", content(500))]);
    let hub = Hub::start(move |request, _| shelf.answer(request));
    let path = fetch(&fetcher(&hub, cache.path()), ID).expect("fetched");
    assert_eq!(std::fs::read(path).expect("there"), content(500));
}

#[test]
fn a_hub_that_does_not_answer_leaves_what_is_there() {
    let cache = tempfile::tempdir().expect("a folder");
    let snapshot = made_elsewhere(cache.path(), ID, &["m-Q8_0.gguf"]);
    let failing = Hub::start(|_, _| Reply::status(503));
    for fetcher in [
        fetcher(&failing, cache.path()),
        offline(cache.path()).offline(false),
    ] {
        let mut reasons = Vec::new();
        let path = fetcher.fetch(&ID.parse().expect("a name"), &mut |event| {
            if let Event::Unreachable { reason } = event {
                reasons.push(reason.to_owned());
            }
        });
        assert_eq!(path.ok(), Some(snapshot.join("m-Q8_0.gguf")));
        assert_eq!(reasons.len(), 1, "{reasons:?}");
    }
    assert_eq!(
        failing.requests().len(),
        1,
        "with something to fall back on, one question is enough"
    );
}

#[test]
fn a_refusal_is_no_reason_to_take_what_is_there() {
    let cache = tempfile::tempdir().expect("a folder");
    made_elsewhere(cache.path(), ID, &["m-Q8_0.gguf"]);
    let gone = Hub::start(|_, _| Reply::status(404));
    assert!(failure(&fetcher(&gone, cache.path()), ID).contains("no repository"));
}
