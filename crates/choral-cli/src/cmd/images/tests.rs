//! The page, and what options mean.

use super::page::{Asked, Page, Shown, Thumbnails};
use super::parse_image_size;
use choral::vision::image::ImageSize;

fn asked(row: u64) -> Asked {
    Asked {
        row,
        pictures: Vec::new(),
        text: None,
        error: None,
        finish_reason: String::new(),
        seed: None,
        prompt_tokens: 0,
        completion_tokens: 0,
        seconds: None,
    }
}

fn shown(letter: &'static str, name: &str, thumbnail: Option<usize>) -> Shown {
    Shown {
        letter,
        name: name.to_owned(),
        index: Some(3),
        thumbnail,
    }
}

#[test]
fn a_picture_is_in_the_page_once_and_foreign_text_is_text() {
    let mut thumbnails = Thumbnails::default();
    let file = || Some((vec![0xFF, 0xD8, 0xFF], [7, 5]));
    let first = thumbnails.of("a.png", file);
    assert_eq!(thumbnails.of("a.png", || panic!("it is known")), first);
    assert_eq!(thumbnails.of("gone.png", || None), None);
    let page = Page {
        title: "<b>".to_owned(),
        asked: vec![
            Asked {
                pictures: vec![shown("A", "a.png", first), shown("B", "\"><script>x", None)],
                text: Some("</p><script>alert(1)</script>".to_owned()),
                finish_reason: "stop".to_owned(),
                completion_tokens: 4,
                seconds: Some(0.25),
                ..asked(0)
            },
            Asked {
                pictures: vec![shown("", "a.png", first)],
                error: Some("line 2: <i>".to_owned()),
                ..asked(1)
            },
        ],
        thumbnails,
    };
    let page = page.to_string();
    assert_eq!(page.matches("base64,/9j/").count(), 1);
    assert_eq!(page.matches("class=\"picture i0\"").count(), 2);
    assert_eq!(page.matches("<script>").count(), 1);
    for part in [
        "<h1>&lt;b&gt;</h1>",
        "2 questions, <span class=\"error\">1 in error</span>, 4 tokens",
        "<p>&lt;/p&gt;&lt;script&gt;alert(1)&lt;/script&gt;</p>",
        "&quot;&gt;&lt;script&gt;x <span class=\"faint\">image 3</span>",
        "<p class=\"error\">line 2: &lt;i&gt;</p>",
        "row 0 · 0 + 4 tokens · stop · 0.25 s",
    ] {
        assert!(page.contains(part), "{part} is not in {page}");
    }
    // Nothing is fetched.
    assert!(!page.contains("http") && !page.contains("src="));
}

#[test]
fn sizes_are_numbers_or_dynamic() {
    assert_eq!(parse_image_size("336"), Ok(ImageSize::Fixed(336)));
    assert_eq!(parse_image_size("dynamic"), Ok(ImageSize::Dynamic));
    for wrong in ["0", "-1", "448x448", ""] {
        assert!(parse_image_size(wrong).is_err(), "{wrong}");
    }
}
