mod replace;

use super::*;
use crate::vision::image::ImageSize;
use crate::vision::{ImageEmbedding, ImageGeometry};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const HIDDEN: usize = 8;

fn geometry() -> ImageGeometry {
    ImageGeometry {
        channels: 3,
        patch_size: 14,
        temporal_patch_size: 2,
        merge_size: 2,
        mean: [0.5; 3],
        std: [0.25; 3],
        min_area: 1,
        max_area: 1 << 30,
    }
}

fn sidecar() -> Sidecar {
    let model = StoreModel {
        name: "a model".to_owned(),
        fingerprint: "0123".to_owned(),
        encoder_fingerprint: None,
        numeric: "bf16".to_owned(),
    };
    let preprocessing = Preprocessing::new(&geometry(), ImageSize::Fixed(56));
    let mut sidecar = Sidecar::new([2, 2], HIDDEN, model, preprocessing);
    // Alike in all of them, so that files can be compared.
    sidecar.identity = Some("one".to_owned());
    let here = std::env::current_dir().expect("a folder");
    sidecar.names_relative_to = here.to_str().map(str::to_owned);
    sidecar
}

fn embedding(value: u8) -> ImageEmbedding {
    let values = (0..4 * HIDDEN).map(|i| f32::from(value) + i as f32 / 64.0);
    ImageEmbedding::new(2, 2, HIDDEN, values.collect()).expect("a shape that fits")
}

fn open(folder: &TempDir) -> Result<EmbeddingStore, StoreError> {
    EmbeddingStore::open(folder.path(), HIDDEN)
}

fn refusal<T: std::fmt::Debug>(result: Result<T, StoreError>) -> String {
    result.expect_err("refused").to_string()
}

/// A finished store of images 0, 1, ...
fn store(names: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    add(&folder, 0, names).finish().expect("written");
    folder
}

fn add(folder: &TempDir, first: u8, names: &[&str]) -> StoreWriter {
    let mut writer = StoreWriter::open(folder.path(), sidecar()).expect("writable");
    for (value, name) in (first..).zip(names) {
        let pushed = writer.push(Path::new(name), &embedding(value));
        pushed.expect("written");
    }
    writer
}

fn file(folder: &TempDir, name: &str) -> PathBuf {
    folder.path().join(name)
}

#[test]
fn the_files_are_as_documented() {
    let folder = store(&["a.png", "sub/b c.jpg"]);
    let names = fs::read_to_string(file(&folder, FILENAMES)).expect("a list");
    assert_eq!(names, "a.png\nsub/b c.jpg\n");
    let bytes = fs::read(file(&folder, EMBEDDINGS)).expect("an array");
    assert_eq!(bytes.len(), 2 * 4 * HIDDEN * 2);
    // Row 1 begins with 1.0, which is 0x3C00, and goes on with 1 + 1/64.
    assert_eq!(bytes[4 * HIDDEN * 2..][..4], [0x00, 0x3C, 0x10, 0x3C]);
    let json = fs::read_to_string(file(&folder, SIDECAR)).expect("a sidecar");
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["shape"], serde_json::json!([2, 4, HIDDEN]));
    assert_eq!(json["dtype"], "float16");
    assert_eq!(json["complete"], true);
    assert_eq!(json["preprocessing"]["image_size"]["fixed"], 56);
}

#[test]
fn what_is_read_is_what_was_written() {
    let folder = store(&["a", "b", "c"]);
    let store = open(&folder).expect("a store");
    assert_eq!(store.names(), ["a", "b", "c"]);
    assert_eq!(store.grid(), [2, 2]);
    assert!(store.is_complete());
    for value in 0..3 {
        let found = store.embedding(usize::from(value)).expect("a row");
        assert_eq!(found, embedding(value).rounded_to_f16());
    }
    let error = refusal(store.embedding(3));
    assert_eq!(error, "there is no image 3: the store has 3, from 0");
    store.check_model(&sidecar().model).expect("the same");
    let other = StoreModel {
        name: "other".to_owned(),
        fingerprint: "4567".to_owned(),
        ..sidecar().model
    };
    let other = refusal(store.check_model(&other));
    assert!(other.contains("another model: it has `a model` (0123), expected `other` (4567)"));
}

