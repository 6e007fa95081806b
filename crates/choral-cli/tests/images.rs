//! Pictures from files to answers: stores that are killed, grown and damaged, pairs that
//! are answered alike from a store and from files, and the names that other tools use.

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

fn golden(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden");
    root.join(name).canonicalize().expect("a golden file")
}

/// `choral images` on a small model of random weights.
fn images(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_choral"));
    command.arg("images").args(words);
    for (name, _) in std::env::vars() {
        if name.starts_with("GLM_") || name.starts_with("CHORAL_") {
            command.env_remove(name);
        }
    }
    command.env("CHORAL_MODEL", golden("models/glm4v/hf"));
    command.stdin(Stdio::null());
    command
}

/// Exit code, standard output and standard error.
fn run(command: &mut Command) -> (Option<i32>, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().expect("runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (status.code(), text(stdout), text(stderr))
}

fn copy(folder: &Path, names: &[(&str, &str)]) {
    for (to, from) in names {
        let to = folder.join(to);
        fs::create_dir_all(to.parent().expect("a folder")).expect("folders");
        fs::copy(golden("images").join(from), to).expect("copied");
    }
}

/// A folder of good pictures, by name `a.png` to `e.gif`.
fn pictures() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    copy(
        folder.path(),
        &[
            ("photos/a.png", "rgb.png"),
            ("photos/b.jpg", "turned_6.jpg"),
            ("photos/sub/c.webp", "webp_lossy.webp"),
            ("photos/sub/d.tif", "tiff_grey.tif"),
            ("photos/sub/e.gif", "gif.gif"),
        ],
    );
    folder
}

fn precompute(folder: &Path) -> Command {
    let mut command = images(&["precompute", "photos", "-o", "store", "--image-size", "56"]);
    command.current_dir(folder);
    command
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).expect("lines");
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

/// Texts and tokens, by row.
fn answers(path: &Path) -> Vec<Value> {
    let lines = lines(path).into_iter();
    lines.map(|line| line["outputs"].clone()).collect()
}

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

/// A store of five pictures, and pairs of them.
fn store() -> TempDir {
    let folder = pictures();
    let (code, _, told) = run(&mut precompute(folder.path()));
    assert_eq!(code, Some(0), "{told}");
    let pairs = "0,1\n3,2\n\n0,4\n4,0\n0,1\n1,1\n";
    fs::write(folder.path().join("pairs.txt"), pairs).expect("written");
    folder
}

const SHORT: [&str; 6] = ["-s", "5", "-n", "6", "--no-timings", "--ignore-eos"];

fn pairs(folder: &Path, words: &[&str]) -> (Option<i32>, String, String) {
    let mut command = images(&["pairs"]);
    command.args(words).args(SHORT).current_dir(folder);
    run(&mut command)
}

#[test]
fn pairs_have_the_same_answers_from_a_store_from_files_and_in_any_batch() {
    let folder = store();
    let path = |name: &str| folder.path().join(name);
    let from = |source: &[&str], batch: &str, output: &str| {
        let words = [
            source,
            &["--pairs", "pairs.txt", "--batch-size", batch, "-o", output],
        ];
        let (code, _, told) = pairs(folder.path(), &words.concat());
        assert_eq!(code, Some(0), "{told}");
        fs::read(path(output)).expect("answers")
    };
    let store = ["--embeds", "store"];
    let one = from(&store, "1", "one.jsonl");
    assert_eq!(one, from(&store, "64", "many.jsonl"));
    let files = ["--images", "photos", "--image-size", "56"];
    assert_eq!(one, from(&files, "64", "files.jsonl"));

    let rows = lines(&path("one.jsonl"));
    assert_eq!(rows.len(), 6);
    assert_eq!(rows[1]["row"], 1);
    assert_eq!(rows[1]["fields"]["image_a"], "photos/sub/d.tif");
    assert_eq!(rows[1]["fields"]["index_a"], 3);
    assert_eq!(rows[1]["fields"]["image_b"], "photos/sub/c.webp");
    assert_eq!(
        rows[1]["outputs"][0]["token_ids"].as_array().map(Vec::len),
        Some(6)
    );
    // Two images of four tokens are in the prompt, and the order of a pair matters.
    assert!(
        rows.iter()
            .all(|row| row["usage"]["prompt_tokens"].as_u64() > Some(20))
    );
    let outputs = answers(&path("one.jsonl"));
    assert_ne!(outputs[2][0]["token_ids"], outputs[3][0]["token_ids"]);
    // Again there is nothing to do.
    let (code, _, told) = pairs(
        folder.path(),
        &[
            &store[..],
            &[
                "--pairs",
                "pairs.txt",
                "--batch-size",
                "1",
                "-o",
                "one.jsonl",
            ],
        ]
        .concat(),
    );
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("6 answers are there already"), "{told}");
}

