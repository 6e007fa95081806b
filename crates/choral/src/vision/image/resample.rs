//! Bicubic resampling of bytes, with antialiasing, bit for bit as torch does it.
//!
//! `interpolate(uint8, mode="bicubic", antialias=True)` on a CPU, which torchvision's
//! `resize` calls: the cubic with a = -0.5, stretched by the scale when a picture
//! shrinks; weights as 16-bit integers with as many binary places as fit; first
//! along rows, then along columns, rounded to bytes after each.
//!
//! Source: PyTorch, `aten/src/ATen/native/cpu/UpSampleKernel.cpp`; compared in
//! `golden/images`.

use super::Picture;

/// Pillow's and torch's constant of the cubic (Keys 1981).
const A: f64 = -0.5;

/// Half the width of the cubic.
const SUPPORT: f64 = 2.0;

/// Most binary places of a weight.
const MAX_PLACES: u32 = 22;

/// Resizes to `[width, height]`.
pub(super) fn resize(picture: &Picture, [width, height]: [usize; 2]) -> Picture {
    let [from_width, from_height] = picture.size();
    let wide = (width != from_width).then(|| rows(picture, &Weights::new(from_width, width)));
    let wide = wide.as_ref().unwrap_or(picture);
    if height == from_height {
        return wide.clone();
    }
    columns(wide, &Weights::new(from_height, height))
}

/// What each output takes of which inputs.
struct Weights {
    /// Of each output: its first input, and where its weights are.
    spans: Vec<(usize, std::ops::Range<usize>)>,
    /// All weights, output after output.
    values: Vec<i16>,
    /// Binary places of the weights.
    places: u32,
}

impl Weights {
    fn new(num_inputs: usize, num_outputs: usize) -> Self {
        let scale = num_inputs as f64 / num_outputs as f64;
        let stretch = scale.max(1.0);
        let support = SUPPORT * stretch;
        let most = support.ceil() as usize * 2 + 1;
        let mut spans = Vec::with_capacity(num_outputs);
        let mut exact = Vec::new();
        for output in 0..num_outputs {
            let centre = scale * (output as f64 + 0.5);
            // Both casts truncate towards zero, and from below zero to it.
            let first = (centre - support + 0.5) as usize;
            let end = ((centre + support + 0.5) as usize).min(num_inputs);
            let count = end.saturating_sub(first).min(most);
            let begin = exact.len();
            let distance = |i: usize| (i as f64 + first as f64 - centre + 0.5) / stretch;
            exact.extend((0..count).map(|i| cubic(distance(i))));
            let span = &mut exact[begin..];
            let sum: f64 = span.iter().sum();
            if sum != 0.0 {
                for weight in span {
                    *weight /= sum;
                }
            }
            spans.push((first, begin..begin + count));
        }
        let greatest = exact.iter().copied().fold(0.0, f64::max);
        let fits = |places: &u32| 0.5 + greatest * f64::from(1_u32 << (places + 1)) < 32768.0;
        let places = (0..MAX_PLACES).take_while(fits).count() as u32;
        let one = f64::from(1_u32 << places);
        // Away from zero at a half, as the reference's casts do.
        let values = exact.iter().map(|weight| (weight * one).round() as i16);
        Self {
            spans,
            values: values.collect(),
            places,
        }
    }

    /// A sum of weighted bytes as a byte.
    fn round(&self, sum: i32) -> u8 {
        (sum >> self.places).clamp(0, 255) as u8
    }

    /// What a sum begins with, so that shifting rounds it.
    fn half(&self) -> i32 {
        1 << (self.places - 1)
    }
}

/// Keys' cubic.
fn cubic(x: f64) -> f64 {
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

/// Resizes along rows.
fn rows(picture: &Picture, weights: &Weights) -> Picture {
    let [width, height] = picture.size();
    let mut pixels = Vec::with_capacity(weights.spans.len() * height * 3);
    for row in picture.pixels().chunks_exact(width * 3) {
        for (first, span) in &weights.spans {
            let mut sums = [weights.half(); 3];
            let inputs = row[first * 3..].as_chunks::<3>().0;
            for (input, &weight) in inputs.iter().zip(&weights.values[span.clone()]) {
                for (sum, &value) in sums.iter_mut().zip(input) {
                    *sum += i32::from(value) * i32::from(weight);
                }
            }
            pixels.extend(sums.map(|sum| weights.round(sum)));
        }
    }
    Picture::new(weights.spans.len(), height, pixels)
}

/// Resizes along columns.
fn columns(picture: &Picture, weights: &Weights) -> Picture {
    let [width, _] = picture.size();
    let length = width * 3;
    let mut pixels = Vec::with_capacity(weights.spans.len() * length);
    let mut sums = vec![0; length];
    for (first, span) in &weights.spans {
        sums.fill(weights.half());
        let inputs = picture.pixels()[first * length..].chunks_exact(length);
        for (row, &weight) in inputs.zip(&weights.values[span.clone()]) {
            for (sum, &value) in sums.iter_mut().zip(row) {
                *sum += i32::from(value) * i32::from(weight);
            }
        }
        pixels.extend(sums.iter().map(|&sum| weights.round(sum)));
    }
    Picture::new(width, weights.spans.len(), pixels)
}
