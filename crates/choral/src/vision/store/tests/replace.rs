//! A new store in the place of an old one: who reads which of them, and what is left when
//! a run is killed on the way.

use super::*;

/// Pictures of all names that are used here.
fn pictures() -> Vec<PathBuf> {
    let letters = (b'a'..=b'z').map(|letter| char::from(letter).to_string());
    letters.map(PathBuf::from).collect()
}

/// A store that was to take the place of the one in `folder`, and was not finished: it has
/// an image of each of `names`.
fn unfinished(folder: &TempDir, identity: &str, names: &[&str]) -> PathBuf {
    let mut writer = replace_with(folder, identity, 10, names);
    writer.commit().expect("written");
    folder.path().join(format!(".embeddings-{identity}"))
}

/// What becomes of an unfinished store when `images` are to be in the new one: as many as
/// it is gone on with, and why it is not.
fn gone_on_with(folder: &TempDir, images: &[PathBuf]) -> Result<(usize, String), StoreError> {
    let fresh = Sidecar {
        identity: Some(sidecar::fresh_identity()),
        ..sidecar()
    };
    let writer = StoreWriter::replace(folder.path(), fresh, images)?;
    let reasons = writer.given_up().iter().map(ToString::to_string);
    Ok((writer.num_found(), reasons.collect()))
}

/// A writer of a store that is to take the place of the one in `folder`.
fn replace_with(folder: &TempDir, identity: &str, first: u8, names: &[&str]) -> StoreWriter {
    let fresh = Sidecar {
        identity: Some(identity.to_owned()),
        ..sidecar()
    };
    let writer = StoreWriter::replace(folder.path(), fresh, &pictures());
    let mut writer = writer.expect("writable");
    for (value, name) in (first..).zip(names) {
        let pushed = writer.push(Path::new(name), &embedding(value));
        pushed.expect("written");
    }
    writer
}

/// That the images of a store are these, from `first` on, and its numbers theirs.
fn check_images(store: &EmbeddingStore, first: u8, names: &[&str]) {
    assert_eq!(store.names(), names);
    for (row, value) in (0..names.len()).zip(first..) {
        let found = store.embedding(row).expect("a row");
        assert_eq!(found, embedding(value).rounded_to_f16());
    }
}

#[test]
fn who_reads_a_store_keeps_it_when_another_takes_its_place() {
    let folder = store(&["a", "b", "c"]);
    let old = open(&folder).expect("a store");
    let writer = replace_with(&folder, "two", 10, &["d"]);
    assert!(writer.is_replacing());
    check_images(&open(&folder).expect("the old one"), 0, &["a", "b", "c"]);
    writer.finish().expect("in place");
    check_images(&old, 0, &["a", "b", "c"]);
    assert_eq!(old.identity(), "one");
    let new = open(&folder).expect("the new one");
    check_images(&new, 10, &["d"]);
    assert_eq!(new.identity(), "two");
    // And nothing else is left.
    let mut left: Vec<_> = fs::read_dir(folder.path())
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    left.sort();
    assert_eq!(left, [LOCK, EMBEDDINGS, SIDECAR, FILENAMES]);
}

#[test]
fn a_store_that_was_not_finished_leaves_the_old_one_and_is_gone_on_with() {
    let folder = store(&["a", "b"]);
    let mut writer = replace_with(&folder, "two", 10, &["c"]);
    writer.commit().expect("written");
    writer.push(Path::new("d"), &embedding(0)).expect("written");
    // As after a kill.
    drop(writer);
    check_images(&open(&folder).expect("the old one"), 0, &["a", "b"]);
    // It can be added to meanwhile.
    let writer = add(&folder, 2, &["c"]);
    assert!(writer.has_unfinished() && !writer.is_replacing());
    writer.finish().expect("written");
    let writer = replace_with(&folder, "three", 11, &["d"]);
    assert_eq!((writer.num_found(), writer.len()), (1, 2));
    writer.finish().expect("in place");
    let new = open(&folder).expect("the new one");
    check_images(&new, 10, &["c", "d"]);
    assert_eq!(new.identity(), "two");
    assert!(!add(&folder, 0, &[]).has_unfinished());
    // One of another preparation is not, nor one that is damaged.
    let other = |sidecar: &mut Sidecar| sidecar.model.numeric = "f32".to_owned();
    let mut made = sidecar();
    other(&mut made);
    made.identity = Some("four".to_owned());
    let writer = StoreWriter::replace(folder.path(), made, &[]);
    let mut writer = writer.expect("writable");
    writer.push(Path::new("x"), &embedding(0)).expect("written");
    drop(writer);
    let mut writer = replace_with(&folder, "five", 0, &["y"]);
    assert_eq!(writer.len(), 1);
    writer.commit().expect("written");
    drop(writer);
    fs::write(folder.path().join(".embeddings-five").join(EMBEDDINGS), "").expect("cut");
    replace_with(&folder, "six", 20, &["z"])
        .finish()
        .expect("in place");
    check_images(&open(&folder).expect("a store"), 20, &["z"]);
}

