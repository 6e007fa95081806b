//! What arrives when all goes well.

use super::server::{Hub, Reply, Shelf, blob_name};
use super::{COMMIT, ID, content, failure, fetch, fetcher};
use crate::hub::{Event, Fetcher};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const FILE: &str = "m-Q4_K_M.gguf";

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).expect("a text file")
}

#[test]
fn a_file_lands_where_other_tools_look_for_it() {
    let bytes = content(100_000);
    let shelf = Shelf::of(&[(FILE, bytes.clone()), ("README.md", b"hi".to_vec())]);
    let hub = Hub::start(move |request, _| shelf.answer(request));
    let cache = tempfile::tempdir().expect("a folder");
    let mut told = Vec::new();
    let path = fetcher(&hub, cache.path())
        .fetch(&ID.parse().expect("a name"), &mut |event| {
            told.push(format!("{event:?}"));
        })
        .expect("fetched");
    assert_eq!(std::fs::read(&path).expect("there"), bytes);

    // The places are those that the documentation of huggingface_hub's cache gives.
    let folder = cache.path().join("models--org--model-GGUF");
    assert_eq!(path, folder.join("snapshots").join(COMMIT).join(FILE));
    assert_eq!(text(&folder.join("refs/main")), COMMIT);
    let blob = blob_name(FILE, &bytes);
    assert!(folder.join("blobs").join(&blob).is_file());
    #[cfg(unix)]
    assert_eq!(
        std::fs::read_link(&path).expect("a link"),
        Path::new(&format!("../../blobs/{blob}"))
    );
    let other = hf_hub::Cache::new(cache.path().to_owned()).model(ID.to_owned());
    assert_eq!(other.get(FILE), Some(path));

    let start = format!("Start {{ file: \"{FILE}\", size: 100000, have: 0 }}");
    assert_eq!(told.first(), Some(&start));
    assert!(told.contains(&"At { bytes: 100000 }".to_owned()));
    assert_eq!(told.last(), Some(&format!("Done {{ file: \"{FILE}\" }}")));
}

#[test]
fn what_is_there_is_not_fetched_again() {
    let shelf = Shelf::of(&[(FILE, content(5000))]);
    let hub = Hub::start(move |request, _| shelf.answer(request));
    let cache = tempfile::tempdir().expect("a folder");
    let fetcher = fetcher(&hub, cache.path());
    let first = fetch(&fetcher, ID).expect("fetched");
    let second = fetch(&fetcher, ID).expect("found");
    assert_eq!(first, second);
    assert_eq!(hub.starts(), [None]);
}

#[test]
fn a_folder_comes_with_the_shards_that_its_index_names() {
    let index = br#"{"metadata": {}, "weight_map": {"a": "w-1.safetensors", "b": "w-2.safetensors",
        "c": "w-1.safetensors"}}"#;
    let shelf = Shelf::of(&[
        ("config.json", b"{}".to_vec()),
        ("model.safetensors.index.json", index.to_vec()),
        ("w-1.safetensors", content(4000)),
        ("w-2.safetensors", content(3000)),
        ("consolidated.safetensors", content(9000)),
    ]);
    let hub = Hub::start(move |request, _| shelf.answer(request));
    let cache = tempfile::tempdir().expect("a folder");
    let online = fetcher(&hub, cache.path());
    let folder = fetch(&online, ID).expect("fetched");
    let mut names: Vec<String> = std::fs::read_dir(&folder)
        .expect("a folder")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .into_string()
                .expect("UTF-8")
        })
        .collect();
    names.sort_unstable();
    let expected = [
        "config.json",
        "model.safetensors.index.json",
        "w-1.safetensors",
        "w-2.safetensors",
    ];
    assert_eq!(names, expected);

    let offline = online.offline(true);
    assert_eq!(fetch(&offline, ID).ok(), Some(folder.clone()));
    std::fs::remove_file(folder.join("w-2.safetensors")).expect("removed");
    let error = failure(&offline, ID);
    assert!(
        error.starts_with("offline, and w-2.safetensors of `org/model-GGUF`"),
        "{error}"
    );
}

#[test]
fn all_parts_of_a_split_model_come_and_the_first_is_named() {
    let parts = [
        "q/m-Q8_0-00001-of-00002.gguf",
        "q/m-Q8_0-00002-of-00002.gguf",
    ];
    let shelf = Shelf::of(&[
        (parts[1], content(2000)),
        (parts[0], content(1000)),
        ("mmproj-m-f16.gguf", content(10)),
    ]);
    let hub = Hub::start(move |request, _| shelf.answer(request));
    let cache = tempfile::tempdir().expect("a folder");
    let path = fetch(&fetcher(&hub, cache.path()), "org/model-GGUF:q8_0").expect("fetched");
    assert!(path.ends_with(parts[0]), "{}", path.display());
    assert_eq!(
        std::fs::read(path.with_file_name("m-Q8_0-00002-of-00002.gguf")).ok(),
        Some(content(2000))
    );
    assert_eq!(hub.starts().len(), 2);
}

