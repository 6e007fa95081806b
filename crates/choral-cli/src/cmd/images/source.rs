//! Where embeddings come from: a store, or files that are encoded when their rows come up.
//!
//! [`Source`] is what can be said before there is a model, [`Images`] what there is with
//! one. Rows are announced before they run ([`Images::expect`]), so that files are encoded
//! together with those of the rows that come next, and what is kept is what is needed soon.

#[cfg(test)]
mod tests;

use super::coming::Coming;
use super::contents::{Contents, digest};
use super::model::{described, hidden_size};
use super::{image_size, shown_size};
use crate::args::model::info;
use crate::message::Usage;
use crate::output::terminal::tell;
use anyhow::{Context as _, Result, bail};
use choral::Engine;
use choral::vision::ImageEmbedding;
use choral::vision::encode::{Encode, encode_files};
use choral::vision::image::{ImageProcessor, ImageSize, find};
use choral::vision::store::EmbeddingStore;
use std::cell::OnceCell;
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Most files that are encoded together.
const BATCH: usize = 8;

/// Embeddings are kept up to so many bytes: 256 pictures of 2 MiB.
const MAX_KEPT_BYTES: usize = 512 << 20;

/// And no more than so many, for all are looked at when one is to go.
const MAX_KEPT: usize = 1024;

/// Where pictures are, before there is a model to look at them.
pub(super) enum Source {
    /// A store, and how many images it has.
    Store(PathBuf, usize),
    /// Files, by their names.
    Files(Vec<String>),
}

impl Source {
    /// A store of embeddings; what is wrong with it is told as far as that can be.
    pub(super) fn store(folder: &Path) -> Result<Self> {
        let num_images = EmbeddingStore::count(folder)?;
        Ok(Self::Store(folder.to_owned(), num_images))
    }

    /// Files and those of folders.
    pub(super) fn files(paths: &[PathBuf]) -> Result<Self> {
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
            let paths: Vec<_> = paths.iter().map(|path| name(path)).collect();
            bail!("there is no picture in `{}`", paths.join("`, `"));
        }
        Ok(Self::Files(names))
    }

    pub(super) fn num_images(&self) -> usize {
        match self {
            Self::Store(_, num_images) => *num_images,
            Self::Files(names) => names.len(),
        }
    }

    /// The images as `engine` looks at them, of the size that was asked for.
    pub(super) fn open(self, engine: &Engine, size: Option<ImageSize>) -> Result<Images> {
        match self {
            Self::Store(folder, _) => {
                let store = open_store(&folder, engine, size)?;
                let names = store.names().into();
                Ok(Images::new(names, From::Store(Box::new(store))))
            }
            Self::Files(names) => {
                // Says why, if it has no encoder.
                engine.encode_images(&[])?;
                let geometry = engine.geometry();
                let geometry = geometry.context("the model has no image encoder")?;
                let size = image_size(size, geometry);
                let about = info(engine)?;
                let encoder = about.image_encoder.as_ref();
                let model = described(&about.file, encoder, about.plan.numeric)?;
                let engine = engine.clone();
                let from = From::Files {
                    encoder: model.encoder_fingerprint,
                    processor: ImageProcessor::new(geometry.clone(), size)?,
                    encode: Box::new(move |images| engine.encode_images(images)),
                };
                Ok(Images::new(names.into(), from))
            }
        }
    }
}

fn open_store(folder: &Path, engine: &Engine, size: Option<ImageSize>) -> Result<EmbeddingStore> {
    let store = EmbeddingStore::open(folder, hidden_size(engine)?)?;
    let info = info(engine)?;
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
    let found = store.sidecar().map(|s| s.preprocessing.image_size);
    match (size, found) {
        (Some(asked), Some(found)) if asked != found => Err(Usage::new(format!(
            "--image-size is {}, but the pictures of the store were encoded with {}",
            shown_size(asked),
            shown_size(found)
        ))
        .into()),
        _ => Ok(store),
    }
}

