//! Encoders from GGUF files, and files that are not what they should be.
//!
//! The GGUF files are written here from a Hugging Face directory, with the names that
//! llama.cpp's converter gives: their vectors must be that directory's.

use choral::embed::{Embedder, EmbedderBuilder, EmbedderError, Pooling};
use choral::engine::Prompt;
use choral::model::Numeric;
use choral::{Engine, builder::BuildError};
use choral_formats::gguf::Writer;
use choral_formats::{Dtype, ModelFile, TensorInfo, quantize};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

fn bert() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/models/bert_embed")
}

fn read(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).expect("JSON")
}

fn floats(value: &Value) -> Vec<f32> {
    let floats = value.as_array().expect("numbers").iter();
    floats
        .map(|x| x.as_f64().expect("a number") as f32)
        .collect()
}

/// llama.cpp's name of a tensor; `None` for what its converter leaves out.
fn gguf_name(name: &str) -> Option<String> {
    let name = match name {
        "embeddings.word_embeddings.weight" => "token_embd.weight",
        "embeddings.position_embeddings.weight" => "position_embd.weight",
        "embeddings.token_type_embeddings.weight" => "token_types.weight",
        "embeddings.LayerNorm.weight" => "token_embd_norm.weight",
        "embeddings.LayerNorm.bias" => "token_embd_norm.bias",
        other => {
            let (layer, part) = other.strip_prefix("encoder.layer.")?.split_once('.')?;
            let (module, kind) = part.rsplit_once('.')?;
            let module = match module {
                "attention.self.query" => "attn_q",
                "attention.self.key" => "attn_k",
                "attention.self.value" => "attn_v",
                "attention.output.dense" => "attn_output",
                "attention.output.LayerNorm" => "attn_output_norm",
                "intermediate.dense" => "ffn_up",
                "output.dense" => "ffn_down",
                "output.LayerNorm" => "layer_output_norm",
                _ => return None,
            };
            return Some(format!("blk.{layer}.{module}.{kind}"));
        }
    };
    Some(name.to_owned())
}

/// The golden model as a GGUF file; rows of 96 in `Q8_0`, if `quantised`.
fn gguf(quantised: bool) -> Writer<'static> {
    let mut writer = Writer::new();
    writer
        .set("general.architecture", "bert")
        .set("bert.block_count", 3u32)
        .set("bert.context_length", 128u32)
        .set("bert.embedding_length", 48u32)
        .set("bert.feed_forward_length", 96u32)
        .set("bert.attention.head_count", 4u32)
        .set("bert.attention.layer_norm_epsilon", 1e-12f32)
        .set("bert.attention.causal", false)
        .set("bert.pooling_type", 1u32)
        .set("tokenizer.ggml.model", "bert")
        .set("tokenizer.ggml.token_type_count", 2u32)
        .set("tokenizer.ggml.padding_token_id", 0u32)
        .set("tokenizer.ggml.unknown_token_id", 1u32)
        .set("tokenizer.ggml.cls_token_id", 2u32)
        .set("tokenizer.ggml.seperator_token_id", 3u32);
    let tokenizer = read(&bert().join("hf/tokenizer.json"));
    let vocab = tokenizer["model"]["vocab"]
        .as_object()
        .expect("a vocabulary");
    let mut tokens: Vec<(u64, &String)> = vocab
        .iter()
        .map(|(token, id)| (id.as_u64().expect("an id"), token))
        .collect();
    tokens.sort_unstable();
    let is_special = |id: u64| id < 5;
    let spelled = |&(id, token): &(u64, &String)| match token.strip_prefix("##") {
        _ if is_special(id) => token.clone(),
        Some(rest) => rest.to_owned(),
        None => format!("\u{2581}{token}"),
    };
    let texts: Vec<String> = tokens.iter().map(spelled).collect();
    let kinds = tokens
        .iter()
        .map(|&(id, _)| if is_special(id) { 3 } else { 1 });
    let kinds: Vec<i32> = kinds.collect();
    writer
        .set(
            "tokenizer.ggml.tokens",
            texts.iter().map(String::as_str).collect::<Vec<_>>(),
        )
        .set("tokenizer.ggml.token_type", kinds);

    let file = ModelFile::open(bert().join("hf")).expect("a good model");
    for info in file.tensors().infos() {
        let Some(name) = gguf_name(&info.name) else {
            continue;
        };
        let view = file.tensors().tensor(&info.name).expect("it is there");
        let is_quantised = quantised && info.shape.len() == 2 && info.row_len() == 96;
        let dtype = if is_quantised {
            Dtype::Q8_0
        } else {
            Dtype::F32
        };
        let mut bytes = Vec::new();
        let mut row = vec![0.0; view.row_len()];
        for i in 0..view.rows() {
            view.dequantize_row(i, &mut row).expect("floats");
            let length = dtype.bytes_for(row.len()).expect("whole blocks");
            let mut encoded = vec![0; length];
            quantize(dtype, &row, &mut encoded).expect("a type that can be written");
            bytes.extend(encoded);
        }
        let shape = info.shape.clone();
        writer
            .tensor(TensorInfo { name, dtype, shape }, bytes)
            .expect("as many bytes as needed");
    }
    writer
}