#[test]
fn an_unfinished_store_of_other_pictures_is_not_gone_on_with() {
    let folder = store(&["a"]);
    let place = unfinished(&folder, "two", &["c", "d"]);
    let all = ["b", "c", "d"].map(PathBuf::from);
    let kept = gone_on_with(&folder, &all).expect("writable");
    assert_eq!(kept, (2, String::new()));
    let (kept, reason) = gone_on_with(&folder, &all[..2]).expect("writable");
    assert_eq!(kept, 0);
    assert!(
        reason.ends_with("/d`, which is not among the pictures of this run"),
        "{reason}"
    );
    assert!(!place.exists());
}

#[test]
fn an_unfinished_store_of_older_pictures_is_not_gone_on_with() {
    let folder = store(&["a"]);
    let pictures = tempfile::tempdir().expect("a folder");
    let image = pictures.path().join("b");
    fs::write(&image, "").expect("written");
    let name = image.to_str().expect("UTF-8");
    let begun = sidecar::fresh_identity();
    let fresh = Sidecar {
        identity: Some(begun),
        ..sidecar()
    };
    let images = std::slice::from_ref(&image);
    let mut writer = StoreWriter::replace(folder.path(), fresh, images).expect("writable");
    writer.push(&image, &embedding(1)).expect("written");
    writer.commit().expect("written");
    drop(writer);
    let kept = gone_on_with(&folder, images).expect("writable");
    assert_eq!(kept, (1, String::new()));
    let later = std::time::SystemTime::now() + std::time::Duration::from_mins(1);
    let touched = fs::File::options().write(true).open(&image);
    touched
        .and_then(|file| file.set_modified(later))
        .expect("touched");
    let (kept, reason) = gone_on_with(&folder, images).expect("writable");
    let expected = format!("{name}` as it was before it was changed");
    assert!(kept == 0 && reason.ends_with(&expected), "{reason}");
}

#[test]
fn what_cannot_be_read_is_no_reason_to_remove_an_unfinished_store() {
    let folder = store(&["a"]);
    let place = unfinished(&folder, "two", &["c"]);
    let rows = fs::read(place.join(EMBEDDINGS)).expect("numbers");
    let list = place.join(FILENAMES);
    let aside = place.join("aside");
    // Fails as a disk does that is failing, whoever asks.
    fs::rename(&list, &aside).expect("moved");
    fs::create_dir(&list).expect("a folder");
    let error = gone_on_with(&folder, &pictures()).expect_err("unreadable");
    assert!(matches!(error, StoreError::Io { .. }), "{error}");
    assert_eq!(fs::read(place.join(EMBEDDINGS)).expect("numbers"), rows);
    fs::remove_dir(&list).expect("removed");
    fs::rename(&aside, &list).expect("moved");
    let kept = gone_on_with(&folder, &pictures()).expect("writable");
    assert_eq!(kept, (1, String::new()));
    // Damage is, and it is told.
    fs::write(&list, "").expect("cut");
    let (kept, reason) = gone_on_with(&folder, &pictures()).expect("writable");
    assert_eq!(kept, 0);
    assert!(reason.ends_with("has 0 names, expected 1"), "{reason}");
    assert!(!place.exists());
    // Nor is anything done where the store that is there cannot be read.
    let place = unfinished(&folder, "three", &["c"]);
    let own = file(&folder, SIDECAR);
    fs::remove_file(&own).expect("removed");
    fs::create_dir(&own).expect("a folder");
    assert!(gone_on_with(&folder, &[]).is_err());
    assert!(place.exists());
}

