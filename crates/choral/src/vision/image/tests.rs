use super::*;
use crate::vision::image::size::place;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use serde_json::Value;
use std::path::PathBuf;

fn golden(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/images");
    root.join(name)
}

fn json(name: &str) -> Value {
    let text = std::fs::read_to_string(golden(name)).expect("a golden file");
    serde_json::from_str(&text).expect("JSON")
}

fn bytes(value: &Value) -> Vec<u8> {
    STANDARD
        .decode(value.as_str().expect("text"))
        .expect("base64")
}

fn pair(value: &Value) -> [usize; 2] {
    [0, 1].map(|i| value[i].as_u64().expect("a number") as usize)
}

/// What GLM-4V's processor says.
fn geometry() -> ImageGeometry {
    ImageGeometry {
        channels: 3,
        patch_size: 14,
        temporal_patch_size: 2,
        merge_size: 2,
        mean: [0.481_454_66, 0.457_827_5, 0.408_210_73],
        std: [0.268_629_54, 0.261_302_6, 0.275_777_1],
        min_area: 112 * 112,
        max_area: 9_633_792,
    }
}

fn processor(size: ImageSize) -> ImageProcessor {
    ImageProcessor::new(geometry(), size).expect("sizes that make sense")
}

fn picture(name: &str) -> Result<Picture, ImageError> {
    Picture::read(&golden(name), &DecodeLimits::default())
}

#[test]
fn every_format_gives_the_pixels_that_pillow_and_transformers_give() {
    let expected = json("expected.json");
    let files = expected["files"].as_object().expect("an object");
    assert!(files.len() > 35);
    for (name, expected) in files {
        let found = picture(name).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(found.size(), pair(&expected["size"]), "{name}");
        // JPEG and lossy WebP leave the rounding of their transforms to the decoder, and
        // pixels on the edge of two colours how chroma is spread.
        let is_lossy = expected["size"][0] == 32 || expected["size"][0] == 16;
        let allowed = if is_lossy && !name.contains("frames") {
            6
        } else {
            0
        };
        let expected = bytes(&expected["rgb"]);
        let differing = found.pixels().iter().zip(&expected);
        let worst = differing.map(|(a, b)| a.abs_diff(*b)).max();
        let worst = worst.expect("pixels");
        assert!(worst <= allowed, "{name}: differs by {worst}");
    }
}

#[test]
fn resampling_is_torchs_to_the_bit() {
    let expected = json("expected.json");
    for case in expected["resize"].as_array().expect("cases") {
        let [width, height] = pair(&case["size"]);
        let picture = Picture::new(width, height, bytes(&case["pixels"]));
        let resized = resample::resize(&picture, pair(&case["to"]));
        let (from, to) = (&case["size"], &case["to"]);
        assert_eq!(resized.pixels(), bytes(&case["resized"]), "{from} to {to}");
    }
}

#[test]
fn sizes_are_those_of_the_reference() {
    let expected = json("expected.json");
    for case in expected["sizes"].as_array().expect("cases") {
        let [min_area, max_area] = pair(&case["area"]);
        let geometry = ImageGeometry {
            min_area,
            max_area,
            ..geometry()
        };
        let found = place(pair(&case["size"]), &geometry, ImageSize::Dynamic);
        match &case["resized"] {
            Value::Null => {
                let error = found.expect_err("too thin").to_string();
                assert!(error.contains("one side is"), "{error}");
            }
            size => assert_eq!(found.expect("a size").canvas, pair(size), "{case}"),
        }
    }
}

#[test]
fn patches_are_those_of_the_hugging_face_processor() {
    let expected = json("glm4v/expected.json");
    for (name, expected) in expected.as_object().expect("an object") {
        let file = format!("glm4v/{}", expected["file"].as_str().expect("a name"));
        let patches = processor(ImageSize::Dynamic)
            .read(&golden(&file))
            .expect("a picture");
        let grid = patches.grid.map(|n| n as u64);
        assert_eq!(serde_json::json!(grid), expected["grid_thw"], "{name}");
        let values = &expected["pixel_values"];
        let floats = |key: &str| -> Vec<f64> {
            let all = values[key].as_array().expect("numbers").iter();
            all.map(|x| x.as_f64().expect("a number")).collect()
        };
        let rows: Vec<&[f32]> = patches
            .values
            .chunks_exact(geometry().patch_len())
            .collect();
        let close = |found: f64, wanted: f64, bound: f64| (found - wanted).abs() <= bound;
        for (row, wanted) in rows.iter().zip(floats("row_sums")) {
            let sum: f64 = row.iter().copied().map(f64::from).sum();
            assert!(close(sum, wanted, 2e-2), "{name}: {sum}, expected {wanted}");
        }
        let last = rows[rows.len() - 1];
        for (found, key) in [
            (&rows[0][..16], "row0_first16"),
            (&rows[5][..16], "row5_first16"),
            (&last[last.len() - 16..], "last_row_last16"),
        ] {
            for (&found, wanted) in found.iter().zip(floats(key)) {
                let found = f64::from(found);
                assert!(
                    close(found, wanted, 2e-6),
                    "{name} {key}: {found}, {wanted}"
                );
            }
        }
    }
}