fn saved(writer: &Writer<'_>) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("bert.gguf");
    writer.save(&path).expect("a file");
    (folder, path)
}

#[test]
fn a_gguf_file_gives_the_vectors_of_its_origin() {
    let (_folder, path) = saved(&gguf(false));
    let mut embedder = Embedder::builder().model(&path).build().expect("good");
    assert_eq!(embedder.info().pooling, Pooling::Mean);
    assert_eq!(embedder.info().numeric, Numeric::F32);
    assert_eq!(embedder.info().model_name(), "bert");
    let golden = read(&bert().join("golden.json"));
    for (name, want) in golden["embeddings"].as_object().expect("embeddings") {
        if name == "long" {
            continue;
        }
        let text = want["text"].as_str().expect("a text");
        let found = embedder.embed(&[text]).expect("a vector").remove(0);
        let wanted = floats(&want["mean_l2_normalised"]);
        for (found, wanted) in found.iter().zip(wanted) {
            assert!(
                (found - wanted).abs() < 1e-5,
                "{name}: {found} for {wanted}"
            );
        }
    }
}

#[test]
fn quantised_weights_are_near_in_every_numeric() {
    let (_folder, path) = saved(&gguf(true));
    let text = ["The quick brown fox jumps over the lazy dog."];
    let golden = read(&bert().join("golden.json"));
    let wanted = floats(&golden["embeddings"]["short"]["mean_l2_normalised"]);
    for numeric in [Numeric::F32, Numeric::Bf16, Numeric::Q8] {
        let builder = Embedder::builder().model(&path).numeric(numeric);
        let mut embedder = builder.build().expect("good");
        let found = embedder.embed(&text).expect("a vector").remove(0);
        let cosine: f32 = found.iter().zip(&wanted).map(|(a, b)| a * b).sum();
        assert!(cosine > 0.999, "{}: {cosine}", numeric.name());
    }
}

/// A copy of the golden directory with files replaced or added.
fn changed(files: &[(&str, Value)]) -> tempfile::TempDir {
    changed_from(&bert().join("hf"), files)
}

fn changed_from(origin: &Path, files: &[(&str, Value)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["config.json", "model.safetensors", "tokenizer.json"] {
        let copied = std::fs::copy(origin.join(name), folder.path().join(name));
        copied.expect("a copy");
    }
    for (name, value) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
        std::fs::write(path, value.to_string()).expect("a file");
    }
    folder
}

fn config_with(key: &str, value: Value) -> Value {
    let mut config = read(&bert().join("hf/config.json"));
    config[key] = value;
    config
}

fn build(folder: &tempfile::TempDir) -> Result<Embedder, EmbedderError> {
    Embedder::builder().model(folder.path()).threads(1).build()
}

/// The message of what must not be built.
#[track_caller]
fn refusal(files: &[(&str, Value)]) -> String {
    build(&changed(files)).expect_err("refused").to_string()
}

#[test]
fn the_files_of_sentence_transformers_say_how_to_pool() {
    let pooling = |config: Value| {
        let folder = changed(&[("1_Pooling/config.json", config)]);
        build(&folder).expect("good").info().pooling
    };
    assert_eq!(
        pooling(json!({"pooling_mode_cls_token": true})),
        Pooling::Cls
    );
    let last = json!({"pooling_mode_lasttoken": true, "pooling_mode_mean_tokens": false});
    assert_eq!(pooling(last), Pooling::Last);
    assert_eq!(pooling(json!({"pooling_mode": "cls"})), Pooling::Cls);
    assert_eq!(pooling(json!({})), Pooling::Mean);

    let module = |path: &str, kind: &str| json!({"idx": 0, "name": "0", "path": path, "type": format!("sentence_transformers.models.{kind}")});
    let modules = json!([
        module("", "Transformer"),
        module("2_P", "Pooling"),
        module("3", "Normalize")
    ]);
    let folder = changed(&[
        ("modules.json", modules),
        ("2_P/config.json", json!({"pooling_mode_cls_token": true})),
        (
            "sentence_bert_config.json",
            json!({"max_seq_length": 64, "do_lower_case": false}),
        ),
    ]);
    let embedder = build(&folder).expect("good");
    assert_eq!(embedder.info().pooling, Pooling::Cls);
    assert_eq!(embedder.info().max_model_len, 64);
    let builder = Embedder::builder().model(folder.path());
    let longer = builder.max_model_len(128).pooling(Pooling::Last);
    let longer = longer.build().expect("good");
    assert_eq!(longer.info().max_model_len, 128);
    assert_eq!(longer.info().pooling, Pooling::Last);
}

