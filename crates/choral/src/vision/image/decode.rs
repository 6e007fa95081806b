//! From a file's bytes to pixels.
//!
//! The `image` crate decodes; here is what it is told, what its colours become, and
//! what is refused before it allocates. A panic in a decoder is an error of the file.

use super::memory::{DecodeMemory, Share};
use super::{ImageError, jpeg};
use ::image::error::{ImageError as Fault, LimitErrorKind};
use ::image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};
use std::fs::{self, File};
use std::io::{Cursor, Read as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// Said of 16-bit grey.
const CUT: &str = "16-bit grey is cut at 255, as Pillow does: what is brighter becomes white; \
                   convert it to 8 bits first";

/// What can be decoded, for messages.
pub const FORMATS: &str = "JPEG, PNG, WebP, GIF, BMP or TIFF";

/// As many first bytes as tell a format.
pub(super) const SNIFFED_BYTES: usize = 16;

const BMP_FILE_HEADER_BYTES: u64 = 14;

const NAMES: [&str; 11] = [
    "jpg", "jpeg", "jpe", "jfif", "png", "webp", "gif", "bmp", "dib", "tif", "tiff",
];

/// How much a file may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Most bytes of a file.
    pub max_bytes: u64,
    /// Most pixels of a picture.
    pub max_pixels: u64,
    /// Most bytes of its pixels when decoded.
    pub max_decoded_bytes: u64,
    /// Most bytes that pictures may take together which are decoded at the same time; one
    /// that takes more is decoded alone.
    pub max_bytes_at_once: u64,
}

impl Default for DecodeLimits {
    /// As many pixels as Pillow decodes without a word about bombs and twice that, which
    /// is where it refuses.
    fn default() -> Self {
        Self {
            max_bytes: 256 << 20,
            max_pixels: 178_956_970,
            max_decoded_bytes: 1 << 30,
            max_bytes_at_once: 1 << 30,
        }
    }
}

impl DecodeLimits {
    /// Memory for pictures that are decoded at the same time. Files, too, are together no
    /// larger than one may be.
    pub(super) fn memory(&self) -> DecodeMemory {
        DecodeMemory::new(self.max_bytes, self.max_bytes_at_once)
    }
}

/// A decoded picture: red, green and blue bytes, from the upper left, row after row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

impl Picture {
    /// # Panics
    /// If there are not three bytes for each pixel.
    pub(super) fn new(width: usize, height: usize, pixels: Vec<u8>) -> Self {
        assert_eq!(pixels.len(), width * height * 3);
        Self {
            width,
            height,
            pixels,
        }
    }

    /// Decodes the file `path`.
    ///
    /// # Errors
    /// It cannot be read, or as [`decode`](Self::decode).
    pub fn read(path: &Path, limits: &DecodeLimits) -> Result<Self, ImageError> {
        let memory = limits.memory();
        Self::read_in(path, limits, &memory).map(|(picture, _)| picture)
    }

    /// The same, in a share of `memory`.
    pub(super) fn read_in<'a>(
        path: &Path,
        limits: &DecodeLimits,
        memory: &'a DecodeMemory,
    ) -> Result<(Self, Share<'a>), ImageError> {
        // Both live until the file's bytes are gone.
        let (bytes, _share) = read(path, limits, memory)?;
        let (picture, is_cut, share) = Self::from_bytes(&bytes, limits, memory)?;
        if is_cut {
            tracing::warn!("{}: {CUT}", path.display());
        }
        Ok((picture, share))
    }

    /// Decodes a file's `bytes`, whatever it is called: the first picture in it,
    /// upright, on white where it is transparent, and grey as three bytes alike: what
    /// Pillow's `exif_transpose` and transformers' `convert_to_rgb` make of it.
    ///
    /// # Errors
    /// It is no picture of the [`FORMATS`], it is damaged, or it is larger than `limits`
    /// allow, which is found out before its pixels are decoded.
    pub fn decode(bytes: &[u8], limits: &DecodeLimits) -> Result<Self, ImageError> {
        let memory = limits.memory();
        Self::decode_in(bytes, limits, &memory).map(|(picture, _)| picture)
    }

    /// The same, in a share of `memory`.
    pub(super) fn decode_in<'a>(
        bytes: &[u8],
        limits: &DecodeLimits,
        memory: &'a DecodeMemory,
    ) -> Result<(Self, Share<'a>), ImageError> {
        let (picture, is_cut, share) = Self::from_bytes(bytes, limits, memory)?;
        if is_cut {
            tracing::warn!("a picture: {CUT}");
        }
        Ok((picture, share))
    }

    /// The picture, whether little may be left of it, and the memory that it takes.
    fn from_bytes<'a>(
        bytes: &[u8],
        limits: &DecodeLimits,
        memory: &'a DecodeMemory,
    ) -> Result<(Self, bool, Share<'a>), ImageError> {
        let found = bytes.len() as u64;
        if found > limits.max_bytes {
            return Err(ImageError::TooManyBytes {
                found,
                most: limits.max_bytes,
            });
        }
        let (format, name) = format_of(bytes)?;
        if format == ImageFormat::Jpeg && !jpeg::is_whole(bytes) {
            return Err(ImageError::CutShort {
                length: bytes.len(),
            });
        }
        if format == ImageFormat::Bmp {
            check_bmp(bytes)?;
        }
        let decode = || decode(bytes, format, name, limits, memory);
        let decoded = catch_unwind(AssertUnwindSafe(decode));
        let (image, share) = decoded.unwrap_or_else(|_| {
            Err(ImageError::Damaged {
                format: name,
                reason: "the decoder failed".to_owned(),
            })
        })?;
        let (picture, is_cut) = rgb(image);
        Ok((picture, is_cut, share))
    }

    /// Width and height.
    pub fn size(&self) -> [usize; 2] {
        [self.width, self.height]
    }

    /// Its bytes, `[height, width, 3]`.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// The same picture made smaller, if need be, so that no side is longer than `side`.
    ///
    /// # Panics
    /// If `side` is 0.
    #[must_use]
    pub fn thumbnail(&self, side: usize) -> Self {
        let longest = self.width.max(self.height);
        if longest <= side {
            return self.clone();
        }
        let scaled = |length: usize| (length * side / longest).max(1);
        super::resample::resize(self, [scaled(self.width), scaled(self.height)])
    }

    /// This picture on a black one of `canvas` pixels, which holds it.
    pub(super) fn on_black(&self, [width, height]: [usize; 2], [left, top]: [usize; 2]) -> Self {
        let mut pixels = vec![0; width * height * 3];
        let rows = pixels.chunks_exact_mut(width * 3).skip(top);
        for (row, own) in rows.zip(self.pixels.chunks_exact(self.width * 3)) {
            row[left * 3..][..own.len()].copy_from_slice(own);
        }
        Self::new(width, height, pixels)
    }
}

