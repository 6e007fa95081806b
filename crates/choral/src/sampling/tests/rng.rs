use crate::sampling::{Rng, philox4x32, uniform};

/// The three `philox4x32 10` lines of Random123's `tests/kat_vectors`.
#[test]
fn philox_gives_the_known_answers_of_its_authors() {
    let known = [
        (
            [0; 4],
            [0; 2],
            [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8],
        ),
        (
            [u32::MAX; 4],
            [u32::MAX; 2],
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd],
        ),
        (
            [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
            [0xa409_3822, 0x299f_31d0],
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
        ),
    ];
    for (counter, key, answer) in known {
        assert_eq!(philox4x32(counter, key), answer);
    }
}

#[test]
fn uniform_numbers_are_the_first_53_bits_of_the_block() {
    // Key and counter 0: the words 0x6627e8d5 and 0xe169c58d.
    let bits = (0x6627_e8d5_u64 << 21) | (0xe169_c58d_u64 >> 11);
    assert_eq!(uniform(0, 0, 0), bits as f64 / 9_007_199_254_740_992.0);
}

#[test]
fn a_stream_is_keyed_by_seed_choice_and_position() {
    let mut stream = Rng::for_choice(5, 3);
    for position in 0..4 {
        assert_eq!(stream.position(), position);
        assert_eq!(stream.next_uniform(), uniform(5, 3, position));
    }
    let base = uniform(5, 3, 0);
    for other in [
        uniform(6, 3, 0),
        uniform(5 | 1 << 32, 3, 0),
        uniform(5, 4, 0),
        uniform(5, 3, 1),
        uniform(5, 3, 1 << 32),
    ] {
        assert_ne!(base, other);
    }
}
