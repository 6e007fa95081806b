//! A model's encoder of pictures: where it is, whether it fits, and what prompts need
//! to know.

use super::{BuildError, EngineBuilder, compute};
use crate::arch::{Architecture, ImageFamily};
use crate::engine::ImageInput;
use crate::model::{DecoderSpec, Hyper, ImageModel, ImageSpec, Numeric};
use crate::text::Tokenizer;
use crate::vision::{ImageEncoder, ImageGeometry, STEP_PATCHES};
use choral_formats::{FormatError, ModelFile, TensorSource};
use choral_kernels::Compute;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const MMPROJ_HINT: &str = "; of a GGUF model it is a file of its own (`mmproj`)";

/// An encoder of pictures that has been opened and not loaded.
pub(super) struct OpenImages {
    file: Arc<ModelFile>,
    family: &'static ImageFamily,
    spec: ImageSpec,
}

impl OpenImages {
    fn open(file: Arc<ModelFile>) -> Result<Option<Self>, BuildError> {
        let found = ImageSpec::read(&file)?;
        Ok(found.map(|(family, spec)| Self { file, family, spec }))
    }

    /// What it is, beside the text model in `model`.
    pub(super) fn describe(&self, model: &Arc<ModelFile>) -> ImageEncoderFile {
        ImageEncoderFile {
            file: Arc::clone(&self.file),
            is_own: !Arc::ptr_eq(&self.file, model),
            geometry: self.spec.geometry.clone(),
        }
    }

    /// Bytes of its weights and its steps.
    pub(super) fn bytes(&self, numeric: Numeric) -> u64 {
        let weights = self
            .spec
            .packed_weight_bytes(&self.file, self.family, numeric);
        weights.saturating_add(self.spec.step_bytes(STEP_PATCHES))
    }

    pub(super) fn load(
        &self,
        numeric: Numeric,
        compute: Compute,
    ) -> Result<ImageEncoder, BuildError> {
        let model = ImageModel::load(&self.file, numeric, &compute)?;
        let model = model.ok_or_else(|| no_encoder(self.file.path()))?;
        tracing::info!(
            encoder = %self.file.path().display(),
            bytes = model.weight_bytes(),
            "image encoder loaded"
        );
        Ok(ImageEncoder::new(model, compute))
    }
}

/// What a model's encoder of pictures is, its weights not being loaded.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ImageEncoderFile {
    /// The file that it is in.
    pub file: Arc<ModelFile>,
    /// Whether that is a file of its own, beside the text model's.
    pub is_own: bool,
    /// What pictures it takes.
    pub geometry: ImageGeometry,
}

fn no_encoder(path: &Path) -> BuildError {
    BuildError::NoImageEncoder {
        path: path.to_owned(),
        hint: "",
    }
}

impl EngineBuilder {
    /// The encoder of pictures of a GGUF model, which is a file of its own. Unless said it
    /// is the one file beside the model whose name has `mmproj` in it, if the model is one
    /// that sees.
    #[must_use]
    pub fn mmproj(mut self, path: impl Into<PathBuf>) -> Self {
        self.mmproj = Some(path.into());
        self
    }

    /// Whether the model's encoder of pictures is loaded, if it has one; it is unless
    /// said. Without it pictures come as embeddings that were made before.
    #[must_use]
    pub fn image_encoder(mut self, on: bool) -> Self {
        self.image_encoder = Some(on);
        self
    }

    /// The encoder of pictures that belongs to `model`, which this builder opened: looked
    /// for and not loaded. None if the model reads text only, or its encoder is not there.
    ///
    /// # Errors
    /// If the encoder cannot be read, or does not fit the model.
    pub fn find_image_encoder(
        &self,
        model: &Arc<ModelFile>,
    ) -> Result<Option<ImageEncoderFile>, BuildError> {
        let (architecture, hyper) = Hyper::open(model)?;
        let spec = (architecture.spec)(&hyper)?;
        let found = self.open_images(model, architecture, &spec)?;
        Ok(found.map(|found| found.describe(model)))
    }

    /// Loads the model's encoder of pictures alone, for whoever makes embeddings and
    /// generates nothing. Numeric and threads are chosen as for an engine.
    ///
    /// # Errors
    /// If the model has no encoder, or it cannot be loaded.
    pub fn build_image_encoder(self) -> Result<ImageEncoder, BuildError> {
        let threads = self.compute_threads()?;
        let isa = self.instruction_set()?;
        let file = Arc::new(self.open()?);
        let (architecture, hyper) = Hyper::open(&file)?;
        let spec = (architecture.spec)(&hyper)?;
        let numeric = self.numeric_for(&file, &spec)?;
        let images = self.open_images(&file, architecture, &spec)?;
        let images = images.filter(|_| self.loads_images());
        let images = images.ok_or_else(|| BuildError::NoImageEncoder {
            path: file.path().to_owned(),
            hint: match &*file {
                ModelFile::Gguf(_) if spec.takes_images() => MMPROJ_HINT,
                _ => "",
            },
        })?;
        images.load(numeric, compute(isa, threads)?)
    }