fn name(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Images by their numbers.
pub(super) struct Images {
    names: Arc<[String]>,
    from: From,
    /// What files held when somebody wanted to know.
    digests: OnceCell<Arc<HashMap<usize, String>>>,
    coming: Coming,
    kept: Kept,
}

enum From {
    Store(Box<EmbeddingStore>),
    Files {
        processor: ImageProcessor,
        encode: Box<Encode<'static>>,
        /// The fingerprint of the encoder, where that is a file of its own.
        encoder: Option<String>,
    },
}

impl Images {
    fn new(names: Arc<[String]>, from: From) -> Self {
        Self {
            names,
            from,
            digests: OnceCell::new(),
            coming: Coming::default(),
            kept: Kept::new(MAX_KEPT_BYTES),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    /// The paths of all images.
    pub(super) fn names(&self) -> Arc<[String]> {
        Arc::clone(&self.names)
    }

    /// How the files are sized that are encoded on the way.
    pub(super) fn size(&self) -> Option<ImageSize> {
        match &self.from {
            From::Files { processor, .. } => Some(processor.size()),
            From::Store(_) => None,
        }
    }

    /// What the images are, as a record is to remember it of all.
    pub(super) fn fingerprint(&self) -> String {
        match &self.from {
            From::Files { encoder, .. } => match encoder {
                Some(encoder) => format!("files {encoder}"),
                None => "files".to_owned(),
            },
            From::Store(store) => match store.sidecar() {
                Some(sidecar) => {
                    let size = sidecar.preprocessing.image_size;
                    let model = &sidecar.model;
                    format!("{} {} {size:?}", model.fingerprint, model.numeric)
                }
                None => "unknown".to_owned(),
            },
        }
    }

    /// What tells the images that are asked about from those that were under their numbers
    /// before, or will be. Files that are changed later have no embedding any more.
    pub(super) fn contents(&self, asked: impl Iterator<Item = usize>) -> Contents {
        match &self.from {
            From::Store(store) => Contents::Store(store.identity()),
            From::Files { .. } => {
                let mut numbers = BTreeSet::new();
                for number in asked {
                    numbers.insert(number);
                    // There may be far more questions than images.
                    if numbers.len() == self.len() {
                        break;
                    }
                }
                let digests = numbers.into_iter().map(|number| {
                    let path = Path::new(&self.names[number]);
                    (number, digest(path))
                });
                let digests = self.digests.get_or_init(|| Arc::new(digests.collect()));
                Contents::Files(Arc::clone(digests))
            }
        }
    }

    /// A row will run that asks about those images.
    pub(super) fn expect(&mut self, row: &[usize]) {
        self.coming.expect(row);
    }

    /// The embeddings that a row asks about, or why there is none of one.
    pub(super) fn embeddings(&mut self, row: &[usize]) -> Result<Vec<ImageEmbedding>, String> {
        self.coming.take(row);
        self.make(row);
        let found = row.iter().map(|number| self.kept.of[number].clone());
        let found = found.collect();
        self.kept.let_go(row, &self.coming);
        found
    }

    /// Reads or encodes what is not there of a row's images.
    fn make(&mut self, row: &[usize]) {
        let mut missing = Vec::new();
        let is_missing = |number: &usize, missing: &[usize]| {
            !self.kept.of.contains_key(number) && !missing.contains(number)
        };
        for number in row {
            if is_missing(number, &missing) {
                missing.push(*number);
            }
        }
        if missing.is_empty() {
            return;
        }
        match &self.from {
            From::Store(store) => {
                for number in missing {
                    let made = store.embedding(number);
                    self.kept
                        .put(number, made.map_err(|error| error.to_string()));
                }
            }
            From::Files {
                processor, encode, ..
            } => {
                let most = BATCH.min(self.kept.room());
                for number in self.coming.after(row) {
                    if missing.len() >= most {
                        break;
                    }
                    if is_missing(&number, &missing) {
                        missing.push(number);
                    }
                }
                let paths = missing.iter().map(|&number| &self.names[number]);
                let paths: Vec<PathBuf> = paths.map(PathBuf::from).collect();
                let results = encode_files(&paths, processor, encode);
                for ((number, path), result) in missing.into_iter().zip(&paths).zip(results) {
                    // As a store has them, so that answers are the same.
                    let rounded = result.map(|embedding| embedding.rounded_to_f16());
                    let known = self.digests.get().and_then(|digests| digests.get(&number));
                    let made = match known {
                        // An answer would be about another picture than its record says.
                        Some(known) if digest(path) != *known => {
                            let path = path.display();
                            Err(format!(
                                "{path}: was changed while the job ran: run it again"
                            ))
                        }
                        _ => rounded.map_err(|error| error.to_string()),
                    };
                    self.kept.put(number, made);
                }
            }
        }
    }
}

/// Embeddings that are at hand, by their images' numbers, and why there is none of others.
struct Kept {
    of: HashMap<usize, Result<ImageEmbedding, String>>,
    num_bytes: usize,
    max_bytes: usize,
    /// Bytes of the largest that was ever there.
    largest: usize,
}

impl Kept {
    fn new(max_bytes: usize) -> Self {
        Self {
            of: HashMap::new(),
            num_bytes: 0,
            max_bytes,
            largest: 1,
        }
    }

    /// How many may be made at a time, so that they are still there when it is their turn.
    fn room(&self) -> usize {
        self.max_bytes / self.largest / 2
    }

    fn put(&mut self, number: usize, made: Result<ImageEmbedding, String>) {
        let num_bytes = num_bytes(&made);
        self.largest = self.largest.max(num_bytes);
        self.num_bytes += num_bytes;
        self.of.insert(number, made);
    }

    /// Lets go what no row needs any more after `row`, and of the rest what is needed last,
    /// until there is little enough.
    fn let_go(&mut self, row: &[usize], coming: &Coming) {
        for number in row {
            if coming.next_use(*number).is_none() {
                self.remove(*number);
            }
        }
        while self.num_bytes > self.max_bytes || self.of.len() > MAX_KEPT {
            // The number decides between those that the same row needs first.
            let next_use = |number: &&usize| (coming.next_use(**number), **number);
            let Some(&last) = self.of.keys().max_by_key(next_use) else {
                break;
            };
            self.remove(last);
        }
    }

    fn remove(&mut self, number: usize) {
        if let Some(gone) = self.of.remove(&number) {
            self.num_bytes -= num_bytes(&gone);
        }
    }
}

fn num_bytes(made: &Result<ImageEmbedding, String>) -> usize {
    made.as_ref().map_or(0, ImageEmbedding::num_bytes)
}