#[test]
fn lines_that_are_no_pairs_are_told_and_the_others_are_answered() {
    let folder = store();
    fs::write(folder.path().join("pairs.txt"), "0,1\nx\n\n0,9\n1,0\n").expect("written");
    let words = [
        "--embeds",
        "store",
        "--pairs",
        "pairs.txt",
        "-o",
        "out.jsonl",
    ];
    let (code, _, told) = pairs(folder.path(), &words);
    assert_eq!(code, Some(3), "{told}");
    assert!(
        told.contains("pairs.txt: line 2 is `x`, expected two numbers"),
        "{told}"
    );
    assert!(
        told.contains("pairs.txt: line 4: there is no image 9: there are 5"),
        "{told}"
    );
    let rows = lines(&folder.path().join("out.jsonl"));
    let errors: Vec<_> = rows
        .iter()
        .map(|row| row["error"]["line"].as_u64())
        .collect();
    assert_eq!(errors, [None, Some(2), Some(4), None]);
}

#[test]
fn a_file_that_cannot_be_read_is_an_error_of_its_pairs() {
    let folder = pictures();
    copy(folder.path(), &[("photos/0.png", "malformed/trunc.png")]);
    fs::write(folder.path().join("pairs.txt"), "0,1\n1,2\n").expect("written");
    let words = [
        "--images",
        "photos",
        "--image-size",
        "56",
        "--pairs",
        "pairs.txt",
        "--json",
    ];
    let (code, out, told) = pairs(folder.path(), &words);
    assert_eq!(code, Some(3), "{told}");
    let rows: Vec<Value> = out
        .lines()
        .map(|l| serde_json::from_str(l).expect("JSON"))
        .collect();
    assert_eq!(rows[0]["error"]["code"], "invalid_image");
    let message = rows[0]["error"]["message"].as_str().expect("text");
    assert!(
        message.contains("photos/0.png: is a damaged PNG file"),
        "{message}"
    );
    assert_eq!(rows[1]["error"], Value::Null);
}

#[test]
fn a_seed_draws_the_same_pairs_again() {
    let folder = store();
    let draw = |seed: &str| {
        let mut command = images(&["pairs", "--embeds", "store", "--random", "4", "--json"]);
        command.args(["-n", "2", "--no-timings", "-s", seed]);
        run(command.current_dir(folder.path())).1
    };
    assert_eq!(draw("1"), draw("1"));
    assert_ne!(draw("1"), draw("2"));
    let (code, _, told) = pairs(folder.path(), &["--embeds", "store", "--random", "11"]);
    assert_eq!(code, Some(1));
    assert!(
        told.contains("11 pairs of 5 images were asked for, but there are 10"),
        "{told}"
    );
}

#[test]
fn pictures_are_described_one_by_one() {
    let folder = store();
    fs::write(folder.path().join("some.txt"), "4\n0\n").expect("written");
    let describe = |words: &[&str]| {
        let mut command = images(&["describe"]);
        command.args(words).args(SHORT).current_dir(folder.path());
        let (code, out, told) = run(command.arg("--json"));
        assert_eq!(code, Some(0), "{told}");
        let rows = out
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"));
        rows.collect::<Vec<Value>>()
    };
    let all = describe(&["--embeds", "store"]);
    assert_eq!(all.len(), 5);
    let some = describe(&["--embeds", "store", "--indices", "some.txt"]);
    assert_eq!(some[0]["fields"]["image"], "photos/sub/e.gif");
    let one = describe(&["--embeds", "store", "-i", "0"]);
    // Seeds follow from the row: only the first of each is drawn alike.
    assert_eq!(one[0]["outputs"], all[0]["outputs"]);
    let file = describe(&["photos/a.png", "--image-size", "56"]);
    assert_eq!(file[0]["outputs"], all[0]["outputs"]);
    // At its own size it has as many tokens as the model's limits say.
    let dynamic = describe(&["photos/a.png", "--image-size", "dynamic"]);
    assert_ne!(
        dynamic[0]["usage"]["prompt_tokens"],
        file[0]["usage"]["prompt_tokens"]
    );
}

