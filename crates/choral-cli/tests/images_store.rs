//! What `choral images precompute` leaves on the disk: stores that are killed, replaced,
//! added to from elsewhere, made by another encoder, and pictures that are none.

#[path = "images_store/replace.rs"]
mod replace;

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

fn golden(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden");
    root.join(name).canonicalize().expect("a golden file")
}

/// `choral images` in `folder`, on a small model of random weights.
fn images(folder: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_choral"));
    command.arg("images").args(words).current_dir(folder);
    for (name, _) in std::env::vars() {
        if name.starts_with("GLM_") || name.starts_with("CHORAL_") {
            command.env_remove(name);
        }
    }
    command.env("CHORAL_MODEL", golden("models/glm4v/hf"));
    command.stdin(Stdio::null());
    command
}

/// Exit code, and what was told.
fn run(command: &mut Command) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = command.output().expect("runs");
    (status.code(), String::from_utf8_lossy(&stderr).into_owned())
}

fn precompute(folder: &Path, input: &str, store: &Path, words: &[&str]) -> Command {
    let mut command = images(folder, &["precompute", input, "--image-size", "56"]);
    command.arg("-o").arg(store).args(words);
    command
}

/// Runs it, and expects it to go well.
fn precomputed(folder: &Path, input: &str, store: &Path) -> String {
    let (code, told) = run(&mut precompute(folder, input, store, &[]));
    assert_eq!(code, Some(0), "{told}");
    told
}

fn copy(from: &str, to: &Path) {
    fs::create_dir_all(to.parent().expect("a folder")).expect("folders");
    fs::copy(golden("images").join(from), to).expect("copied");
}

/// A folder with so many pictures in `photos`.
fn pictures(count: usize) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (index, from) in ["rgb.png", "grey.png", "rgba.png"].into_iter().enumerate() {
        copy(from, &folder.path().join(format!("from/{index}.png")));
    }
    let photos = folder.path().join("photos");
    fs::create_dir(&photos).expect("a folder");
    for index in 0..count {
        let from = folder.path().join(format!("from/{}.png", index % 3));
        // Cheap, and files of their own as far as their names go.
        fs::hard_link(from, photos.join(format!("{index:04}.png"))).expect("a file");
    }
    folder
}

fn names(store: &Path) -> Vec<String> {
    let text = fs::read_to_string(store.join("filenames.txt")).expect("names");
    text.lines().map(str::to_owned).collect()
}

/// The sidecar, if there is one by now.
fn described(store: &Path) -> Option<Value> {
    let text = fs::read(store.join("embeddings.json")).ok()?;
    Some(serde_json::from_slice(&text).expect("JSON"))
}

/// Images that a store speaks of.
fn committed(store: &Path) -> u64 {
    described(store).map_or(0, |json| json["shape"][0].as_u64().expect("a number"))
}

fn is_complete(store: &Path) -> bool {
    described(store).is_some_and(|json| json["complete"] == true)
}

fn start(mut command: Command) -> Child {
    command.stderr(Stdio::null()).spawn().expect("starts")
}

/// Waits until `is_so`, or until `child` has ended before that was seen.
///
/// # Panics
/// After a minute.
fn wait_until(child: &mut Child, what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() && child.try_wait().expect("a child").is_none() {
        let waited = started.elapsed();
        assert!(
            waited < Duration::from_mins(1),
            "{what}: not after a minute"
        );
        std::thread::sleep(Duration::from_micros(200));
    }
}

fn kill(mut child: Child) {
    child.kill().expect("killed");
    child.wait().expect("ended");
}

/// As often as a run may end before it is killed, on a machine that is busy.
const MAX_ROUNDS: usize = 20;