#[test]
fn images_are_added_after_those_that_are_there() {
    let folder = store(&["a", "b"]);
    let writer = add(&folder, 2, &["c"]);
    assert_eq!((writer.num_found(), writer.len()), (2, 3));
    assert!(writer.has(Path::new("a")) && !writer.has(Path::new("d")));
    assert_eq!(writer.finish().expect("written"), 3);
    let grown = open(&folder).expect("a store");
    assert_eq!(grown.names(), ["a", "b", "c"]);
    for value in 0..3 {
        let found = grown.embedding(usize::from(value)).expect("a row");
        assert_eq!(found, embedding(value).rounded_to_f16());
    }
    // The same as in one go, byte for byte.
    let once = store(&["a", "b", "c"]);
    for name in [EMBEDDINGS, FILENAMES, SIDECAR] {
        let read = |folder: &TempDir| fs::read(file(folder, name)).expect("a file");
        assert_eq!(read(&folder), read(&once), "{name}");
    }
}

#[test]
fn a_writer_that_is_gone_leaves_what_it_committed() {
    let folder = store(&["a"]);
    let mut writer = add(&folder, 1, &["b"]);
    writer.commit().expect("written");
    writer.push(Path::new("c"), &embedding(2)).expect("written");
    // As after a kill: `c` is in the files, and nobody has said so.
    drop(writer);
    let names = fs::read_to_string(file(&folder, FILENAMES)).expect("a list");
    assert_eq!(names, "a\nb\nc\n");
    let half = open(&folder).expect("a store");
    assert!(!half.is_complete());
    assert_eq!(half.names(), ["a", "b"]);
    assert_eq!(
        half.embedding(1).expect("a row"),
        embedding(1).rounded_to_f16()
    );
    assert!(half.embedding(2).is_err());
    // Even if what was not committed is torn.
    fs::OpenOptions::new()
        .write(true)
        .open(file(&folder, EMBEDDINGS))
        .and_then(|file| file.set_len(2 * 64 + 7))
        .expect("cut");
    fs::write(file(&folder, FILENAMES), "a\nb\n\u{fffd}").expect("written");
    let draft = file(&folder, ".embeddings.json.half");
    fs::write(&draft, "{").expect("written");
    let writer = add(&folder, 2, &["c", "d"]);
    assert_eq!(writer.num_found(), 2);
    assert!(!draft.exists());
    writer.finish().expect("written");
    let whole = open(&folder).expect("a store");
    assert_eq!(whole.names(), ["a", "b", "c", "d"]);
    assert_eq!(
        whole.embedding(3).expect("a row"),
        embedding(3).rounded_to_f16()
    );
}

#[test]
fn killed_anywhere_a_store_is_right() {
    // Each state of the files that a kill can leave while `c` is added to `a` and `b`.
    let before = store(&["a", "b"]);
    let after = store(&["a", "b", "c"]);
    let read = |folder: &TempDir, name: &str| fs::read(file(folder, name)).expect("a file");
    let mut unfinished = sidecar();
    unfinished.shape[0] = 2;
    for rows in (2 * 64..=3 * 64).step_by(16) {
        for names in 4..=6 {
            let folder = tempfile::tempdir().expect("a folder");
            unfinished.write(folder.path()).expect("written");
            let write = |name: &str, length: usize| {
                fs::write(file(&folder, name), &read(&after, name)[..length]).expect("written");
            };
            write(EMBEDDINGS, rows);
            write(FILENAMES, names);
            let found = open(&folder).expect("a store");
            assert_eq!(found.names(), ["a", "b"]);
            add(&folder, 2, &["c"]).finish().expect("written");
            for name in [EMBEDDINGS, FILENAMES, SIDECAR] {
                assert_eq!(
                    read(&folder, name),
                    read(&after, name),
                    "{name} {rows} {names}"
                );
            }
        }
    }
    drop(before);
}

