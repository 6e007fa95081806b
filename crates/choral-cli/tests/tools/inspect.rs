//! `choral inspect`.

use super::choral;

const Q4_0: &str = "golden/models/tinyllama/gguf/tinyllama-Q4_0.gguf";

#[test]
fn a_gguf_file_is_summed_up() {
    insta::assert_snapshot!(choral(&["inspect", Q4_0, "--summary"], "").text(), @r#"
    golden/models/tinyllama/gguf/tinyllama-Q4_0.gguf: GGUF version 3, 157 kB
      architecture     llama (choral runs it as llama)
      parameters       211 k in 30 tensors, 141 kB (5.33 bits each)
      types            Q4_0        22 tensors     170 k    95.6 kB
                       Q8_0         1 tensors    41.0 k    43.5 kB
                       F32          7 tensors       448    1.79 kB
      shape            3 layers of 64, 4 heads, 2 of keys and values, 16 wide
                       feed-forward 160, vocabulary 640
      context          512 tokens
      keys and values  384 B a token in f16
      tokenizer        llama (split: default), 640 tokens
                       add_bos_token = true
                       add_eos_token = false
                       add_sep_token = false
                       bos_token_id = 1
                       eos_token_id = 2
                       padding_token_id = 2
                       unknown_token_id = 0
      chat template    default, 410 characters (see --template)
    "#);
}

#[test]
fn a_hugging_face_folder_is_summed_up() {
    let model = "golden/models/qwen2/hf";
    insta::assert_snapshot!(choral(&["inspect", "-m", model, "--summary"], "").text(), @r#"
    golden/models/qwen2/hf: Hugging Face folder, 381 kB
      architecture     Qwen2ForCausalLM (choral runs it as qwen2)
      parameters       179 k in 38 tensors, 358 kB (16.00 bits each)
      types            BF16        38 tensors     179 k     358 kB
      shape            3 layers of 64, 4 heads, 2 of keys and values, 16 wide
                       feed-forward 160, vocabulary 768 (also the output)
      context          512 tokens
      keys and values  384 B a token in f16
      tokenizer        BPE, 708 tokens
                       add_bos_token = false
                       add_prefix_space = false
                       eos_token = <|im_end|>
                       pad_token = <|endoftext|>
      chat template    default, 2507 characters (see --template)
    "#);
}

#[test]
fn what_is_not_plain_is_told() {
    let model = "golden/models/gpt_oss_mxfp4/hf";
    let text = choral(&["inspect", "-m", model, "--summary"], "").text();
    let features = text.lines().find(|line| line.contains("features"));
    let told = features.expect("a line");
    for what in [
        "4 experts, 2 a token",
        "window of 16",
        "YaRN",
        "attention sinks",
    ] {
        assert!(told.contains(what), "{told}");
    }
}

#[test]
fn long_arrays_are_cut_and_their_length_stated() {
    let text = choral(&["inspect", Q4_0, "--metadata"], "").text();
    let tokens = text
        .lines()
        .find(|line| line.contains("tokenizer.ggml.tokens"));
    insta::assert_snapshot!(tokens.expect("a line"), @r#"  tokenizer.ggml.tokens                      array of string  ["<unk>","<s>","</s>","<0x00>","<0x01>","<0x02>","<0x03>","<0x04>"…] (640 elements)"#);
    let report = choral(&["inspect", Q4_0, "--metadata", "--json"], "")
        .json()
        .remove(0);
    let entries = report["metadata"].as_array().expect("entries");
    let tokens = entries.iter().find(|e| e["key"] == "tokenizer.ggml.tokens");
    let tokens = tokens.expect("an entry");
    assert_eq!(tokens["value"].as_array().expect("a list").len(), 8);
    let len = tokens["len"].as_u64().expect("a length") as usize;

    let full = choral(&["inspect", Q4_0, "--metadata", "--json", "--full"], "")
        .json()
        .remove(0);
    let entries = full["metadata"].as_array().expect("entries");
    let tokens = entries.iter().find(|e| e["key"] == "tokenizer.ggml.tokens");
    let tokens = &tokens.expect("an entry")["value"];
    assert_eq!(tokens.as_array().expect("a list").len(), len);
}

#[test]
fn tensors_are_listed_with_their_bytes() {
    let report = choral(&["inspect", Q4_0, "--json"], "").json().remove(0);
    let tensors = report["tensors"].as_array().expect("tensors");
    let q = tensors.iter().find(|t| t["name"] == "blk.0.attn_q.weight");
    let q = q.expect("a tensor");
    assert_eq!(q["type"], "Q4_0");
    let elements: u64 = q["shape"]
        .as_array()
        .expect("a shape")
        .iter()
        .filter_map(serde_json::Value::as_u64)
        .product();
    assert_eq!(
        q["bytes"],
        elements / 32 * 18,
        "a block of 32 takes 18 bytes"
    );
    let total: u64 = tensors.iter().filter_map(|t| t["bytes"].as_u64()).sum();
    assert_eq!(report["summary"]["tensor_bytes"], total);
}

#[test]
fn a_chat_template_is_shown_in_full() {
    let file = repository_text("golden/models/qwen2/hf/tokenizer_config.json");
    let config: serde_json::Value = serde_json::from_str(&file).expect("JSON");
    let want = config["chat_template"].as_str().expect("a template");
    let text = choral(&["inspect", "golden/models/qwen2/hf", "--template"], "").text();
    assert_eq!(
        text,
        format!("chat template `default`\n{}\n", want.trim_end())
    );
}

fn repository_text(path: &str) -> String {
    std::fs::read_to_string(super::repository().join(path)).expect("a file of the repository")
}

#[test]
fn weights_alone_and_configurations_alone_can_be_inspected() {
    let shard = "golden/models/llama3/hf/model-00001-of-00007.safetensors";
    let report = choral(&["inspect", shard, "--json"], "").json().remove(0);
    assert_eq!(report["summary"]["format"], "safetensors");
    assert_eq!(report["summary"]["cannot_run"], "not a whole model");
    assert!(!report["tensors"].as_array().expect("a list").is_empty());

    let config = "golden/models/llama3/hf/config.json";
    let report = choral(&["inspect", config, "--json"], "").json().remove(0);
    assert_eq!(report["summary"]["architectures"][0], "LlamaForCausalLM");
    assert_eq!(report["summary"]["num_tensors"], 0);
}

#[test]
fn an_unknown_architecture_is_inspected_and_named() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("foo.gguf");
    let mut writer = choral_formats::gguf::Writer::new();
    writer
        .set("general.architecture", "foo\u{1b}[31m")
        .set("foo.nan", f32::NAN);
    writer.save(&path).expect("a file");
    let path = path.to_str().expect("UTF-8");
    let text = choral(&["inspect", path], "").text();
    assert!(
        !text.contains('\u{1b}'),
        "no escape sequence reaches the terminal"
    );
    assert!(text.contains("cannot be run"), "{text}");
    assert!(
        text.contains("foo.nan                                    f32              \"NaN\""),
        "{text}"
    );
}

#[test]
fn what_is_no_model_is_refused() {
    let error = choral(&["inspect", "no/such/file"], "").error();
    assert_eq!(
        error,
        "choral: no/such/file: no such file: expected a GGUF file, a safetensors file or a model folder"
    );
    let error = choral(&["inspect", "Cargo.toml"], "").error();
    assert!(
        error.starts_with("choral: Cargo.toml: expected a GGUF file"),
        "{error}"
    );
}

#[test]
fn without_a_name_the_model_that_ships_is_inspected() {
    let report = choral(&["inspect", "--json"], "").json().remove(0);
    assert_eq!(report["path"], "choral-demo");
    let file = super::repository().join("models/choral-demo-q8_0.gguf");
    let len = std::fs::metadata(file).expect("the model that ships").len();
    assert_eq!(report["summary"]["file_bytes"], len);
    assert!(report["summary"]["cannot_run"].is_null());
}

#[test]
fn a_tokenizer_that_cannot_be_used_says_why() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("foo.gguf");
    let mut writer = choral_formats::gguf::Writer::new();
    writer
        .set("general.architecture", "llama")
        .set("tokenizer.ggml.model", "foo");
    writer.save(&path).expect("a file");
    let path = path.to_str().expect("UTF-8");
    let report = choral(&["inspect", path, "--json"], "").json().remove(0);
    let tokenizer = &report["summary"]["tokenizer"];
    assert_eq!(tokenizer["kind"], "foo");
    let why = tokenizer["cannot_use"].as_str().expect("a reason");
    assert!(why.contains("unsupported tokenizer model"), "{why}");
}
