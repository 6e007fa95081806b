//! Filters against an implementation that sorts everything.

use crate::sampling::dist::{Candidates, Filter};
use proptest::prelude::*;

/// (id, probability), likeliest first, ties by lower id: by definition.
fn sorted_softmax(logits: &[f32]) -> Vec<(u32, f64)> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weight = |l: f32| (f64::from(l) - f64::from(max)).exp();
    let total: f64 = logits.iter().map(|&l| weight(l)).sum();
    let mut order: Vec<usize> = (0..logits.len())
        .filter(|&i| logits[i] > f32::NEG_INFINITY)
        .collect();
    order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]).then(a.cmp(&b)));
    order
        .into_iter()
        .map(|i| (i as u32, weight(logits[i]) / total))
        .collect()
}

fn kept(logits: &[f32], filter: Filter) -> Vec<u32> {
    let mut candidates = Candidates::from_logits(logits).unwrap();
    candidates.apply(filter);
    let total: f64 = candidates.probabilities().sum();
    assert!((total - 1.0).abs() < 1e-12);
    candidates.ids().collect()
}

/// Rows with ties, with bans, of one and of many tokens; never all -inf.
fn rows() -> impl Strategy<Value = Vec<f32>> {
    let tied = prop::sample::select(vec![-2.0f32, -0.5, 0.0, 0.5, 3.0, f32::NEG_INFINITY]);
    let logit = prop_oneof![3 => -12.0f32..12.0, 1 => tied.clone()];
    prop_oneof![
        prop::collection::vec(logit, 1..300),
        prop::collection::vec(tied, 1..300),
        prop::collection::vec(-1.0f32..1.0, 1..2000),
    ]
    .prop_filter("a token must be left", |row| {
        row.iter().any(|l| *l > f32::NEG_INFINITY)
    })
}

/// A kept set that is a prefix of `order`, up to tokens whose exclusion is a
/// matter of rounding: `margins` are how far each is inside (negative: outside).
fn assert_prefix(mut got: Vec<u32>, order: &[u32], margins: &[f64]) {
    let count = got.len();
    let mut prefix = order[..count].to_vec();
    prefix.sort_unstable();
    got.sort_unstable();
    assert_eq!(got, prefix, "kept tokens are the best ones");
    assert!(count >= 1);
    for (rank, margin) in margins.iter().enumerate().skip(1) {
        if rank < count {
            assert!(
                *margin > -1e-12,
                "rank {rank} of {count} kept, margin {margin}"
            );
        } else {
            assert!(
                *margin < 1e-12,
                "rank {rank} of {count} dropped, margin {margin}"
            );
        }
    }
}

proptest! {
    #[test]
    fn top_k_keeps_what_sorting_keeps(row in rows(), k in 1u32..400) {
        let sorted = sorted_softmax(&row);
        let mut want: Vec<u32> = sorted.iter().take(k as usize).map(|x| x.0).collect();
        want.sort_unstable();
        prop_assert_eq!(kept(&row, Filter::TopK(k)), want.clone());
        let mut filled = Candidates::default();
        filled.fill_top_k(&row, k as usize).unwrap();
        prop_assert_eq!(filled.ids().collect::<Vec<_>>(), want);
    }

    #[test]
    fn top_p_keeps_what_sorting_keeps(row in rows(), p in 0.001f32..0.999) {
        let sorted = sorted_softmax(&row);
        let order: Vec<u32> = sorted.iter().map(|x| x.0).collect();
        let mut before = 0.0;
        let margins: Vec<f64> = sorted
            .iter()
            .map(|x| {
                let margin = f64::from(p) - before;
                before += x.1;
                margin
            })
            .collect();
        assert_prefix(kept(&row, Filter::TopP(p)), &order, &margins);
    }

    #[test]
    fn min_p_keeps_what_sorting_keeps(row in rows(), p in 0.001f32..1.0) {
        let sorted = sorted_softmax(&row);
        let order: Vec<u32> = sorted.iter().map(|x| x.0).collect();
        let margins: Vec<f64> = sorted
            .iter()
            .map(|x| x.1 / sorted[0].1 - f64::from(p))
            .collect();
        assert_prefix(kept(&row, Filter::MinP(p)), &order, &margins);
    }

    #[test]
    fn typical_keeps_what_sorting_keeps(row in rows(), p in 0.001f32..0.999) {
        let sorted = sorted_softmax(&row);
        let entropy: f64 = sorted.iter().map(|x| -x.1 * x.1.ln()).sum();
        let mut by_surprise: Vec<(u32, f64, f64)> = sorted
            .iter()
            .map(|&(id, q)| (id, q, (-q.ln() - entropy).abs()))
            .collect();
        by_surprise.sort_by(|a, b| a.2.total_cmp(&b.2).then(a.0.cmp(&b.0)));
        let got = kept(&row, Filter::Typical(p));
        // Distances come by other roundings: compare the last one's, and the mass.
        let worst = by_surprise
            .iter()
            .filter(|x| got.contains(&x.0))
            .map(|x| x.2)
            .fold(0.0, f64::max);
        let inside = |slack: f64| -> f64 {
            by_surprise.iter().filter(|x| x.2 < worst + slack).map(|x| x.1).sum()
        };
        prop_assert!(inside(1e-9) >= f64::from(p) - 1e-9);
        prop_assert!(inside(-1e-9) < f64::from(p) + 1e-9);
        for x in &by_surprise {
            prop_assert!(x.2 > worst - 1e-9 || got.contains(&x.0));
        }
    }

    #[test]
    fn temperature_reshapes_and_keeps_all(row in rows(), temperature in 0.05f32..5.0) {
        let divided: Vec<f32> = row.iter().map(|l| l / temperature).collect();
        let mut want = sorted_softmax(&divided);
        want.sort_unstable_by_key(|x| x.0);
        let mut candidates = Candidates::from_logits(&row).unwrap();
        candidates.apply(Filter::Temperature(temperature));
        for (got, want) in candidates.probabilities().zip(&want) {
            prop_assert!((got - want.1).abs() < 1e-4 * want.1 + 1e-12);
        }
    }

    #[test]
    fn a_draw_inverts_the_cumulative_distribution(row in rows(), u in 0.0..1.0f64) {
        let mut candidates = Candidates::from_logits(&row).unwrap();
        let drawn = candidates.draw(u);
        let mut before = 0.0;
        let ids: Vec<u32> = candidates.ids().collect();
        for (id, p) in ids.into_iter().zip(candidates.probabilities()) {
            if id == drawn {
                prop_assert!(before <= u + 1e-12 && u < before + p + 1e-12);
                prop_assert!(p > 0.0);
            }
            before += p;
        }
    }
}