    /// Whether an encoder is loaded, if there is one.
    pub(super) fn loads_images(&self) -> bool {
        self.image_encoder != Some(false)
    }

    /// Opens the model's encoder of pictures, and checks that it fits the model. One that
    /// is not to be loaded, and was not named, may be none that fits.
    pub(super) fn open_images(
        &self,
        file: &Arc<ModelFile>,
        architecture: &Architecture,
        spec: &DecoderSpec,
    ) -> Result<Option<OpenImages>, BuildError> {
        match self.look_for_images(file, architecture, spec) {
            Err(error) if !self.loads_images() && self.mmproj.is_none() => {
                tracing::warn!("the model's image encoder is not looked at: {error}");
                Ok(None)
            }
            found => found,
        }
    }

    fn look_for_images(
        &self,
        file: &Arc<ModelFile>,
        architecture: &Architecture,
        spec: &DecoderSpec,
    ) -> Result<Option<OpenImages>, BuildError> {
        let sees = architecture.images.is_some() && spec.takes_images();
        let opened = match (&self.mmproj, &**file) {
            (Some(path), _) if !sees => {
                return Err(BuildError::ImageEncoder {
                    path: path.clone(),
                    problem: format!("the model at {} reads text only", file.path().display()),
                });
            }
            (Some(path), _) => {
                let own = Arc::new(ModelFile::open(path)?);
                let opened = OpenImages::open(own)?;
                Some(opened.ok_or_else(|| no_encoder(path))?)
            }
            _ if !sees => None,
            (None, ModelFile::Hf(_)) => OpenImages::open(Arc::clone(file))?,
            // One that was only found may be another model's.
            (None, ModelFile::Gguf(gguf)) => beside(TensorSource::path(gguf)).and_then(|path| {
                let opened = ModelFile::open(&path).map_err(BuildError::from);
                let opened = opened.and_then(|own| OpenImages::open(Arc::new(own)));
                opened.unwrap_or_else(|error| {
                    tracing::warn!("an image encoder beside the model is not used: {error}");
                    None
                })
            }),
        };
        if let Some(opened) = &opened
            && opened.spec.out_size != spec.hidden_size
        {
            return Err(BuildError::ImageEncoder {
                path: opened.file.path().to_owned(),
                problem: format!(
                    "the image encoder makes tokens of width {}, the model's is {}",
                    opened.spec.out_size, spec.hidden_size
                ),
            });
        }
        Ok(opened)
    }
}

/// The one encoder of pictures beside a GGUF model, as llama.cpp's are named. Several
/// may be of other models, or of other precision: they must be chosen from.
fn beside(model: &Path) -> Option<PathBuf> {
    let folder = model.parent()?;
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    let is_encoder = |path: &PathBuf| {
        let name = path.file_stem().and_then(|name| name.to_str());
        let name = name.unwrap_or_default().to_ascii_lowercase();
        let is_gguf = |ending: &std::ffi::OsStr| ending.eq_ignore_ascii_case("gguf");
        name.contains("mmproj") && path.extension().is_some_and(is_gguf) && path.is_file()
    };
    let entries = std::fs::read_dir(folder).ok()?;
    let mut found = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(is_encoder);
    let first = found.next()?;
    if found.next().is_some() {
        tracing::warn!(
            folder = %folder.display(),
            "several image encoders (`mmproj`) beside the model: name one to use it"
        );
        return None;
    }
    Some(first)
}

/// How prompts hold pictures; `None` if the model reads text only.
pub(super) fn image_input(
    file: &ModelFile,
    architecture: &Architecture,
    spec: &DecoderSpec,
    tokenizer: &Tokenizer,
    encoder: Option<Arc<ImageEncoder>>,
) -> Result<Option<ImageInput>, BuildError> {
    let Some(family) = architecture.images.filter(|_| spec.takes_images()) else {
        return Ok(None);
    };
    let named = tokenizer.id_of(family.placeholder);
    let placeholder_id = match file {
        ModelFile::Gguf(gguf) => {
            let path = gguf.metadata().file();
            named.ok_or_else(|| {
                let field = "tokenizer.ggml.tokens";
                FormatError::field(path, field, format!("a `{}`", family.placeholder), "none")
            })?
        }
        ModelFile::Hf(dir) => {
            let key = "image_token_id";
            let id = dir
                .config
                .u32(key)?
                .unwrap_or(family.default_placeholder_id);
            if id as usize >= spec.vocab_size {
                let expected = format!("an id below {}", spec.vocab_size);
                return Err(dir.config.invalid(key, expected, id).into());
            }
            id
        }
    };
    let text = tokenizer.token_text(placeholder_id);
    Ok(Some(ImageInput {
        placeholder_id,
        placeholder: text.unwrap_or_else(|| family.placeholder.to_owned()),
        hidden_size: spec.hidden_size,
        encoder,
    }))
}
