use super::*;
use proptest::prelude::*;

/// 1 x 1, red.
const PNG: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mP4z8AAAAMBAQD3A0FDAAAAAElFTkSuQmCC";

fn url_of_red() -> String {
    format!("data:image/png;base64,{PNG}")
}

#[test]
fn pictures_are_found_as_every_api_writes_them() {
    let mut messages = vec![
        json!({"role": "system", "content": "no parts"}),
        json!({"role": "user", "content": [
            {"type": "text", "text": "see"},
            {"type": "image_url", "image_url": {"url": "a", "detail": "low"}},
            {"type": "image_url", "image_url": "b"},
            {"type": "input_image", "image_url": "c"},
            {"type": "image", "image": "d"},
            {"type": "image", "url": "e"},
            {"type": "image", "path": "f"},
            {"type": "image", "source": {"type": "base64", "media_type": "image/gif", "data": "Zw"}},
            "text",
        ]}),
    ];
    let found = take_images(&mut messages).expect("pictures");
    let urls: Vec<_> = found.iter().map(|image| image.url.as_str()).collect();
    assert_eq!(
        urls,
        ["a", "b", "c", "d", "e", "f", "data:image/gif;base64,Zw"]
    );
    assert_eq!((found[0].message, found[0].part, found[6].part), (1, 1, 7));
    let parts = messages[1]["content"].as_array().expect("parts");
    assert!(
        parts[1..8]
            .iter()
            .all(|part| *part == json!({"type": "image"}))
    );
    assert_eq!(parts[0]["text"], "see");
    // Again there is nothing to take, and nothing says where the pictures are.
    let error = take_images(&mut messages)
        .expect_err("no pictures")
        .to_string();
    assert!(error.starts_with("messages[1].content[1]: `image` has no picture, expected"));
}

#[test]
fn data_urls_are_pictures_whatever_they_call_themselves() {
    let access = ImageAccess::data_only("hint");
    for url in [
        url_of_red(),
        url_of_red().replace("image/png", "image/jpeg"),
        url_of_red().replace("data:image/png", "DATA:"),
        url_of_red().trim_end_matches('=').to_owned(),
        format!(
            "data:image/png;name=a;base64,{}\n {}",
            &PNG[..60],
            &PNG[60..]
        ),
    ] {
        let picture = access.open(&url).expect("a picture");
        assert_eq!(
            (picture.size(), picture.pixels()),
            ([1, 1], &[255, 0, 0][..])
        );
    }
    for (url, reason) in [
        ("data:image/png;base64", "has no comma before its data"),
        ("data:image/png,%89PNG", "is not in base64"),
        ("data:image/png;base64,!!!!", "is damaged: "),
        (
            "data:;base64,AAAA",
            "the picture is not a picture that is known: begins with",
        ),
        ("data:;base64,", "the picture is empty"),
    ] {
        let error = access.open(url).expect_err(url).to_string();
        assert!(error.contains(reason), "{error}");
    }
    let small = access.with_limits(DecodeLimits {
        max_bytes: 10,
        ..DecodeLimits::default()
    });
    let error = small.open(&url_of_red()).expect_err("long").to_string();
    assert!(error.contains("has more than 10 bytes"), "{error}");
}

#[test]
fn the_network_is_never_asked() {
    let access = ImageAccess::data_only("hint");
    for url in ["http://a.b/c.png", "HTTPS://a.b/c.png", "s3://a/b"] {
        let error = access.open(url).expect_err(url).to_string();
        assert!(
            error.contains("is on the network, which is not asked"),
            "{error}"
        );
    }
}

