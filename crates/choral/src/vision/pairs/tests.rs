use super::*;
use proptest::prelude::*;
use std::collections::HashSet;

fn told(text: &str, images: usize) -> Vec<Result<[usize; 2], String>> {
    let listed = read_pairs(text.as_bytes(), images).expect("memory can be read");
    let told = listed.into_iter();
    told.map(|line| line.images.map_err(|error| error.to_string()))
        .collect()
}

#[test]
fn a_file_of_pairs_is_two_numbers_a_line() {
    assert_eq!(
        told("\u{feff}0,1\r\n\n  2 , 0 \n2,2", 3),
        [Ok([0, 1]), Ok([2, 0]), Ok([2, 2])]
    );
    assert_eq!(told("", 3), []);
}

#[test]
fn what_is_wrong_with_a_line_is_told_with_its_number() {
    let long = "x".repeat(9000);
    let text =
        format!("0,1\n\n0,3\n5\n-1,0\na.png,b.png\n1,2,0\n{long}\n0,99999999999999999999999\n2,1");
    let found = told(&text, 3);
    let errors: Vec<_> = found.iter().map(|line| line.as_ref().err()).collect();
    let expected = "expected two numbers of images and a comma between them, as in 0,1";
    assert_eq!(found[0], Ok([0, 1]));
    assert_eq!(found[8], Ok([2, 1]));
    for (at, message) in [
        (
            1,
            "line 3: there is no image 3: there are 3, from 0".to_owned(),
        ),
        (2, format!("line 4 is `5`, {expected}")),
        (3, format!("line 5 is `-1,0`, {expected}")),
        (4, format!("line 6 is `a.png,b.png`, {expected}")),
        (5, format!("line 7 is `1,2,0`, {expected}")),
        (6, format!("line 8 is `{}…`, {expected}", "x".repeat(40))),
        (
            7,
            "line 9: there is no image 99999999999999999999999: there are 3, from 0".to_owned(),
        ),
    ] {
        assert_eq!(errors[at], Some(&message));
    }
}

#[test]
fn a_file_of_indices_is_one_number_a_line() {
    let listed = read_indices(&b"3\n\n0\n4\nx\n"[..], 4).expect("memory can be read");
    let lines: Vec<_> = listed
        .iter()
        .map(|l| (l.line, l.images.clone().ok()))
        .collect();
    assert_eq!(
        lines,
        [(1, Some([3])), (3, Some([0])), (4, None), (5, None)]
    );
    let error = listed[3].images.clone().expect_err("no number").to_string();
    assert_eq!(error, "line 5 is `x`, expected the number of an image");
}

#[test]
fn pairs_are_numbered_without_gaps() {
    let pairs: Vec<_> = (0..6).map(pair).collect();
    assert_eq!(pairs, [[0, 1], [0, 2], [1, 2], [0, 3], [1, 3], [2, 3]]);
}

#[test]
fn a_seed_draws_the_same_pairs_and_another_others() {
    let draw = |seed| random_pairs(50, 20, seed).expect("enough");
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
    // A shorter draw need not begin like a longer one, but all pairs are all pairs.
    let all = random_pairs(5, 10, 3).expect("enough");
    let all: HashSet<_> = all.into_iter().map(|[a, b]| (a.min(b), a.max(b))).collect();
    assert_eq!(all.len(), 10);
    assert_eq!(random_pairs(5, 11, 3), Err(10));
    assert_eq!(random_pairs(1, 1, 3), Err(0));
    assert_eq!(random_pairs(0, 0, 3), Ok(vec![]));
}

#[test]
fn every_pair_is_as_likely_as_the_others() {
    // 10 pairs of 5 images, 3 a draw: each is expected 1500 times of 5000, with a
    // deviation of sqrt(5000 * 0.3 * 0.7) = 32.
    let mut counts = std::collections::HashMap::new();
    let mut first = 0;
    for seed in 0..5000 {
        for [a, b] in random_pairs(5, 3, seed).expect("enough") {
            *counts.entry((a.min(b), a.max(b))).or_insert(0_i32) += 1;
            first += i32::from(a < b);
        }
    }
    assert_eq!(counts.len(), 10);
    assert!(counts.values().all(|count| (count - 1500).abs() < 150));
    assert!((first - 7500).abs() < 300);
}

proptest! {
    #[test]
    fn lines_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        for line in read_pairs(&bytes[..], 5).expect("memory can be read") {
            if let Ok(images) = line.images {
                prop_assert!(images.iter().all(|image| *image < 5));
            }
        }
    }

    #[test]
    fn drawn_pairs_are_distinct(images in 0..60_usize, count in 0..80_usize, seed: u64) {
        let total = images * images.saturating_sub(1) / 2;
        match random_pairs(images, count, seed) {
            Err(most) => prop_assert!(most == total as u64 && count > total),
            Ok(pairs) => {
                prop_assert_eq!(pairs.len(), count);
                prop_assert!(pairs.iter().all(|[a, b]| a != b && *a < images && *b < images));
                let sets: HashSet<_> = pairs.iter().map(|[a, b]| (a.min(b), a.max(b))).collect();
                prop_assert_eq!(sets.len(), count);
            }
        }
    }

    #[test]
    fn a_number_gives_its_pair(a in 0..3_000_000_u64, gap in 1..1_000_000_u64) {
        let b = a + gap;
        prop_assert_eq!(pair(b * (b - 1) / 2 + a), [a as usize, b as usize]);
    }
}