#[test]
fn what_would_give_other_vectors_is_refused_by_name() {
    let pooling = |config: Value| refusal(&[("1_Pooling/config.json", config)]);
    let max = pooling(json!({"pooling_mode_max_tokens": true}));
    assert!(max.contains("pooling_mode_max_tokens"), "{max}");
    let two = json!({"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": true});
    assert!(pooling(two).contains("together with"));
    let width = pooling(json!({"word_embedding_dimension": 49}));
    assert!(
        width.contains("expected 48, the model's width, found 49"),
        "{width}"
    );

    let dense = json!([{"path": "2_Dense", "type": "sentence_transformers.models.Dense"}]);
    assert!(refusal(&[("modules.json", dense)]).contains("`Dense`"));
    let outside = json!([{"path": "../x", "type": "sentence_transformers.models.Pooling"}]);
    assert!(refusal(&[("modules.json", outside)]).contains("outside"));
    assert!(refusal(&[("modules.json", json!({}))]).contains("no list of modules"));

    for (key, value) in [
        ("position_embedding_type", json!("relative_key")),
        ("is_decoder", json!(true)),
        ("hidden_act", json!("quick_gelu")),
        ("num_attention_heads", json!(5)),
        ("num_attention_heads", json!(0)),
        ("num_hidden_layers", json!(1_000_000_000)),
        ("layer_norm_eps", json!(-1.0)),
        ("quantization_config", json!({"quant_method": "gptq"})),
    ] {
        let error = refusal(&[("config.json", config_with(key, value))]);
        assert!(error.contains(&format!("`{key}`")), "{error}");
    }
    let unknown = config_with("architectures", json!(["NomicBertModel"]));
    let error = refusal(&[("config.json", unknown)]);
    assert!(
        error.contains("`NomicBertModel`") && error.contains("BertModel,"),
        "{error}"
    );
}

#[test]
fn tensors_that_do_not_fit_the_settings_are_refused() {
    for (key, value, tensor) in [
        ("vocab_size", 701, "embeddings.word_embeddings.weight"),
        (
            "max_position_embeddings",
            129,
            "embeddings.position_embeddings.weight",
        ),
        ("hidden_size", 96, "embeddings.word_embeddings.weight"),
        (
            "intermediate_size",
            95,
            "encoder.layer.0.intermediate.dense.weight",
        ),
    ] {
        let error = refusal(&[("config.json", config_with(key, json!(value)))]);
        assert!(
            error.contains(tensor) && error.contains("expected ["),
            "{error}"
        );
    }
    let error = refusal(&[("config.json", config_with("num_hidden_layers", json!(4)))]);
    assert!(
        error.contains("encoder.layer.3.attention.self.query.weight"),
        "{error}"
    );
    let small = config_with("vocab_size", json!(699));
    assert!(refusal(&[("config.json", small)]).contains("the tokenizer has 700 tokens"));
}

#[test]
fn gguf_files_that_rank_or_look_ahead_are_refused() {
    let refusal = |key: &str, value: u32| {
        let mut writer = gguf(false);
        writer.set(key, value);
        let (_folder, path) = saved(&writer);
        let built = Embedder::builder().model(path).build();
        built.expect_err("refused").to_string()
    };
    assert!(refusal("bert.pooling_type", 4).contains("ranks pairs"));
    assert!(refusal("bert.pooling_type", 9).contains("expected 0 (none)"));
    assert!(refusal("bert.context_length", 0).contains("bert.context_length"));
    let mut writer = gguf(false);
    writer.set("tokenizer.ggml.model", "t5");
    let (_folder, path) = saved(&writer);
    let error = Embedder::builder()
        .model(path)
        .build()
        .expect_err("refused");
    assert!(error.to_string().contains("`t5`"));
}

