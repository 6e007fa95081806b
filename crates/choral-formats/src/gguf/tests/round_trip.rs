//! Whatever is written is read back as it was.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn array() -> impl Strategy<Value = Array> {
    let flat = prop_oneof![
        any::<Vec<u8>>().prop_map(Array::U8),
        any::<Vec<i8>>().prop_map(Array::I8),
        any::<Vec<u16>>().prop_map(Array::U16),
        any::<Vec<i16>>().prop_map(Array::I16),
        any::<Vec<u32>>().prop_map(Array::U32),
        any::<Vec<i32>>().prop_map(Array::I32),
        any::<Vec<u64>>().prop_map(Array::U64),
        any::<Vec<i64>>().prop_map(Array::I64),
        any::<Vec<f32>>().prop_map(Array::F32),
        any::<Vec<f64>>().prop_map(Array::F64),
        any::<Vec<bool>>().prop_map(Array::Bool),
        any::<Vec<Vec<u8>>>().prop_map(|v| Array::String(v.into_iter().collect())),
    ];
    flat.prop_recursive(3, 16, 4, |inner| {
        prop::collection::vec(inner, 0..4).prop_map(Array::Array)
    })
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<u8>().prop_map(Value::from),
        any::<i8>().prop_map(Value::from),
        any::<u16>().prop_map(Value::from),
        any::<i16>().prop_map(Value::from),
        any::<u32>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f32>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        any::<Vec<u8>>().prop_map(|bytes| Value::from(&bytes[..])),
        array().prop_map(Value::from),
    ]
}

/// A type that GGUF has, and a shape of whole blocks.
fn tensor() -> impl Strategy<Value = (Dtype, Vec<usize>)> {
    let types: Vec<Dtype> = Dtype::ALL
        .iter()
        .copied()
        .filter(|dtype| dtype.to_ggml().is_some())
        .collect();
    let shape = prop::collection::vec(1usize..4, 1..=4);
    (prop::sample::select(types), shape).prop_map(|(dtype, mut shape)| {
        *shape.last_mut().unwrap() *= dtype.block_len();
        (dtype, shape)
    })
}

proptest! {
    #[test]
    fn metadata_and_tensors(
        entries in prop::collection::btree_map("[a-z.]{1,20}", value(), 0..8),
        tensors in prop::collection::btree_map("[a-z.]{1,64}", tensor(), 0..5),
        alignment in 0u32..8,
    ) {
        let mut entries: BTreeMap<String, Value> = entries;
        entries.insert("general.alignment".to_owned(), (1u32 << alignment).into());
        let mut writer = Writer::new();
        for (key, value) in &entries {
            writer.set(key, value.clone());
        }
        let mut expected = Vec::new();
        for (i, (name, (dtype, shape))) in tensors.iter().enumerate() {
            let info = info(name, *dtype, shape);
            let bytes = vec![i as u8 + 1; info.byte_len().unwrap()];
            writer.tensor(info.clone(), bytes.clone()).unwrap();
            expected.push((info, bytes));
        }
        let file = Gguf::from_bytes("f", writer.to_bytes().unwrap()).unwrap();
        let found: BTreeMap<String, Value> =
            file.metadata().iter().map(|(key, value)| (key.to_owned(), value.clone())).collect();
        // Compared as text, in which NaN equals NaN.
        prop_assert_eq!(format!("{found:?}"), format!("{entries:?}"));
        for (i, (info, bytes)) in expected.iter().enumerate() {
            prop_assert_eq!(&file.infos()[i], info);
            prop_assert_eq!(file.tensor(&info.name).unwrap().bytes, bytes);
        }
    }
}