#[test]
fn the_names_of_pair_tools_work() {
    let folder = pictures();
    let model = golden("models/glm4v/hf");
    let tool = |set: &[(&str, &str)]| {
        let mut command = images(&[]);
        command
            .env_remove("CHORAL_MODEL")
            .env("GLM_WEIGHTS_DIR", &model);
        command.env("GLM_MAX_TOKENS", "3").env("GLM_SEED", "42");
        command.envs(set.iter().copied()).current_dir(folder.path());
        run(&mut command)
    };
    let (code, _, told) = tool(&[
        ("GLM_PRECOMPUTE", "1"),
        ("GLM_INPUT_DIR", "photos"),
        ("GLM_OUTPUT_DIR", "out"),
        ("GLM_IMAGE_SIZE", "28"),
        ("GLM_BATCH_SIZE", "2"),
    ]);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("`out` has 5, of 1 x 1 tokens each"), "{told}");
    let embeds = ("GLM_EMBEDS_DIR", "out");
    let pair = [
        ("GLM_GENERATE", "1"),
        ("GLM_IDX_A", "0"),
        ("GLM_IDX_B", "3"),
        embeds,
    ];
    let (code, out, told) = tool(&pair);
    assert_eq!(code, Some(0), "{told}");
    assert!(
        out.starts_with("photos/a.png | photos/sub/d.tif\n"),
        "{out}"
    );
    let count = |out: &str| out.matches(" | ").count();
    let (_, out, _) = tool(&[("GLM_GENERATE", "1"), embeds]);
    assert_eq!(count(&out), 1, "{out}");
    let (_, out, _) = tool(&[("GLM_BATCH_GENERATE", "1"), embeds]);
    assert_eq!(count(&out), 4, "{out}");
    let (_, out, _) = tool(&[("GLM_BATCH_GENERATE", "1"), ("GLM_BATCH_SIZE", "8"), embeds]);
    assert_eq!(count(&out), 8, "{out}");
    fs::write(folder.path().join("pairs.txt"), "0,1\n2,3\n").expect("written");
    let file = [
        ("GLM_BATCH_GENERATE", "1"),
        ("GLM_PAIRS_FILE", "pairs.txt"),
        embeds,
    ];
    assert_eq!(count(&tool(&file).1), 2);
    let describe = [("GLM_DESCRIBE", "1"), ("GLM_IDX", "2"), embeds];
    assert!(tool(&describe).1.starts_with("photos/sub/c.webp\n"));
    // Greedy, whatever the seed.
    let greedy = |seed| {
        let set = [("GLM_DO_SAMPLE", "0"), ("GLM_SEED", seed)];
        tool(&[&pair[..], &set].concat()).1
    };
    assert_eq!(greedy("1"), greedy("2"));
}

#[test]
fn what_makes_no_sense_is_told() {
    let folder = store();
    let error = |words: &[&str]| {
        let mut command = images(words);
        let (code, _, told) = run(command.current_dir(folder.path()));
        assert!(matches!(code, Some(1 | 2)), "{words:?}: {code:?} {told}");
        told
    };
    let told = error(&["pairs", "--embeds", "nowhere", "-a", "0", "-b", "1"]);
    assert!(
        told.contains("`nowhere` is no store of embeddings: it has no embeddings.bin"),
        "{told}"
    );
    let told = error(&["pairs", "--embeds", "store", "-a", "0", "-b", "5"]);
    assert!(
        told.contains("there is no image 5: there are 5, from 0"),
        "{told}"
    );
    let told = error(&[
        "pairs",
        "--embeds",
        "store",
        "-a",
        "0",
        "-b",
        "photos/a.png",
    ]);
    assert!(
        told.contains("-a and -b are two numbers, or two files"),
        "{told}"
    );
    let told = error(&["pairs", "--embeds", "store", "--image-size", "84"]);
    assert!(
        told.contains("84, but the pictures of the store were encoded with 56"),
        "{told}"
    );
    let told = error(&["precompute", "photos", "-o", "store", "--image-size", "112"]);
    assert!(
        told.contains("another image size: it has Fixed(56), expected Fixed(112)"),
        "{told}"
    );
    let told = error(&[
        "precompute",
        "photos",
        "-o",
        "store",
        "--image-size",
        "dynamic",
    ]);
    assert!(told.contains("expected a number"), "{told}");
    let told = error(&["precompute", "photos", "-o", "new", "--image-size", "50"]);
    assert!(
        told.contains("the image size is 50, expected a multiple of 28"),
        "{told}"
    );
    let told = error(&["precompute", "nowhere", "-o", "new"]);
    assert!(told.contains("nowhere"), "{told}");
    let mut blind = images(&["describe", "photos/a.png"]);
    blind.env("CHORAL_MODEL", golden("models/qwen2/hf"));
    let (code, _, told) = run(blind.current_dir(folder.path()));
    assert_eq!(code, Some(1));
    assert!(told.contains("image"), "{told}");
}

