//! `choral` as a process among others: its words, its environment, pipes and
//! signals. On the model that ships.

use assert_cmd::cargo::cargo_bin;
use predicates::prelude::*;
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};

fn choral(words: &[&str]) -> assert_cmd::Command {
    let mut command = assert_cmd::Command::from(bare(words));
    command.timeout(std::time::Duration::from_mins(5));
    command
}

/// Not even the variables of whoever runs the tests.
fn bare(words: &[&str]) -> Command {
    let mut command = Command::new(cargo_bin("choral"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CHORAL_") {
            command.env_remove(name);
        }
    }
    command.env_remove("RUST_LOG").args(words);
    command
}

fn stdout(command: &mut assert_cmd::Command) -> String {
    let output = command.assert().success().get_output().stdout.clone();
    String::from_utf8(output).expect("UTF-8")
}

/// What `generate --json` makes of `words`.
fn generate(words: &[&str], environment: &[(&str, &str)]) -> Value {
    let mut command = choral(&["generate", "--json"]);
    command.args(words).envs(environment.iter().copied());
    serde_json::from_str(&stdout(&mut command)).expect("one JSON object")
}

#[test]
fn command_lines_of_the_example_without_a_prompt_have_one() {
    for words in [
        &["-n-predict", "15", "-n-parallel", "2"][..],
        &["-verbose", "-n-parallel", "1", "-n-predict", "5"],
        &["-ctx", "1024", "-n-parallel", "2"],
        &["-temperature", "0.5", "-top-k", "20", "-top-p", "0.8"],
        &["-threads", "2"],
        &[],
    ] {
        let mut command = choral(&["generate"]);
        let text = stdout(command.args(words));
        assert!(text.contains("\nHello my name is"), "{words:?}: {text}");
    }
    let help = stdout(&mut choral(&["generate", "-help"]));
    assert!(help.contains("--parallel"), "{help}");
}

#[test]
fn a_prompt_that_looks_like_an_option_is_a_prompt() {
    let words = ["-prompt", "-np", "-n", "1", "-np", "1"];
    assert_eq!(generate(&words, &[])["prompt"], "-np");
    let error = choral(&["generate", "-promt", "x"]).assert().code(2);
    error.stderr(predicate::str::contains("--prompt"));
}

#[test]
fn options_come_from_the_environment_and_the_command_line_wins() {
    let environment = [
        ("CHORAL_TOP_K", "3"),
        ("CHORAL_TEMPERATURE", "0.25"),
        ("CHORAL_N_PARALLEL", "2"),
        ("CHORAL_IGNORE_EOS", "1"),
        ("CHORAL_SEED", ""),
    ];
    let result = generate(&["-n", "2", "--top-k", "4"], &environment);
    let sampling = &result["configuration"]["sampling"];
    assert_eq!(sampling["top_k"], 4);
    assert_eq!(sampling["temperature"], 0.25);
    assert_eq!(sampling["ignore_eos"], true);
    assert_eq!(result["outputs"].as_array().map(Vec::len), Some(2));
    choral(&["generate"])
        .env("CHORAL_QUIET", "perhaps")
        .assert()
        .code(2);
}

#[test]
fn a_variable_does_not_contradict_the_command_line() {
    let environment = [
        ("CHORAL_PROMPT", "from the environment"),
        ("CHORAL_QUIET", "1"),
    ];
    let prompt = |words: &[&str]| {
        let words = [&["-n", "1", "-np", "1"], words].concat();
        generate(&words, &environment)["prompt"].clone()
    };
    assert_eq!(prompt(&[]), "from the environment");
    assert_eq!(prompt(&["hello"]), "hello");
    assert_eq!(prompt(&["-p", "hello", "-v"]), "hello");
    let mut command = choral(&["generate", "-q", "-n", "1", "-np", "1", "-f", "-"]);
    let command = command.envs(environment).write_stdin("Once");
    assert!(stdout(command).contains("Once"));
}

#[test]
fn what_ends_an_answer_early_is_told() {
    let words = "generate -p Once --ignore-eos -c 16 -np 2 -n";
    let run = |limit: &str| {
        let words: Vec<_> = words.split(' ').chain([limit]).collect();
        let output = choral(&words).output().expect("runs");
        assert!(output.status.success());
        String::from_utf8(output.stderr).expect("UTF-8")
    };
    let told = run("100");
    assert!(told.contains("the context of 16 tokens"), "{told}");
    assert_eq!(run("4"), "");
    assert_eq!(run("-1"), "", "that was asked for");

    let chat = |words: &[&str]| {
        let mut command = choral(&["chat", "-q", "--ignore-eos"]);
        let output = command.args(words).write_stdin("Hi\n").output();
        let output = output.expect("runs");
        String::from_utf8(output.stderr).expect("UTF-8")
    };
    let told = chat(&["-n", "3"]);
    assert!(
        told.contains("after 3 tokens") && told.contains("max_tokens"),
        "{told}"
    );
    let told = chat(&["-c", "64"]);
    assert!(told.contains("the context of 64 tokens is full"), "{told}");
}

