//! `choral images precompute`: a folder of pictures to a store of embeddings.

use super::model::{builder, described};
use super::{image_size, parse_image_size};
use crate::args::ModelArgs;
use crate::args::model::parse_count;
use crate::interrupt::Interrupt;
use crate::message::Usage;
use crate::output::progress::duration;
use crate::output::terminal::{tell, tell_plainly};
use crate::{EXIT_INTERRUPTED, EXIT_SOME_FAILED, NOTES};
use anyhow::{Context as _, Result, anyhow};
use choral::vision::ImageEncoder;
use choral::vision::encode::{EncodeError, encode_files, most_at_once};
use choral::vision::image::{Found, ImageProcessor, ImageSize, find};
use choral::vision::store::{Preprocessing, Sidecar, StoreWriter};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use std::collections::HashSet;
use std::fs;
use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Where failures are listed, in the folder of the store.
const ERRORS: &str = "errors.jsonl";

/// Most failures that are told one by one.
const MAX_TOLD: usize = 20;

/// Pictures that are encoded together where nobody says.
const DEFAULT_BATCH: usize = 8;

/// Time between two lines, where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// Encode all pictures of a folder, and keep what comes of it
///
/// JPEG, PNG, WebP, GIF, BMP and TIFF files, by their content, of the folder and all
/// below, in the order of their paths. Links are followed, to each folder and each file
/// once. The output has embeddings.bin (f16, images x tokens x width), filenames.txt (a
/// path a line) and embeddings.json (what they are). The same command goes on where it was
/// ended, and adds pictures that came since.
#[derive(Debug, clap::Args)]
#[command(after_help = NOTES)]
pub(super) struct Args {
    /// Folder of pictures
    #[arg(value_name = "INPUT_DIR", default_value = ".")]
    input: PathBuf,
    /// Folder for the embeddings
    #[arg(short, long, value_name = "OUT_DIR", default_value = "embeddings_out")]
    output: PathBuf,
    /// Pixels along a side of the square that every picture is fitted into, on black
    /// [default: 448, or the most that the model takes]
    #[arg(long, value_name = "N", value_parser = parse_image_size)]
    image_size: Option<ImageSize>,
    /// Most pictures that are encoded together; any number: what does not fit waits [default: 8]
    #[arg(long, value_name = "N", value_parser = parse_count)]
    batch_size: Option<usize>,
    /// Make the store anew, whatever the output has; that stays until the new one is whole
    #[arg(long)]
    overwrite: bool,
    /// Show no progress
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    model: ModelArgs,
}

pub(super) fn run(mut args: Args) -> Result<ExitCode> {
    args.model.choice.quiet = args.quiet;
    let interrupt = Interrupt::install()?;
    if args.image_size == Some(ImageSize::Dynamic) {
        let message = "--image-size is dynamic, expected a number: all rows of a store are of one \
                       shape";
        return Err(Usage::new(message).into());
    }
    args.check_output()?;
    let found = find(&args.input).with_context(|| args.input.display().to_string())?;
    let images = without_outputs(&found, &args.output);
    if images.is_empty() {
        return Err(args.no_picture(&found));
    }
    let (encoder, sidecar) = args.encoder()?;
    let (geometry, size) = (encoder.geometry(), sidecar.preprocessing.image_size);
    let processor = ImageProcessor::new(geometry.clone(), size)?;
    let grid = sidecar.grid;
    let mut store = if args.overwrite {
        let begun = StoreWriter::replace(&args.output, sidecar, &images);
        begun.context("nothing was encoded")?
    } else {
        let opened = StoreWriter::open(&args.output, sidecar);
        opened.context("nothing was encoded (--overwrite makes the store anew)")?
    };
    for reason in store.given_up() {
        tell(&format!(
            "a new store was begun here and not finished, and is begun anew: {reason}"
        ));
    }
    let unread = found.unread.iter();
    let unread = unread.map(|(path, error)| (path.clone(), format!("cannot be read: {error}")));
    let mut failed: Vec<(PathBuf, String)> = unread.collect();
    let todo = Todo::new(images, &store, &mut failed);
    let (num_found, is_replacing) = (store.num_found(), store.is_replacing());
    let has_unfinished = store.has_unfinished();
    let stop = Arc::new(AtomicBool::new(false));
    let guard = {
        let stop = Arc::clone(&stop);
        interrupt.during(move || stop.store(true, Ordering::Relaxed))
    };
    let mut progress = Progress::new(todo.images.len(), args.quiet);
    let encode = |images: &[_]| encoder.encode(images);
    let mut num_encoded = 0;
    let mut is_stopped = false;
    // More would not be encoded sooner, and Ctrl-C would wait for them.
    let batch = args.batch_size.unwrap_or(DEFAULT_BATCH);
    let batch = batch.min(most_at_once(&processor));
    for batch in todo.images.chunks(batch) {
        if stop.load(Ordering::Relaxed) {
            is_stopped = true;
            break;
        }
        for (path, result) in batch.iter().zip(encode_files(batch, &processor, &encode)) {
            match result {
                Ok(embedding) => {
                    store.push(path, &embedding).context(GOES_ON)?;
                    num_encoded += 1;
                }
                Err(error) => failed.push((path.clone(), reason(path, &error))),
            }
            progress.step(failed.len());
        }
        store.commit_if_due().context(GOES_ON)?;
    }
    progress.end();
    drop(guard);
    // What is decided by now is what the exit code says: Ctrl-C comes too late, from here
    // to the end of the program.
    std::mem::forget(interrupt.during(|| {}));
    // A new store without a picture takes no other's place.
    let is_kept = is_stopped || (is_replacing && store.is_empty());
    let num_images = if is_kept {
        store.commit().context(GOES_ON)?;
        store.len()
    } else {
        store.finish().context(GOES_ON)?
    };
    write_errors(&args.output.join(ERRORS), &failed)?;
    args.report(&found, &failed);
    todo.tell();
    if has_unfinished && !args.quiet {
        tell("a new store was begun here with --overwrite and not finished: that goes on with it");
    }
    if !args.quiet {
        tell(&format!(
            "{num_encoded} pictures were encoded, {num_found} had been before, {} failed; {} has \
             {num_images}, of {} x {} tokens each",
            failed.len(),
            if is_replacing && is_kept {
                "the new store".to_owned()
            } else {
                format!("`{}`", args.output.display())
            },
            grid[0],
            grid[1],
        ));
    }
    if is_replacing && is_kept {
        let output = args.output.display();
        tell(&format!("what was in `{output}` before is there as it was"));
    }
    if is_stopped {
        tell("interrupted: what is encoded is kept, and the same command goes on");
        return Ok(ExitCode::from(EXIT_INTERRUPTED));
    }
    Ok(if failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(EXIT_SOME_FAILED)
    })
}