#[test]
fn malformed_files_are_refused_with_a_reason() {
    let small = DecodeLimits {
        max_bytes: 300,
        ..DecodeLimits::default()
    };
    let dynamic = processor(ImageSize::Dynamic);
    for (name, reason) in [
        ("trunc.png", "is a damaged PNG file"),
        (
            "bomb.png",
            "is 60000 x 60000 pixels, expected at most 178956970",
        ),
        ("zero.png", "is a damaged PNG file"),
        ("empty.png", "is empty, expected JPEG, PNG"),
        ("thin.png", "one side is 4000 times the other"),
        ("hdr.jpg", "is a JPEG file cut short"),
        ("noise.jpg", "JPEG"),
        ("svg.svg", "is not a picture that is known: begins with `<"),
    ] {
        let path = golden("malformed").join(name);
        let error = dynamic.read(&path).expect_err(name).to_string();
        let named = format!("malformed/{name}: ");
        assert!(error.contains(&named) && error.contains(reason), "{error}");
    }
    let ok = golden("malformed/ok.png");
    assert_eq!(dynamic.read(&ok).expect("a picture").grid, [1, 6, 6]);
    let error = dynamic.with_limits(small).read(&ok).expect_err("too long");
    assert!(
        error
            .to_string()
            .ends_with("has 347 bytes, expected at most 300")
    );
    let folder = picture("malformed").expect_err("a folder").to_string();
    assert_eq!(folder, "is a folder, expected a file");
}

#[test]
fn a_jpeg_that_is_cut_anywhere_is_refused() {
    let limits = DecodeLimits::default();
    for name in ["jpeg.jpg", "jpeg_progressive.jpg", "turned_6.jpg"] {
        let whole = std::fs::read(golden(name)).expect("a file");
        for length in 1..whole.len() {
            assert!(
                Picture::decode(&whole[..length], &limits).is_err(),
                "{name} {length}"
            );
        }
        // What comes after the end, such as a phone's second picture, does not matter.
        let longer = [&whole[..], &[0, 1, 2]].concat();
        assert_eq!(
            Picture::decode(&longer, &limits).expect("whole"),
            Picture::decode(&whole, &limits).expect("whole")
        );
    }
}

#[test]
fn other_files_cut_short_are_refused() {
    let limits = DecodeLimits::default();
    for name in ["rgb.png", "bmp_24.bmp", "webp.webp", "gif.gif", "tiff.tif"] {
        let whole = std::fs::read(golden(name)).expect("a file");
        for length in 0..whole.len() / 2 {
            assert!(
                Picture::decode(&whole[..length], &limits).is_err(),
                "{name} {length}"
            );
        }
    }
}

#[test]
fn a_fixed_size_keeps_proportions_on_black() {
    let white = Picture::new(20, 10, vec![255; 600]);
    let patches = processor(ImageSize::Fixed(56)).patches(&white);
    let patches = patches.expect("a picture");
    assert_eq!(patches.grid, [1, 4, 4]);
    let [black, full] = [0.0, 1.0].map(|v| (v - 0.481_454_66) / 0.268_629_54);
    // 56 x 28 of white from row 14 on: the first patches are black, the third are white.
    let first = |row: usize| patches.values[row * geometry().patch_len()];
    for (row, wanted) in [
        (0, black),
        (1, black),
        (2, full),
        (3, full),
        (8, full),
        (15, black),
    ] {
        assert!(
            (first(row) - wanted).abs() < 1e-5,
            "row {row}: {}",
            first(row)
        );
    }
    assert_eq!(
        ImageSize::Fixed(448).fixed_grid(&geometry()),
        Some([16, 16])
    );
    assert_eq!(
        ImageSize::Fixed(336).fixed_grid(&geometry()),
        Some([12, 12])
    );
    let odd = ImageProcessor::new(geometry(), ImageSize::Fixed(450)).expect_err("odd");
    assert_eq!(
        odd.to_string(),
        "the image size is 450, expected a multiple of 28, up to 2184 with this model"
    );
}

