//! A new store in the place of an old one: who reads which of them, and what is left when
//! a run is killed on the way.

use super::*;

/// A writer of a store that is to take the place of the one in `folder`.
fn replace_with(folder: &TempDir, identity: &str, first: u8, names: &[&str]) -> StoreWriter {
    let fresh = Sidecar {
        identity: Some(identity.to_owned()),
        ..sidecar()
    };
    let mut writer = StoreWriter::open(folder.path(), fresh, true).expect("writable");
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
    let mut writer = StoreWriter::open(folder.path(), made, true).expect("writable");
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
        EmbeddingStore::check(folder.path()).expect("a store");
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