/// What is wrong with a file, without the path, which is said beside it.
fn reason(path: &Path, error: &EncodeError) -> String {
    let prefix = format!("{}: ", path.display());
    let message = error.to_string();
    let message = message.strip_prefix(&prefix).unwrap_or(&message);
    message.to_owned()
}

/// The pictures that are to be encoded, and what is to be said of others.
struct Todo {
    images: Vec<PathBuf>,
    /// Those that are in the store, but not as they are now.
    num_changed: usize,
    /// Links to others that are to be encoded.
    num_links: usize,
}

impl Todo {
    /// Those of `images` that `store` does not have. What it cannot list is `failed` before
    /// it is encoded.
    fn new(images: Vec<PathBuf>, store: &StoreWriter, failed: &mut Vec<(PathBuf, String)>) -> Self {
        let mut todo = Self {
            images: Vec::with_capacity(images.len()),
            num_changed: 0,
            num_links: 0,
        };
        let real = |path: &PathBuf| fs::canonicalize(path).ok();
        let files = images.iter().filter(|path| !path.is_symlink());
        let mut seen: HashSet<PathBuf> = files.filter_map(real).collect();
        for path in images {
            if store.has(&path) {
                let is_older = !store.is_replacing() && store.is_newer(&path);
                todo.num_changed += usize::from(is_older);
            } else if let Err(error) = store.name(&path) {
                failed.push((path, error.to_string()));
            } else if path.is_symlink() && real(&path).is_some_and(|real| !seen.insert(real)) {
                todo.num_links += 1;
            } else {
                todo.images.push(path);
            }
        }
        todo
    }

    fn tell(&self) {
        if self.num_changed > 0 {
            tell(&format!(
                "{} files were changed since they were encoded, and are not encoded again: \
                 --overwrite does that, with all",
                self.num_changed
            ));
        }
        if self.num_links > 0 {
            tell(&format!(
                "{} files are links to others, and were passed over",
                self.num_links
            ));
        }
    }
}

const GOES_ON: &str = "what is encoded is kept, and the same command goes on";

impl Args {
    /// Refuses an output that has the pictures in it: what is there is passed over.
    fn check_output(&self) -> Result<()> {
        let (input, output) = (
            fs::canonicalize(&self.input),
            fs::canonicalize(&self.output),
        );
        let (Ok(input), Ok(output)) = (input, output) else {
            return Ok(());
        };
        if !input.starts_with(&output) {
            return Ok(());
        }
        Err(Usage::new(format!(
            "the output `{}` is the input `{}` or has it inside, expected another folder \
             (--output): pictures in the output are passed over",
            self.output.display(),
            self.input.display()
        ))
        .into())
    }