#[test]
fn a_model_whose_sizes_make_no_sense_is_refused() {
    let refused = |change: &dyn Fn(&mut ImageGeometry)| {
        let mut geometry = geometry();
        change(&mut geometry);
        let made = ImageProcessor::new(geometry, ImageSize::Dynamic);
        made.expect_err("no sense").to_string()
    };
    assert!(refused(&|g| g.patch_size = 0).contains("patch size is 0"));
    assert!(refused(&|g| g.merge_size = usize::MAX).contains("merge size"));
    assert!(refused(&|g| g.channels = 1).contains("number of channels is 1"));
    assert!(refused(&|g| g.std[1] = 0.0).contains("normalisation"));
    assert!(refused(&|g| g.min_area = usize::MAX).contains("greatest area"));
    // A least area that no memory holds is refused picture by picture.
    let huge = ImageGeometry {
        min_area: 1 << 50,
        max_area: 1 << 51,
        ..geometry()
    };
    let huge = ImageProcessor::new(huge, ImageSize::Dynamic).expect("possible");
    let error = huge.patches(&Picture::new(1, 1, vec![0; 3]));
    assert!(matches!(error, Err(ImageError::TooManyPixels { .. })));
}

#[test]
fn a_folder_is_searched_by_content_and_name_in_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    std::fs::create_dir_all(root.join("b/.hidden")).expect("folders");
    let png = std::fs::read(golden("rgb.png")).expect("a file");
    for name in [
        "b/2.png",
        "b/.hidden/1.png",
        ".3.png",
        "a.dat",
        "c.JPG",
        "b/10.png",
    ] {
        std::fs::write(root.join(name), &png).expect("written");
    }
    std::fs::write(root.join("broken.webp"), "no picture").expect("written");
    std::fs::write(root.join("notes.txt"), "no picture").expect("written");
    #[cfg(unix)]
    std::os::unix::fs::symlink(root, root.join("b/loop")).expect("a link");
    let found = find(&root.join(".")).expect("a folder");
    let names: Vec<_> = found
        .images
        .iter()
        .map(|path| {
            path.strip_prefix(root)
                .expect("below it")
                .to_str()
                .expect("UTF-8")
        })
        .collect();
    assert_eq!(
        names,
        ["a.dat", "b/10.png", "b/2.png", "broken.webp", "c.JPG"]
    );
    assert_eq!(found.num_others, 1);
    assert!(found.unread.is_empty());
}

#[cfg(unix)]
#[test]
fn links_are_followed_once_and_never_in_circles() {
    use std::os::unix::fs::symlink;
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("photos");
    std::fs::create_dir_all(root.join("m/deep")).expect("folders");
    std::fs::create_dir_all(folder.path().join("other/more")).expect("folders");
    let png = std::fs::read(golden("rgb.png")).expect("a file");
    for name in ["photos/m/deep/1.png", "other/2.png", "other/more/3.png"] {
        std::fs::write(folder.path().join(name), &png).expect("written");
    }
    let links = [
        // Reached by its own name as well, wherever the links come in the order.
        ("m/deep", "a_deep"),
        ("m/deep", "z_deep"),
        ("../other", "b_other"),
        ("../other", "c_other"),
        ("..", "up"),
        ("self.png", "self.png"),
        ("nowhere", "gone.jpg"),
        ("nowhere", "gone"),
        ("m/deep/1.png", "again.png"),
    ];
    for (to, from) in links {
        symlink(to, root.join(from)).expect("a link");
    }
    symlink("../../../photos", root.join("m/deep/circle")).expect("a link");
    let found = find(&root).expect("a folder");
    let names: Vec<_> = found
        .images
        .iter()
        .filter_map(|path| path.strip_prefix(&root).ok()?.to_str())
        .collect();
    assert_eq!(
        names,
        [
            "again.png",
            "b_other/2.png",
            "b_other/more/3.png",
            "gone.jpg",
            "m/deep/1.png",
            "self.png",
        ]
    );
    assert_eq!((found.num_others, found.unread.len()), (1, 0));
    let error = picture_error(&root.join("self.png"));
    assert!(error.contains("cannot be read"), "{error}");
}

fn picture_error(path: &Path) -> String {
    let read = Picture::read(path, &DecodeLimits::default());
    read.expect_err("no picture").to_string()
}

