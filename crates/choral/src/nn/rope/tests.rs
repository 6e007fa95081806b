use super::*;

fn frequencies(scaling: RopeScaling) -> Vec<f32> {
    Rope::new(
        &RopeSpec {
            theta: 10_000.0,
            dim: 8,
            scaling,
            sections: None,
        },
        None,
        100,
    )
    .frequencies
}

#[test]
fn unscaled_frequencies_are_powers_of_theta() {
    assert_eq!(frequencies(RopeScaling::None), [1.0, 0.1, 0.01, 0.001]);
}

#[test]
fn linear_scaling_divides_all() {
    let quarter = frequencies(RopeScaling::Linear { factor: 4.0 });
    assert_eq!(quarter, [0.25, 0.025, 0.0025, 0.00025]);
}

#[test]
fn llama3_keeps_high_frequencies_and_divides_low_ones() {
    // Wavelengths 6.3, 63, 628, 6283 in a context of 64: rotations 10.2, 1.02,
    // 0.1, 0.01 against the bounds 4 and 1.
    let got = frequencies(RopeScaling::Llama3 {
        factor: 8.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_context: 64.0,
    });
    assert_eq!(got[0], 1.0);
    assert!(got[1] > 0.1 / 8.0 && got[1] < 0.015, "{}", got[1]);
    assert_eq!(got[2..], [0.01 / 8.0, 0.001 / 8.0]);
}

