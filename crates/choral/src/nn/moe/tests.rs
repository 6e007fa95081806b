use super::*;

#[test]
fn shares_are_a_softmax() {
    let mut shares = [1.0, 3.0, 2.0, -1.0];
    softmax(&mut shares);
    let exps = [1.0_f64, 3.0, 2.0, -1.0].map(f64::exp);
    let sum: f64 = exps.iter().sum();
    for (share, exp) in shares.iter().zip(exps) {
        assert!((f64::from(*share) - exp / sum).abs() < 1e-7);
    }
}

#[test]
fn a_sigmoid_is_one() {
    for x in [-90.0_f32, -3.0, -0.5, 0.0, 0.5, 3.0, 90.0] {
        let exact = 1.0 / (1.0 + (-f64::from(x)).exp());
        assert!((f64::from(sigmoid(x)) - exact).abs() < 1e-7, "{x}");
    }
    assert!(sigmoid(f32::NAN).is_nan());
}
