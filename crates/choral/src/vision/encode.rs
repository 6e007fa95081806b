//! Files of pictures through an encoder, a batch at a time.
//!
//! Owns the order of things: files are decoded on several threads, then encoded
//! together; what is wrong with one is its own result. Knows neither what encodes nor where
//! embeddings go.

use super::image::{ImageFileError, ImageProcessor};
use super::{ImageEmbedding, Patches, VisionError};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::thread;

/// Most threads that decode. How much they may hold together is the processor's.
const MAX_THREADS: usize = 8;

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

/// Makes embeddings of the pictures in `paths`, together; one result for each, in their
/// order. Others' errors do not matter to a picture, and neither do others: its embedding
/// is the same alone.
pub fn encode_files(
    paths: &[PathBuf],
    processor: &ImageProcessor,
    encode: &Encode<'_>,
) -> Vec<Result<ImageEmbedding, EncodeError>> {
    let decoded = decode_files(paths, processor);
    let mut good = Vec::with_capacity(paths.len());
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

fn decode_files(
    paths: &[PathBuf],
    processor: &ImageProcessor,
) -> Vec<Result<Patches, ImageFileError>> {
    let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let share = paths.len().div_ceil(threads.min(MAX_THREADS)).max(1);
    let decode =
        |paths: &[PathBuf]| -> Vec<_> { paths.iter().map(|path| processor.read(path)).collect() };
    thread::scope(|scope| {
        let shares = paths.chunks(share);
        let running: Vec<_> = shares
            .map(|paths| scope.spawn(move || decode(paths)))
            .collect();
        let done = running.into_iter().map(|thread| {
            // Decoders' panics are errors already.
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        done.flatten().collect()
    })
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
