//! Pictures in the messages of batches and chats.

use super::{golden, lines, pictures, run};
use serde_json::Value;
use std::fs;
use std::process::{Command, Stdio};

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
