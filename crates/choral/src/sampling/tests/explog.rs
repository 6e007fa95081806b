use crate::sampling::explog::{SUM_BLOCK, exp_nonpositive, ln, sum, sum_block};
use proptest::prelude::*;

/// Distance in units of the reference's last place.
fn ulps(found: f64, reference: f64) -> f64 {
    let unit = f64::from_bits(reference.abs().to_bits() + 1) - reference.abs();
    ((found - reference) / unit).abs()
}

#[test]
fn exp_has_its_special_values() {
    assert_eq!(exp_nonpositive(0.0), 1.0);
    assert_eq!(exp_nonpositive(-0.0), 1.0);
    assert_eq!(exp_nonpositive(f64::NEG_INFINITY), 0.0);
    assert_eq!(exp_nonpositive(-1e300), 0.0);
    assert_eq!(exp_nonpositive(-709.0), 0.0);
    assert!(exp_nonpositive(-707.9) > 0.0);
    assert!(exp_nonpositive(f64::NAN).is_nan());
}

#[test]
fn ln_has_its_special_values() {
    assert_eq!(ln(1.0), 0.0);
    assert_eq!(ln(2.0), std::f64::consts::LN_2);
    assert!(ulps(ln(10.0), std::f64::consts::LN_10) <= 2.0);
    assert!(ulps(ln(f64::MIN_POSITIVE), -708.396_418_532_264_1) <= 2.0);
}

#[test]
fn a_sum_is_the_sum_of_its_blocks() {
    let values: Vec<f64> = (0..1000).map(|i| 1.0 / f64::from(i + 1)).collect();
    let blocks: f64 = values.chunks(SUM_BLOCK).map(sum_block).sum();
    assert_eq!(sum(&values), blocks);
    let reversed: f64 = values.iter().rev().sum();
    assert!((sum(&values) - reversed).abs() < 1e-14);
    assert_eq!(sum(&[]), 0.0);
}

proptest! {
    #[test]
    fn exp_is_within_two_ulps(x in -707.0..0.0f64) {
        prop_assert!(ulps(exp_nonpositive(x), x.exp()) <= 2.0, "{x}");
    }

    #[test]
    fn ln_is_within_two_ulps_away_from_one(x in prop_oneof![1e-300..0.9f64, 1.1..1e6f64]) {
        prop_assert!(ulps(ln(x), x.ln()) <= 2.0, "{x}");
    }

    #[test]
    fn ln_near_one_is_within_an_ulp_of_one(x in 0.9..1.1f64) {
        prop_assert!((ln(x) - x.ln()).abs() <= f64::EPSILON, "{x}");
    }
}
