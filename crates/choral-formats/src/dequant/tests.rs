use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{dequantize, is_supported};
use crate::{Dtype, FormatError, JsonObject};

/// The full set of rows if there is one, else the ones in the repository.
fn quant_rows() -> JsonObject {
    let repository = concat!(env!("CARGO_MANIFEST_DIR"), "/../../golden");
    let folder = std::env::var_os("CHORAL_GOLDEN").map_or(PathBuf::from(repository), PathBuf::from);
    JsonObject::open(folder.join("quant_rows.json")).unwrap()
}

fn by_name(name: &str) -> Dtype {
    *Dtype::ALL
        .iter()
        .find(|dtype| dtype.name() == name)
        .unwrap()
}

#[test]
fn rows_decode_as_the_reference_implementation_does() {
    for row in quant_rows().objects("rows").unwrap().unwrap() {
        let dtype = by_name(row.required("type").unwrap());
        let Some(raw) = row.str("raw_b64").unwrap() else {
            continue;
        };
        let raw = STANDARD.decode(raw).unwrap();
        let expected = STANDARD
            .decode(row.required::<&str>("values_f32_b64").unwrap())
            .unwrap();
        let expected = expected
            .as_chunks::<4>()
            .0
            .iter()
            .map(|&x| f32::from_le_bytes(x));

        let mut found = vec![0.0; raw.len() / dtype.block_bytes() * dtype.block_len()];
        dequantize(dtype, &raw, &mut found).unwrap();
        let largest = found
            .iter()
            .filter(|x| x.is_finite())
            .fold(1.0f32, |max, x| max.max(x.abs()));
        for (i, (found, expected)) in found.into_iter().zip(expected).enumerate() {
            let same = found == expected || found.is_nan() && expected.is_nan();
            // Files of the reference set may differ by one rounding.
            let close = (found - expected).abs() <= 2e-7 * largest;
            assert!(
                same || close,
                "{dtype} [{i}]: expected {expected}, found {found}"
            );
        }
    }
}

#[test]
fn plain_floats_decode_to_themselves() {
    let decode = |dtype, bytes: &[u8]| {
        let mut out = [0.0];
        dequantize(dtype, bytes, &mut out).unwrap();
        out[0]
    };
    assert_eq!(decode(Dtype::F32, &(-1.5f32).to_le_bytes()), -1.5);
    assert_eq!(decode(Dtype::F64, &0.1f64.to_le_bytes()), 0.1);
    assert_eq!(decode(Dtype::F16, &[0x00, 0xc2]), -3.0);
    assert_eq!(decode(Dtype::F16, &[0x01, 0x00]), 2f32.powi(-24));
    assert_eq!(decode(Dtype::F16, &[0x00, 0x7c]), f32::INFINITY);
    assert_eq!(decode(Dtype::BF16, &[0x40, 0xc0]), -3.0);
    assert_eq!(decode(Dtype::F8_E4M3, &[0x7e]), 448.0);
    assert_eq!(decode(Dtype::F8_E5M2, &[0x7b]), 57344.0);
}

#[test]
fn activation_formats_decode_as_scale_times_byte() {
    // d = 0.5, s = 7 (ignored), q = -128, -127, ...
    let mut block = vec![0x00, 0x38, 0x00, 0x47];
    block.extend((0..32).map(|q: u8| q.wrapping_add(128)));
    let mut out = [0.0; 32];
    dequantize(Dtype::Q8_1, &block, &mut out).unwrap();
    assert_eq!((out[0], out[1], out[31]), (-64.0, -63.5, -48.5));

    let mut block = 0.25f32.to_le_bytes().to_vec();
    block.extend(0..=255);
    block.extend([0; 32]);
    let mut out = [0.0; 256];
    dequantize(Dtype::Q8_K, &block, &mut out).unwrap();
    assert_eq!(
        (out[0], out[127], out[128], out[255]),
        (0.0, 31.75, -32.0, -0.25)
    );
}

#[test]
fn rows_longer_than_a_chunk_keep_their_order() {
    // f16 is converted in chunks; the integers to 2048 are exact in f16.
    let values: Vec<f32> = (0u16..1000).map(f32::from).collect();
    let bytes: Vec<u8> = values
        .iter()
        .flat_map(|&x| half::f16::from_f32(x).to_le_bytes())
        .collect();
    let mut out = vec![0.0; values.len()];
    dequantize(Dtype::F16, &bytes, &mut out).unwrap();
    assert_eq!(out, values);
}

#[test]
fn nan_scales_give_nan_and_no_panic() {
    let mut block = [0x11; 34];
    block[..2].copy_from_slice(&[0xff, 0x7f]);
    let mut out = [0.0; 32];
    dequantize(Dtype::Q8_0, &block, &mut out).unwrap();
    assert!(out.iter().all(|x| x.is_nan()));
}

#[test]
fn lengths_that_do_not_belong_together_are_refused() {
    for (bytes, elements) in [(33, 32), (35, 32), (34, 31), (34, 64), (0, 32), (34, 0)] {
        let result = dequantize(Dtype::Q8_0, &vec![0; bytes], &mut vec![0.0; elements]);
        assert!(
            matches!(result, Err(FormatError::ByteLength { .. })),
            "{bytes} {elements}"
        );
    }
    let error = dequantize(Dtype::Q8_0, &[0; 33], &mut [0.0; 32]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Q8_0: 32 elements take 34 bytes, found 33 bytes"
    );
    let error = dequantize(Dtype::Q8_0, &[0; 34], &mut [0.0; 31]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Q8_0: 31 elements take no whole number of blocks, found 34 bytes"
    );
}

#[test]
fn types_that_are_no_weights_are_refused_by_name() {
    let error = dequantize(Dtype::IQ2_XXS, &[0; 66], &mut [0.0; 256]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot dequantise IQ2_XXS: not implemented"
    );
    assert!(!is_supported(Dtype::I32));
    assert!(is_supported(Dtype::Q4_K));
}