#[test]
fn a_store_of_another_tool_is_taken_by_its_size() {
    let folder = store(&["a", "b"]);
    fs::remove_file(file(&folder, SIDECAR)).expect("removed");
    fs::write(file(&folder, FILENAMES), "a\r\nb").expect("written");
    let found = open(&folder).expect("a store");
    assert_eq!(
        (found.names(), found.grid()),
        (&["a".to_owned(), "b".to_owned()][..], [2, 2])
    );
    assert_eq!(
        found.embedding(1).expect("a row"),
        embedding(1).rounded_to_f16()
    );
    found.check_model(&sidecar().model).expect("nobody knows");
    assert_eq!(EmbeddingStore::count(folder.path()).expect("a store"), 2);
    let refused = |hidden, tokens: &str| {
        let error = refusal(EmbeddingStore::open(folder.path(), hidden));
        let expected = format!(
            "has 128 bytes, {tokens} tokens an image; expected 2 bytes x 2 images x S x S tokens \
             x {hidden} numbers, as the names beside it and the model's width have it"
        );
        assert!(error.ends_with(&expected), "{error}");
    };
    refused(3, "10.667");
    // As many as fit are no square.
    refused(16, "2.000");
    refused(0, "0.000");
    // Two tokens a side, of 28 pixels each.
    let mut geometry = geometry();
    found
        .check_geometry(&geometry)
        .expect("a size that is taken");
    geometry.max_area = 2 * 55 * 55;
    let error = refusal(found.check_geometry(&geometry));
    assert!(
        error.ends_with(
            "has 2 x 2 tokens an image, which are pictures of 56 pixels a side; the model takes up \
             to 28"
        ),
        "{error}"
    );
    let error = refusal(StoreWriter::open(folder.path(), sidecar()));
    assert!(
        error.contains("has embeddings without an embeddings.json"),
        "{error}"
    );
    let writer = StoreWriter::replace(folder.path(), sidecar(), &[]).expect("told to");
    assert_eq!(writer.len(), 0);
    drop(writer);
    // Until there is another, it is as it was.
    assert_eq!(open(&folder).expect("a store").len(), 2);
}

#[test]
fn lines_that_are_no_names_are_told_by_their_number() {
    let check = |list: &[u8], message: &str| {
        let folder = store(&["a", "b"]);
        let at = file(&folder, FILENAMES);
        fs::write(&at, list).expect("written");
        let error = refusal(open(&folder));
        assert!(error.starts_with(&at.display().to_string()), "{error}");
        assert!(error.ends_with(message), "{error}");
        // As others write it, too.
        fs::remove_file(file(&folder, SIDECAR)).expect("removed");
        let error = refusal(open(&folder));
        assert!(error.ends_with(message), "{error}");
        let error = refusal(EmbeddingStore::count(folder.path()));
        assert!(error.ends_with(message), "{error}");
    };
    let most = names::MAX_NAME_BYTES;
    let longer = [b"a\n".as_slice(), &vec![b'x'; most + 1]].concat();
    let message = "line 2 is longer than 32768 bytes, expected a path";
    check(&longer, message);
    check(&[longer.as_slice(), b"\n"].concat(), message);
    check(&[longer.as_slice(), &vec![b'x'; 1 << 20]].concat(), message);
    check(b"\xFF\nb\n", "line 1 is no UTF-8, expected a path of UTF-8");
    // The longest, whatever ends the line.
    let longest = vec![b'x'; most];
    for end in ["", "\n", "\r\n"] {
        let folder = store(&["a", "b"]);
        let list = [b"a\n", longest.as_slice(), end.as_bytes()].concat();
        fs::write(file(&folder, FILENAMES), list).expect("written");
        assert_eq!(open(&folder).expect("a store").names()[1].len(), most);
    }
    let folder = store(&["a"]);
    let mut writer = add(&folder, 1, &[]);
    let long = "x".repeat(most + 1);
    let error = refusal(writer.push(Path::new(&long), &embedding(1)));
    assert!(error.contains("up to 32768 bytes"), "{error}");
}

