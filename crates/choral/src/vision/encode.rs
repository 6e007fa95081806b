//! Files of pictures through an encoder, a batch at a time.
//!
//! Owns the order of things: as many files as take little memory are decoded on several
//! threads, then encoded together, and then it is the turn of the next; what is wrong with
//! one is its own result. Knows neither what encodes nor where embeddings go.

use super::image::{ImageFileError, ImageProcessor};
use super::{ImageEmbedding, Patches, STEP_PATCHES, VisionError};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// Most threads that decode. How much they may hold together is the processor's.
const MAX_THREADS: usize = 8;

/// No other file is decoded once there are so many patches to be encoded: as many as the
/// usual eight pictures of 448 pixels have, which take 37 MiB.
const TURN_PATCHES: usize = 2 * STEP_PATCHES;

/// Why a file has no embedding.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// It is no picture that can be used.
    #[error(transparent)]
    File(#[from] ImageFileError),
    /// The encoder failed.
    #[error("{}: {error}", path.display())]
    Encoder {
        /// The file.
        path: PathBuf,
        /// Why.
        error: VisionError,
    },
}

/// Makes embeddings of pictures.
pub type Encode<'a> = dyn Fn(&[Patches]) -> Result<Vec<ImageEmbedding>, VisionError> + 'a;

/// How many pictures there is a use in giving to [`encode_files`] at a time: of more, some
/// are decoded only when the others are encoded.
pub fn most_at_once(processor: &ImageProcessor) -> usize {
    match processor.fixed_patches() {
        Some(patches) => TURN_PATCHES.div_ceil(patches.max(1)),
        None => MAX_THREADS,
    }
}

/// Makes embeddings of the pictures in `paths`; one result for each, in their order.
/// Others' errors do not matter to a picture, and neither do others: its embedding is the
/// same alone.
///
/// As many are together as there is little memory for; so the patches that are held at a
/// time are bounded, however many paths there are, and only embeddings are not.
pub fn encode_files(
    paths: &[PathBuf],
    processor: &ImageProcessor,
    encode: &Encode<'_>,
) -> Vec<Result<ImageEmbedding, EncodeError>> {
    let mut results = Vec::with_capacity(paths.len());
    while let rest @ [_, ..] = &paths[results.len()..] {
        let decoded = decode_files(rest, processor);
        let paths = &rest[..decoded.len()];
        results.extend(encode_decoded(paths, decoded, encode));
    }
    results
}

/// Encodes what came of the files `paths`.
fn encode_decoded(
    paths: &[PathBuf],
    decoded: Vec<Result<Patches, ImageFileError>>,
    encode: &Encode<'_>,
) -> Vec<Result<ImageEmbedding, EncodeError>> {
    let mut good = Vec::with_capacity(decoded.len());
    let mut results: Vec<Option<Result<ImageEmbedding, EncodeError>>> = Vec::new();
    for patches in decoded {
        results.push(match patches {
            Ok(patches) => {
                good.push(patches);
                None
            }
            Err(error) => Some(Err(error.into())),
        });
    }
    let failed = |path: &Path, error| EncodeError::Encoder {
        path: path.to_owned(),
        error,
    };
    let mut made = match encode(&good) {
        Ok(made) => made.into_iter().map(Ok).collect::<Vec<_>>(),
        // Whichever of them it was, the others are not to pay for it.
        Err(_) => good
            .chunks(1)
            .map(|one| encode(one).map(|mut made| made.remove(0)))
            .collect(),
    }
    .into_iter();
    let results = results.into_iter().zip(paths).map(|(result, path)| {
        result.unwrap_or_else(|| {
            let made = made.next().expect("an embedding for each picture");
            made.map_err(|error| failed(path, error))
        })
    });
    results.collect()
}

/// The files of one turn.
#[derive(Default)]
struct Turn {
    /// Files that a thread has taken.
    taken: usize,
    /// Patches that were made of them, or will be, as far as that is known.
    patches: usize,
    decoded: Vec<(usize, Result<Patches, ImageFileError>)>,
}