#[test]
fn a_run_that_is_killed_goes_on_where_it_was_and_ends_alike() {
    let folder = pictures(600);
    let folder = folder.path();
    let store = folder.join("store");
    let (mut before, mut num_killed) = (0, 0);
    for _ in 0..MAX_ROUNDS {
        let mut child = start(precompute(folder, "photos", &store, &[]));
        wait_until(&mut child, "more is committed", || {
            committed(&store) > before
        });
        kill(child);
        let kept = committed(&store);
        assert!(kept > before, "{kept} after {before}");
        if kept == 600 {
            // It was faster.
            fs::remove_dir_all(&store).expect("removed");
            (before, num_killed) = (0, 0);
            continue;
        }
        assert!(!is_complete(&store));
        before = kept;
        num_killed += 1;
        if num_killed == 3 {
            break;
        }
    }
    assert_eq!(num_killed, 3, "runs ended before they could be killed");
    let told = precomputed(folder, "photos", &store);
    let expected = format!(
        "{} pictures were encoded, {before} had been before",
        600 - before
    );
    assert!(told.contains(&expected), "{told}");
    assert!(is_complete(&store));
    let once = folder.join("once");
    precomputed(folder, "photos", &once);
    for name in ["embeddings.bin", "filenames.txt"] {
        let read = |store: &Path| fs::read(store.join(name)).expect("a file");
        assert_eq!(read(&store), read(&once), "{name}");
    }
    let alike = |store: &Path| {
        let mut json = described(store).expect("a sidecar");
        assert!(json["identity"].take().is_string());
        json
    };
    assert_eq!(alike(&store), alike(&once));
}

#[test]
fn pictures_are_known_from_wherever_they_are_named() {
    let root = tempfile::tempdir().expect("a folder");
    let root = root.path().canonicalize().expect("a folder");
    for folder in ["one", "two"] {
        for name in ["a.png", "sub/b.png"] {
            copy("rgb.png", &root.join(folder).join("photos").join(name));
        }
    }
    let (one, two, store) = (root.join("one"), root.join("two"), root.join("store"));
    precomputed(&one, "photos", &store);
    assert_eq!(names(&store), ["photos/a.png", "photos/sub/b.png"]);
    let relative_to = described(&store).expect("a sidecar")["names_relative_to"].clone();
    assert_eq!(relative_to, one.to_str().expect("UTF-8"));
    // The same pictures, by other names.
    let whole = one.join("photos");
    let whole = whole.to_str().expect("UTF-8");
    for (folder, input) in [
        (one.as_path(), "."),
        (one.as_path(), whole),
        (&one.join("photos"), "."),
        (&root, "one"),
        (&two, "../one/photos"),
    ] {
        let told = precomputed(folder, input, &store);
        assert!(
            told.contains("0 pictures were encoded, 2 had been before"),
            "{input}: {told}"
        );
    }
    // Others, by the same names.
    copy("grey.png", &one.join("photos/c.png"));
    let told = precomputed(&two, "photos", &store);
    assert!(
        told.contains("2 pictures were encoded, 2 had been before"),
        "{told}"
    );
    let told = precomputed(&root, "one/photos", &store);
    assert!(
        told.contains("1 pictures were encoded, 4 had been before"),
        "{told}"
    );
    let elsewhere = |name: &str| two.join(name).to_str().expect("UTF-8").to_owned();
    assert_eq!(
        names(&store),
        [
            "photos/a.png".to_owned(),
            "photos/sub/b.png".to_owned(),
            elsewhere("photos/a.png"),
            elsewhere("photos/sub/b.png"),
            "photos/c.png".to_owned(),
        ]
    );
    // A store of an earlier version does not say; its names are from where it is gone on
    // with.
    let sidecar = store.join("embeddings.json");
    let mut json = described(&store).expect("a sidecar");
    let fields = json.as_object_mut().expect("an object");
    fields.remove("names_relative_to").expect("a folder");
    fs::write(&sidecar, json.to_string()).expect("written");
    let told = precomputed(&one, "photos", &store);
    assert!(
        told.contains("0 pictures were encoded, 5 had been before"),
        "{told}"
    );
    // Moved together, they are still known.
    precomputed(&one, "photos", &one.join("store"));
    fs::rename(&one, root.join("moved")).expect("moved");
    let moved = root.join("moved");
    copy("grey.png", &moved.join("photos/d.png"));
    let told = precomputed(&moved, "photos", &moved.join("store"));
    assert!(
        told.contains("1 pictures were encoded, 3 had been before"),
        "{told}"
    );
    assert_eq!(names(&moved.join("store"))[3], "photos/d.png");
}

