//! Files that are wrong, made from raw bytes so that nothing corrects them.

use super::*;

fn string(s: &[u8]) -> Vec<u8> {
    [&(s.len() as u64).to_le_bytes(), s].concat()
}

fn entry(key: &[u8], kind: u32, payload: &[u8]) -> Vec<u8> {
    [&string(key), &kind.to_le_bytes()[..], payload].concat()
}

fn tensor(name: &[u8], dims: &[u64], kind: u32, offset: u64) -> Vec<u8> {
    let mut bytes = string(name);
    bytes.extend((dims.len() as u32).to_le_bytes());
    bytes.extend(dims.iter().flat_map(|dim| dim.to_le_bytes()));
    bytes.extend(kind.to_le_bytes());
    bytes.extend(offset.to_le_bytes());
    bytes
}

/// A file of these entries and tensors, and 4096 bytes of data.
fn file(entries: &[Vec<u8>], tensors: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = header(3, tensors.len() as u64, entries.len() as u64);
    bytes.extend(entries.iter().chain(tensors).flatten());
    bytes.resize(bytes.len().next_multiple_of(32) + 4096, 0);
    bytes
}

fn header(version: u32, tensors: u64, keys: u64) -> Vec<u8> {
    [
        &b"GGUF"[..],
        &version.to_le_bytes(),
        &tensors.to_le_bytes(),
        &keys.to_le_bytes(),
    ]
    .concat()
}

#[track_caller]
fn refused(bytes: Vec<u8>, expected: &str) {
    let error = Gguf::from_bytes(PathBuf::from("f"), bytes)
        .unwrap_err()
        .to_string();
    assert_eq!(error, format!("f: {expected}"));
}

#[test]
fn the_builder_of_these_tests_makes_good_files() {
    let good = file(
        &[entry(b"k", 4, &[1, 0, 0, 0])],
        &[tensor(b"t", &[32, 2], 8, 0)],
    );
    let good = Gguf::from_bytes("f", good).unwrap();
    assert_eq!(good.infos(), [info("t", Dtype::Q8_0, &[2, 32])]);
}

#[test]
fn headers() {
    refused(
        vec![],
        "file ends inside magic number: expected 4 bytes, found 0",
    );
    refused(
        b"GGML\x03\0\0\0".to_vec(),
        "magic number: expected \"GGUF\", found \"GGML\"",
    );
    refused(
        b"GGUF\x03\0".to_vec(),
        "file ends inside version: expected 4 bytes, found 2",
    );
    refused(header(1, 0, 0), "version: expected 2 or 3, found 1");
    refused(header(4, 0, 0), "version: expected 2 or 3, found 4");
    refused(
        header(3u32.swap_bytes(), 0, 0),
        "byte order: expected little-endian, found a big-endian file (version 3)",
    );
    refused(
        header(3, 1 << 63, 0),
        "tensor count: expected at most 0 in a file of this size, found 9223372036854775808",
    );
    refused(
        header(3, 0, 1 << 33),
        "metadata count: expected at most 0 in a file of this size, found 8589934592",
    );
}

#[test]
fn keys() {
    refused(
        file(&[entry(b"k", 0, &[1]), entry(b"k", 0, &[2])], &[]),
        "metadata key `k` occurs twice",
    );
    refused(
        file(&[entry(b"", 0, &[1])], &[]),
        "metadata key 0: expected 1 to 65535 bytes, found 0 bytes",
    );
    refused(
        file(&[entry(b"k\xff", 0, &[1])], &[]),
        "metadata key 0: expected UTF-8, found \"k\u{fffd}\"",
    );
}

#[test]
fn values() {
    for kind in [13, 255, u32::MAX] {
        refused(
            file(&[entry(b"k", kind, &[])], &[]),
            &format!("metadata key `k`: expected a value type from 0 to 12, found type {kind}"),
        );
    }
    refused(
        file(&[entry(b"k", 7, &[2])], &[]),
        "metadata key `k`: expected a bool (0 or 1), found 2",
    );
    refused(
        file(&[entry(b"k", 8, &u64::MAX.to_le_bytes())], &[]),
        "file ends inside metadata key `k`: expected 18446744073709551615 bytes, found 4115",
    );
    // An array of u64 whose size in bytes overflows 64 bits.
    let array = [
        10u32.to_le_bytes().to_vec(),
        (1u64 << 62).to_le_bytes().to_vec(),
    ]
    .concat();
    refused(
        file(&[entry(b"k", 9, &array)], &[]),
        "file ends inside metadata key `k`: expected 18446744073709551615 bytes, found 4111",
    );
    // As many strings as would fit a u64 but not the file.
    let array = [
        8u32.to_le_bytes().to_vec(),
        (1u64 << 40).to_le_bytes().to_vec(),
    ]
    .concat();
    refused(
        file(&[entry(b"k", 9, &array)], &[]),
        "file ends inside metadata key `k`, an array of 1099511627776: \
         expected 8796093022208 bytes, found 4111",
    );
    // [[[[[...]]]]]: each level says type 9, count 1.
    let level = [9u32.to_le_bytes().to_vec(), 1u64.to_le_bytes().to_vec()].concat();
    refused(
        file(&[entry(b"k", 9, &level.repeat(300))], &[]),
        "metadata key `k`: expected arrays nested at most 4 deep, found deeper nesting",
    );
}