/// A page of two answered pairs, one in error and one whose pictures are gone.
fn report() -> TempDir {
    let folder = store();
    fs::write(folder.path().join("pairs.txt"), "0,1\n9,9\n2,3\n").expect("written");
    let words = [
        "--embeds",
        "store",
        "--pairs",
        "pairs.txt",
        "-o",
        "results.jsonl",
    ];
    let (code, _, told) = pairs(folder.path(), &words);
    assert_eq!(code, Some(3), "{told}");
    fs::remove_file(folder.path().join("photos/sub/d.tif")).expect("removed");
    let mut command = images(&["report", "results.jsonl", "-o", "report.html"]);
    let (code, _, told) = run(command.current_dir(folder.path()));
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("photos/sub/d.tif: cannot be read"), "{told}");
    folder
}

#[test]
fn a_page_has_pictures_and_answers_beside_each_other() {
    let folder = report();
    let page = fs::read_to_string(folder.path().join("report.html")).expect("a page");
    assert_eq!(page.matches("<article").count(), 3);
    assert_eq!(
        page.matches("background-image: url(data:image/jpeg;base64,")
            .count(),
        3
    );
    assert_eq!(page.matches("not found").count(), 1);
    assert!(page.contains("line 2: there is no image 9"), "{page}");
    let mut again = images(&["report", "results.jsonl", "-o", "report.html"]);
    let (code, _, told) = run(again.current_dir(folder.path()));
    assert_eq!(code, Some(1));
    assert!(told.contains("--overwrite replaces it"), "{told}");
    fs::write(folder.path().join("bad.jsonl"), "{\"row\": 0}\nx\n").expect("written");
    let mut bad = images(&["report", "bad.jsonl", "-o", "bad.html"]);
    let (code, _, told) = run(bad.current_dir(folder.path()));
    assert_eq!(code, Some(1));
    assert!(
        told.contains("`bad.jsonl`, line 2: expected an answer"),
        "{told}"
    );
}

/// With a browser on the path; without one there is nothing to look with, and the test
/// says so.
#[test]
fn a_browser_shows_the_page() {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let runs = |name: &&&str| Command::new(name).arg("--version").output().is_ok();
    let Some(browser) = names.iter().find(runs) else {
        eprintln!("no browser is here: the page was not looked at");
        return;
    };
    let folder = report();
    let profile = folder.path().join("profile");
    let page = folder.path().join("report.html").display().to_string();
    let look = |words: &[&str], hash: &str| {
        let output = Command::new(browser)
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--hide-scrollbars",
            ])
            .arg(format!("--user-data-dir={}", profile.display()))
            .args(words)
            .arg(format!("file://{page}{hash}"))
            .output()
            .expect("runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let shown = look(&["--dump-dom"], "");
    assert_eq!(shown.matches("<article").count(), 3, "{shown}");
    // The script ran: the field is there, and nothing is hidden.
    assert!(
        shown.contains("<input type=\"search\"") && !shown.contains(" hidden="),
        "{shown}"
    );
    let found = look(&["--dump-dom"], "#find=LINE%202:");
    assert_eq!(found.matches("hidden=\"\"").count(), 2, "{found}");
    assert!(found.contains("1 shown"), "{found}");
    // What is painted has the colours of the first picture's quadrants.
    let shot = folder.path().join("shot.png");
    look(
        &[
            "--window-size=1000,900",
            &format!("--screenshot={}", shot.display()),
        ],
        "",
    );
    let limits = choral::vision::image::DecodeLimits::default();
    let painted = choral::vision::image::Picture::read(&shot, &limits);
    let painted = painted.expect("a screenshot");
    let (pixels, _) = painted.pixels().as_chunks::<3>();
    let is_green = |p: &&[u8; 3]| p[1] > 150 && p[0] < 90 && p[2] < 110;
    assert!(pixels.iter().filter(is_green).count() > 50);
}

fn data_url(name: &str) -> String {
    use base64::Engine as _;
    let bytes = fs::read(golden("images").join(name)).expect("a file");
    let data = base64::engine::general_purpose::STANDARD.encode(bytes);
    format!("data:image/png;base64,{data}")
}

