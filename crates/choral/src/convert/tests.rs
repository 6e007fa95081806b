use super::family::Named;
use super::mixture::{Chooser, Facts};
use super::{Choice, Mixture};
use choral_formats::gguf::{Gguf, Writer};
use choral_formats::{Dtype, TensorInfo};
use serde_json::Value;

const MIXTURES: &str = include_str!("../../../../golden/quantize/mixtures.json");

/// `golden/quantize/make.py` says where the table comes from.
#[test]
fn mixtures_give_every_tensor_the_type_that_llama_cpp_gives_it() {
    let golden: Value = serde_json::from_str(MIXTURES).expect("JSON");
    for model in golden["models"].as_array().expect("models") {
        let architecture = model["architecture"].as_str().expect("a name");
        let mut writer = Writer::new();
        for (key, value) in model["settings"].as_object().expect("settings") {
            let value = value.as_u64().expect("a count") as u32;
            writer.set(format!("{architecture}.{key}"), value);
        }
        let bytes = writer.to_bytes().expect("writes");
        let file = Gguf::from_bytes("test", bytes).expect("opens");
        let mut infos: Vec<TensorInfo> = model["tensors"]
            .as_object()
            .expect("tensors")
            .iter()
            .map(|(name, shape)| TensorInfo {
                name: name.clone(),
                dtype: Dtype::F16,
                shape: serde_json::from_value(shape.clone()).expect("a shape"),
            })
            .collect();
        let layer = |info: &TensorInfo| super::mixture::layer(&info.name).map_or(0, |l| l + 1);
        infos.sort_by(|a, b| (layer(a), &a.name).cmp(&(layer(b), &b.name)));
        for (name, types) in model["types"].as_object().expect("types") {
            let mixture: Mixture = name.parse().expect("a mixture");
            let facts = Facts::read(architecture, file.metadata(), &infos).expect("facts");
            let mut chooser = Chooser::new(Choice::of(mixture), facts);
            for info in &infos {
                let Some(found) = chooser.choose(info) else {
                    continue;
                };
                let listed = types.as_object().expect("types").iter().find(|(_, names)| {
                    let names = names.as_array();
                    names.is_some_and(|names| names.iter().any(|n| n == &info.name))
                });
                let others = || {
                    let types = types.as_object().expect("types");
                    types.iter().find(|(_, names)| *names == "others")
                };
                let expected = listed.or_else(others).map_or("F32", |(kind, _)| kind);
                let tensor = &info.name;
                assert_eq!(
                    found.name(),
                    expected,
                    "{}: {name}: {tensor}",
                    model["name"]
                );
            }
        }
    }
}

#[test]
fn file_types_are_those_of_llama_cpp() {
    assert_eq!(Mixture::Q4_K_M.file_type(), 15);
    assert_eq!("q4_k".parse(), Ok(Mixture::Q4_K_M));
    let error = "Q9_K".parse::<Mixture>().expect_err("no such mixture");
    assert!(
        error.contains("Q9_K") && error.contains("Q4_K_M"),
        "{error}"
    );
}

#[test]
fn names_are_taken_apart() {
    let named = Named::parse("model.layers.12.mlp.experts.3.up_proj.weight");
    assert_eq!(named.stem, "model.layers.{l}.mlp.experts.{e}.up_proj");
    assert_eq!(
        (named.layer, named.expert, named.ending),
        (12, 3, ".weight")
    );
    let plain = Named::parse("lm_head.bias");
    assert_eq!((plain.stem.as_str(), plain.ending), ("lm_head", ".bias"));
}