#[test]
fn a_store_that_is_made_anew_leaves_the_old_one_until_it_is_whole() {
    let folder = pictures(400);
    let folder = folder.path();
    let store = folder.join("store");
    precomputed(folder, "from", &store);
    let files = ["embeddings.bin", "filenames.txt", "embeddings.json"];
    let read = || files.map(|name| fs::read(store.join(name)).expect("a file"));
    let old = read();
    // A program that has the array open, as a running `pairs` has it mapped.
    let limit = choral::vision::store::EmbeddingStore::open(&store, 64);
    let reader = limit.expect("a store");
    let first = reader.embedding(0).expect("a row");

    let new = || {
        let entries = fs::read_dir(&store).expect("a folder").flatten();
        let mut folders = entries
            .map(|entry| entry.path())
            .filter(|path| path.is_dir());
        folders.next()
    };
    let mut rounds = 0..MAX_ROUNDS;
    let kept = loop {
        rounds
            .next()
            .expect("a run that does not end before it is killed");
        let mut child = start(precompute(folder, "photos", &store, &["--overwrite"]));
        wait_until(&mut child, "something is committed", || {
            new().is_some_and(|new| committed(&new) > 0)
        });
        kill(child);
        let kept = new().map_or(400, |new| committed(&new));
        let is_old = fs::read(store.join(files[2])).is_ok_and(|json| json == old[2]);
        if kept < 400 && is_old {
            break kept;
        }
        // It was faster: the old store again, with another file of the same numbers.
        fs::remove_dir_all(&store).expect("removed");
        fs::create_dir(&store).expect("a folder");
        for (name, bytes) in files.iter().zip(&old) {
            fs::write(store.join(name), bytes).expect("written");
        }
    };
    assert!(kept > 0, "nothing was committed");
    assert_eq!(read(), old);
    // Without the option the old one is gone on with, and the other is mentioned.
    let told = precomputed(folder, "from", &store);
    assert!(told.contains("--overwrite and not finished"), "{told}");
    assert_eq!(read(), old);
    let (code, told) = run(&mut precompute(folder, "photos", &store, &["--overwrite"]));
    assert_eq!(code, Some(0), "{told}");
    let expected = format!(
        "{} pictures were encoded, {kept} had been before",
        400 - kept
    );
    assert!(told.contains(&expected), "{told}");
    assert_eq!(names(&store).len(), 400);
    assert!(new().is_none() && is_complete(&store));
    let identity = |json: &[u8]| {
        let json: Value = serde_json::from_slice(json).expect("JSON");
        json["identity"].as_str().expect("text").to_owned()
    };
    assert_ne!(identity(&old[2]), identity(&read()[2]));
    // What was open is what it was.
    assert_eq!(reader.len(), 3);
    assert_eq!(reader.embedding(0).expect("a row"), first);
    // Nothing takes no place.
    fs::create_dir(folder.join("empty")).expect("a folder");
    let (code, told) = run(&mut precompute(folder, "empty", &store, &["--overwrite"]));
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("there is no picture in `empty`"), "{told}");
    assert_eq!(names(&store).len(), 400);
}

/// Copies the model with one number of a tensor changed, which makes another of it.
fn another(from: &Path, to: &Path) {
    let mut bytes = fs::read(from).expect("a model");
    let last = bytes.len() - 2;
    bytes[last] ^= 1;
    fs::write(to, bytes).expect("written");
}