    /// Why there is nothing to do, which is an error whatever the store has: somebody gave
    /// a wrong path.
    fn no_picture(&self, found: &Found) -> anyhow::Error {
        for (folder, error) in &found.unread {
            tell(&format!("{}: cannot be read: {error}", folder.display()));
        }
        let input = self.input.display();
        if found.images.is_empty() {
            return anyhow!("there is no picture in `{input}`");
        }
        anyhow!(
            "there is no picture in `{input}` but in the output `{}`, where they are passed over",
            self.output.display()
        )
    }

    /// The encoder, and what a store says of what it makes.
    fn encoder(&self) -> Result<(ImageEncoder, Sidecar)> {
        let builder = builder(&self.model, self.quiet)?;
        // Open for its fingerprint alone.
        let file = Arc::new(builder.open()?);
        let found = builder.find_image_encoder(&file)?;
        let encoder = builder.build_image_encoder()?;
        let geometry = encoder.geometry();
        let size = image_size(self.image_size, geometry);
        // Sizes that make no sense have no grid.
        ImageProcessor::new(geometry.clone(), size)?;
        let sidecar = Sidecar::new(
            size.fixed_grid(geometry).context("a fixed size")?,
            encoder.token_width(),
            described(&file, found.as_ref(), encoder.numeric())?,
            Preprocessing::new(geometry, size),
        );
        Ok((encoder, sidecar))
    }

    fn report(&self, found: &Found, failed: &[(PathBuf, String)]) {
        for (path, error) in failed.iter().take(MAX_TOLD) {
            tell(&format!("{}: {error}", path.display()));
        }
        if let Some(more @ 1..) = failed.len().checked_sub(MAX_TOLD) {
            tell(&format!("and {more} more"));
        }
        if !failed.is_empty() {
            let list = self.output.join(ERRORS);
            tell(&format!("failures are listed in `{}`", list.display()));
        }
        if found.num_others > 0 && !self.quiet {
            tell(&format!(
                "{} files are no pictures, and were passed over",
                found.num_others
            ));
        }
    }
}

/// The pictures that were found, but not those below the output: reports put some there.
fn without_outputs(found: &Found, output: &Path) -> Vec<PathBuf> {
    let output = fs::canonicalize(output).ok();
    let is_input = |path: &&PathBuf| {
        let (Some(output), Ok(real)) = (&output, fs::canonicalize(path)) else {
            return true;
        };
        !real.starts_with(output)
    };
    found.images.iter().filter(is_input).cloned().collect()
}

/// Lists what failed; without a failure there is no list.
fn write_errors(path: &Path, failed: &[(PathBuf, String)]) -> Result<()> {
    let write = || -> io::Result<()> {
        if failed.is_empty() {
            return match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            };
        }
        let mut lines = String::new();
        for (file, error) in failed {
            let line = json!({"file": file.to_string_lossy(), "error": error});
            lines.push_str(&line.to_string());
            lines.push('\n');
        }
        fs::write(path, lines)
    };
    write().with_context(|| path.display().to_string())
}

/// How far it is: a bar on a terminal, now and then a line elsewhere.
struct Progress {
    bar: Option<ProgressBar>,
    is_quiet: bool,
    num_done: usize,
    num_all: usize,
    started: Instant,
    told: Instant,
}

impl Progress {
    fn new(num_all: usize, is_quiet: bool) -> Self {
        let bar = (!is_quiet && io::stderr().is_terminal()).then(|| {
            let style = "[{bar:20}] {pos}/{len} pictures, {per_sec}, {eta} left{msg}";
            let style = ProgressStyle::with_template(style).expect("the template is right");
            let bar = ProgressBar::new(num_all as u64);
            bar.set_style(style.progress_chars("=> "));
            bar
        });
        let now = Instant::now();
        Self {
            bar,
            is_quiet,
            num_done: 0,
            num_all,
            started: now,
            told: now,
        }
    }

    fn step(&mut self, num_failed: usize) {
        self.num_done += 1;
        let failed = match num_failed {
            0 => String::new(),
            failed => format!(", {failed} failed"),
        };
        if let Some(bar) = &self.bar {
            bar.set_position(self.num_done as u64);
            bar.set_message(failed);
        } else if !self.is_quiet && self.told.elapsed() >= LINE_INTERVAL {
            self.told = Instant::now();
            let rate = self.num_done as f64 / self.started.elapsed().as_secs_f64();
            let left = (self.num_all - self.num_done) as f64 / rate;
            tell_plainly(&format!(
                "{}/{} pictures, {rate:.1} a second, {} left{failed}",
                self.num_done,
                self.num_all,
                duration(left)
            ));
        }
    }

    fn end(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}
