//! `choral images report`: answers beside their pictures.

use super::{images, pairs_of_list, pictures_in_a_store, run};
use std::fs;
use std::process::Command;
use tempfile::TempDir;

/// A page of two answered pairs, one in error and one whose pictures are gone.
fn report() -> TempDir {
    let folder = pictures_in_a_store();
    fs::write(folder.path().join("pairs.txt"), "0,1\n9,9\n2,3\n").expect("written");
    let (code, _, told) = pairs_of_list(folder.path(), "results.jsonl");
    assert_eq!(code, Some(3), "{told}");
    fs::remove_file(folder.path().join("photos/sub/d.tif")).expect("removed");
    let mut command = images(&["report", "results.jsonl", "-o", "report.html"]);
    let (code, _, told) = run(command.current_dir(folder.path()));
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("photos/sub/d.tif: cannot be read"), "{told}");
    folder
}

#[test]
fn a_page_has_pictures_and_answers_beside_each_other() {
    let folder = report();
    let page = fs::read_to_string(folder.path().join("report.html")).expect("a page");
    assert_eq!(page.matches("<article").count(), 3);
    assert_eq!(
        page.matches("background-image: url(data:image/jpeg;base64,")
            .count(),
        3
    );
    assert_eq!(page.matches("not found").count(), 1);
    assert!(page.contains("pairs.txt:2: there is no image 9"), "{page}");
    let mut again = images(&["report", "results.jsonl", "-o", "report.html"]);
    let (code, _, told) = run(again.current_dir(folder.path()));
    assert_eq!(code, Some(1));
    assert!(told.contains("--overwrite replaces it"), "{told}");
    fs::write(folder.path().join("bad.jsonl"), "{\"row\": 0}\nx\n").expect("written");
    let mut bad = images(&["report", "bad.jsonl", "-o", "bad.html"]);
    let (code, _, told) = run(bad.current_dir(folder.path()));
    assert_eq!(code, Some(1));
    assert!(
        told.contains("`bad.jsonl`, line 2: expected an answer"),
        "{told}"
    );
}

/// With a browser on the path; without one there is nothing to look with, and the test
/// says so.
#[test]
fn a_browser_shows_the_page() {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let runs = |name: &&&str| Command::new(name).arg("--version").output().is_ok();
    let Some(browser) = names.iter().find(runs) else {
        eprintln!("no browser is here: the page was not looked at");
        return;
    };
    let folder = report();
    let profile = folder.path().join("profile");
    let page = folder.path().join("report.html").display().to_string();
    let look = |words: &[&str], hash: &str| {
        let output = Command::new(browser)
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--hide-scrollbars",
            ])
            .arg(format!("--user-data-dir={}", profile.display()))
            .args(words)
            .arg(format!("file://{page}{hash}"))
            .output()
            .expect("runs");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{told}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let shown = look(&["--dump-dom"], "");
    assert_eq!(shown.matches("<article").count(), 3, "{shown}");
    // The script ran: the field is there, and nothing is hidden.
    assert!(
        shown.contains("<input type=\"search\"") && !shown.contains(" hidden="),
        "{shown}"
    );
    let found = look(&["--dump-dom"], "#find=PAIRS.TXT:2");
    assert_eq!(found.matches("hidden=\"\"").count(), 2, "{found}");
    assert!(found.contains("1 shown"), "{found}");
    // What is painted has the colours of the first picture's quadrants.
    let shot = folder.path().join("shot.png");
    look(
        &[
            "--window-size=1000,900",
            &format!("--screenshot={}", shot.display()),
        ],
        "",
    );
    let limits = choral::vision::image::DecodeLimits::default();
    let painted = choral::vision::image::Picture::read(&shot, &limits);
    let painted = painted.expect("a screenshot");
    let (pixels, _) = painted.pixels().as_chunks::<3>();
    let is_green = |p: &&[u8; 3]| p[1] > 150 && p[0] < 90 && p[2] < 110;
    assert!(pixels.iter().filter(is_green).count() > 50);
}