#[test]
fn quiet_prints_sequences_alone_and_a_prompt_may_come_from_a_file() {
    let words = "generate -q -np 2 -n 3 -s 1 -f -";
    let words: Vec<_> = words.split(' ').collect();
    let text = stdout(choral(&words).write_stdin("Once upon a time\n"));
    assert!(
        text.starts_with("Sequence 0:\n\nOnce upon a time"),
        "{text}"
    );
    assert!(
        text.contains("\n\nSequence 1:\n\nOnce upon a time"),
        "{text}"
    );
    assert!(!text.contains("Statistics"), "{text}");
}

#[test]
fn chat_renders_the_prompt_with_the_models_template_and_system_message() {
    let words = ["-p", "Hi", "--system", "Be kind.", "-n", "1", "-np", "1"];
    let error = choral(&["generate"]).args(words).assert().code(2);
    error.stderr(predicate::str::contains("--chat"));

    let [with, without] = [&words[..], &["-p", "Hi", "-n", "1", "-np", "1"]].map(|words| {
        let result = generate(&[&["--chat"], words].concat(), &[]);
        result["prompt_token_ids"].as_array().map(Vec::len)
    });
    assert!(with > without && without > Some(3), "{with:?}, {without:?}");

    let template = "{{ messages[0].content | upper }}!";
    let words = [
        "--chat",
        "--chat-template",
        template,
        "-p",
        "a",
        "-n",
        "1",
        "-np",
        "1",
    ];
    let rendered = generate(&words, &[]);
    let plain = generate(&["-p", "A!", "-n", "1", "-np", "1"], &[]);
    let ids = |result: &Value| result["prompt_token_ids"].as_array().cloned();
    // A template writes its own beginning of the text, and this one writes none.
    assert_eq!(
        ids(&rendered).as_deref(),
        ids(&plain).as_deref().map(|all| &all[1..])
    );
}

#[test]
fn wrong_options_are_errors_that_say_what_to_do() {
    for (words, code, part) in [
        (
            &["generate", "-hf", "no such name"][..],
            2,
            "expected ORG/NAME[@REVISION][:QUANT]",
        ),
        (&["generate", "-hff", "m.gguf"], 2, "--hf <"),
        (
            &["generate", "-hf", "a/b", "-m", "c"],
            2,
            "cannot be used with",
        ),
        (
            &["generate", "-ctk", "q4_0"],
            2,
            "expected f32, f16, bf16 or q8_0",
        ),
        (&["generate", "--numeric", "q9"], 2, "bf16"),
        (&["generate", "--kv-memory", "lots"], 2, "lots"),
        (&["generate", "-p", "a", "b"], 2, "cannot be used with"),
        (&["generate", "--top-p", "0"], 2, "`top_p`"),
        (&["generate", "--top-p", "1.5"], 2, "`top_p`"),
        (&["generate", "--temp", "nan"], 2, "`temperature`"),
        (&["generate", "-np", "0"], 2, "`n`"),
        (&["generate", "-c", "0"], 2, "from 1"),
        (&["generate", "-t", "200000"], 2, "1 to 1024"),
        (&["batch", "-i", "-", "--temp", "-1"], 2, "`temperature`"),
        (&["chat", "--min-p", "7"], 2, "`min_p`"),
        // Found before the model is missed.
        (
            &["generate", "-m", "/no/model", "--top-k", "-1"],
            2,
            "top-k",
        ),
        (
            &["generate", "-m", "/no/model", "--min-p", "7"],
            2,
            "`min_p`",
        ),
        (
            &["generate", "--chat", "--chat-template", "chatlm"],
            2,
            "chatml",
        ),
        (&["generate", "-f", "/no/such/file"], 1, "/no/such/file"),
        (&["batch", "-i", "/no/such/file"], 1, "/no/such/file"),
        (&["batch"], 2, "--input"),
        (&["no-such-command"], 2, "no-such-command"),
    ] {
        let assert = choral(words).assert().code(code);
        assert.stderr(predicate::str::contains(part)).stdout("");
    }
}

#[test]
fn a_batch_gives_the_same_bytes_for_the_same_seed_and_rows_do_not_depend_on_each_other() {
    let row = |id: u32| json!({"custom_id": id.to_string(), "prompt": "Once", "n": 2}).to_string();
    let run = |rows: Vec<String>, more: &[&str]| {
        let mut command = choral(&["batch", "-i", "-", "-q", "-n", "12", "-s", "9"]);
        stdout(command.args(more).write_stdin(rows.join("\n")))
    };
    let all = run((0..20).map(row).collect(), &[]);
    assert_eq!(
        all,
        run(
            (0..20).map(row).collect(),
            &["--max-num-seqs", "3", "-t", "1"]
        )
    );
    let last = run(vec![row(19)], &[]);
    let outputs =
        |line: &str| serde_json::from_str::<Value>(line).expect("JSON")["outputs"].clone();
    assert_eq!(
        outputs(&last),
        outputs(all.lines().last().expect("20 lines"))
    );
    assert!(!all.contains("timings") && !all.contains("cached"));
    assert!(run(vec![row(0)], &["--timings"]).contains("\"cached_tokens\""));
}

