use super::*;

const PLACEHOLDER: u32 = 9;

fn image(rows: usize, columns: usize, value: f32) -> ImageEmbedding {
    ImageEmbedding::new(rows, columns, 2, vec![value; rows * columns * 2]).expect("whole")
}

fn try_place(
    names: &mut ImageNames,
    tokens: &[u32],
    images: &[ImageEmbedding],
) -> Result<(Vec<u32>, PromptImages), SubmitError> {
    let slots = ImageSlots {
        placeholder_id: PLACEHOLDER,
        placeholder: "<|image|>",
        hidden_size: 2,
    };
    expand(names, tokens, images.to_vec(), &slots)
}

fn place(tokens: &[u32], images: &[ImageEmbedding]) -> (Vec<u32>, PromptImages) {
    try_place(&mut ImageNames::default(), tokens, images).expect("as many as places")
}

/// Computed by hand after `get_rope_index`: text counts on; a picture of 2 by 3 has rows
/// 3 to 4 and columns 3 to 5; text goes on at 3 + max(2, 3).
#[test]
fn a_picture_turns_by_rows_and_columns_and_text_goes_on_behind_its_longer_side() {
    let (tokens, images) = place(&[1, 2, 3, PLACEHOLDER, 4, 5], &[image(2, 3, 1.0)]);
    assert_eq!(tokens, [1, 2, 3, 9, 9, 9, 9, 9, 9, 4, 5]);
    let turns: Vec<_> = (0..13).map(|position| images.turn(position)).collect();
    let expected = [
        [0, 0, 0],
        [1, 1, 1],
        [2, 2, 2],
        [3, 3, 3],
        [3, 3, 4],
        [3, 3, 5],
        [3, 4, 3],
        [3, 4, 4],
        [3, 4, 5],
        [6, 6, 6],
        [7, 7, 7],
        // And on into the answer.
        [8, 8, 8],
        [9, 9, 9],
    ];
    assert_eq!(turns, expected);
}

#[test]
fn pictures_side_by_side_each_begin_behind_the_one_before() {
    let pair = [image(1, 1, 1.0), image(3, 1, 2.0)];
    let (tokens, images) = place(&[PLACEHOLDER, PLACEHOLDER, 1], &pair);
    assert_eq!(tokens, [9, 9, 9, 9, 1]);
    let turns: Vec<_> = (0..5).map(|position| images.turn(position)).collect();
    let expected = [[0, 0, 0], [1, 1, 1], [1, 2, 1], [1, 3, 1], [4, 4, 4]];
    assert_eq!(turns, expected);
}

#[test]
fn a_step_takes_the_rows_of_its_positions() {
    let pair = [image(2, 2, 1.0), image(1, 3, 2.0)];
    // Positions 1..5 and 6..9.
    let (_, images) = place(&[1, PLACEHOLDER, 2, PLACEHOLDER, 3], &pair);
    let rows = |range| -> Vec<_> {
        let rows = images.rows(range, 100);
        rows.map(|r| (r.first_token, r.len, r.first_row, r.image.rows()))
            .collect()
    };
    assert_eq!(rows(0..1), []);
    assert_eq!(rows(0..3), [(101, 2, 0, 2)]);
    assert_eq!(rows(3..8), [(100, 2, 2, 2), (103, 2, 0, 1)]);
    assert_eq!(rows(5..6), []);
    assert_eq!(rows(8..30), [(100, 1, 2, 1)]);
}

#[test]
fn pictures_are_named_by_what_they_show() {
    let mut names = ImageNames::default();
    let mut keys = |images: &[ImageEmbedding]| {
        let tokens = [1, PLACEHOLDER, 2, PLACEHOLDER];
        let (mut tokens, images) = try_place(&mut names, &tokens, images).expect("two");
        let all = 0..tokens.len();
        images.name(all, &mut tokens);
        (tokens, images)
    };
    let (a, b) = (image(1, 2, 1.0), image(1, 2, 2.0));
    let (ab, ab_images) = keys(&[a.clone(), b.clone()]);
    let (aa, aa_images) = keys(&[a.clone(), a.clone()]);
    let (again, _) = keys(&[image(1, 2, 1.0), b.clone()]);
    assert_eq!(ab, again);
    assert_eq!(ab[..4], aa[..4]);
    assert_ne!(ab[4..], aa[4..]);
    assert_eq!((ab[0], ab[3]), (1, 2));
    assert!(ab[1] > 1 << 31 && ab[1] == ab[2]);
    // The second picture begins at position 4.
    assert_eq!(ab_images.num_common(&aa_images), 4);
    assert_eq!(ab_images.num_common(&ab_images), usize::MAX);
    assert_eq!(ab_images.num_common(&PromptImages::default()), 1);
}

#[test]
fn pictures_that_no_request_has_are_forgotten() {
    let mut names = ImageNames::default();
    let kept = names.of(ContentHash(7));
    for hash in 100..100 + 2 * MAX_IDLE as u128 {
        names.of(ContentHash(hash));
    }
    assert!(names.known.len() <= MAX_IDLE + 1, "{}", names.known.len());
    assert_eq!(names.of(ContentHash(7)), kept);
}

#[test]
fn too_many_or_too_few_pictures_and_foreign_ones_are_refused() {
    let error = |tokens: &[u32], images: &[ImageEmbedding]| {
        let placed = try_place(&mut ImageNames::default(), tokens, images);
        placed.map(|_| ()).expect_err("refused").to_string()
    };
    assert_eq!(
        error(&[1, PLACEHOLDER], &[]),
        "the prompt has 1 `<|image|>` for 0 images, expected one for each"
    );
    assert_eq!(
        error(&[1], &[image(1, 1, 0.0), image(1, 1, 0.0)]),
        "the prompt has 0 `<|image|>` for 2 images, expected one for each"
    );
    let wide = ImageEmbedding::new(1, 1, 3, vec![0.0; 3]).expect("whole");
    assert_eq!(
        error(&[PLACEHOLDER], &[wide]),
        "image 0 is 3 numbers wide, expected 2"
    );
}
