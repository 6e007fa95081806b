//! How large a picture becomes.

use super::{DecodeLimits, ImageError, ImageGeometry};
use serde::{Deserialize, Serialize};

/// Thinner pictures are refused, as the reference does.
pub const MAX_ASPECT_RATIO: u32 = 200;

/// Largest patch, token or fixed side that a model may ask for: no memory holds more.
const MAX_SIDE: usize = 1 << 16;

/// Pixels along a side, where pictures are of one size.
const USUAL_SIDE: usize = 448;

/// How pictures are sized.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageSize {
    /// About its own size, so that more pixels are more tokens: both sides become
    /// multiples of [`ImageGeometry::factor`], and the area stays within the model's
    /// limits. What Hugging Face's processor does.
    Dynamic,
    /// Every picture becomes a square of so many pixels, so that all have the same
    /// number of tokens: resized to fit in it without a change of proportions, in the
    /// middle of black.
    Fixed(usize),
}

impl ImageSize {
    /// The fixed size that pair tools use, 448; or the largest below it that a model with
    /// other sizes takes.
    pub fn fixed_for(geometry: &ImageGeometry) -> Self {
        let factor = geometry.factor().max(1);
        let usual = USUAL_SIDE / factor * factor;
        Self::Fixed(usual.max(factor).min(Self::largest_side(geometry)))
    }

    /// The longest side that a fixed size may have: a square of the greatest area that the
    /// model takes, as long as a picture's patches fit in the memory that one may take.
    pub fn largest_side(geometry: &ImageGeometry) -> usize {
        let most = DecodeLimits::default();
        let frames = geometry.temporal_patch_size.max(1) as u64;
        let bytes = patch_bytes(1, geometry).max(1);
        let area = (geometry.max_area as u64 / frames)
            .min(most.max_pixels)
            .min(most.max_decoded_bytes / bytes);
        let factor = geometry.factor().max(1);
        let side = (area.isqrt() as usize).min(MAX_SIDE);
        (side / factor * factor).max(factor)
    }

    /// Tokens of a picture in height and in width, if they do not depend on the picture.
    pub fn fixed_grid(self, geometry: &ImageGeometry) -> Option<[usize; 2]> {
        match self {
            Self::Dynamic => None,
            Self::Fixed(side) => Some([side / geometry.factor(); 2]),
        }
    }
}

/// Where a resized picture lies; widths before heights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Placement {
    /// What is cut into patches.
    pub(super) canvas: [usize; 2],
    /// What the picture is resized to.
    pub(super) inner: [usize; 2],
    /// Where its upper left corner comes to lie.
    pub(super) offset: [usize; 2],
}

/// Bytes of the patches of a picture of so many pixels, when it is sized.
pub(super) fn patch_bytes(pixels: u64, geometry: &ImageGeometry) -> u64 {
    let numbers = geometry
        .channels
        .saturating_mul(geometry.temporal_patch_size);
    pixels
        .saturating_mul(numbers as u64)
        .saturating_mul(size_of::<f32>() as u64)
}