#[test]
fn ties_at_a_boundary_go_to_the_lower_id() {
    let row = [1.0, 2.0, 1.0, 1.0];
    assert_eq!(kept(&row, Filter::TopK(2)), [0, 1]);
    assert_eq!(kept(&[0.0; 4], Filter::TopP(0.5)), [0, 1]);
    assert_eq!(kept(&[0.0; 4], Filter::Typical(0.5)), [0, 1]);
    assert_eq!(Candidates::from_logits(&row).unwrap().argmax(), 1);
    assert_eq!(Candidates::from_logits(&[3.0; 5]).unwrap().argmax(), 0);
}

#[test]
fn top_p_keeps_the_token_that_crosses() {
    // Probabilities 1/2, 1/4, 1/4.
    let row = [2f32.ln(), 0.0, 0.0];
    assert_eq!(kept(&row, Filter::TopP(0.4)), [0]);
    assert_eq!(kept(&row, Filter::TopP(0.6)), [0, 1]);
    assert_eq!(kept(&row, Filter::TopP(0.8)), [0, 1, 2]);
}

#[test]
fn each_filter_sees_what_the_ones_before_have_left() {
    // 0.4, 0.3, 0.2, 0.1: alone, top_p 0.5 keeps two; after top_k 2 the first
    // has 4/7 and is enough.
    let row = [0.4f32.ln(), 0.3f32.ln(), 0.2f32.ln(), 0.1f32.ln()];
    let mut candidates = Candidates::from_logits(&row).unwrap();
    candidates.apply(Filter::TopP(0.5));
    assert_eq!(candidates.len(), 2);
    candidates.fill(&row).unwrap();
    candidates.apply(Filter::TopK(2));
    candidates.apply(Filter::TopP(0.5));
    assert_eq!(candidates.ids().collect::<Vec<_>>(), [0]);
}

#[test]
fn typical_can_drop_the_likeliest_and_what_follows_is_relative_to_the_rest() {
    // 0.3 and seven times 0.1: the entropy is 1.97, the surprises 1.20 and 2.30,
    // so the likeliest token is the least typical.
    let mut row = [0.1f32.ln(); 8];
    row[2] = 0.3f32.ln();
    let mut candidates = Candidates::from_logits(&row).unwrap();
    candidates.apply(Filter::Typical(0.45));
    assert_eq!(candidates.ids().collect::<Vec<_>>(), [0, 1, 3, 4, 5]);
    assert_eq!(candidates.argmax(), 0);
    candidates.apply(Filter::MinP(0.9));
    assert_eq!(candidates.len(), 5);
    for p in candidates.probabilities() {
        assert!((p - 0.2).abs() < 1e-12);
    }
}

#[test]
fn neutral_values_change_nothing() {
    let row: Vec<f32> = (0..500).map(|i| (i as f32 * 0.37).sin() * 4.0).collect();
    let mut candidates = Candidates::from_logits(&row).unwrap();
    let before: Vec<f64> = candidates.probabilities().collect();
    for filter in [
        Filter::Temperature(1.0),
        Filter::TopK(0),
        Filter::TopP(1.0),
        Filter::MinP(0.0),
        Filter::Typical(1.0),
        Filter::Epsilon(0.0),
        Filter::Eta(0.0),
    ] {
        candidates.apply(filter);
    }
    assert_eq!(before, candidates.probabilities().collect::<Vec<_>>());
}

#[test]
fn filters_leave_a_token_whatever_their_values() {
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -1e30, 1e30, 0.0] {
        for filter in [
            Filter::Temperature(value),
            Filter::TopP(value),
            Filter::MinP(value),
            Filter::Typical(value),
            Filter::Epsilon(value),
            Filter::Eta(value),
        ] {
            let mut candidates = Candidates::from_logits(&[1.0, 5.0, -3.0e38, 3.0]).unwrap();
            candidates.apply(filter);
            assert!(!candidates.is_empty(), "{filter:?}");
            let drawn = candidates.draw(0.5);
            assert!(candidates.ids().any(|id| id == drawn), "{filter:?}");
        }
    }
    let mut none = Candidates::default();
    none.apply(Filter::Temperature(0.0));
    assert!(none.is_empty());
}