/// `[frequency, cosine, sine]` of a position, for pair `i` of `dim` elements with base
/// `theta`: bits of the f32 nearest to what mpmath makes of 400 bits. The angle is the
/// product in f32.
#[rustfmt::skip]
#[expect(clippy::unreadable_literal, reason = "bits, in a table")]
const ANGLES: [(u32, f64, usize, usize, [u32; 3]); 75] = [
    (0, 10000.0, 0, 8, [0x3f800000, 0x3f800000, 0x00000000]),
    (0, 10000.0, 1, 8, [0x3dcccccd, 0x3f800000, 0x00000000]),
    (0, 500000.0, 5, 128, [0x3eb7ab7d, 0x3f800000, 0x00000000]),
    (0, 1000000.0, 40, 128, [0x393a7753, 0x3f800000, 0x00000000]),
    (0, 150000.0, 20, 64, [0x3a189328, 0x3f800000, 0x00000000]),
    (1, 10000.0, 0, 8, [0x3f800000, 0x3f0a5140, 0x3f576aa4]),
    (1, 10000.0, 1, 8, [0x3dcccccd, 0x3f7eb898, 0x3dcc7577]),
    (1, 500000.0, 5, 128, [0x3eb7ab7d, 0x3f6fb433, 0x3eb3c17d]),
    (1, 1000000.0, 40, 128, [0x393a7753, 0x3f800000, 0x393a7753]),
    (1, 150000.0, 20, 64, [0x3a189328, 0x3f7ffffd, 0x3a189327]),
    (2, 10000.0, 0, 8, [0x3f800000, 0xbed51133, 0x3f68c7b7]),
    (2, 10000.0, 1, 8, [0x3dcccccd, 0x3f7ae5a5, 0x3e4b6ff9]),
    (2, 500000.0, 5, 128, [0x3eb7ab7d, 0x3f40e3ec, 0x3f28502c]),
    (2, 1000000.0, 40, 128, [0x393a7753, 0x3f7fffff, 0x39ba7753]),
    (2, 150000.0, 20, 64, [0x3a189328, 0x3f7ffff5, 0x3a989326]),
    (3, 10000.0, 0, 8, [0x3f800000, 0xbf7d7026, 0x3e1081c3]),
    (3, 10000.0, 1, 8, [0x3dcccccd, 0x3f7490ef, 0x3e974e6d]),
    (3, 500000.0, 5, 128, [0x3eb7ab7d, 0x3ef309db, 0x3f6151e7]),
    (3, 1000000.0, 40, 128, [0x393a7753, 0x3f7ffffe, 0x3a0bd97e]),
    (3, 150000.0, 20, 64, [0x3a189328, 0x3f7fffe6, 0x3ae4dcb4]),
    (7, 10000.0, 0, 8, [0x3f800000, 0x3f40ffbd, 0x3f283046]),
    (7, 10000.0, 1, 8, [0x3dcccccd, 0x3f43ccb3, 0x3f24eb73]),
    (7, 500000.0, 5, 128, [0x3eb7ab7d, 0xbf4ec84f, 0x3f16ebaa]),
    (7, 1000000.0, 40, 128, [0x393a7753, 0x3f7ffff3, 0x3aa32866]),
    (7, 150000.0, 20, 64, [0x3a189328, 0x3f7fff75, 0x3b8580ab]),
    (100, 10000.0, 0, 8, [0x3f800000, 0x3f5cc0ee, 0xbf01a12e]),
    (100, 10000.0, 1, 8, [0x3dcccccd, 0xbf56cd64, 0xbf0b44f8]),
    (100, 500000.0, 5, 128, [0x3eb7ab7d, 0xbe814b49, 0xbf77b3f6]),
    (100, 1000000.0, 40, 128, [0x393a7753, 0x3f7ff5a3, 0x3c91ab42]),
    (100, 150000.0, 20, 64, [0x3a189328, 0x3f7f9107, 0x3d6e437b]),
    (1023, 10000.0, 0, 8, [0x3f800000, 0x3eccd5bd, 0xbf6a9ec9]),
    (1023, 10000.0, 1, 8, [0x3dcccccd, 0xbe49ac2e, 0x3f7afc70]),
    (1023, 500000.0, 5, 128, [0x3eb7ab7d, 0xbf55627c, 0x3f0d6e8d]),
    (1023, 1000000.0, 40, 128, [0x393a7753, 0x3f7bc68f, 0x3e39421b]),
    (1023, 150000.0, 20, 64, [0x3a189328, 0x3f53f25a, 0x3f0f93ef]),
    (4095, 10000.0, 0, 8, [0x3f800000, 0xbd871e6c, 0xbf7f7136]),
    (4095, 10000.0, 1, 8, [0x3dcccccd, 0x3eeb7335, 0x3f63534b]),
    (4095, 500000.0, 5, 128, [0x3eb7ab7d, 0x3e9a14db, 0xbf7421f2]),
    (4095, 1000000.0, 40, 128, [0x393a7753, 0x3f3f121a, 0x3f2a6042]),
    (4095, 150000.0, 20, 64, [0x3a189328, 0xbf39e05d, 0x3f30073e]),
    (32767, 10000.0, 0, 8, [0x3f800000, 0x3f7b759c, 0x3e4001b8]),
    (32767, 10000.0, 1, 8, [0x3dcccccd, 0xbf7ff467, 0xbc9a1c65]),
    (32767, 500000.0, 5, 128, [0x3eb7ab7d, 0x3e782342, 0xbf785ec2]),
    (32767, 1000000.0, 40, 128, [0x393a7753, 0x3f65cf06, 0xbee199e3]),
    (32767, 150000.0, 20, 64, [0x3a189328, 0x3f79bbc8, 0x3e612e7e]),
    (131071, 10000.0, 0, 8, [0x3f800000, 0xbf51675e, 0xbf13430a]),
    (131071, 10000.0, 1, 8, [0x3dcccccd, 0x3f6e1cde, 0x3ebc064d]),
    (131071, 500000.0, 5, 128, [0x3eb7ab7d, 0xbeed8bb5, 0x3f62c797]),
    (131071, 1000000.0, 40, 128, [0x393a7753, 0xbe809582, 0xbf77cb9c]),
    (131071, 150000.0, 20, 64, [0x3a189328, 0x3f2167d7, 0x3f46b4d5]),
    (262143, 10000.0, 0, 8, [0x3f800000, 0xbf1bf202, 0x3f4b0513]),
    (262143, 10000.0, 1, 8, [0x3dcccccd, 0x3f28a1e5, 0x3f409c7f]),
    (262143, 500000.0, 5, 128, [0x3eb7ab7d, 0xbe79e04e, 0xbf7842dd]),
    (262143, 1000000.0, 40, 128, [0x393a7753, 0xbf5fbaaa, 0x3ef8d8f2]),
    (262143, 150000.0, 20, 64, [0x3a189328, 0xbe52768a, 0x3f7a88db]),
    (524287, 10000.0, 0, 8, [0x3f800000, 0x3f2c77db, 0xbf3d2f33]),
    (524287, 10000.0, 1, 8, [0x3dcccccd, 0xbe69aaeb, 0x3f793eec]),
    (524287, 500000.0, 5, 128, [0x3eb7ab7d, 0xbf7db7a0, 0x3e087161]),
    (524287, 1000000.0, 40, 128, [0x393a7753, 0x3f0717ab, 0xbf597419]),
    (524287, 150000.0, 20, 64, [0x3a189328, 0xbf6a4fde, 0xbece3dd8]),
    (999983, 10000.0, 0, 8, [0x3f800000, 0x3da1398b, 0x3f7f349c]),
    (999983, 10000.0, 1, 8, [0x3dcccccd, 0x3e236adb, 0x3f7cb814]),
    (999983, 500000.0, 5, 128, [0x3eb7ab7d, 0xbe4e64c0, 0xbf7abf00]),
    (999983, 1000000.0, 40, 128, [0x393a7753, 0xbea37475, 0x3f729a95]),
    (999983, 150000.0, 20, 64, [0x3a189328, 0xbf2e395d, 0xbf3b918e]),
    (1000000, 10000.0, 0, 8, [0x3f800000, 0x3f6fcefd, 0xbeb33259]),
    (1000000, 10000.0, 1, 8, [0x3dcccccd, 0xbf7fd61c, 0x3d126d55]),
    (1000000, 500000.0, 5, 128, [0x3eb7ab7d, 0xbec3c8a8, 0xbf6c8b53]),
    (1000000, 1000000.0, 40, 128, [0x393a7753, 0xbea4eb8b, 0x3f725b17]),
    (1000000, 150000.0, 20, 64, [0x3a189328, 0xbf2c5c69, 0xbf3d4835]),
    (1048575, 10000.0, 0, 8, [0x3f800000, 0x3f49bd23, 0xbf1d9959]),
    (1048575, 10000.0, 1, 8, [0x3dcccccd, 0xbf589ff0, 0xbf086add]),
    (1048575, 500000.0, 5, 128, [0x3eb7ab7d, 0x3f7e842d, 0x3ddc2c95]),
    (1048575, 1000000.0, 40, 128, [0x393a7753, 0xbee2c464, 0xbf658588]),
    (1048575, 150000.0, 20, 64, [0x3a189328, 0x3f2cd1a7, 0x3f3cdd2f]),
];