/// Refuses sizes that no picture can have, so that nothing below divides by zero.
pub(super) fn check(geometry: &ImageGeometry, size: ImageSize) -> Result<(), ImageError> {
    let sizes = [
        ("patch size", geometry.patch_size),
        ("merge size", geometry.merge_size),
        ("temporal patch size", geometry.temporal_patch_size),
    ];
    for (what, found) in sizes {
        if !(1..=MAX_SIDE).contains(&found) {
            return Err(ImageError::Geometry {
                what,
                found: found.to_string(),
                expected: format!("1 to {MAX_SIDE}"),
            });
        }
    }
    let factor = geometry.factor();
    let (channels, area) = (geometry.channels, geometry.max_area);
    let numbers = [
        (
            "number of channels",
            channels,
            channels == 3,
            "3".to_owned(),
        ),
        (
            "patch size times merge size",
            factor,
            factor <= MAX_SIDE,
            format!("at most {MAX_SIDE}"),
        ),
        (
            "greatest area",
            area,
            area >= geometry.min_area,
            format!("at least the least, {}", geometry.min_area),
        ),
    ];
    for (what, found, is_right, expected) in numbers {
        if !is_right {
            let found = found.to_string();
            return Err(ImageError::Geometry {
                what,
                found,
                expected,
            });
        }
    }
    if geometry
        .std
        .iter()
        .any(|std| !(std.is_finite() && *std > 0.0))
        || geometry.mean.iter().any(|mean| !mean.is_finite())
    {
        return Err(ImageError::Geometry {
            what: "normalisation",
            found: format!("mean {:?}, deviation {:?}", geometry.mean, geometry.std),
            expected: "numbers, deviations above 0".to_owned(),
        });
    }
    match size {
        ImageSize::Fixed(side) => {
            let most = ImageSize::largest_side(geometry);
            if side > 0 && side.is_multiple_of(factor) && side <= most {
                return Ok(());
            }
            Err(ImageError::Size {
                found: side,
                expected: format!("a multiple of {factor}, up to {most} with this model"),
            })
        }
        ImageSize::Dynamic => Ok(()),
    }
}

/// Where a picture of `width` and `height` comes to lie.
pub(super) fn place(
    [width, height]: [usize; 2],
    geometry: &ImageGeometry,
    size: ImageSize,
) -> Result<Placement, ImageError> {
    let whole = |canvas| Placement {
        canvas,
        inner: canvas,
        offset: [0; 2],
    };
    match size {
        ImageSize::Dynamic => dynamic([width, height], geometry).map(whole),
        ImageSize::Fixed(side) => {
            check_ratio(width, height, width as f64, height as f64)?;
            let scale = side as f64 / width.max(height) as f64;
            let scaled = |length: usize| {
                let scaled = (length as f64 * scale).round_ties_even();
                (scaled as usize).clamp(1, side)
            };
            let inner = [scaled(width), scaled(height)];
            Ok(Placement {
                canvas: [side; 2],
                inner,
                offset: inner.map(|length| (side - length) / 2),
            })
        }
    }
}

/// The sides of a picture for [`ImageSize::Dynamic`].
///
/// Numbers are doubles and roundings Python's, as in the reference: a half goes to the
/// even neighbour.
///
/// Source: `smart_resize` of transformers' `Glm4vImageProcessor`.
fn dynamic(
    [width, height]: [usize; 2],
    geometry: &ImageGeometry,
) -> Result<[usize; 2], ImageError> {
    let factor = geometry.factor() as f64;
    // A still picture is as many frames as a patch has.
    let frames = geometry.temporal_patch_size as f64;
    let (least, most) = (geometry.min_area as f64, geometry.max_area as f64);
    let (mut w, mut h) = (width as f64, height as f64);
    if h < factor || w < factor {
        let scale = (factor / h).max(factor / w);
        (h, w) = ((h * scale).trunc(), (w * scale).trunc());
    }
    check_ratio(width, height, w, h)?;
    let round = |length: f64| (length / factor).round_ties_even() * factor;
    let (mut wide, mut high) = (round(w), round(h));
    let area = frames * high * wide;
    if area > most {
        let beta = (frames * h * w / most).sqrt();
        let shrink = |length: f64| ((length / beta / factor).floor() * factor).max(factor);
        (wide, high) = (shrink(w), shrink(h));
    } else if area < least {
        let beta = (least / (frames * h * w)).sqrt();
        let grow = |length: f64| (length * beta / factor).ceil() * factor;
        (wide, high) = (grow(w), grow(h));
    }
    // Casts of floats saturate; what is too large is refused by its number of pixels.
    Ok([wide as usize, high as usize])
}

/// `w` and `h` are what is compared; errors name the picture's own sides.
fn check_ratio(width: usize, height: usize, w: f64, h: f64) -> Result<(), ImageError> {
    let ratio = w.max(h) / w.min(h);
    if ratio > f64::from(MAX_ASPECT_RATIO) {
        return Err(ImageError::AspectRatio {
            width,
            height,
            ratio,
        });
    }
    Ok(())
}
