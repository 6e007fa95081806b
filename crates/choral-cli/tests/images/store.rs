//! `choral images precompute`: pictures that are encoded once.

use super::{copy, lines, pictures, precompute, run};
use std::fs;

#[test]
fn good_pictures_are_encoded_and_bad_ones_are_listed() {
    let folder = pictures();
    copy(
        folder.path(),
        &[
            ("photos/bad/cut.png", "malformed/trunc.png"),
            ("photos/bad/empty.jpg", "malformed/empty.png"),
            ("photos/bad/bomb.png", "malformed/bomb.png"),
            ("photos/bad/thin.png", "malformed/thin.png"),
            ("photos/bad/noise.jpg", "malformed/noise.jpg"),
            ("photos/f_is_a_png.jpg", "wrongly_named.jpg"),
            ("photos/no_picture.txt", "make.py"),
        ],
    );
    let (code, _, told) = run(&mut precompute(folder.path()));
    assert_eq!(code, Some(3), "{told}");
    assert!(
        told.contains("6 pictures were encoded, 0 had been before, 5 failed"),
        "{told}"
    );
    assert!(
        told.contains("photos/bad/bomb.png: is 60000 x 60000 pixels"),
        "{told}"
    );
    assert!(told.contains("1 files are no pictures"), "{told}");
    let store = folder.path().join("store");
    let names = fs::read_to_string(store.join("filenames.txt")).expect("names");
    assert_eq!(
        names,
        "photos/a.png\nphotos/b.jpg\nphotos/f_is_a_png.jpg\nphotos/sub/c.webp\n\
         photos/sub/d.tif\nphotos/sub/e.gif\n"
    );
    let length = fs::metadata(store.join("embeddings.bin"))
        .expect("an array")
        .len();
    // 6 images, 2 x 2 tokens, 64 numbers of 2 bytes.
    assert_eq!(length, 6 * 4 * 64 * 2);
    let failures = lines(&store.join("errors.jsonl"));
    let files: Vec<_> = failures
        .iter()
        .filter_map(|line| line["file"].as_str())
        .collect();
    assert_eq!(
        files,
        ["bomb.png", "cut.png", "empty.jpg", "noise.jpg", "thin.png"]
            .map(|f| format!("photos/bad/{f}"))
    );
    // Mended, they are added; the others are not computed again.
    fs::remove_dir_all(folder.path().join("photos/bad")).expect("removed");
    copy(folder.path(), &[("photos/new.png", "grey.png")]);
    let (code, _, told) = run(&mut precompute(folder.path()));
    assert_eq!(code, Some(0), "{told}");
    assert!(
        told.contains("1 pictures were encoded, 6 had been before, 0 failed"),
        "{told}"
    );
    assert!(!store.join("errors.jsonl").exists());
}
