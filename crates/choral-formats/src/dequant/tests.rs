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
    assert_eq!(decode(Dtype::F8_E8M0, &[126]), 0.5);
    assert_eq!(decode(Dtype::F8_E8M0, &[0]), 2f32.powi(-127));
    assert!(decode(Dtype::F8_E8M0, &[255]).is_nan());
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
    let error = dequantize(Dtype::Q2_0, &[0; 18], &mut [0.0; 64]).unwrap_err();
    assert_eq!(error.to_string(), "cannot dequantise Q2_0: not implemented");
    assert!(!is_supported(Dtype::I32));
    assert!(is_supported(Dtype::Q4_K));
}

/// Random blocks, and what gguf-py makes of them: `golden/codebook_rows.py`.
const CODEBOOK_ROWS: &str = include_str!("../../../../golden/codebook_rows.json");

#[test]
fn codebooks_and_ternary_digits_decode_bit_for_bit() {
    let file = PathBuf::from("codebook_rows.json");
    let cases = JsonObject::from_slice(&file, CODEBOOK_ROWS.as_bytes()).unwrap();
    let mut seen = Vec::new();
    for case in cases.objects("types").unwrap().unwrap() {
        let dtype = by_name(case.required("type").unwrap());
        let first = STANDARD
            .decode(case.required::<&str>("first_block_f32_b64").unwrap())
            .unwrap();
        let num_blocks: usize = case.required("num_blocks").unwrap();
        let raw = blocks_of_lcg(case.required("seed").unwrap(), num_blocks, dtype);
        let mut found = vec![0.0; num_blocks * dtype.block_len()];
        dequantize(dtype, &raw, &mut found).unwrap();
        let bytes: Vec<u8> = found.iter().flat_map(|x| x.to_le_bytes()).collect();
        assert_eq!(bytes[..first.len()], first, "{dtype}");
        let hash = format!("{:016x}", fnv1a(&bytes));
        assert_eq!(hash, case.required::<&str>("fnv1a_f32").unwrap(), "{dtype}");
        seen.push(dtype);
    }
    assert_eq!(seen.len(), 9, "{seen:?}");
}

/// The blocks of `golden/codebook_rows.py`.
fn blocks_of_lcg(seed: u64, num_blocks: usize, dtype: Dtype) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    let mut raw: Vec<u8> = (0..num_blocks * dtype.block_bytes())
        .map(|_| next())
        .collect();
    // Scales are finite: the exponent's top bit is off.
    let scale_at_end = matches!(dtype, Dtype::IQ1_M | Dtype::TQ1_0 | Dtype::TQ2_0);
    let at = if scale_at_end {
        dtype.block_bytes() - 1
    } else {
        1
    };
    for block in raw.chunks_exact_mut(dtype.block_bytes()) {
        block[at] &= 0xbf;
    }
    raw
}

fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
