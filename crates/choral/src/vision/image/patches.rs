//! Cuts a picture into normalised patches.

use super::Picture;
use crate::vision::{ImageGeometry, Patches};

/// The patches of a picture whose sides are multiples of the geometry's factor.
///
/// A row of the result is a patch: `[channel, frame, y, x]`, the frames alike. The rows
/// are in blocks of `merge_size` by `merge_size` patches, as
/// [`Patches::values`] says.
///
/// Source: `patchify` of transformers' `Glm4vImageProcessor`.
pub(super) fn cut(picture: &Picture, geometry: &ImageGeometry) -> Patches {
    let (patch, merge) = (geometry.patch_size, geometry.merge_size);
    let [width, height] = picture.size();
    let [columns, rows] = [width / patch, height / patch];
    let table = table(geometry);
    let mut values = Vec::with_capacity(columns * rows * geometry.patch_len());
    for block_y in 0..rows / merge {
        for block_x in 0..columns / merge {
            for inner in 0..merge * merge {
                let top = (block_y * merge + inner / merge) * patch;
                let left = (block_x * merge + inner % merge) * patch;
                for (channel, table) in table.iter().enumerate() {
                    let begin = values.len();
                    for y in top..top + patch {
                        let row = &picture.pixels()[(y * width + left) * 3..][..patch * 3];
                        let bytes = row.iter().skip(channel).step_by(3);
                        values.extend(bytes.map(|&byte| table[usize::from(byte)]));
                    }
                    let end = values.len();
                    for _ in 1..geometry.temporal_patch_size {
                        values.extend_from_within(begin..end);
                    }
                }
            }
        }
    }
    Patches {
        grid: [1, rows, columns],
        values,
    }
}

/// What each byte of each channel becomes. Scaling to 0..=1 and normalising are one
/// step, in f32, as in the reference.
fn table(geometry: &ImageGeometry) -> [[f32; 256]; 3] {
    std::array::from_fn(|channel| {
        let mean = geometry.mean[channel] * 255.0;
        let std = geometry.std[channel] * 255.0;
        std::array::from_fn(|byte| (byte as f32 - mean) / std)
    })
}