#[test]
fn files_that_do_not_agree_are_refused() {
    let check = |spoil: &dyn Fn(&TempDir), message: &str| {
        let folder = store(&["a", "b"]);
        spoil(&folder);
        let error = refusal(open(&folder));
        assert!(error.contains(message), "{error}");
        assert!(EmbeddingStore::count(folder.path()).is_err(), "{message}");
        let written = StoreWriter::open(folder.path(), sidecar());
        let added = written.map(|writer| writer.len());
        assert!(added.is_err(), "{message}: {added:?}");
    };
    let cut = |folder: &TempDir, length: u64| {
        let options = fs::OpenOptions::new()
            .write(true)
            .open(file(folder, EMBEDDINGS));
        options.and_then(|file| file.set_len(length)).expect("cut");
    };
    check(
        &|folder| cut(folder, 100),
        "has 100 bytes, expected 128 for 2 images of 4 tokens, 8 numbers each",
    );
    check(&|folder| cut(folder, 129), "has 129 bytes, expected 128");
    check(&|folder| cut(folder, 0), "has 0 bytes");
    let names = |text: &'static str| {
        move |folder: &TempDir| fs::write(file(folder, FILENAMES), text).expect("written")
    };
    check(&names("a\n"), "has 1 names, expected 2");
    check(&names("a\nb\nc\nd\n"), "has more names, expected 2");
    let side = |text: &'static str| {
        move |folder: &TempDir| fs::write(file(folder, SIDECAR), text).expect("written")
    };
    check(&side("{"), "is no description of embeddings");
    check(&side("[]"), "is no description of embeddings");
    let json = |key: &'static str, value: serde_json::Value| {
        move |folder: &TempDir| {
            let text = fs::read(file(folder, SIDECAR)).expect("a sidecar");
            let mut json: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
            json[key] = value.clone();
            fs::write(file(folder, SIDECAR), json.to_string()).expect("written");
        }
    };
    check(
        &json("identity", "../../elsewhere".into()),
        "its identity is `../../elsewhere`, expected 1 to 64 letters and digits",
    );
    check(&json("dtype", "float32".into()), "type float32");
    check(&json("choral_embeddings", 2.into()), "is version 2");
    check(&json("grid", serde_json::json!([3, 2])), "its grid [3, 2]");
    check(
        &json("grid", serde_json::json!([u64::MAX, 2])),
        "its shape is",
    );
    check(
        &json("shape", serde_json::json!([u64::MAX, 4, 8])),
        "has 128 bytes, expected 18446744073709551615",
    );
}

#[test]
fn embeddings_made_in_another_way_are_not_mixed() {
    let folder = store(&["a"]);
    let refused = |change: &dyn Fn(&mut Sidecar)| {
        let mut other = sidecar();
        change(&mut other);
        refusal(StoreWriter::open(folder.path(), other))
    };
    let error = refused(&|other| other.model.fingerprint = "4567".to_owned());
    assert!(error.contains("another model: it has `a model` (0123), expected `a model` (4567)"));
    let with = |other: &mut Sidecar| other.model.encoder_fingerprint = Some("89".to_owned());
    let error = refused(&with);
    assert!(
        error.contains("another image encoder: it has none on record, expected 89"),
        "{error}"
    );
    let error = refused(&|other| other.model.numeric = "f32".to_owned());
    assert!(
        error.contains("another numeric: it has bf16, expected f32"),
        "{error}"
    );
    let error = refused(&|other| other.preprocessing.image_size = ImageSize::Fixed(112));
    assert!(error.contains("another image size"), "{error}");
    let error = refused(&|other| other.preprocessing.mean[0] = 0.25);
    assert!(error.contains("another preparation"), "{error}");
    let error = refusal(EmbeddingStore::open(folder.path(), 16));
    assert!(error.contains("expected tokens of 16 numbers"), "{error}");
}