#[test]
fn a_redirect_elsewhere_keeps_the_range_and_loses_the_token() {
    let shelf = Shelf::of(&[(FILE, content(50_000))]);
    let hub = Hub::start(move |request, num_before| {
        let port = request.host.rsplit(':').next().expect("a port");
        if let Some(path) = request.path.strip_prefix("/cdn") {
            let inner = super::server::Request {
                path: path.to_owned(),
                ..request.clone()
            };
            let reply = shelf.answer(&inner);
            return if request.from.is_none() {
                reply.cut_after(20_000)
            } else {
                reply
            };
        }
        if request.is_for_file() && num_before < 20 {
            // Another name of this machine is another host.
            return Reply::status(302).with(
                "Location",
                format!("http://localhost:{port}/cdn{}", request.path),
            );
        }
        shelf.answer(request)
    });
    let cache = tempfile::tempdir().expect("a folder");
    let fetcher = fetcher(&hub, cache.path())
        .token("hf_secret")
        .expect("a token");
    assert!(!format!("{fetcher:?}").contains("hf_secret"));
    fetch(&fetcher, ID).expect("fetched");
    for request in hub.requests() {
        let is_elsewhere = request.path.starts_with("/cdn");
        let token = (!is_elsewhere).then_some("Bearer hf_secret");
        assert_eq!(request.authorization.as_deref(), token, "{request:?}");
    }
    let elsewhere = hub
        .requests()
        .into_iter()
        .filter(|request| request.path.starts_with("/cdn"));
    let ranges: Vec<_> = elsewhere.map(|request| request.from).collect();
    assert_eq!(ranges, [None, Some(20_000)]);
}

#[test]
fn a_mirror_that_describes_nothing_is_asked_file_by_file() {
    let bytes = content(3000);
    let mut shelf = Shelf::of(&[(FILE, bytes.clone())]);
    shelf.is_terse = true;
    let hub = Hub::start(move |request, _| shelf.answer(request));
    let cache = tempfile::tempdir().expect("a folder");
    let path = fetch(&fetcher(&hub, cache.path()), ID).expect("fetched");
    assert_eq!(std::fs::read(path).expect("there"), bytes);
    let heads = hub
        .requests()
        .into_iter()
        .filter(|request| request.method == "HEAD");
    assert_eq!(heads.count(), 1);
}

#[test]
fn two_at_once_download_once() {
    let shelf = Shelf::of(&[(FILE, content(200_000))]);
    let hub = Hub::start(move |request, _| Reply {
        silence: request.is_for_file().then_some(Duration::from_millis(300)),
        ..shelf.answer(request)
    });
    let cache = tempfile::tempdir().expect("a folder");
    let fetcher: Arc<Fetcher> = Arc::new(fetcher(&hub, cache.path()));
    let runs: Vec<_> = (0..2)
        .map(|_| {
            let fetcher = Arc::clone(&fetcher);
            std::thread::spawn(move || {
                let mut has_waited = false;
                let path = fetcher.fetch(&ID.parse().expect("a name"), &mut |event| {
                    has_waited |= matches!(event, Event::Waiting { .. });
                });
                (path.expect("fetched"), has_waited)
            })
        })
        .collect();
    let done: Vec<_> = runs
        .into_iter()
        .map(|run| run.join().expect("no panic"))
        .collect();
    assert_eq!(done[0].0, done[1].0);
    assert_eq!(std::fs::read(&done[0].0).expect("there"), content(200_000));
    assert_eq!(hub.starts(), [None]);
    assert!(
        !(done[0].1 && done[1].1),
        "one of them had the lock at once"
    );
}

#[cfg(unix)]
#[test]
fn the_lock_of_a_file_that_was_removed_meanwhile_is_no_lock() {
    let shelf = Shelf::of(&[(FILE, content(1000))]);
    let hub = Hub::start(move |request, _| shelf.answer(request));
    let cache = tempfile::tempdir().expect("a folder");
    let locks = cache.path().join(".locks/models--org--model-GGUF");
    let path = locks.join(format!("{}.lock", blob_name(FILE, &content(1000))));
    std::fs::create_dir_all(&locks).expect("made");
    let other = std::fs::File::create(&path).expect("made");
    other.lock().expect("free");
    let (removed, mut other) = (path.clone(), Some(other));
    fetcher(&hub, cache.path())
        .fetch(&ID.parse().expect("a name"), &mut |event| {
            if matches!(event, Event::Waiting { .. }) {
                std::fs::remove_file(&removed).expect("there");
                other.take();
            }
        })
        .expect("fetched");
    assert!(other.is_none() && path.exists());
}
