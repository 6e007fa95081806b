use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

use super::{is_supported, nearest, quantize};
use crate::{Dtype, FormatError, JsonObject, dequantize};

/// Every type that can be made.
fn types() -> impl Iterator<Item = Dtype> {
    Dtype::ALL
        .iter()
        .copied()
        .filter(|&dtype| is_supported(dtype))
}

fn round_trip(dtype: Dtype, values: &[f32]) -> Vec<f32> {
    let mut bytes = vec![0xaa; dtype.bytes_for(values.len()).unwrap()];
    quantize(dtype, values, &mut bytes).unwrap();
    let mut back = vec![0.0; values.len()];
    dequantize(dtype, &bytes, &mut back).unwrap();
    back
}

fn rmse(a: &[f32], b: &[f32]) -> f64 {
    let square = |(a, b): (&f32, &f32)| (f64::from(*a) - f64::from(*b)).powi(2);
    let sum: f64 = a.iter().zip(b).map(square).sum();
    (sum / a.len() as f64).sqrt()
}

/// `golden/quantize/make.py` says where the numbers come from.
#[test]
fn errors_are_those_of_the_reference_within_two_percent() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../golden/quantize/errors.json"
    );
    let mut checked = 0;
    for row in JsonObject::open(path)
        .unwrap()
        .objects("rows")
        .unwrap()
        .unwrap()
    {
        let name: &str = row.required("name").unwrap();
        let bytes = STANDARD
            .decode(row.required::<&str>("values_f16_b64").unwrap())
            .unwrap();
        let values: Vec<f32> = bytes
            .as_chunks()
            .0
            .iter()
            .map(|&x| half::f16::from_le_bytes(x).to_f32())
            .collect();
        let recorded = row.object("rmse").unwrap().unwrap();
        for dtype in types().filter(|&dtype| dtype != Dtype::F32) {
            let expected: f64 = recorded.required(dtype.name()).unwrap();
            let found = rmse(&values, &round_trip(dtype, &values));
            println!("{name}: {dtype} {found:.4e}, reference {expected:.4e}");
            assert!(
                found <= 1.02 * expected,
                "{name}: {dtype} is off by {found}, the reference by {expected}"
            );
            checked += 1;
        }
    }
    assert!(checked > 100);
}

#[test]
fn floats_are_rounded_to_nearest_and_what_is_not_finite_stays() {
    let values = [1.0, -0.1, f32::INFINITY, f32::NEG_INFINITY, 1e-8, 0.0];
    assert_eq!(round_trip(Dtype::F32, &values), values);
    // 0x2e66 and 0xbdcd are the nearest to 0.1; f16's least number is 6e-8.
    let f16 = [
        1.0,
        -0.099_975_586,
        f32::INFINITY,
        f32::NEG_INFINITY,
        0.0,
        0.0,
    ];
    assert_eq!(round_trip(Dtype::F16, &values), f16);
    assert_eq!(round_trip(Dtype::BF16, &values)[1], -0.100_097_656);
    assert!(round_trip(Dtype::F16, &[f32::NAN])[0].is_nan());
}

#[test]
fn zeros_stay_zeros_and_single_values_stay_near() {
    for dtype in types() {
        assert!(
            round_trip(dtype, &[0.0; 512]).iter().all(|&x| x == 0.0),
            "{dtype}"
        );
        let mut values = [0.0; 256];
        values[77] = -3.0;
        let back = round_trip(dtype, &values);
        assert!((back[77] + 3.0).abs() < 0.2, "{dtype}: {}", back[77]);
    }
}

#[test]
fn what_cannot_be_stored_is_named() {
    for (dtype, value) in [
        (Dtype::Q4_K, f32::NAN),
        (Dtype::Q8_0, f32::INFINITY),
        (Dtype::IQ4_XS, 1e5),
        (Dtype::F16, -7e4),
    ] {
        let mut values = [0.5; 256];
        values[200] = value;
        let mut bytes = vec![0; dtype.bytes_for(256).unwrap()];
        let error = quantize(dtype, &values, &mut bytes).unwrap_err();
        assert!(
            matches!(error, FormatError::Value { index: 200, .. }),
            "{error}"
        );
    }
    let error = quantize(Dtype::Q4_K, &[0.0; 32], &mut [0; 144]).unwrap_err();
    assert!(matches!(error, FormatError::ByteLength { .. }), "{error}");
    let error = quantize(Dtype::IQ2_S, &[], &mut []).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot quantise to IQ2_S: choral only reads it"
    );
}

#[test]
fn codes_round_to_the_nearest_within_bounds() {
    for (x, expected) in [
        (0.4, 0.0),
        (-9.0, -4.0),
        (2.6, 3.0),
        (99.0, 3.0),
        (f32::NAN, -4.0),
    ] {
        assert_eq!(nearest(x, -4.0, 3.0), expected);
    }
}

proptest! {
    #[test]
    fn any_bits_are_stored_or_refused(
        bits in proptest::collection::vec(any::<u32>(), 256),
        exponent in 0u32..256,
        which in any::<prop::sample::Index>(),
    ) {
        let types: Vec<Dtype> = types().collect();
        let dtype = *which.get(&types);
        // Once as they are (often refused), once all of one exponent.
        for bits in [bits.clone(), bits.iter().map(|b| b & 0x807f_ffff | exponent << 23).collect()] {
            let values: Vec<f32> = bits.into_iter().map(f32::from_bits).collect();
            let mut bytes = vec![0; dtype.bytes_for(256).unwrap()];
            if quantize(dtype, &values, &mut bytes).is_ok() && dtype.block_len() > 1 {
                let mut back = vec![0.0; 256];
                dequantize(dtype, &bytes, &mut back).unwrap();
                let largest = values.iter().fold(0.0f32, |max, x| max.max(x.abs()));
                for (x, back) in values.iter().zip(back) {
                    prop_assert!(back.is_finite());
                    // Even two bits are within one and a half of the largest weight, but
                    // f16 scales count in 6e-8, and codes and group scales multiply it.
                    prop_assert!((x - back).abs() <= 1.5 * largest + 3e-4, "{dtype} {x} {back} {largest}");
                }
            }
        }
    }
}
