//! What `--overwrite` goes on with, what it begins anew, and what it leaves alone.

use super::{copy, described, images, names, pictures, precompute, precomputed, run};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A store in the folder `store` of the pictures in `old`, and beside it one of those in
/// `new` that is to take its place and is not finished. Gives the folder of that.
fn replaced_half(folder: &Path, old: &str, new: &str, store: &Path) -> PathBuf {
    precomputed(folder, old, store);
    let begun = folder.join("begun");
    precomputed(folder, new, &begun);
    let mut json = described(&begun).expect("a sidecar");
    json["complete"] = false.into();
    fs::write(begun.join("embeddings.json"), json.to_string()).expect("written");
    let identity = json["identity"].as_str().expect("text");
    let place = store.join(format!(".embeddings-{identity}"));
    fs::rename(begun, &place).expect("moved");
    place
}

fn overwritten(folder: &Path, input: &str, store: &Path) -> String {
    let (code, told) = run(&mut precompute(folder, input, store, &["--overwrite"]));
    assert_eq!(code, Some(0), "{told}");
    told
}

#[test]
fn a_new_store_of_another_folder_is_not_gone_on_with() {
    let folder = pictures(4);
    let folder = folder.path();
    let store = folder.join("store");
    let place = replaced_half(folder, "photos", "photos", &store);
    copy("rgba.png", &folder.join("others/a.png"));
    let told = overwritten(folder, "others", &store);
    assert!(
        told.contains("photos/0000.png`, which is not among the pictures of this run"),
        "{told}"
    );
    assert!(
        told.contains("1 pictures were encoded, 0 had been before"),
        "{told}"
    );
    assert_eq!(names(&store), ["others/a.png"]);
    assert!(!place.exists());
    // A picture that is not in the folder any more is not in its store.
    let place = replaced_half(folder, "others", "photos", &folder.join("second"));
    fs::remove_file(folder.join("photos/0002.png")).expect("removed");
    let told = overwritten(folder, "photos", &folder.join("second"));
    assert!(told.contains("and is begun anew"), "{told}");
    assert_eq!(names(&folder.join("second")).len(), 3);
    assert!(!place.exists());
    // With others that came since it is gone on with.
    let third = folder.join("third");
    let place = replaced_half(folder, "others", "photos", &third);
    copy("gif.gif", &folder.join("photos/z.gif"));
    let told = overwritten(folder, "photos", &third);
    assert!(
        told.contains("1 pictures were encoded, 3 had been before"),
        "{told}"
    );
    assert!(!told.contains("anew") && !place.exists(), "{told}");
}

#[test]
fn a_new_store_of_pictures_that_were_changed_is_not_gone_on_with() {
    let folder = pictures(3);
    let folder = folder.path();
    let store = folder.join("store");
    replaced_half(folder, "photos", "photos", &store);
    let changed = folder.join("photos/0001.png");
    fs::remove_file(&changed).expect("removed");
    copy("turned_6.jpg", &changed);
    let later = std::time::SystemTime::now() + Duration::from_mins(1);
    let file = fs::File::options().write(true).open(&changed);
    file.and_then(|file| file.set_modified(later))
        .expect("touched");
    let told = overwritten(folder, "photos", &store);
    assert!(
        told.contains("photos/0001.png` as it was before it was changed"),
        "{told}"
    );
    assert!(
        told.contains("3 pictures were encoded, 0 had been before"),
        "{told}"
    );
    assert!(!told.contains("not encoded again"), "{told}");
    let fresh = folder.join("fresh");
    precomputed(folder, "photos", &fresh);
    let numbers = |store: &Path| fs::read(store.join("embeddings.bin")).expect("numbers");
    assert_eq!(numbers(&store), numbers(&fresh));
}