/// Whether a file is called like a picture.
pub fn has_image_name(path: &Path) -> bool {
    let ending = path.extension().unwrap_or_default();
    NAMES.iter().any(|name| ending.eq_ignore_ascii_case(name))
}

/// Whether a file that begins with these bytes is a picture of the [`FORMATS`].
pub fn looks_like_image(first: &[u8]) -> bool {
    format_of(first).is_ok()
}

/// The file's bytes, unless there are too many. What is no regular file is refused
/// before it is opened, since a pipe may have nobody at the other end.
fn read<'a>(
    path: &Path,
    limits: &DecodeLimits,
    memory: &'a DecodeMemory,
) -> Result<(Vec<u8>, Share<'a>), ImageError> {
    let metadata = fs::metadata(path).map_err(ImageError::Io)?;
    if !metadata.is_file() {
        return Err(ImageError::NotAFile {
            found: if metadata.is_dir() {
                "a folder"
            } else {
                "a device, pipe or socket"
            },
        });
    }
    let most = limits.max_bytes;
    let too_many = |found| Err(ImageError::TooManyBytes { found, most });
    if metadata.len() > most {
        return too_many(metadata.len());
    }
    let share = memory.file(metadata.len());
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(ImageError::Io)?;
    // It may have grown meanwhile.
    let read = file.take(most.saturating_add(1)).read_to_end(&mut bytes);
    match read.map_err(ImageError::Io)? as u64 {
        found if found > most => too_many(found),
        _ => Ok((bytes, share)),
    }
}

/// What a file is by its first bytes; its name has no say.
fn format_of(bytes: &[u8]) -> Result<(ImageFormat, &'static str), ImageError> {
    if bytes.is_empty() {
        return Err(ImageError::Empty);
    }
    let format = ::image::guess_format(bytes).ok();
    let known = match format {
        Some(ImageFormat::Jpeg) => Some("JPEG"),
        Some(ImageFormat::Png) => Some("PNG"),
        Some(ImageFormat::WebP) => Some("WebP"),
        Some(ImageFormat::Gif) => Some("GIF"),
        Some(ImageFormat::Bmp) => Some("BMP"),
        Some(ImageFormat::Tiff) => Some("TIFF"),
        _ => None,
    };
    format.zip(known).ok_or_else(|| {
        let first = &bytes[..bytes.len().min(8)];
        let found = match format {
            Some(other) => format!("the marks of {other:?}"),
            None => format!("`{}`", first.escape_ascii()),
        };
        ImageError::Format { found }
    })
}

/// Refuses a BMP file that says its pixels begin within its headers: the decoder would
/// take those for pixels.
fn check_bmp(bytes: &[u8]) -> Result<(), ImageError> {
    let field = |at: usize| {
        let bytes = bytes.get(at..)?.first_chunk()?;
        Some(u64::from(u32::from_le_bytes(*bytes)))
    };
    let damaged = |reason| ImageError::Damaged {
        format: "BMP",
        reason,
    };
    let fields = field(10).zip(field(14));
    let (begin, info) = fields.ok_or_else(|| damaged("it ends within its headers".to_owned()))?;
    let headers = BMP_FILE_HEADER_BYTES + info;
    if begin < headers {
        return Err(damaged(format!(
            "its pixels begin at byte {begin}, expected {headers} or later, after its headers"
        )));
    }
    Ok(())
}