#[test]
fn odd_bmp_files_are_read_or_are_errors_of_their_own() {
    let limits = DecodeLimits::default();
    let whole = std::fs::read(golden("bmp_24.bmp")).expect("a file");
    let upright = Picture::decode(&whole, &limits).expect("a picture");
    let with = |at: usize, bytes: &[u8]| {
        let mut changed = whole.clone();
        changed[at..at + bytes.len()].copy_from_slice(bytes);
        Picture::decode(&changed, &limits)
    };
    let refused = |found: Result<Picture, ImageError>, message: &str| {
        let error = found.expect_err(message).to_string();
        assert!(error.contains(message), "{error}");
    };
    // A height below zero: rows from the top.
    let turned = with(22, &(-10_i32).to_le_bytes()).expect("a picture");
    let flipped: Vec<_> = upright.pixels().chunks(13 * 3).rev().flatten().collect();
    assert!(turned.pixels().iter().eq(flipped));
    // A length that is not the file's says nothing.
    assert_eq!(with(2, &[0; 4]).expect("a picture"), upright);
    refused(with(0, b"BA"), "is not a picture that is known");
    refused(
        Picture::decode(&whole[14..], &limits),
        "is not a picture that is known: begins with `(",
    );
    refused(with(10, &[0; 4]), "its pixels begin at byte 0, expected 54");
    refused(with(10, &[53, 0, 0, 0]), "its pixels begin at byte 53");
    refused(with(10, &[0xFF; 4]), "damaged BMP");
    refused(with(14, &[0xFF; 4]), "expected 4294967309 or later");
    refused(with(14, &[13, 0, 0, 0]), "BMP file");
    refused(with(18, &[0; 4]), "BMP");
    refused(with(18, &(-13_i32).to_le_bytes()), "BMP");
    refused(with(18, &[0xFF, 0xFF, 0xFF, 0x7F]), "BMP");
    refused(with(28, &[7, 0]), "BMP");
    refused(with(30, &[99, 0, 0, 0]), "BMP");
    for length in 2..54 {
        assert!(Picture::decode(&whole[..length], &limits).is_err());
    }
}

#[test]
fn sizes_are_limited_by_the_model_and_by_memory() {
    let refused = |geometry: &ImageGeometry, side| {
        let made = ImageProcessor::new(geometry.clone(), ImageSize::Fixed(side));
        made.expect_err("too large").to_string()
    };
    // 2184 * 2184 pixels and two frames are within 9,633,792; 2212 are not.
    let error = refused(&geometry(), 2212);
    assert!(error.contains("up to 2184 with this model"), "{error}");
    processor(ImageSize::Fixed(2184));
    for side in [1 << 20, usize::MAX / 28 * 28] {
        let error = refused(&geometry(), side);
        assert!(error.contains("up to 2184 with this model"), "{error}");
    }
    // A model that has no limit: 24 bytes a pixel in 1 GiB.
    let endless = ImageGeometry {
        max_area: usize::MAX,
        ..geometry()
    };
    let error = refused(&endless, 1 << 16);
    assert!(error.contains("the image size is 65536"), "{error}");
    assert!(error.contains("up to 6664 with this model"), "{error}");
    let growing = ImageGeometry {
        min_area: 250_000_000,
        ..endless
    };
    let growing = ImageProcessor::new(growing, ImageSize::Dynamic).expect("possible");
    let error = growing.patches(&Picture::new(1, 1, vec![0; 3]));
    assert!(matches!(error, Err(ImageError::TooMuchMemory { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever the bytes, decoding ends in a picture or an error, within the limits.
    #[test]
    fn damaged_files_never_panic(
        which in 0..8_usize,
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        cut in any::<prop::sample::Index>(),
        is_cut in any::<bool>(),
    ) {
        let names = [
            "rgb.png", "palette.png", "jpeg.jpg", "jpeg_progressive.jpg",
            "webp.webp", "gif_frames.gif", "bmp_palette.bmp", "tiff_lzw.tif",
        ];
        let mut bytes = std::fs::read(golden(names[which])).expect("a file");
        for (at, value) in flips {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if is_cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let limits = DecodeLimits { max_pixels: 1 << 20, ..DecodeLimits::default() };
        if let Ok(picture) = Picture::decode(&bytes, &limits) {
            prop_assert!(picture.pixels().len() <= 3 << 20);
            let _ = processor(ImageSize::Fixed(28)).patches(&picture);
        }
    }

    #[test]
    fn noise_is_no_picture(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = Picture::decode(&bytes, &DecodeLimits::default());
        let _ = jpeg::is_whole(&bytes);
    }
}