#[test]
fn a_store_is_of_its_encoder_and_needs_none_to_answer() {
    let folder = pictures(2);
    let folder = folder.path();
    let store = folder.join("store");
    let gguf = golden("models/glm4v/gguf");
    let path = |name: &str| folder.join("model").join(name);
    fs::create_dir(folder.join("model")).expect("a folder");
    let text = gguf.join("glm4v-BF16.gguf");
    let encoder = gguf.join("mmproj-glm4v-F32.gguf");
    fs::copy(&text, path("text.gguf")).expect("copied");
    fs::copy(&encoder, path("mmproj.gguf")).expect("copied");
    let on_it = |mut command: Command, model: &str| {
        run(command
            .arg("-m")
            .arg(path(model))
            .args(["--numeric", "f32"]))
    };
    let add = || on_it(precompute(folder, "photos", &store, &[]), "text.gguf");
    let answer = |model: &str| {
        let words = ["describe", "--embeds", "store", "-i0", "-n2"];
        on_it(images(folder, &words), model)
    };
    let good = |(code, told): (Option<i32>, String)| assert_eq!(code, Some(0), "{told}");
    let refused = |(code, told): (Option<i32>, String), message: &str| {
        assert_eq!(code, Some(1), "{told}");
        assert!(told.contains(message), "{told}");
    };
    good(add());
    let model = described(&store).expect("a sidecar")["model"].clone();
    assert_ne!(model["fingerprint"], model["encoder_fingerprint"]);
    good(answer("text.gguf"));
    // Another encoder is beside it now.
    another(&encoder, &path("mmproj.gguf"));
    refused(add(), "made with another image encoder: it has");
    refused(
        answer("text.gguf"),
        "made with another image encoder: it has",
    );
    // None is: it is the text model that must be the same.
    fs::remove_file(path("mmproj.gguf")).expect("removed");
    good(answer("text.gguf"));
    another(&text, &path("other.gguf"));
    refused(answer("other.gguf"), "made with another model: it has");
    // With the encoder at hand the text model may be another: of other precision, say.
    fs::copy(&encoder, path("mmproj.gguf")).expect("copied");
    good(answer("other.gguf"));
    refused(
        on_it(precompute(folder, "photos", &store, &[]), "other.gguf"),
        "made with another model: it has",
    );
}

#[test]
fn a_store_of_another_tool_is_taken_by_its_size_and_that_is_said() {
    let folder = pictures(2);
    let folder = folder.path();
    let store = folder.join("store");
    precomputed(folder, "photos", &store);
    fs::remove_file(store.join("embeddings.json")).expect("removed");
    let answer = || {
        let words = ["describe", "--embeds", "store", "-i0", "-n2"];
        run(&mut images(folder, &words))
    };
    let (code, told) = answer();
    assert_eq!(code, Some(0), "{told}");
    assert!(
        told.contains("is taken for 2 x 2 tokens an image, 64 numbers each"),
        "{told}"
    );
    // 79 x 79 tokens an image are more than the model's greatest area.
    let array = fs::File::options()
        .write(true)
        .open(store.join("embeddings.bin"));
    array
        .and_then(|array| array.set_len(2 * 79 * 79 * 64 * 2))
        .expect("longer");
    let (code, told) = answer();
    assert_eq!(code, Some(1), "{told}");
    assert!(
        told.contains("pictures of 2212 pixels a side; the model takes up to 2184"),
        "{told}"
    );
}