#[test]
fn of_a_model_in_two_files_the_encoder_decides_where_it_is_there() {
    let model = |text: &str, encoder: Option<&str>| StoreModel {
        name: "m.gguf".to_owned(),
        fingerprint: text.to_owned(),
        encoder_fingerprint: encoder.map(str::to_owned),
        numeric: "bf16".to_owned(),
    };
    let folder = tempfile::tempdir().expect("a folder");
    let made = Sidecar {
        model: model("text", Some("encoder")),
        ..sidecar()
    };
    let writer = StoreWriter::open(folder.path(), made.clone());
    writer.and_then(StoreWriter::finish).expect("a store");
    let answers = |by: StoreModel| open(&folder).and_then(|store| store.check_model(&by));
    answers(model("text", Some("encoder"))).expect("the same");
    answers(model("quantised otherwise", Some("encoder"))).expect("its encoder is the same");
    answers(model("text", None)).expect("its encoder is elsewhere");
    let error = refusal(answers(model("quantised otherwise", None)));
    assert!(
        error.contains("another model: it has `m.gguf` (text)"),
        "{error}"
    );
    let error = refusal(answers(model("text", Some("other"))));
    assert!(
        error.contains(
            "another image encoder: it has `m.gguf` (encoder), expected `m.gguf` (other)"
        ),
        "{error}"
    );
    // Both have a say in what is added.
    for other in [
        model("quantised otherwise", Some("encoder")),
        model("text", Some("other")),
        model("text", None),
    ] {
        let other = Sidecar {
            model: other,
            ..made.clone()
        };
        assert!(StoreWriter::open(folder.path(), other).is_err());
    }
}

#[test]
fn what_cannot_be_listed_or_does_not_fit_is_refused() {
    let folder = store(&["a"]);
    let mut writer = add(&folder, 1, &[]);
    let error = refusal(writer.push(Path::new("a\nb"), &embedding(1)));
    assert!(error.contains(r"`a\nb` cannot be listed"), "{error}");
    let wide = ImageEmbedding::new(1, 1, HIDDEN, vec![0.0; HIDDEN]).expect("a shape");
    let error = refusal(writer.push(Path::new("b"), &wide));
    assert_eq!(
        error,
        "`b` has [1, 1, 8] tokens and width, expected [2, 2, 8]"
    );
    // Nothing was added, and nothing is unfinished.
    drop(writer);
    assert!(open(&folder).expect("a store").is_complete());
}

#[test]
fn there_is_one_writer_at_a_time() {
    let folder = store(&["a"]);
    let first = add(&folder, 1, &[]);
    let error = refusal(StoreWriter::open(folder.path(), sidecar()));
    assert!(error.starts_with("another run writes to"), "{error}");
    drop(first);
    add(&folder, 1, &["b"]).finish().expect("free again");
}

#[test]
fn an_image_is_known_by_its_file_and_not_its_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let image = folder.path().join("a.png");
    fs::write(&image, "").expect("written");
    let out = store(&[]);
    let mut writer = add(&out, 0, &[]);
    writer.push(&image, &embedding(0)).expect("written");
    assert!(writer.has(&folder.path().join("./a.png")));
    writer.finish().expect("written");
    let later = std::time::SystemTime::now() + std::time::Duration::from_mins(1);
    let writer = add(&out, 1, &[]);
    assert!(!writer.is_newer(&image));
    let touched = fs::File::options().write(true).open(&image);
    touched
        .and_then(|file| file.set_modified(later))
        .expect("touched");
    assert!(writer.is_newer(&image));
}

#[test]
fn an_empty_store_is_one() {
    let folder = store(&[]);
    let empty = open(&folder).expect("a store");
    assert!(empty.is_empty() && empty.is_complete());
    assert!(empty.embedding(0).is_err());
    let nothing = tempfile::tempdir().expect("a folder");
    assert_eq!(EmbeddingStore::count(folder.path()).expect("a store"), 0);
    assert!(EmbeddingStore::count(nothing.path()).is_err());
    let error = refusal(open(&nothing));
    assert!(error.contains("it has no embeddings.bin"), "{error}");
}