#[test]
fn folders_that_somebody_else_put_there_stay() {
    let folder = store(&["a"]);
    let place = unfinished(&folder, "two", &["c"]);
    let copy = folder.path().join(".embeddings-backup");
    let empty = folder.path().join(".embeddings-");
    let other = folder.path().join(".embeddings-notes");
    for folder in [&copy, &empty, &other] {
        fs::create_dir(folder).expect("a folder");
    }
    for name in [EMBEDDINGS, FILENAMES, SIDECAR] {
        fs::copy(place.join(name), copy.join(name)).expect("copied");
    }
    fs::write(other.join(SIDECAR), "mine").expect("written");
    // One that was begun, and has no sidecar yet, is ours by its name.
    let begun = format!(".embeddings-{}", sidecar::fresh_identity());
    let begun = folder.path().join(begun);
    fs::create_dir(&begun).expect("a folder");
    let (kept, _) = gone_on_with(&folder, &[]).expect("writable");
    assert_eq!(kept, 0);
    assert!(!place.exists() && !begun.exists());
    replace_with(&folder, "four", 0, &["d"])
        .finish()
        .expect("in place");
    assert!(!add(&folder, 0, &[]).has_unfinished());
    assert_eq!(fs::read_dir(&copy).expect("a folder").count(), 3);
    assert!(empty.exists() && other.exists());
}

#[test]
fn a_new_store_where_there_was_none_is_gone_on_with_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let writer = replace_with(&folder, "one", 1, &["b"]);
    assert!(writer.is_replacing());
    drop(writer);
    let mut writer = replace_with(&folder, "two", 1, &["b"]);
    writer.commit().expect("written");
    drop(writer);
    let writer = replace_with(&folder, "three", 2, &["c"]);
    assert_eq!(writer.num_found(), 1);
    writer.finish().expect("in place");
    check_images(&open(&folder).expect("a store"), 1, &["b", "c"]);
}

#[test]
fn killed_between_one_file_and_the_next_the_new_store_is_whole() {
    // As long in both, so that their sizes do not tell them apart.
    for moved in 0..=4 {
        let folder = store(&["a", "b"]);
        let new = store(&["c", "d"]);
        let place = folder.path().join(".embeddings-two");
        fs::create_dir(&place).expect("a folder");
        let mut sidecar = sidecar();
        (sidecar.shape[0], sidecar.complete) = (2, true);
        sidecar.identity = Some("two".to_owned());
        sidecar.write(folder.path()).expect("written");
        for name in [EMBEDDINGS, FILENAMES] {
            fs::copy(file(&new, name), place.join(name)).expect("copied");
        }
        let rows: Vec<u8> = [7, 8].map(|value| embedding(value).to_f16()).concat();
        fs::write(place.join(EMBEDDINGS), rows).expect("written");
        // What `put_in_place` does after the sidecar, step by step.
        let step = |name: &str| fs::rename(place.join(name), file(&folder, name));
        if moved >= 1 {
            fs::remove_file(file(&folder, FILENAMES)).expect("removed");
        }
        if moved >= 2 {
            step(EMBEDDINGS).expect("moved");
        }
        if moved >= 3 {
            step(FILENAMES).expect("moved");
        }
        if moved >= 4 {
            fs::remove_dir(&place).expect("removed");
        }
        check_images(&open(&folder).expect("the new one"), 7, &["c", "d"]);
        assert_eq!(EmbeddingStore::count(folder.path()).expect("a store"), 2);
        add(&folder, 9, &["e"]).finish().expect("written");
        assert!(!place.exists());
        let names = fs::read_to_string(file(&folder, FILENAMES)).expect("a list");
        assert_eq!(names, "c\nd\ne\n");
        check_images(&open(&folder).expect("a store"), 7, &["c", "d", "e"]);
    }
}

#[test]
fn readers_find_one_store_or_the_other_and_never_a_mixture() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let folder = store(&["0-a", "0-b"]);
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut num_opened = 0;
                    while !is_done.load(Ordering::Relaxed) || num_opened == 0 {
                        let store = open(&folder).expect("a store");
                        let (first, _) = store.names()[0].split_once('-').expect("a number");
                        let first: u8 = first.parse().expect("a number");
                        let names = [format!("{first}-a"), format!("{first}-b")];
                        check_images(&store, first, &names.each_ref().map(String::as_str));
                        num_opened += 1;
                    }
                })
            })
            .collect();
        for value in 1..60 {
            let names = [format!("{value}-a"), format!("{value}-b")];
            let names = names.each_ref().map(String::as_str);
            let writer = replace_with(&folder, &format!("id{value}"), value, &names);
            writer.finish().expect("in place");
        }
        is_done.store(true, Ordering::Relaxed);
        for reader in readers {
            reader.join().expect("it found stores");
        }
    });
}
