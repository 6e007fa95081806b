use super::random::pair;
use super::*;
use proptest::prelude::*;
use std::collections::HashSet;

fn told(text: &str, images: usize) -> Vec<Result<Vec<usize>, String>> {
    let listed = read_pairs(text.as_bytes()).expect("memory can be read");
    let told = listed.into_iter().map(|line| line.within(images));
    told.map(|line| {
        let error = |error: LineError| format!("{}: {error}", line.line);
        line.images.map_err(error)
    })
    .collect()
}

fn drawn(images: usize, count: usize, seed: u64) -> Vec<[usize; 2]> {
    let pairs = random_pairs(images, seed).expect("two images");
    pairs.take(count).collect()
}

/// Pairs without an order, each once.
fn distinct(pairs: &[[usize; 2]]) -> HashSet<(usize, usize)> {
    pairs.iter().map(|[a, b]| (*a.min(b), *a.max(b))).collect()
}

#[test]
fn a_file_of_pairs_is_two_numbers_a_line() {
    assert_eq!(
        told("\u{feff}0,1\r\n\n  2 , 0 \n2,2", 3),
        [Ok(vec![0, 1]), Ok(vec![2, 0]), Ok(vec![2, 2])]
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
    assert_eq!(found[0], Ok(vec![0, 1]));
    assert_eq!(found[8], Ok(vec![2, 1]));
    for (at, message) in [
        (1, "3: there is no image 3: there are 3, from 0".to_owned()),
        (2, format!("4: found `5`, {expected}")),
        (3, format!("5: found `-1,0`, {expected}")),
        (4, format!("6: found `a.png,b.png`, {expected}")),
        (5, format!("7: found `1,2,0`, {expected}")),
        (6, format!("8: found `{}…`, {expected}", "x".repeat(40))),
        (
            7,
            "9: there is no image 99999999999999999999999: there are 3, from 0".to_owned(),
        ),
    ] {
        assert_eq!(errors[at], Some(&message));
    }
}

#[test]
fn a_file_of_indices_is_one_number_a_line() {
    let listed = read_indices(&b"3\n\n0\n4\nx\n"[..]).expect("memory can be read");
    let lines: Vec<_> = listed
        .iter()
        .map(|l| (l.line, l.clone().within(4).images.ok()))
        .collect();
    assert_eq!(
        lines,
        [(1, Some(vec![3])), (3, Some(vec![0])), (4, None), (5, None)]
    );
    let error = listed[3].images.clone().expect_err("no number").to_string();
    assert_eq!(error, "found `x`, expected the number of an image");
}

#[test]
fn pairs_are_numbered_without_gaps() {
    let pairs: Vec<_> = (0..6).map(pair).collect();
    assert_eq!(pairs, [[0, 1], [0, 2], [1, 2], [0, 3], [1, 3], [2, 3]]);
}

#[test]
fn a_seed_draws_the_same_pairs_and_another_others() {
    assert_eq!(drawn(50, 20, 1), drawn(50, 20, 1));
    assert_ne!(drawn(50, 20, 1), drawn(50, 20, 2));
    // A shorter draw begins like a longer one.
    assert_eq!(drawn(50, 20, 1)[..7], drawn(50, 7, 1));
    for images in [0, 1] {
        assert!(random_pairs(images, 3).is_none());
    }
}

#[test]
fn when_all_pairs_are_drawn_another_round_begins() {
    // 16 images have 120 pairs.
    let pairs = drawn(16, 300, 5);
    let rounds: Vec<_> = pairs.chunks(120).collect();
    assert_eq!(distinct(rounds[0]).len(), 120);
    assert_eq!(distinct(rounds[1]).len(), 120);
    assert_eq!(distinct(rounds[2]).len(), 60);
    assert_ne!(rounds[0], rounds[1]);
    assert_eq!(distinct(&drawn(2, 5, 5)), HashSet::from([(0, 1)]));
}

#[test]
fn every_pair_is_as_likely_as_the_others() {
    // 10 pairs of 5 images, 3 a draw: each is expected 1500 times of 5000, with a
    // deviation of sqrt(5000 * 0.3 * 0.7) = 32.
    let mut counts = std::collections::HashMap::new();
    let mut first = 0;
    for seed in 0..5000 {
        for [a, b] in drawn(5, 3, seed) {
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
        for line in read_pairs(&bytes[..]).expect("memory can be read") {
            if let Ok(images) = line.within(5).images {
                prop_assert!(images.len() == 2 && images.iter().all(|image| *image < 5));
            }
        }
    }

    #[test]
    fn drawn_pairs_are_distinct_in_a_round(images in 2..60_usize, seed: u64) {
        let total = images * (images - 1) / 2;
        let pairs = drawn(images, total, seed);
        prop_assert!(pairs.iter().all(|[a, b]| a != b && *a < images && *b < images));
        prop_assert_eq!(distinct(&pairs).len(), total);
    }

    #[test]
    fn a_million_images_need_no_more_memory_than_two(images in 2..(1_usize << 40), seed: u64) {
        for [a, b] in random_pairs(images, seed).expect("two images").take(50) {
            prop_assert!(a != b && a < images && b < images);
        }
    }

    #[test]
    fn a_number_gives_its_pair(a in 0..3_000_000_u64, gap in 1..1_000_000_u64) {
        let b = a + gap;
        prop_assert_eq!(pair(b * (b - 1) / 2 + a), [a as usize, b as usize]);
    }
}