#[test]
fn a_batch_applies_the_template_to_prompts_if_told_to() {
    let run = |words: &[&str]| {
        let mut command = choral(&["batch", "-i", "-", "-q", "-n", "4", "--temp", "0"]);
        let text = stdout(command.args(words).write_stdin("Who are you?\n"));
        serde_json::from_str::<Value>(&text).expect("one line")
    };
    let messages = json!({"messages": [{"role": "user", "content": "Who are you?"}]}).to_string();
    let mut command = choral(&["batch", "-i", "-", "-q", "-n", "4", "--temp", "0"]);
    let by_messages = stdout(command.write_stdin(messages));
    let by_messages: Value = serde_json::from_str(&by_messages).expect("one line");
    let (chat, plain) = (run(&["--chat"]), run(&[]));
    let asked = |answer: &Value| {
        (
            answer["usage"].clone(),
            answer["outputs"][0]["text"].clone(),
        )
    };
    assert_eq!(asked(&chat), asked(&by_messages));
    assert_ne!(
        chat["usage"]["prompt_tokens"],
        plain["usage"]["prompt_tokens"]
    );
}

#[test]
fn the_input_of_a_batch_is_never_overwritten() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("p.txt");
    std::fs::write(&path, "Once\n").expect("written");
    let mut command = choral(&["batch", "--overwrite", "-i"]);
    let assert = command.arg(&path).arg("-o").arg(&path).assert().code(1);
    assert.stderr(predicate::str::contains("is the input"));
    assert_eq!(std::fs::read_to_string(&path).expect("read"), "Once\n");
}

/// A process that is spoken with while it runs.
struct Talk {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<std::process::ChildStdout>,
}

impl Talk {
    fn start(words: &[&str]) -> Self {
        let mut child = bare(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starts");
        Self {
            stdin: child.stdin.take().expect("piped"),
            stdout: BufReader::new(child.stdout.take().expect("piped")),
            child,
        }
    }

    fn say(&mut self, line: &str) {
        writeln!(self.stdin, "{line}").expect("it reads");
    }

    fn hear(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("UTF-8");
        line
    }
}

#[test]
fn a_batch_answers_a_row_before_the_next_is_sent() {
    let mut talk = Talk::start(&["batch", "-i", "-", "-q", "-n", "2"]);
    for row in 0..3 {
        talk.say("Once upon a time");
        let answer: Value = serde_json::from_str(&talk.hear()).expect("JSON");
        assert_eq!(answer["row"], row);
    }
    drop(talk.stdin);
    assert_eq!(talk.child.wait().expect("ends").code(), Some(0));
}

#[test]
fn a_closed_pipe_is_not_an_error() {
    for words in [
        &["batch", "-i", "-", "-q", "-n", "2"][..],
        &["chat", "-n", "2"],
        &["generate", "-f", "-", "-n", "2"],
    ] {
        let mut talk = Talk::start(words);
        drop(talk.stdout);
        // It may have ended before it reads the last of this.
        let _ = talk
            .stdin
            .write_all("Once upon a time\n".repeat(200).as_bytes());
        drop(talk.stdin);
        let output = talk.child.wait_with_output().expect("ends");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), &*stderr), (Some(0), ""), "{words:?}");
    }
}

#[cfg(unix)]
mod signals {
    use super::*;
    use rustix::process::{Pid, Signal, kill_process};

    fn interrupt(child: &Child) {
        let pid = Pid::from_child(child);
        kill_process(pid, Signal::INT).expect("it runs");
    }

    #[test]
    fn ctrl_c_ends_a_batch_with_what_is_done() {
        let mut talk = Talk::start(&["batch", "-i", "-", "-n", "2"]);
        talk.say("Once upon a time");
        talk.hear();
        // It waits for the next row now, and is to hear the signal all the same.
        interrupt(&talk.child);
        let mut rest = String::new();
        talk.stdout.read_to_string(&mut rest).expect("UTF-8");
        let output = talk.child.wait_with_output().expect("ends");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), &*rest), (Some(130), ""), "{stderr}");
        assert!(stderr.contains("the output has 1 rows"), "{stderr}");
    }

    #[test]
    fn ctrl_c_ends_generate_and_prints_what_is_done() {
        let words = "generate -n -1 --ignore-eos --json";
        let mut child = bare(&words.split(' ').collect::<Vec<_>>())
            .env("RUST_LOG", "choral=debug")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starts");
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        let mut lines = stderr.lines().map(|line| line.expect("UTF-8"));
        lines
            .find(|line| line.contains("generating"))
            .expect("it says when it begins");
        interrupt(&child);
        let rest: Vec<String> = lines.collect();
        let output = child.wait_with_output().expect("ends");
        assert_eq!(output.status.code(), Some(130), "{rest:?}");
        let result: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let outputs = result["outputs"].as_array().expect("outputs");
        assert_eq!(outputs.len(), 4);
        for output in outputs {
            assert_eq!(output["finish_reason"], "cancelled");
        }
    }
}
