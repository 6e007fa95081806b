//! Rotary position embedding.

/// Rotates one head in place: pairs are `(i, i + rotary / 2)`, the layout of
/// Hugging Face models; `rotary = 2 * cos.len()` leading elements take part.
///
/// `cos` and `sin` belong to the head's position. Plain Rust, no fused
/// operations: the same bits on every instruction set.
///
/// # Panics
/// If `cos` and `sin` differ in length, or the head is shorter than the rotary part.
///
/// Source: `RoFormer`, arXiv:2104.09864.
pub fn rotate_halves(head: &mut [f32], cos: &[f32], sin: &[f32]) {
    let half = cos.len();
    assert!(
        sin.len() == half && head.len() >= 2 * half,
        "sizes of a rotation"
    );
    let (first, rest) = head.split_at_mut(half);
    for (((a, b), &c), &s) in first.iter_mut().zip(&mut rest[..half]).zip(cos).zip(sin) {
        (*a, *b) = (*a * c - *b * s, *b * c + *a * s);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_turn_swaps_the_halves_and_leaves_the_rest() {
        let mut head = [1.0, 2.0, 3.0, 4.0, 5.0];
        rotate_halves(&mut head, &[0.0, 0.0], &[1.0, 1.0]);
        assert_eq!(head, [-3.0, -4.0, 1.0, 2.0, 5.0]);
    }
}
