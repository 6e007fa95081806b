//! Files are encoded when their rows come up, together, and few are kept.

use super::{From, Images, Kept};
use choral::vision::image::{ImageProcessor, ImageSize};
use choral::vision::{ImageEmbedding, ImageGeometry, Patches};
use std::cell::RefCell;
use std::fs;
use std::path::Path;
use std::rc::Rc;

/// Bytes of the embedding of a picture here: one token of one number.
const EACH: usize = 2;

/// How many pictures were encoded at a time.
type Encoded = Rc<RefCell<Vec<usize>>>;

/// Images of small pictures, and one that is damaged (number 3), of which `most` are kept.
fn images(num_images: usize, most: usize) -> (Images, Encoded) {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/images");
    let path = |name: &str| golden.join(name).display().to_string();
    let names = (0..num_images).map(|number| match number {
        3 => path("malformed/trunc.png"),
        number if number % 2 == 0 => path("rgb.png"),
        _ => path("grey.png"),
    });
    let geometry = ImageGeometry {
        channels: 3,
        patch_size: 2,
        temporal_patch_size: 1,
        merge_size: 1,
        mean: [0.0; 3],
        std: [1.0; 3],
        min_area: 4,
        max_area: 1 << 20,
    };
    let encoded = Encoded::default();
    let log = Rc::clone(&encoded);
    let mean = |image: &Patches| image.values.iter().sum::<f32>() / image.values.len() as f32;
    let from = From::Files {
        encoder: None,
        processor: ImageProcessor::new(geometry, ImageSize::Fixed(4)).expect("good sizes"),
        encode: Box::new(move |images| {
            log.borrow_mut().push(images.len());
            let made = images.iter().map(mean);
            made.map(|mean| ImageEmbedding::new(1, 1, 1, vec![mean]))
                .collect()
        }),
    };
    let mut images = Images::new(names.collect(), from);
    images.kept = Kept::new(most * EACH);
    (images, encoded)
}

#[test]
fn files_are_encoded_with_those_of_the_rows_that_come_next() {
    let (mut images, encoded) = images(40, 100);
    let rows: Vec<[usize; 2]> = (4..20).map(|number| [number, number + 20]).collect();
    for row in &rows {
        images.expect(row);
    }
    assert!(encoded.borrow().is_empty());
    for row in &rows {
        assert_eq!(images.embeddings(row).expect("pictures").len(), 2);
    }
    assert_eq!(encoded.borrow()[..], [8, 8, 8, 8]);
    // Nobody needs them any more.
    assert!(images.kept.of.is_empty() && images.kept.num_bytes == 0);
}

#[test]
fn what_no_row_asks_about_is_not_encoded() {
    let (mut images, encoded) = images(40, 100);
    images.expect(&[7, 7]);
    assert_eq!(images.embeddings(&[7, 7]).expect("pictures").len(), 2);
    assert_eq!(encoded.borrow()[..], [1]);
}

#[test]
fn few_are_kept_and_those_that_are_needed_soon() {
    let (mut images, encoded) = images(30, 12);
    let others = || (4..30).filter(|other| *other != 10);
    let rows: Vec<[usize; 2]> = [4, 10]
        .iter()
        .flat_map(|first| others().map(|other| [*first, other]))
        .collect();
    for row in &rows {
        images.expect(row);
    }
    for row in &rows {
        images.embeddings(row).expect("pictures");
        assert!(images.kept.of.len() <= 12, "{}", images.kept.of.len());
    }
    // All 26 once, and in the second half those again for which there was no room, but
    // not all: that is what would come of keeping those that were needed last.
    let num_encoded: usize = encoded.borrow().iter().sum();
    assert!((26..=26 + 20).contains(&num_encoded), "{num_encoded}");
    // Half of the room is for those of further rows.
    assert!(encoded.borrow()[1..].iter().all(|together| *together <= 6));
}

#[test]
fn a_picture_that_cannot_be_read_is_an_error_of_its_rows() {
    let (mut images, _) = images(10, 100);
    let rows = [[1, 2], [1, 3], [3, 4], [4, 5]];
    for row in &rows {
        images.expect(row);
    }
    let results: Vec<_> = rows.iter().map(|row| images.embeddings(row)).collect();
    assert!(results[0].is_ok() && results[3].is_ok());
    for failed in &results[1..3] {
        let error = failed.as_ref().expect_err("damaged");
        assert!(error.contains("trunc.png: is a damaged PNG"), "{error}");
    }
}

#[test]
fn a_file_that_is_changed_after_it_was_looked_at_is_an_error_of_its_rows() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/images");
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    for name in ["a.png", "b.png", "c.png"] {
        fs::copy(golden.join("rgb.png"), path(name)).expect("copied");
    }
    let (mut images, _) = images(3, 100);
    images.names = ["a.png", "b.png", "c.png"]
        .map(|name| path(name).display().to_string())
        .into();
    // Nobody will ask what the last held.
    let before = images.contents([0, 1].into_iter());
    for name in ["b.png", "c.png"] {
        fs::copy(golden.join("grey.png"), path(name)).expect("copied");
    }
    assert!(images.embeddings(&[0, 2]).is_ok());
    let error = images.embeddings(&[0, 1]).expect_err("changed");
    assert!(
        error.ends_with("b.png: was changed while the job ran: run it again"),
        "{error}"
    );
    assert_eq!(before.of(0), before.of(1));
}
