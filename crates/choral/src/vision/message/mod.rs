//! Pictures in messages: where they are named, and what may be read for them.
//!
//! Takes them out of messages as APIs write them ([`take_images`]), leaving for each the
//! part `{"type": "image"}` that chat templates know; [`MessageImages`] makes embeddings of
//! them. Decides what a name may reach
//! ([`ImageAccess`]): data in the message itself, files of one folder if that is allowed,
//! and never a network. Knows nothing of models.

mod embed;
#[cfg(test)]
mod tests;

pub use embed::MessageImages;

use super::VisionError;
use super::image::{DecodeLimits, ImageError, Picture};
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Value, json};
use std::fs;
use std::path::{Component, Path, PathBuf};

/// Base64 as programs write it: with padding or without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What is wrong with a picture of a message.
#[derive(Debug, thiserror::Error)]
#[error("messages[{message}].content[{part}]: {problem}")]
pub struct MessageImageError {
    /// Which message, from 0.
    pub message: usize,
    /// Which part of its content, from 0.
    pub part: usize,
    /// What is wrong.
    pub problem: ImageProblem,
}

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageProblem {
    /// The part does not say where the picture is.
    #[error(
        "`{found}` has no picture, expected \"image_url\": {{\"url\": \"data:image/png;base64,...\"}}"
    )]
    Malformed {
        /// The part's type.
        found: String,
    },
    /// It is elsewhere.
    #[error(
        "`{url}` is on the network, which is not asked for pictures: send the picture itself, as \
         data:image/png;base64,..."
    )]
    Remote {
        /// The address, shortened.
        url: String,
    },
    /// A `data:` URL that is none.
    #[error("the data URL {reason}, expected data:image/png;base64,...")]
    Data {
        /// What is wrong with it.
        reason: String,
    },
    /// Files are not read here.
    #[error("`{}` is a file, and files are not read: {hint}", path.display())]
    NoFiles {
        /// The file.
        path: PathBuf,
        /// What would allow it.
        hint: &'static str,
    },
    /// The file is elsewhere than where files are read.
    #[error("`{}` is not in `{}`, where pictures are read", path.display(), root.display())]
    Outside {
        /// The file.
        path: PathBuf,
        /// Where files are read.
        root: PathBuf,
    },
    /// There is nobody to look at it, or it cannot be looked at.
    #[error(transparent)]
    Vision(#[from] VisionError),
    /// What is there is no picture that can be used.
    #[error("the picture{name} {error}")]
    Image {
        /// Its file, if it has one, behind a space.
        name: String,
        /// What is wrong with it.
        error: ImageError,
    },
}

/// What the names of pictures may reach.
#[derive(Debug, Clone, Default)]
pub struct ImageAccess {
    /// The folder whose files are read, by its real path.
    root: Option<PathBuf>,
    /// How to allow files, for messages.
    hint: &'static str,
    limits: DecodeLimits,
}

impl ImageAccess {
    /// No file is read; `hint` says what would allow it.
    pub fn data_only(hint: &'static str) -> Self {
        Self {
            hint,
            ..Self::default()
        }
    }

    /// Files in `folder`, and below, are read. Paths that are not absolute begin there.
    ///
    /// # Errors
    /// There is no such folder.
    pub fn folder(folder: &Path) -> std::io::Result<Self> {
        Ok(Self {
            root: Some(fs::canonicalize(folder)?),
            ..Self::default()
        })
    }

    /// The same with other limits to what is decoded.
    #[must_use]
    pub fn with_limits(mut self, limits: DecodeLimits) -> Self {
        self.limits = limits;
        self
    }

    /// The picture that `url` names.
    ///
    /// # Errors
    /// It may not be reached, or is no picture.
    pub fn open(&self, url: &str) -> Result<Picture, ImageProblem> {
        let image = |name: String| |error| ImageProblem::Image { name, error };
        if let Some(data) = strip_scheme(url, "data:") {
            let bytes = self.data(data)?;
            return Picture::decode(&bytes, &self.limits).map_err(image(String::new()));
        }
        for scheme in ["http:", "https:", "ftp:", "s3:", "gs:"] {
            if strip_scheme(url, scheme).is_some() {
                return Err(ImageProblem::Remote {
                    url: shortened(url),
                });
            }
        }
        let path = self.inside(&file_of(url))?;
        let name = format!(" `{}`", path.display());
        Picture::read(&path, &self.limits).map_err(image(name))
    }

    /// The bytes of a data URL, without its scheme. What it calls its type has no say.
    ///
    /// Source: RFC 2397.
    fn data(&self, url: &str) -> Result<Vec<u8>, ImageProblem> {
        let wrong = |reason: String| ImageProblem::Data { reason };
        let Some((kind, data)) = url.split_once(',') else {
            return Err(wrong("has no comma before its data".to_owned()));
        };
        let is_base64 = kind
            .rsplit(';')
            .next()
            .is_some_and(|last| last.trim().eq_ignore_ascii_case("base64"));
        if !is_base64 {
            return Err(wrong("is not in base64".to_owned()));
        }
        if data.len() as u64 / 4 * 3 > self.limits.max_bytes {
            return Err(wrong(format!(
                "has more than {} bytes",
                self.limits.max_bytes
            )));
        }
        // Some programs break lines.
        let data: String = data.split_ascii_whitespace().collect();
        let bytes = BASE64.decode(data);
        bytes.map_err(|error| wrong(format!("is damaged: {error}")))
    }