#[test]
fn rows_of_a_batch_have_pictures_in_their_messages() {
    let folder = pictures();
    let row = |url: &str| {
        let parts = serde_json::json!([
            {"type": "image_url", "image_url": {"url": url}},
            {"type": "text", "text": "What is this?"},
        ]);
        serde_json::json!({"messages": [{"role": "user", "content": parts}]}).to_string()
    };
    let urls = [
        data_url("rgb.png"),
        "a.png".to_owned(),
        "../rows.jsonl".to_owned(),
        "https://example.org/a.png".to_owned(),
        data_url("malformed/trunc.png"),
        data_url("grey.png"),
    ];
    let rows: Vec<String> = urls.iter().map(|url| row(url)).collect();
    fs::write(folder.path().join("rows.jsonl"), rows.join("\n")).expect("written");
    let batch = |model: &str, output: &str, words: &[&str]| {
        let mut batch = Command::new(env!("CARGO_BIN_EXE_choral"));
        batch.args(["batch", "-i", "rows.jsonl", "-o", output, "-m"]);
        batch
            .arg(golden(model))
            .args(["--temp", "0", "-n", "4", "--ignore-eos"]);
        let (code, _, told) = run(batch.args(words).current_dir(folder.path()));
        (code, told, lines(&folder.path().join(output)))
    };
    let error = |row: &Value| {
        row["error"]["message"]
            .as_str()
            .unwrap_or("none")
            .to_owned()
    };
    let tokens = |row: &Value| row["outputs"][0]["token_ids"].clone();
    let model = "models/glm4v/hf";
    let (code, told, rows) = batch(model, "closed.jsonl", &[]);
    assert_eq!(code, Some(3), "{told}");
    assert_eq!(error(&rows[0]), "none");
    assert!(error(&rows[1]).contains("files are not read: --allow-images-from DIR"));
    assert!(error(&rows[3]).contains("is on the network, which is not asked"));
    assert!(error(&rows[4]).starts_with("messages[0].content[0]: the picture is a damaged PNG"));
    assert_eq!(rows[4]["error"]["code"], "invalid_image");
    // Both pictures have as many tokens, and are not the same to the model.
    assert_eq!(
        rows[0]["usage"]["prompt_tokens"],
        rows[5]["usage"]["prompt_tokens"]
    );
    assert_ne!(tokens(&rows[0]), tokens(&rows[5]));
    let allow = ["--allow-images-from", "photos", "--max-num-seqs", "1"];
    let (_, _, open) = batch(model, "open.jsonl", &allow);
    assert!(
        error(&open[2]).contains("where pictures are read"),
        "{}",
        error(&open[2])
    );
    // The file is the picture of the first row, alone or in a batch.
    assert_eq!(tokens(&open[1]), tokens(&rows[0]));
    assert_eq!(tokens(&open[5]), tokens(&rows[5]));

    let (_, _, blind) = batch("models/qwen2/hf", "blind.jsonl", &[]);
    assert!(
        error(&blind[0]).contains("the model has no image encoder"),
        "{}",
        error(&blind[0])
    );
}

#[test]
fn a_picture_is_shown_in_a_chat() {
    use std::io::Write as _;
    let folder = pictures();
    let chat = |input: &str, words: &[&str]| {
        let mut chat = Command::new(env!("CARGO_BIN_EXE_choral"));
        chat.args(["chat", "-q", "--temp", "0", "-n", "4", "-m"])
            .arg(golden("models/glm4v/hf"));
        chat.args(words).current_dir(folder.path());
        chat.stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = chat.spawn().expect("starts");
        let mut stdin = child.stdin.take().expect("a pipe");
        stdin.write_all(input.as_bytes()).expect("written");
        drop(stdin);
        let output = child.wait_with_output().expect("ends");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        (text(output.stdout), text(output.stderr))
    };
    let open = ["--allow-images-from", "photos"];
    let (one, told) = chat("/image a.png\nWhat is it?\nAnd now?\n", &open);
    assert_eq!(told.matches("choral:").count(), 0, "{told}");
    let (other, _) = chat("/image sub/d.tif\nWhat is it?\nAnd now?\n", &open);
    assert_ne!(one, other);
    let (_, told) = chat("/image a.png\n", &[]);
    assert!(
        told.contains("files are not read: --allow-images-from DIR"),
        "{told}"
    );
    let (_, told) = chat("/image gone.png\n", &open);
    assert!(
        told.contains("the picture `gone.png` cannot be read"),
        "{told}"
    );
}
