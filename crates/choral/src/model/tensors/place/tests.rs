use super::*;

#[test]
fn interleaved_rows_are_put_into_halves() {
    let order = RowOrder::Interleaved {
        head_dim: 6,
        rotated: 6,
    };
    let stored: Vec<usize> = (0..12).map(|row| order.stored(row)).collect();
    assert_eq!(stored, [0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11]);
}

#[test]
fn rows_that_are_not_rotated_stay_where_they_are() {
    let order = RowOrder::Interleaved {
        head_dim: 6,
        rotated: 4,
    };
    let stored: Vec<usize> = (0..12).map(|row| order.stored(row)).collect();
    assert_eq!(stored, [0, 2, 1, 3, 4, 5, 6, 8, 7, 9, 10, 11]);
}

#[test]
fn codes_of_neighbours_are_put_into_halves() {
    // Code i is i modulo 16.
    let neighbours = std::array::from_fn(|i| ((2 * i) % 16 + (2 * i + 1) % 16 * 16) as u8);
    let expected: [u8; 16] = std::array::from_fn(|i| (i + 16 * i) as u8);
    assert_eq!(halves_of(&neighbours), expected);
}