#[test]
fn alignments() {
    for alignment in [0u32, 7, 48] {
        refused(
            file(
                &[entry(b"general.alignment", 4, &alignment.to_le_bytes())],
                &[],
            ),
            &format!(
                "metadata key `general.alignment`: expected a power of two, found {alignment}"
            ),
        );
    }
    refused(
        file(&[entry(b"general.alignment", 8, &string(b"32"))], &[]),
        "metadata key `general.alignment`: \
         expected an integer from 0 to 4294967295, found string \"32\"",
    );
}

#[test]
fn tensor_descriptions() {
    let check = |tensor, expected: &str| refused(file(&[], &[tensor]), expected);
    check(
        tensor(&[b'x'; 5000], &[1], 0, 0),
        "name of tensor 0: expected 1 to 64 bytes, found 5000 bytes",
    );
    check(
        tensor(b"", &[1], 0, 0),
        "name of tensor 0: expected 1 to 64 bytes, found 0 bytes",
    );
    check(
        tensor(b"\xff", &[1], 0, 0),
        "name of tensor 0: expected UTF-8, found \"\u{fffd}\"",
    );
    for dims in [vec![], vec![1; 5]] {
        check(
            tensor(b"t", &dims, 0, 0),
            &format!(
                "tensor `t`: number of dimensions: expected 1 to 4, found {}",
                dims.len()
            ),
        );
    }
    for dim in [0, 1 << 63, u64::MAX] {
        check(
            tensor(b"t", &[1, dim], 0, 0),
            &format!("tensor `t`: dimension 1: expected 1 to 2^63 - 1, found {dim}"),
        );
    }
    let types = "F32, F16, BF16, F64, I8, I16, I32, I64, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q8_1, \
         Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, Q8_K, IQ2_XXS, IQ2_XS, IQ2_S, IQ3_XXS, IQ3_S, IQ1_S, \
         IQ1_M, IQ4_NL, IQ4_XS, TQ1_0, TQ2_0, MXFP4, NVFP4, Q1_0, Q2_0";
    for (kind, note) in [
        (4, " (Q4_2, which ggml has removed: convert again)"),
        (31, " (Q4_0_4_4, which ggml has removed: convert again)"),
        (100, ""),
        (u32::MAX, ""),
    ] {
        check(
            tensor(b"t", &[1], kind, 0),
            &format!("tensor `t`: type: expected one of {types}, found type {kind}{note}"),
        );
    }
    check(
        tensor(b"t", &[32], 12, 0),
        "tensor `t`: row length: expected rows of whole Q4_K blocks of 256, found 32 elements",
    );
    check(
        tensor(b"t", &[1 << 32, 1 << 32], 0, 0),
        "tensor `t`: shape: expected a size below 2^64 bytes, \
         found F32 [4294967296, 4294967296]",
    );
    refused(
        file(&[], &[tensor(b"t", &[1], 0, 0), tensor(b"t", &[1], 0, 32)]),
        "tensor `t` occurs twice",
    );
}

#[test]
fn tensor_positions() {
    // Header and one description take 57 bytes: data from 64 to 4160.
    let check = |tensor, expected: &str| refused(file(&[], &[tensor]), expected);
    check(
        tensor(b"t", &[1], 0, 8),
        "tensor `t`: offset: expected a multiple of the alignment, 32, found 8",
    );
    check(
        tensor(b"t", &[1025], 0, 0),
        "tensor `t`: data: expected an end within the file, 4160 bytes, found at 4164",
    );
    check(
        tensor(b"t", &[1], 0, 0u64.wrapping_sub(32)),
        "tensor `t`: data: expected an end within the file, 4160 bytes, found beyond 2^64",
    );
    refused(
        file(
            &[],
            &[tensor(b"a", &[16], 0, 0), tensor(b"b", &[16], 0, 32)],
        ),
        "tensor `b`: data: expected a start at or after 160, \
         found a start at 128, inside tensor `a`",
    );
}

#[test]
fn every_prefix_of_a_good_file_is_refused() {
    let good = &TINY[..800 + 68];
    assert!(Gguf::from_bytes("f", good).is_ok());
    for len in 0..good.len() {
        assert!(Gguf::from_bytes("f", &good[..len]).is_err(), "{len}");
    }
}
