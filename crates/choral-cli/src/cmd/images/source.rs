//! Where embeddings come from: a store, or files that are encoded now.

use super::model::{described, tell};
use anyhow::{Context as _, Result, bail};
use choral::vision::ImageEmbedding;
use choral::vision::encode::encode_files;
use choral::vision::image::{ImageProcessor, ImageSize, find};
use choral::vision::store::{EmbeddingStore, StoreError};
use choral::{Engine, ModelInfo};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::path::{Path, PathBuf};

/// Most embeddings of a store that are kept at hand.
const MAX_CACHED: usize = 32;

/// Pictures that are encoded together.
const BATCH: usize = 8;

/// A store, and what was last read of it.
struct Stored {
    store: EmbeddingStore,
    cached: HashMap<usize, ImageEmbedding>,
    oldest: VecDeque<usize>,
}

impl Stored {
    fn embedding(&mut self, index: usize) -> Result<ImageEmbedding, StoreError> {
        if let Some(found) = self.cached.get(&index) {
            return Ok(found.clone());
        }
        let read = self.store.embedding(index)?;
        if self.oldest.len() == MAX_CACHED
            && let Some(gone) = self.oldest.pop_front()
        {
            self.cached.remove(&gone);
        }
        self.oldest.push_back(index);
        self.cached.insert(index, read.clone());
        Ok(read)
    }
}

/// Images by their numbers.
pub(super) struct Images {
    names: Vec<String>,
    from: From,
}

enum From {
    Store(Box<Stored>),
    /// Those that were asked for, or why there is none.
    Files(HashMap<usize, Result<ImageEmbedding, String>>),
}

impl Images {
    /// The images of the store in `folder`.
    pub(super) fn open(folder: &Path, hidden: usize, info: &ModelInfo) -> Result<Self> {
        let store = EmbeddingStore::open(folder, hidden)?;
        let encoder = info.image_encoder.as_ref();
        let model = described(&info.file, encoder, info.plan.numeric)?;
        store
            .check_model(&model)
            .context("embeddings of one model mean nothing to another")?;
        if let Some(encoder) = encoder {
            store.check_geometry(&encoder.geometry)?;
        }
        if !store.is_complete() {
            tell(&format!(
                "`{}` is not finished: it has {} images by now, and the `precompute` that made it \
                 goes on",
                folder.display(),
                store.len()
            ));
        }
        Ok(Self {
            names: store.names().to_vec(),
            from: From::Store(Box::new(Stored {
                store,
                cached: HashMap::new(),
                oldest: VecDeque::new(),
            })),
        })
    }

    /// Files and those of folders, none of which is encoded yet.
    pub(super) fn list(paths: &[PathBuf]) -> Result<Self> {
        let mut names = Vec::new();
        for path in paths {
            if !path.is_dir() {
                names.push(name(path));
                continue;
            }
            let found = find(path).with_context(|| path.display().to_string())?;
            for (folder, error) in &found.unread {
                tell(&format!("{}: cannot be read: {error}", folder.display()));
            }
            names.extend(found.images.iter().map(|path| name(path)));
        }
        if names.is_empty() {
            bail!("there is no picture in {}", shown(paths));
        }
        Ok(Self {
            names,
            from: From::Files(HashMap::new()),
        })
    }

    /// How the images of a store were sized, if it says.
    pub(super) fn image_size(&self) -> Option<ImageSize> {
        let From::Store(stored) = &self.from else {
            return None;
        };
        let sidecar = stored.store.sidecar();
        sidecar.map(|sidecar| sidecar.preprocessing.image_size)
    }

    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    /// The path of image `index`.
    pub(super) fn name(&self, index: usize) -> &str {
        &self.names[index]
    }

    /// Encodes the files of the images `wanted`, if they are files; rounded to f16, as a
    /// store has them, so that answers are the same.
    pub(super) fn encode(
        &mut self,
        wanted: &BTreeSet<usize>,
        engine: &Engine,
        size: ImageSize,
    ) -> Result<()> {
        let From::Files(made) = &mut self.from else {
            return Ok(());
        };
        let geometry = engine
            .geometry()
            .context("the model has no image encoder")?;
        let processor = ImageProcessor::new(geometry.clone(), size)?;
        let encode = |images: &[_]| engine.encode_images(images);
        let wanted: Vec<usize> = wanted.iter().copied().collect();
        for batch in wanted.chunks(BATCH) {
            let paths: Vec<PathBuf> = batch
                .iter()
                .map(|&i| PathBuf::from(&self.names[i]))
                .collect();
            let results = encode_files(&paths, &processor, &encode);
            for (&index, result) in batch.iter().zip(results) {
                let rounded = result.map(|embedding| embedding.rounded_to_f16());
                made.insert(index, rounded.map_err(|error| error.to_string()));
            }
        }
        Ok(())
    }

    /// The embedding of image `index`, or why there is none.
    pub(super) fn embedding(&mut self, index: usize) -> Result<ImageEmbedding, String> {
        match &mut self.from {
            From::Files(made) => made
                .get(&index)
                .cloned()
                .unwrap_or_else(|| Err(format!("image {index} was not encoded"))),
            From::Store(stored) => stored.embedding(index).map_err(|error| error.to_string()),
        }
    }

    /// What the images are, as a record is to remember it.
    pub(super) fn fingerprint(&self) -> String {
        match &self.from {
            From::Files(_) => "files".to_owned(),
            From::Store(stored) => match stored.store.sidecar() {
                Some(sidecar) => {
                    let size = sidecar.preprocessing.image_size;
                    format!(
                        "{} {} {size:?}",
                        sidecar.model.fingerprint, sidecar.model.numeric
                    )
                }
                None => "unknown".to_owned(),
            },
        }
    }
}

fn name(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn shown(paths: &[PathBuf]) -> String {
    let paths: Vec<_> = paths
        .iter()
        .map(|path| format!("`{}`", path.display()))
        .collect();
    paths.join(", ")
}
