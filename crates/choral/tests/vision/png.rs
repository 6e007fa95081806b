//! A reader of PNG files that is enough for golden pictures.

use std::io::Read as _;
use std::path::Path;

/// A PNG of eight bits a channel, three or four channels, not interlaced.
pub(crate) struct Png {
    pub(crate) width: usize,
    pub(crate) height: usize,
    channels: usize,
    pixels: Vec<u8>,
}

impl Png {
    pub(crate) fn read(path: &Path) -> Self {
        let bytes = std::fs::read(path).expect("a golden picture");
        let mut rest = &bytes[8..];
        let (mut header, mut data) = (Vec::new(), Vec::new());
        while rest.len() >= 12 {
            let len = u32::from_be_bytes(rest[..4].try_into().expect("four")) as usize;
            match &rest[4..8] {
                b"IHDR" => header = rest[8..8 + len].to_vec(),
                b"IDAT" => data.extend_from_slice(&rest[8..8 + len]),
                _ => {}
            }
            rest = &rest[12 + len..];
        }
        let number = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().expect("four"));
        let (width, height) = (number(0) as usize, number(4) as usize);
        let channels = match header[8..] {
            [8, 2, 0, 0, 0] => 3,
            [8, 6, 0, 0, 0] => 4,
            _ => panic!("{}: another kind of PNG: {header:?}", path.display()),
        };
        let mut raw = Vec::new();
        let mut inflate = flate2::read::ZlibDecoder::new(data.as_slice());
        inflate.read_to_end(&mut raw).expect("zlib");
        let pixels = unfilter(&raw, width * channels, channels);
        Self {
            width,
            height,
            channels,
            pixels,
        }
    }

    pub(crate) fn at(&self, x: usize, y: usize, channel: usize) -> u8 {
        self.pixels[(y * self.width + x) * self.channels + channel]
    }
}

/// The filters of the PNG specification, section 9.
fn unfilter(raw: &[u8], stride: usize, step: usize) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::new();
    for line in raw.chunks_exact(stride + 1) {
        let start = out.len();
        for (i, &byte) in line[1..].iter().enumerate() {
            let left = if i < step { 0 } else { out[start + i - step] };
            let up = if start == 0 {
                0
            } else {
                out[start - stride + i]
            };
            let corner = if i < step || start == 0 {
                0
            } else {
                out[start - stride + i - step]
            };
            let (a, b, c) = (i16::from(left), i16::from(up), i16::from(corner));
            let predicted = match line[0] {
                0 => 0,
                1 => left,
                2 => up,
                3 => i16::midpoint(a, b) as u8,
                4 => {
                    let p = a + b - c;
                    let (pa, pb, pc) = ((p - a).abs(), (p - b).abs(), (p - c).abs());
                    if pa <= pb && pa <= pc {
                        left
                    } else if pb <= pc {
                        up
                    } else {
                        corner
                    }
                }
                other => panic!("filter {other}"),
            };
            out.push(byte.wrapping_add(predicted));
        }
    }
    out
}
