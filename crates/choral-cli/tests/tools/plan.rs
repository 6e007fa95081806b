//! `choral plan`.

use super::choral;

const MODEL: &str = "golden/models/qwen2/hf";

#[test]
fn a_plan_is_arithmetic() {
    let args = [
        "plan",
        "-m",
        MODEL,
        "-c",
        "256",
        "--memory",
        "64M",
        "--max-num-seqs",
        "8",
        "--json",
    ];
    let plan = choral(&args, "").json().remove(0);
    // 3 layers, keys and values, 2 heads of 16, 2 bytes.
    assert_eq!(plan["kv"]["token_bytes_f16"], 3 * 2 * 2 * 16 * 2);
    assert_eq!(plan["kv"]["sequence_bytes_f16"], 256 * 3 * 2 * 2 * 16 * 2);
    assert_eq!(plan["memory"]["left_bytes"], 64 << 20);
    assert_eq!(plan["choices"]["max_num_seqs"], 8);
    // Eight sequences of 256 tokens can use no more than this.
    assert_eq!(plan["choices"]["kv_tokens"], 8 * 256);
    let fits = plan["fits"].as_array().expect("a list");
    assert_eq!(fits.last().expect("the context")["sequences"], 8);
    let total = plan["memory"]["total_bytes"].as_u64().expect("a size");
    assert!(total <= 64 << 20);
}

#[test]
fn layers_with_windows_keep_no_more_than_their_windows() {
    let plan = |context| {
        let args = [
            "plan",
            "-m",
            "golden/models/gemma3_text/hf",
            "-c",
            context,
            "--memory",
            "64M",
            "--max-num-seqs",
            "2",
            "--prefill-chunk",
            "32",
            "--json",
        ];
        choral(&args, "").json().remove(0)
    };
    let (short, long) = (plan("256"), plan("512"));
    // One layer of six keeps all; the others a step's 32 tokens and 15 before them. Keys
    // and values of 2 heads of 32, 2 bytes.
    let position = 2 * 2 * 32 * 2;
    let bytes = |tokens| (tokens + 5 * 47) * position;
    assert_eq!(short["kv"]["sequence_bytes_f16"], bytes(256));
    assert_eq!(long["kv"]["sequence_bytes_f16"], bytes(512));
    assert_eq!(long["kv"]["token_bytes_f16"], 6 * position);
    // In blocks of one layer: 32 of all positions, and 4 for those 47, wherever they are.
    let sequence = (32 + 5 * 4) * 16 * position;
    assert_eq!(long["choices"]["kv_bytes"], 2 * sequence);
    assert_eq!(long["choices"]["kv_tokens"], 2 * 512);
}

#[test]
fn f32_doubles_keys_and_values() {
    let plan = |numeric| {
        let args = [
            "plan",
            "-m",
            MODEL,
            "--memory",
            "1G",
            "--numeric",
            numeric,
            "--json",
        ];
        choral(&args, "").json().remove(0)
    };
    let (bf16, f32) = (plan("bf16"), plan("f32"));
    let token = |plan: &serde_json::Value| plan["kv"]["token_bytes"].as_u64().expect("a size");
    assert_eq!(token(&f32), 2 * token(&bf16));
    assert_eq!(f32["choices"]["numeric"], "f32");
}

#[test]
fn a_plan_refuses_what_an_engine_would() {
    let refused = |args: &[&str]| choral(&[&["plan", "-m", MODEL], args].concat(), "").error();
    let error = refused(&[
        "--memory",
        "64M",
        "--kv-memory",
        "500G",
        "--max-num-seqs",
        "100000",
    ]);
    assert!(error.contains("but weights leave"), "{error}");
    let error = refused(&[
        "--memory",
        "4M",
        "--kv-memory",
        "500G",
        "--max-num-seqs",
        "64",
    ]);
    assert!(error.contains("keys and values take"), "{error}");
    let error = refused(&["--max-num-seqs", "4294967295"]);
    assert_eq!(
        error,
        "choral: `max_num_seqs` is 4294967295, expected 1 to 2147483647"
    );
    let args = ["--prefill-chunk", "7", "--no-prefix-cache", "--json"];
    let plan = choral(&[&["plan", "-m", MODEL], &args[..]].concat(), "")
        .json()
        .remove(0);
    assert_eq!(plan["choices"]["prefill_chunk"], 7);
    assert_eq!(plan["choices"]["prefix_caching"], false);
}

#[test]
fn a_plan_reads_well() {
    let args = [
        "plan",
        "-m",
        MODEL,
        "-c",
        "300",
        "--memory",
        "100M",
        "--threads",
        "2",
        "--max-num-seqs",
        "4",
    ];
    let text = choral(&args, "").text();
    let shown = text.replace(&isa(&text), "some");
    insta::assert_snapshot!(shown, @r#"
    golden/models/qwen2/hf (qwen2)

    weights          178 k in matrices
      in the file       358 kB
      packed            356 kB  bf16

    keys and values      a token       300 tokens
      f16                   384 B           115 kB

    memory              105 MB  as asked for with --memory
      weights           356 kB
      a step           2.27 MB
      keys, values      467 kB
      together         3.10 MB

    fits at once
            4 sequences of 256 tokens
            4 sequences of 300 tokens

    choral will use
      2 threads, some kernels, bf16
      up to 4 sequences and 512 tokens a step
      prompts in pieces of up to 512 tokens, common beginnings kept
      sequences of up to 300 tokens
      467 kB for keys and values of 1216 tokens
    "#);
}

/// The instruction set that a plan names; it depends on the machine.
fn isa(text: &str) -> String {
    let (_, rest) = text.split_once(" threads, ").expect("threads");
    rest.split_once(" kernels").expect("kernels").0.to_owned()
}

#[test]
fn what_cannot_be_planned_says_why() {
    let error = choral(&["plan", "-m", MODEL, "-c", "1000"], "").error();
    assert_eq!(
        error,
        "choral: context of 1000 tokens asked for, the model has 512"
    );
    let error = choral(&["plan", "-m", MODEL, "--memory", "100K"], "").error();
    assert_eq!(
        error,
        "choral: weights take 356352 bytes in bf16, but 102400 bytes of memory are left"
    );
    let error = choral(&["plan", "-m", "nothing-here"], "").error();
    assert!(
        error.starts_with("choral: no model at `nothing-here`"),
        "{error}"
    );
}