/// Decodes the first of the files `paths`, one at least, until there are enough patches.
fn decode_files(
    paths: &[PathBuf],
    processor: &ImageProcessor,
) -> Vec<Result<Patches, ImageFileError>> {
    let expected = processor.fixed_patches().unwrap_or(0);
    let turn = Mutex::new(Turn::default());
    let lock = || turn.lock().unwrap_or_else(PoisonError::into_inner);
    let take = || {
        let mut turn = lock();
        let index = turn.taken;
        let has_room = turn.patches < TURN_PATCHES;
        let path = paths.get(index).filter(|_| has_room)?;
        turn.taken += 1;
        turn.patches += expected;
        Some((index, path))
    };
    let decode = || {
        while let Some((index, path)) = take() {
            let made = processor.read(path);
            let found = made
                .as_ref()
                .map_or(0, |patches| patches.grid.iter().product());
            let mut turn = lock();
            turn.patches = turn.patches - expected + found;
            turn.decoded.push((index, made));
        }
    };
    let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    thread::scope(|scope| {
        for _ in 1..threads.min(MAX_THREADS).min(paths.len()) {
            scope.spawn(decode);
        }
        decode();
    });
    let turn = turn.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut decoded = turn.decoded;
    decoded.sort_unstable_by_key(|(index, _)| *index);
    decoded.into_iter().map(|(_, made)| made).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vision::ImageGeometry;
    use crate::vision::image::{DecodeLimits, ImageSize};

    /// One token a picture, of its mean.
    fn mean(images: &[Patches]) -> Result<Vec<ImageEmbedding>, VisionError> {
        let one = |image: &Patches| {
            let mean = image.values.iter().sum::<f32>() / image.values.len() as f32;
            ImageEmbedding::new(1, 1, 1, vec![mean])
        };
        images.iter().map(one).collect()
    }

    fn processor() -> ImageProcessor {
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
        ImageProcessor::new(geometry, ImageSize::Fixed(4)).expect("sizes that make sense")
    }

    fn golden(name: &str) -> PathBuf {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/images");
        root.join(name)
    }

    #[test]
    fn each_file_has_its_own_result_in_its_place() {
        let names = [
            "rgb.png",
            "malformed/trunc.png",
            "grey.png",
            "gone.png",
            "gif.gif",
        ];
        let paths: Vec<_> = names.map(golden).into();
        let together = encode_files(&paths, &processor(), &mean);
        assert_eq!(together.len(), 5);
        for (path, result) in paths.iter().zip(&together) {
            let alone = encode_files(std::slice::from_ref(path), &processor(), &mean);
            match (&alone[0], result) {
                (Ok(alone), Ok(together)) => assert_eq!(alone, together),
                (Err(alone), Err(together)) => {
                    assert_eq!(alone.to_string(), together.to_string());
                    assert!(together.to_string().contains(&path.display().to_string()));
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(together.iter().filter(|result| result.is_err()).count(), 2);
        assert!(encode_files(&[], &processor(), &mean).is_empty());
    }

    #[test]
    fn pictures_without_room_for_two_are_decoded_one_after_the_other() {
        let paths: Vec<_> = [
            "rgb.png",
            "jpeg.jpg",
            "grey.png",
            "turned_6.jpg",
            "gone.png",
        ]
        .iter()
        .cycle()
        .take(40)
        .map(|name| golden(name))
        .collect();
        let usual = encode_files(&paths, &processor(), &mean);
        let narrow = processor().with_limits(DecodeLimits {
            max_bytes_at_once: 1,
            ..DecodeLimits::default()
        });
        let found = encode_files(&paths, &narrow, &mean);
        for (found, usual) in found.iter().zip(&usual) {
            assert_eq!(found.as_ref().ok(), usual.as_ref().ok());
        }
        assert_eq!(found.iter().filter(|found| found.is_err()).count(), 8);
    }

    #[test]
    fn however_many_files_there_are_few_patches_are_held() {
        // Of 1024 patches each.
        let large = ImageSize::Fixed(64);
        let processor = ImageProcessor::new(processor().geometry().clone(), large);
        let processor = processor.expect("sizes that make sense");
        assert_eq!(most_at_once(&processor), 8);
        let names = ["rgb.png", "gone.png", "grey.png"];
        let paths: Vec<_> = names
            .iter()
            .cycle()
            .take(60)
            .map(|name| golden(name))
            .collect();
        let turns = Mutex::new(Vec::new());
        let encode = |images: &[Patches]| {
            turns.lock().expect("no panic").push(images.len());
            mean(images)
        };
        let results = encode_files(&paths, &processor, &encode);
        let alone = |path: &PathBuf| {
            let path = std::slice::from_ref(path);
            encode_files(path, &processor, &mean).remove(0).ok()
        };
        for (path, result) in paths.iter().zip(&results) {
            assert_eq!(result.as_ref().ok(), alone(path).as_ref());
        }
        let turns = turns.into_inner().expect("no panic");
        assert_eq!(turns.iter().sum::<usize>(), 40);
        assert!(turns.iter().all(|turn| (1..=8).contains(turn)), "{turns:?}");
    }

    #[test]
    fn a_picture_that_the_encoder_refuses_takes_no_other_with_it() {
        let paths: Vec<_> = ["rgb.png", "grey.png", "gif.gif"].map(golden).into();
        let all = encode_files(&paths, &processor(), &mean);
        let second = all[1].as_ref().expect("a picture").clone();
        let picky = |images: &[Patches]| {
            let made = mean(images)?;
            match made.iter().position(|made| *made == second) {
                Some(image) => Err(VisionError::NotFinite { image }),
                None => Ok(made),
            }
        };
        let results = encode_files(&paths, &processor(), &picky);
        assert!(results[0].is_ok() && results[2].is_ok());
        let error = results[1].as_ref().expect_err("refused").to_string();
        assert!(
            error.ends_with("grey.png: image 0 has a value that is not finite"),
            "{error}"
        );
    }
}