#[test]
fn files_are_read_in_the_folder_that_is_allowed_and_nowhere_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("root");
    fs::create_dir_all(root.join("sub")).expect("folders");
    let bytes = BASE64.decode(PNG).expect("base64");
    for name in ["root/a b.png", "root/sub/c.png", "secret.png"] {
        fs::write(folder.path().join(name), &bytes).expect("written");
    }
    let access = ImageAccess::folder(&root).expect("a folder");
    let absolute = fs::canonicalize(root.join("a b.png")).expect("a file");
    let file = format!("file://{}", absolute.display()).replace(' ', "%20");
    for inside in [
        "a b.png",
        "./sub/c.png",
        &absolute.display().to_string(),
        &file,
    ] {
        assert!(access.open(inside).is_ok(), "{inside}");
    }
    let secret = folder.path().join("secret.png").display().to_string();
    for outside in [
        "../secret.png",
        "sub/../../secret.png",
        &secret,
        "/etc/passwd",
    ] {
        let error = access.open(outside).expect_err(outside).to_string();
        assert!(error.contains("where pictures are read"), "{error}");
    }
    #[cfg(unix)]
    {
        let link = root.join("link.png");
        std::os::unix::fs::symlink(folder.path().join("secret.png"), link).expect("a link");
        let error = access.open("link.png").expect_err("leads out").to_string();
        assert!(error.contains("where pictures are read"), "{error}");
    }
    let error = access.open("gone.png").expect_err("no file").to_string();
    assert!(
        error.starts_with("the picture `gone.png` cannot be read: "),
        "{error}"
    );
    let refused = ImageAccess::data_only("--allow them").open("a b.png");
    assert_eq!(
        refused.expect_err("no files").to_string(),
        "`a b.png` is a file, and files are not read: --allow them"
    );
}

#[test]
fn messages_become_embeddings_and_a_picture_is_encoded_once() {
    use crate::vision::{ImageEmbedding, ImageGeometry, Patches, VisionError};
    let geometry = ImageGeometry {
        channels: 3,
        patch_size: 2,
        temporal_patch_size: 1,
        merge_size: 1,
        mean: [0.0; 3],
        std: [1.0; 3],
        min_area: 4,
        max_area: 1 << 20,
    };
    let calls = std::cell::Cell::new(0);
    let encode = |images: &[Patches]| {
        calls.set(calls.get() + 1);
        let one = |image: &Patches| ImageEmbedding::new(1, 1, 1, vec![image.values[0]]);
        images.iter().map(one).collect::<Result<Vec<_>, _>>()
    };
    let image = |url: &str| json!({"type": "image_url", "image_url": {"url": url}});
    let messages =
        |url: &str| vec![json!({"role": "user", "content": [image(&url_of_red()), image(url)]})];
    let access = || ImageAccess::data_only("hint");
    let mut images = MessageImages::new(access(), Some(&geometry)).expect("sizes that make sense");
    for _ in 0..2 {
        let mut messages = messages(&url_of_red());
        let made = images.embed(&mut messages, &encode).expect("pictures");
        assert_eq!(made.len(), 2);
        assert_eq!(made[0].to_f32(), [1.0]);
        assert_eq!(
            messages[0]["content"],
            json!([{"type": "image"}, {"type": "image"}])
        );
    }
    assert_eq!(calls.get(), 1);
    let error = images
        .embed(&mut messages("a.png"), &encode)
        .expect_err("a file");
    assert_eq!(
        error.to_string(),
        "messages[0].content[1]: `a.png` is a file, and files are not read: hint"
    );
    // A model that reads text only says so, unless there is nothing to look at.
    let mut blind = MessageImages::new(access(), None).expect("nothing to check");
    let no_encoder = |_: &[Patches]| Err(VisionError::NoEncoder { hint: "" });
    let error = blind
        .embed(&mut messages("a.png"), &no_encoder)
        .expect_err("blind");
    assert_eq!(
        error.to_string(),
        "messages[0].content[0]: the model has no image encoder"
    );
    let mut text = vec![json!({"role": "user", "content": "a"})];
    assert!(
        blind
            .embed(&mut text, &no_encoder)
            .expect("text")
            .is_empty()
    );
}

proptest! {
    #[test]
    fn names_never_panic_and_never_leave(url in ".{0,80}") {
        let folder = tempfile::tempdir().expect("a folder");
        let access = ImageAccess::folder(folder.path()).expect("a folder");
        prop_assert!(access.open(&url).is_err());
        let data = format!("data:;base64,{url}");
        prop_assert!(access.open(&data).is_err());
        let _ = access.open(&format!("file:{url}"));
    }
}
