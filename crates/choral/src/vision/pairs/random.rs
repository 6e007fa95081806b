//! Pairs drawn at random, one after another, with no list of them in memory.

use crate::sampling::philox4x32;

/// What tells these random numbers from those that an answer's tokens are drawn with,
/// which have 0 here.
const STREAM: u32 = u32::MAX;

/// Rounds of the network that shuffles. Four are enough for large numbers (Luby and
/// Rackoff, 1988); small ones need more to be shuffled well.
const NETWORK_ROUNDS: u32 = 8;

/// Pairs without end, in rounds: each round has every two images once, in an order of
/// its own, and either of them may be first.
#[derive(Debug, Clone)]
pub struct RandomPairs {
    /// Pairs of a round; at least one.
    total: u64,
    /// Bits of half a number of the network.
    half_bits: u32,
    seed: u64,
    next: u64,
}

/// Draws pairs of `num_images` images; none if there are fewer than two. The same numbers
/// and seed give the same pairs.
pub fn random_pairs(num_images: usize, seed: u64) -> Option<RandomPairs> {
    let images = num_images as u128;
    let total = images * images.saturating_sub(1) / 2;
    // Nobody has more pairs on a disk.
    let total = u64::try_from(total).unwrap_or(u64::MAX);
    let last = total.checked_sub(1)?;
    Some(RandomPairs {
        total,
        half_bits: (u64::BITS - last.leading_zeros()).div_ceil(2).max(1),
        seed,
        next: 0,
    })
}

impl RandomPairs {
    /// Four words that follow from the seed and from what they are drawn for.
    fn words(&self, counter: [u32; 3]) -> [u32; 4] {
        let [a, b, c] = counter;
        philox4x32(
            [a, b, c, STREAM],
            [self.seed as u32, (self.seed >> 32) as u32],
        )
    }

    /// Where number `number` of a round goes: each below `total` comes once.
    ///
    /// A Feistel network is a permutation of a power of four; what it puts above `total`
    /// goes through it again until it is below (Black and Rogaway, "Ciphers with arbitrary
    /// finite domains", 2002).
    fn shuffled(&self, round: u64, number: u64) -> u64 {
        let mask = u32::MAX >> (u32::BITS - self.half_bits);
        // A key of its own for each round of pairs; words of a draw have a bit set that
        // those of a round have not.
        let [low, high, ..] = self.words([round as u32, (round >> 32) as u32, 1 << 31]);
        let mut number = number;
        loop {
            let mut left = (number >> self.half_bits) as u32;
            let mut right = (number as u32) & mask;
            for step in 0..NETWORK_ROUNDS {
                let [word, ..] = philox4x32([right, step, low, STREAM], [high, self.seed as u32]);
                (left, right) = (right, left ^ (word & mask));
            }
            number = (u64::from(left) << self.half_bits) | u64::from(right);
            if number < self.total {
                return number;
            }
        }
    }
}

impl Iterator for RandomPairs {
    type Item = [usize; 2];

    fn next(&mut self) -> Option<[usize; 2]> {
        let index = self.next;
        self.next = index.checked_add(1)?;
        let [a, b] = pair(self.shuffled(index / self.total, index % self.total));
        let [coin, ..] = self.words([index as u32, (index >> 32) as u32, 0]);
        Some(if coin & 1 == 0 { [a, b] } else { [b, a] })
    }
}

/// Pair `number` of those in the order `01 02 12 03 13 23 ...`.
pub(super) fn pair(number: u64) -> [usize; 2] {
    // The greatest b with b (b - 1) / 2 <= number.
    let b = (u128::from(number) * 8 + 1).isqrt().div_ceil(2);
    let before = b * (b - 1) / 2;
    [(u128::from(number) - before) as usize, b as usize]
}