#[cfg(unix)]
#[test]
fn what_cannot_be_encoded_is_an_error_of_its_own() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::fs::symlink;
    let folder = pictures(2);
    let folder = folder.path();
    let store = folder.join("store");
    let photos = folder.join("photos");
    let odd = photos.join(OsStr::from_bytes(b"caf\xE9.png"));
    copy("rgb.png", &odd);
    copy("rgb.png", &photos.join("two\nlines.png"));
    let bmp = fs::read(golden("images/bmp_24.bmp")).expect("a file");
    fs::write(photos.join("headless.bmp"), &bmp[14..]).expect("written");
    copy("bmp_24.bmp", &photos.join("z.bmp"));
    // Links: to a picture that is there, to a folder, in a circle, to themselves.
    symlink("0000.png", photos.join("again.png")).expect("a link");
    symlink("../from", photos.join("linked")).expect("a link");
    symlink(".", photos.join("circle")).expect("a link");
    symlink("self.png", photos.join("self.png")).expect("a link");
    let (code, told) = run(&mut precompute(folder, "photos", &store, &[]));
    assert_eq!(code, Some(3), "{told}");
    assert!(
        told.contains("6 pictures were encoded, 0 had been before, 4 failed"),
        "{told}"
    );
    assert!(told.contains("1 files are links to others"), "{told}");
    assert!(told.contains("has a path a line, of UTF-8 text"), "{told}");
    assert!(
        told.contains("headless.bmp: is not a picture that is known"),
        "{told}"
    );
    assert!(told.contains("self.png: cannot be read"), "{told}");
    assert_eq!(
        names(&store),
        [
            "photos/0000.png",
            "photos/0001.png",
            "photos/linked/0.png",
            "photos/linked/1.png",
            "photos/linked/2.png",
            "photos/z.bmp",
        ]
    );
    let list = fs::read_to_string(store.join("errors.jsonl")).expect("a list");
    assert_eq!(list.lines().count(), 4);
}

#[test]
fn sizes_that_the_model_does_not_take_are_refused_before_anything_is_made() {
    let folder = pictures(1);
    for size in ["2212", "65548", "18446744073709551604"] {
        let mut command = images(folder.path(), &["precompute", "photos", "-o", "store"]);
        let (code, told) = run(command.args(["--image-size", size]));
        assert_eq!(code, Some(1), "{told}");
        let expected = format!(
            "the image size is {size}, expected a multiple of 28, up to 2184 with this model"
        );
        assert!(told.contains(&expected), "{told}");
    }
    assert!(!folder.path().join("store").exists());
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_in_what_the_exit_code_says() {
    use rustix::process::{Pid, Signal, kill_process};
    let folder = pictures(200);
    let folder = folder.path();
    let store = folder.join("store");
    // All through the run, up to its last moments and beyond.
    let moments: [u64; 8] = [1, 64, 128, 190, 196, 199, 200, 201];
    for moment in moments {
        if store.exists() {
            fs::remove_dir_all(&store).expect("removed");
        }
        let mut child = start(precompute(folder, "photos", &store, &["--batch-size", "1"]));
        let array = store.join("embeddings.bin");
        let row = 4 * 64 * 2;
        wait_until(&mut child, "it is the moment", || {
            let written = fs::metadata(&array).map_or(0, |file| file.len());
            written >= moment.min(200) * row && (moment <= 200 || is_complete(&store))
        });
        if child.try_wait().expect("a child").is_none() {
            let id = Pid::from_child(&child);
            kill_process(id, Signal::INT).expect("sent");
        }
        let code = child.wait().expect("ended").code();
        match code {
            Some(0) => assert!(is_complete(&store), "{moment}"),
            Some(130) => assert!(!is_complete(&store), "{moment}"),
            other => panic!("{other:?} at {moment}"),
        }
        // Either way the same command ends with all of them.
        precomputed(folder, "photos", &store);
        assert_eq!(names(&store).len(), 200);
    }
}

#[test]
fn however_many_pictures_are_together_they_are_encoded_alike() {
    let folder = pictures(9);
    let folder = folder.path();
    let few = folder.join("few");
    precomputed(folder, "photos", &few);
    let all = folder.join("all");
    let most = usize::MAX.to_string();
    let words = ["--batch-size", most.as_str()];
    let (code, told) = run(&mut precompute(folder, "photos", &all, &words));
    assert_eq!(code, Some(0), "{told}");
    let numbers = |store: &Path| fs::read(store.join("embeddings.bin")).expect("numbers");
    assert_eq!(numbers(&few), numbers(&all));
}