#[test]
fn angles_are_the_nearest_floats_up_to_a_million_positions() {
    for (position, theta, i, dim, want) in ANGLES {
        let spec = RopeSpec {
            theta,
            dim,
            scaling: RopeScaling::None,
            sections: None,
        };
        let rope = Rope::new(&spec, None, 100);
        let mut angles = vec![0.0; dim];
        rope.angles([position; 3], &mut angles);
        let found = [rope.frequencies[i], angles[i], angles[dim / 2 + i]].map(f32::to_bits);
        assert_eq!(found, want, "position {position}, pair {i} of base {theta}");
    }
}

/// Of `modeling_glm4v.py`: the frequencies are split by section, and each takes its row
/// of positions.
#[test]
fn sections_turn_with_their_own_position() {
    let spec = |sections| RopeSpec {
        theta: 10_000.0,
        dim: 8,
        scaling: RopeScaling::None,
        sections,
    };
    let angles = |sections, position| {
        let mut angles = [0.0; 8];
        Rope::new(&spec(sections), None, 100).angles(position, &mut angles);
        angles
    };
    let found = angles(Some([1, 1, 2]), [3, 5, 7]);
    let want = [3.0_f64, 5.0 * 0.1, 7.0 * 0.01, 7.0 * 0.001];
    for (i, want) in want.into_iter().enumerate() {
        assert!((f64::from(found[i]) - want.cos()).abs() < 1e-6, "pair {i}");
        assert!(
            (f64::from(found[4 + i]) - want.sin()).abs() < 1e-6,
            "pair {i}"
        );
    }
    // Text, and models without sections.
    assert_eq!(angles(Some([1, 1, 2]), [9; 3]), angles(None, [9, 0, 0]));
}