#[test]
fn an_engine_says_that_an_encoder_is_for_embeddings() {
    let built = Engine::builder().model(bert().join("hf")).build();
    let Err(error @ BuildError::Model(_)) = built else {
        panic!("an encoder generates");
    };
    assert!(error.to_string().contains("choral embed"), "{error}");
}

#[test]
fn texts_that_cannot_be_embedded_say_why() {
    let embedder = build(&changed(&[])).expect("good");
    let error = |prompt: Prompt, dimensions| {
        let prepared = embedder.prepare(&prompt, dimensions);
        prepared.expect_err("refused").to_string()
    };
    let tokens = |ids: &[u32]| Prompt::Tokens(ids.to_vec());
    assert_eq!(error(tokens(&[]), None), "the text has no tokens");
    assert_eq!(
        error(tokens(&[700]), None),
        "token 700 is outside the vocabulary of 700"
    );
    assert_eq!(
        error(tokens(&[1; 129]), None),
        "the text has 129 tokens, the model takes 128"
    );
    assert_eq!(
        error(tokens(&[1]), Some(49)),
        "49 dimensions asked for, expected 1 to 48"
    );
    let builder = |builder: EmbedderBuilder| {
        let built = builder.model(bert().join("hf")).build();
        built.expect_err("refused").to_string()
    };
    assert!(builder(Embedder::builder().max_model_len(129)).contains("the model has 128"));
    assert!(builder(Embedder::builder().max_num_seqs(0)).contains("max_num_seqs"));
    assert!(builder(Embedder::builder().dimensions(0)).contains("dimensions"));
    assert!(builder(Embedder::builder().threads(0)).contains("threads"));
}

/// The golden model as RoBERTa's files have it: other names, and positions that begin
/// behind the padding token's number.
fn roberta() -> tempfile::TempDir {
    let mut config = config_with("architectures", json!(["XLMRobertaModel"]));
    config["pad_token_id"] = json!(1);
    config["max_position_embeddings"] = json!(130);
    let folder = changed(&[("config.json", config)]);
    let file = ModelFile::open(bert().join("hf")).expect("a good model");
    let mut header = serde_json::Map::new();
    let mut data: Vec<u8> = Vec::new();
    for info in file.tensors().infos() {
        let view = file.tensors().tensor(&info.name).expect("it is there");
        let (start, mut shape) = (data.len(), info.shape.clone());
        if info.name.contains("position_embeddings") {
            shape[0] += 2;
            data.extend([0x7f; 2 * 48 * 4]);
        }
        data.extend(view.bytes);
        let entry = json!({"dtype": "F32", "shape": shape, "data_offsets": [start, data.len()]});
        header.insert(format!("roberta.{}", info.name), entry);
    }
    let header = Value::Object(header).to_string();
    let length = (header.len() as u64).to_le_bytes();
    let bytes = [&length[..], header.as_bytes(), &data].concat();
    std::fs::write(folder.path().join("model.safetensors"), bytes).expect("a file");
    folder
}

#[test]
fn roberta_is_bert_with_positions_behind_the_padding() {
    let mut embedder = build(&roberta()).expect("good");
    assert_eq!(embedder.info().architecture, "roberta");
    assert_eq!(embedder.info().max_model_len, 128);
    let mut bert = build(&changed(&[])).expect("good");
    let texts = ["Hello", "The quick brown fox jumps over the lazy dog."];
    let found = embedder.embed(&texts).expect("vectors");
    assert_eq!(found, bert.embed(&texts).expect("vectors"));
}

#[test]
fn a_decoder_without_a_head_embeds_and_does_not_generate() {
    let origin = bert().join("../qwen3/hf");
    let whole = changed_from(&origin, &[]);
    let mut config = read(&origin.join("config.json"));
    config["architectures"] = json!(["Qwen3Model"]);
    // Then there would have to be an output matrix.
    config["tie_word_embeddings"] = json!(false);
    let headless = changed_from(&origin, &[("config.json", config)]);
    let embed = |folder: &tempfile::TempDir| {
        let mut embedder = build(folder).expect("good");
        embedder.embed(&["Hello"]).expect("a vector")
    };
    assert_eq!(embed(&headless), embed(&whole));
    let engine = Engine::builder().model(headless.path()).build();
    let Err(error) = engine else {
        panic!("a model without a head generates");
    };
    let error = error.to_string();
    assert!(error.contains("`Qwen3Model`"), "{error}");
}
