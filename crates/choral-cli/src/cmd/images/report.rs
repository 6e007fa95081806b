//! `choral images report`: a page of answers beside their pictures.

use super::page::{Asked, Page, Shown, Thumbnails};
use crate::NOTES;
use crate::args::model::parse_count;
use crate::cmd::batch::files;
use crate::output::terminal::tell;
use anyhow::{Context as _, Result, ensure};
use choral::vision::image::{DecodeLimits, Picture};
use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageEncoder as _};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Longest line of answers that is read.
const MAX_LINE_BYTES: u64 = 64 << 20;

/// Pixels along the longer side of a picture on the page.
const DEFAULT_SIDE: usize = 320;

/// Quality of the pictures on the page, of 100.
const QUALITY: u8 = 85;

/// Make a page of answers beside their pictures
///
/// Of what `pairs` or `describe` wrote. The page needs nothing else: pictures are in it,
/// made smaller. One that is not found any more is named in its place.
#[derive(Debug, clap::Args)]
#[command(after_help = NOTES)]
pub(super) struct Args {
    /// Answers, a JSON object a line (- for standard input)
    #[arg(value_name = "RESULTS")]
    input: PathBuf,
    /// File for the page
    #[arg(short, long, value_name = "FILE", default_value = "report.html")]
    output: PathBuf,
    /// Folder that the paths of pictures begin in [default: the current one]
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Pixels along the longer side of a picture
    #[arg(long, value_name = "N", value_parser = parse_count, default_value_t = DEFAULT_SIDE)]
    thumbnail: usize,
    /// Heading of the page
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,
    /// Replace a page that is there
    #[arg(long)]
    overwrite: bool,
}

/// A line of answers, as far as it is shown.
#[derive(Debug, Deserialize)]
struct Line {
    row: u64,
    #[serde(default)]
    fields: Fields,
    #[serde(default)]
    outputs: Vec<Output>,
    #[serde(default)]
    usage: Usage,
    error: Option<Failure>,
    timings: Option<Timings>,
}

#[derive(Debug, Default, Deserialize)]
struct Fields {
    image_a: Option<String>,
    index_a: Option<u64>,
    image_b: Option<String>,
    index_b: Option<u64>,
    image: Option<String>,
    index: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct Output {
    text: String,
    #[serde(default)]
    finish_reason: String,
    #[serde(default)]
    seed: u64,
}

#[derive(Debug, Default, Deserialize)]
struct Usage {
    #[serde(default)]
    prompt_tokens: u64,
    #[serde(default)]
    completion_tokens: u64,
}

#[derive(Debug, Deserialize)]
struct Failure {
    message: String,
    #[serde(default)]
    line: u64,
    /// The list that the line is of, if there was one.
    file: Option<String>,
}

impl Failure {
    fn shown(self) -> String {
        match self.file {
            Some(file) => format!("{file}:{}: {}", self.line, self.message),
            None => self.message,
        }
    }
}

#[derive(Debug, Deserialize)]
struct Timings {
    e2e_s: Option<f64>,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    files::check_output(&args.output, &args.input, args.overwrite)?;
    let lines = read(&args.input)?;
    ensure!(
        !lines.is_empty(),
        "`{}` has no answers",
        args.input.display()
    );
    let root = args.root.as_deref().unwrap_or(Path::new(""));
    let mut thumbnails = Thumbnails::default();
    let mut lost = BTreeMap::new();
    let mut asked = Vec::with_capacity(lines.len());
    for line in lines {
        let Fields {
            image_a,
            index_a,
            image_b,
            index_b,
            image,
            index,
        } = line.fields;
        let named = [
            ("A", image_a, index_a),
            ("B", image_b, index_b),
            ("", image, index),
        ];
        let mut pictures = Vec::new();
        for (letter, name, index) in named {
            let Some(name) = name else { continue };
            let thumbnail = thumbnails.of(&name, || {
                let made = thumbnail(&root.join(&name), args.thumbnail);
                made.map_err(|error| lost.insert(name.clone(), format!("{error:#}")))
                    .ok()
            });
            pictures.push(Shown {
                letter,
                name,
                index,
                thumbnail,
            });
        }
        let output = line.outputs.into_iter().next();
        asked.push(Asked {
            row: line.row,
            pictures,
            error: line.error.map(Failure::shown),
            text: output.as_ref().map(|output| output.text.clone()),
            finish_reason: output
                .as_ref()
                .map_or_else(String::new, |o| o.finish_reason.clone()),
            seed: output.map(|output| output.seed),
            prompt_tokens: line.usage.prompt_tokens,
            completion_tokens: line.usage.completion_tokens,
            seconds: line.timings.and_then(|timings| timings.e2e_s),
        });
    }
    let page = Page {
        title: args
            .title
            .clone()
            .unwrap_or_else(|| "Pictures and answers".to_owned()),
        asked,
        thumbnails,
    };
    let mut out = files::Output::open(&args.output, args.overwrite)?.writer;
    let written = write!(out, "{page}").and_then(|()| out.flush());
    written.with_context(|| format!("cannot write `{}`", args.output.display()))?;
    for (name, error) in &lost {
        tell(&format!("{name}: {error}"));
    }
    if !lost.is_empty() {
        tell(&format!(
            "{} pictures are named on the page, but not shown (--root says where their paths begin)",
            lost.len()
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// The answers of a file.
fn read(path: &Path) -> Result<Vec<Line>> {
    let open = || -> io::Result<Box<dyn io::Read>> {
        if path.as_os_str() == "-" {
            return Ok(Box::new(io::stdin()));
        }
        Ok(Box::new(File::open(path)?))
    };
    let shown = path.display();
    let file = open().with_context(|| format!("cannot read the answers `{shown}`"))?;
    let mut reader = BufReader::new(file);
    let (mut lines, mut bytes) = (Vec::new(), Vec::new());
    for number in 1.. {
        bytes.clear();
        let read = reader
            .by_ref()
            .take(MAX_LINE_BYTES)
            .read_until(b'\n', &mut bytes);
        if read.with_context(|| format!("cannot read the answers `{shown}`"))? == 0 {
            break;
        }
        if bytes.trim_ascii().is_empty() {
            continue;
        }
        let line = serde_json::from_slice(&bytes).with_context(|| {
            format!("`{shown}`, line {number}: expected an answer of `pairs` or `describe`")
        })?;
        lines.push(line);
    }
    Ok(lines)
}

/// A picture made smaller, as a JPEG file, with its sides.
fn thumbnail(path: &Path, side: usize) -> Result<(Vec<u8>, [usize; 2])> {
    let small = Picture::read(path, &DecodeLimits::default())?.thumbnail(side);
    let [width, height] = small.size();
    let mut bytes = Vec::new();
    let sides = [width, height].map(u32::try_from);
    let [width, height] = [sides[0]?, sides[1]?];
    JpegEncoder::new_with_quality(&mut bytes, QUALITY).write_image(
        small.pixels(),
        width,
        height,
        ExtendedColorType::Rgb8,
    )?;
    Ok((bytes, small.size()))
}