fn decode<'a>(
    bytes: &[u8],
    format: ImageFormat,
    name: &'static str,
    limits: &DecodeLimits,
    memory: &'a DecodeMemory,
) -> Result<(DynamicImage, Share<'a>), ImageError> {
    let fault = |fault| explain(fault, name, limits);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut allowed = Limits::no_limits();
    allowed.max_alloc = Some(limits.max_decoded_bytes.saturating_mul(2));
    reader.limits(allowed);
    let mut decoder = reader.into_decoder().map_err(fault)?;
    let (width, height) = decoder.dimensions();
    if width == 0 || height == 0 {
        return Err(ImageError::NoPixels { width, height });
    }
    let num_pixels = u64::from(width) * u64::from(height);
    if num_pixels > limits.max_pixels {
        return Err(ImageError::TooManyPixels {
            width: width.into(),
            height: height.into(),
            most: limits.max_pixels,
        });
    }
    let found = decoder.total_bytes();
    if found > limits.max_decoded_bytes {
        return Err(ImageError::TooMuchMemory {
            found,
            most: limits.max_decoded_bytes,
        });
    }
    let orientation = decoder.orientation().map_err(fault)?;
    // What the decoder gives; as much again, which it may keep of its own meanwhile
    // (coefficients of a progressive JPEG) or which turning takes after it; and the three
    // bytes a pixel that come of it in the end.
    let share = memory.pixels(found.saturating_mul(2).saturating_add(num_pixels * 3));
    let mut image = DynamicImage::from_decoder(decoder).map_err(fault)?;
    image.apply_orientation(orientation);
    Ok((image, share))
}

/// What the decoder says, in the words of this crate.
fn explain(fault: Fault, format: &'static str, limits: &DecodeLimits) -> ImageError {
    match fault {
        Fault::Limits(limit) if limit.kind() == LimitErrorKind::InsufficientMemory => {
            ImageError::Damaged {
                format,
                reason: format!(
                    "it wants more memory than {} bytes twice over",
                    limits.max_decoded_bytes
                ),
            }
        }
        Fault::Unsupported(unsupported) => ImageError::Unsupported {
            format,
            reason: plain(&unsupported),
        },
        other => ImageError::Damaged {
            format,
            reason: plain(&other),
        },
    }
}

/// A message without control characters: decoders quote names of chunks as they are.
fn plain(fault: &impl ToString) -> String {
    fault.to_string().replace(char::is_control, "\u{fffd}")
}

/// Bytes of red, green and blue, as Pillow and transformers make them: of 16-bit colours
/// the higher byte, but 16-bit grey is cut at 255. Whether something was.
fn rgb(image: DynamicImage) -> (Picture, bool) {
    let (width, height) = (image.width() as usize, image.height() as usize);
    let high = |&value: &u16| (value >> 8) as u8;
    let mut is_cut = false;
    let pixels = match image {
        DynamicImage::ImageLuma16(image) => {
            is_cut = image.iter().any(|&value| value > 255);
            let cut = |&value: &u16| [value.min(255) as u8; 3];
            image.iter().flat_map(cut).collect()
        }
        DynamicImage::ImageRgb16(image) => image.iter().map(high).collect(),
        DynamicImage::ImageLumaA16(image) => {
            let bytes: Vec<u8> = image.iter().map(high).collect();
            let (pixels, _) = bytes.as_chunks();
            pixels
                .iter()
                .flat_map(|&[v, a]| on_white([v; 3], a))
                .collect()
        }
        DynamicImage::ImageRgba16(image) => {
            let bytes: Vec<u8> = image.iter().map(high).collect();
            without_alpha(&bytes)
        }
        image if image.color().has_alpha() => without_alpha(&image.into_rgba8()),
        // Grey is repeated.
        image => image.into_rgb8().into_raw(),
    };
    (Picture::new(width, height, pixels), is_cut)
}

fn without_alpha(bytes: &[u8]) -> Vec<u8> {
    let (pixels, _) = bytes.as_chunks();
    let opaque = |&[r, g, b, a]: &[u8; 4]| on_white([r, g, b], a);
    pixels.iter().flat_map(opaque).collect()
}

/// A colour laid over white, rounded as Pillow does.
///
/// Source: Pillow, `src/libImaging/AlphaComposite.c`.
fn on_white(colour: [u8; 3], alpha: u8) -> [u8; 3] {
    let alpha = u32::from(alpha);
    colour.map(|value| {
        let sum = (u32::from(value) * alpha + 255 * (255 - alpha)) << 7;
        let sum = sum + (0x80 << 7);
        // Divides by 255.
        ((((sum >> 8) + sum) >> 8) >> 7) as u8
    })
}
