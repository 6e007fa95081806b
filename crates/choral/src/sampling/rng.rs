//! Random numbers as a function of where they are needed.
//!
//! Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy
//! as 1, 2, 3", SC 2011): a keyed bijection of a 128-bit counter. There is no
//! state to carry along, so a sequence that is preempted and computed again, or
//! that runs in another batch, draws the same numbers.
//!
//! Layout, fixed: the key is the seed (low word first); the counter is
//! `[position low, position high, choice, 0]`; a uniform number is made of the
//! first two output words (see [`uniform`]).

use std::hash::{BuildHasher, RandomState};
use std::time::Instant;

/// Seeds that are made up have this many bits, so that readers of JSON that keep
/// numbers as doubles do not round them.
pub(crate) const SEED_BITS: u32 = 53;

/// A seed from the system's entropy, below 2^53.
pub fn fresh_seed() -> u64 {
    // The hasher's keys are random.
    RandomState::new().hash_one(Instant::now()) >> (u64::BITS - SEED_BITS)
}

const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
/// Added to the key after each round: the golden ratio and sqrt(3) - 1.
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
const ROUNDS: usize = 10;

/// The Philox4x32-10 block function.
///
/// Source: Salmon et al. 2011; verified with the known answers of the authors'
/// Random123 library.
pub fn philox4x32(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let [mut c0, mut c1, mut c2, mut c3] = counter;
    let [mut k0, mut k1] = key;
    for _ in 0..ROUNDS {
        let p0 = u64::from(MULTIPLIERS[0]) * u64::from(c0);
        let p1 = u64::from(MULTIPLIERS[1]) * u64::from(c2);
        (c0, c1, c2, c3) = (
            (p1 >> 32) as u32 ^ c1 ^ k0,
            p1 as u32,
            (p0 >> 32) as u32 ^ c3 ^ k1,
            p0 as u32,
        );
        k0 = k0.wrapping_add(WEYL[0]);
        k1 = k1.wrapping_add(WEYL[1]);
    }
    [c0, c1, c2, c3]
}

/// The number in `[0, 1)` that choice `choice` of a request with seed `seed`
/// draws for the token at `position` of its answer.
///
/// It has 53 random bits: 32 from the first output word, 21 from the second.
pub fn uniform(seed: u64, choice: u32, position: u64) -> f64 {
    let counter = [position as u32, (position >> 32) as u32, choice, 0];
    let key = [seed as u32, (seed >> 32) as u32];
    let [high, low, ..] = philox4x32(counter, key);
    let bits = (u64::from(high) << 21) | u64::from(low >> 11);
    bits as f64 * (1.0 / (1u64 << 53) as f64)
}

/// The same numbers one after another, for code that composes its own loop
/// with [`sample_token`](super::sample_token).
///
/// Number `i` of `Rng::new(seed)` is `uniform(seed, 0, i)`: what the engine
/// draws for the first choice of a request with that seed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rng {
    seed: u64,
    choice: u32,
    position: u64,
}

impl Rng {
    /// The stream of choice 0.
    pub fn new(seed: u64) -> Self {
        Self::for_choice(seed, 0)
    }

    /// The stream `(seed, choice)`.
    pub fn for_choice(seed: u64, choice: u32) -> Self {
        Self {
            seed,
            choice,
            position: 0,
        }
    }

    /// How many numbers were drawn.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The next number in `[0, 1)`.
    pub fn next_uniform(&mut self) -> f64 {
        let drawn = uniform(self.seed, self.choice, self.position);
        self.position = self.position.wrapping_add(1);
        drawn
    }
}