#[test]
fn a_store_keeps_its_identity_as_it_grows_and_a_new_one_has_another() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |overwrite: bool, name: &str| {
        let fresh = Sidecar {
            identity: Some(sidecar::fresh_identity()),
            ..sidecar()
        };
        let writer = if overwrite {
            StoreWriter::replace(folder.path(), fresh, &[])
        } else {
            StoreWriter::open(folder.path(), fresh)
        };
        let mut writer = writer.expect("writable");
        writer
            .push(Path::new(name), &embedding(0))
            .expect("written");
        writer.finish().expect("written");
        open(&folder).expect("a store").identity()
    };
    let first = write(false, "a");
    assert_eq!(first.len(), 32);
    assert_eq!(write(false, "b"), first);
    assert_ne!(write(true, "a"), first);
}

#[test]
fn a_store_without_an_identity_has_one_of_its_array() {
    let folder = store(&["a", "b"]);
    let mut older = sidecar();
    older.identity = None;
    (older.shape[0], older.complete) = (2, true);
    older.write(folder.path()).expect("written");
    let found = open(&folder).expect("a store").identity();
    assert!(found.starts_with("128 bytes of "), "{found}");
    fs::remove_file(file(&folder, SIDECAR)).expect("removed");
    assert_eq!(open(&folder).expect("a store").identity(), found);
    let array = fs::File::options()
        .write(true)
        .open(file(&folder, EMBEDDINGS));
    let later = std::time::SystemTime::now() + std::time::Duration::from_mins(1);
    array
        .and_then(|file| file.set_modified(later))
        .expect("touched");
    assert_ne!(open(&folder).expect("a store").identity(), found);
    // It gets one of its own as soon as something is added.
    older.write(folder.path()).expect("written");
    add(&folder, 2, &["c"]).finish().expect("written");
    assert_eq!(open(&folder).expect("a store").identity().len(), 32);
}

#[test]
fn after_so_many_images_a_writer_commits_by_itself() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut writer = add(&folder, 0, &[]);
    for index in 0..70 {
        let name = format!("{index}");
        writer
            .push(Path::new(&name), &embedding(0))
            .expect("written");
    }
    assert_eq!(open(&folder).expect("a store").len(), 64);
    // The last was just now.
    writer.commit_if_due().expect("written");
    drop(writer);
    assert_eq!(add(&folder, 0, &[]).num_found(), 64);
}

#[test]
fn names_are_relative_to_the_folder_where_the_store_was_begun() {
    let root = tempfile::tempdir().expect("a folder");
    let root = root.path().canonicalize().expect("a folder");
    for name in ["one/photos/a.png", "two/photos/a.png", "two/photos/b.png"] {
        let path = root.join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
        fs::write(path, "").expect("written");
    }
    let listed = ["photos/a.png".to_owned()];
    let one = root.join("one");
    let places = names::Places::new(one.to_str(), &listed).expect("a folder");
    assert_eq!(places.of_name("photos/a.png"), one.join("photos/a.png"));
    let there = places.of_path(&root.join("two/photos/a.png"));
    assert_ne!(places.of_name("photos/a.png"), there);
    assert_eq!(places.base(), one.to_str());
    // Not there any more, and no file of that name is here: nobody knows.
    let gone = root.join("gone");
    for recorded in [gone.to_str(), None] {
        let places = names::Places::new(recorded, &listed).expect("a folder");
        assert_eq!(places.base(), None);
        let name = places.name(Path::new("Cargo.toml")).expect("a name");
        assert!(name.ends_with("/Cargo.toml"), "{name}");
        // One of them is here: the store was moved here with them.
        let listed = ["Cargo.toml".to_owned(), "deleted.png".to_owned()];
        let places = names::Places::new(recorded, &listed).expect("a folder");
        let name = places.name(Path::new("src/lib.rs")).expect("a name");
        assert_eq!(name, "src/lib.rs");
    }
}