#[test]
fn a_new_store_that_cannot_be_read_is_kept_and_copies_are_left_alone() {
    let folder = pictures(3);
    let folder = folder.path();
    let store = folder.join("store");
    let place = replaced_half(folder, "from", "photos", &store);
    let copy = store.join(".embeddings-backup");
    fs::create_dir(&copy).expect("a folder");
    for name in ["embeddings.bin", "filenames.txt", "embeddings.json"] {
        fs::copy(place.join(name), copy.join(name)).expect("copied");
    }
    let list = place.join("filenames.txt");
    fs::remove_file(&list).expect("removed");
    fs::create_dir(&list).expect("a folder");
    let (code, told) = run(&mut precompute(folder, "photos", &store, &["--overwrite"]));
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("nothing was encoded"), "{told}");
    assert!(place.join("embeddings.bin").exists());
    fs::remove_dir(&list).expect("removed");
    fs::copy(copy.join("filenames.txt"), &list).expect("copied");
    let told = overwritten(folder, "photos", &store);
    assert!(
        told.contains("0 pictures were encoded, 3 had been before"),
        "{told}"
    );
    assert!(!place.exists());
    let told = precomputed(folder, "photos", &store);
    assert!(!told.contains("not finished"), "{told}");
    assert_eq!(fs::read_dir(&copy).expect("a folder").count(), 3);
}

#[test]
fn a_store_is_answered_from_while_another_takes_its_place() {
    let folder = pictures(3);
    let folder = folder.path();
    let store = folder.join("store");
    precomputed(folder, "photos", &store);
    let identity = described(&store).expect("a sidecar")["identity"].clone();
    let identity = identity.as_str().expect("text");
    let place = store.join(format!(".embeddings-{identity}"));
    fs::create_dir(&place).expect("a folder");
    let answer = || {
        let words = ["describe", "--embeds", "store", "-i2", "-n2"];
        run(&mut images(folder, &words))
    };
    // As after a kill: the sidecar is in place, and the list of names is not.
    let list = store.join("filenames.txt");
    fs::rename(&list, place.join("filenames.txt")).expect("moved");
    let (code, told) = answer();
    assert_eq!(code, Some(0), "{told}");
    fs::rename(place.join("filenames.txt"), &list).expect("moved");
    fs::remove_dir(&place).expect("removed");
    // Whoever made it, what is no list ends it.
    let numbers = store.join("embeddings.bin");
    for is_own in [true, false] {
        if !is_own {
            fs::remove_file(store.join("embeddings.json")).expect("removed");
        }
        fs::rename(&list, store.join("aside")).expect("moved");
        fs::create_dir(&list).expect("a folder");
        let (code, told) = answer();
        assert_eq!(code, Some(1), "{told}");
        assert!(told.contains("filenames.txt: "), "{told}");
        fs::remove_dir(&list).expect("removed");
        fs::rename(store.join("aside"), &list).expect("moved");
    }
    let line = "x".repeat(1 << 20);
    fs::write(&list, line).expect("written");
    let (code, told) = answer();
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("line 1 is longer than 32768 bytes"), "{told}");
    assert!(numbers.exists());
}

/// With the option and without it.
const WORDS: [&[&str]; 2] = [&[], &["--overwrite"]];

#[test]
fn a_run_without_pictures_changes_nothing() {
    let folder = pictures(2);
    let folder = folder.path();
    let photos = folder.join("photos");
    for (input, output) in [("photos", "photos"), ("photos", "."), (".", "photos/..")] {
        for words in WORDS {
            let (code, told) = run(&mut precompute(folder, input, Path::new(output), words));
            assert_eq!(code, Some(2), "{told}");
            let expected = format!("the output `{output}` is the input `{input}` or has it inside");
            assert!(told.contains(&expected), "{told}");
        }
    }
    assert_eq!(fs::read_dir(&photos).expect("a folder").count(), 2);
    let store = folder.join("store");
    fs::create_dir(folder.join("empty")).expect("a folder");
    let refused = |input: &str, message: &str| {
        for words in WORDS {
            let (code, told) = run(&mut precompute(folder, input, &store, words));
            assert_eq!(code, Some(1), "{told}");
            assert!(told.contains(message), "{told}");
        }
    };
    refused("empty", "there is no picture in `empty`");
    assert!(!store.exists());
    // Nor is one that was begun given up, or one that is there gone on with.
    let place = replaced_half(folder, "from", "photos", &store);
    refused("empty", "there is no picture in `empty`");
    assert!(place.exists());
    assert_eq!(names(&store).len(), 3);
    // What is in an output within the input is not looked at, here as ever.
    copy("rgb.png", &folder.join("empty/out/report.png"));
    let (code, told) = run(&mut precompute(
        folder,
        "empty",
        &folder.join("empty/out"),
        &[],
    ));
    assert_eq!(code, Some(1), "{told}");
    assert!(
        told.contains("no picture in `empty` but in the output"),
        "{told}"
    );
}