    /// The real path of a file that may be read. Links that lead out are followed before
    /// they are judged.
    fn inside(&self, path: &Path) -> Result<PathBuf, ImageProblem> {
        let Some(root) = &self.root else {
            return Err(ImageProblem::NoFiles {
                path: path.to_owned(),
                hint: self.hint,
            });
        };
        let outside = || ImageProblem::Outside {
            path: path.to_owned(),
            root: root.clone(),
        };
        // Said of what leaves by its name alone, too: whether there is a file out there
        // is nobody's business.
        let is_plain = |part: Component| !matches!(part, Component::ParentDir);
        if !path.components().all(is_plain) || (path.is_absolute() && !path.starts_with(root)) {
            return Err(outside());
        }
        let joined = root.join(path);
        let real = fs::canonicalize(&joined).map_err(|error| ImageProblem::Image {
            name: format!(" `{}`", path.display()),
            error: ImageError::Io(error),
        })?;
        if real.starts_with(root) {
            Ok(real)
        } else {
            Err(outside())
        }
    }
}

/// Where a picture of a message is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageImage {
    /// Which message, from 0.
    pub message: usize,
    /// Which part of its content, from 0.
    pub part: usize,
    /// The URL or path that names it.
    pub url: String,
}

impl MessageImage {
    /// An error of this picture.
    pub fn error(&self, problem: ImageProblem) -> MessageImageError {
        MessageImageError {
            message: self.message,
            part: self.part,
            problem,
        }
    }
}

/// Takes the pictures out of `messages`, in their order. Each part that is one becomes
/// `{"type": "image"}`.
///
/// Known are `image_url` with an object or a string (OpenAI's chat), `input_image` (its
/// responses), `image` with `image`, `url` or `path` (transformers), and `image` with a
/// `source` in base64 (Anthropic).
///
/// # Errors
/// A part is a picture by its type and has none.
pub fn take_images(messages: &mut [Value]) -> Result<Vec<MessageImage>, MessageImageError> {
    let mut images = Vec::new();
    for (message, value) in messages.iter_mut().enumerate() {
        let content = value.get_mut("content").and_then(Value::as_array_mut);
        for (part, value) in content.into_iter().flatten().enumerate() {
            if !is_image(value) {
                continue;
            }
            let url = url_of(value).ok_or_else(|| MessageImageError {
                message,
                part,
                problem: ImageProblem::Malformed {
                    found: value["type"].as_str().unwrap_or_default().to_owned(),
                },
            })?;
            images.push(MessageImage { message, part, url });
            *value = json!({"type": "image"});
        }
    }
    Ok(images)
}

/// Whether a part of a message's content is a picture by its type.
fn is_image(part: &Value) -> bool {
    let kind = part["type"].as_str();
    matches!(kind, Some("image" | "image_url" | "input_image"))
}

fn url_of(part: &Value) -> Option<String> {
    let names = [
        &part["image_url"]["url"],
        &part["image_url"],
        &part["image"],
        &part["url"],
        &part["path"],
    ];
    if let Some(url) = names.into_iter().find_map(Value::as_str) {
        return Some(url.to_owned());
    }
    let source = &part["source"];
    match source["type"].as_str()? {
        "base64" => {
            let kind = source["media_type"].as_str().unwrap_or("image/png");
            let data = source["data"].as_str()?;
            Some(format!("data:{kind};base64,{data}"))
        }
        "url" => source["url"].as_str().map(str::to_owned),
        _ => None,
    }
}

/// What follows a scheme, which is written in any case.
fn strip_scheme<'a>(url: &'a str, scheme: &str) -> Option<&'a str> {
    let (head, rest) = url.split_at_checked(scheme.len())?;
    head.eq_ignore_ascii_case(scheme).then_some(rest)
}

/// The path of `file:///a%20b.png`, or of a name without a scheme.
fn file_of(url: &str) -> PathBuf {
    let Some(rest) = strip_scheme(url, "file:") else {
        return url.into();
    };
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    let rest = rest
        .strip_prefix("localhost/")
        .map_or(rest, |_| &rest["localhost".len()..]);
    let mut bytes = Vec::with_capacity(rest.len());
    let mut left = rest.as_bytes();
    while let Some((&byte, after)) = left.split_first() {
        let code =
            after
                .split_at_checked(2)
                .filter(|_| byte == b'%')
                .and_then(|(digits, after)| {
                    let digits = std::str::from_utf8(digits).ok()?;
                    Some((u8::from_str_radix(digits, 16).ok()?, after))
                });
        let (byte, after) = code.unwrap_or((byte, after));
        bytes.push(byte);
        left = after;
    }
    String::from_utf8_lossy(&bytes).into_owned().into()
}

/// The beginning of a URL, safe to show.
fn shortened(url: &str) -> String {
    const MOST: usize = 80;
    let mut shown: String = url.chars().take(MOST).collect();
    if url.chars().nth(MOST).is_some() {
        shown.push('…');
    }
    shown.escape_debug().to_string()
}
