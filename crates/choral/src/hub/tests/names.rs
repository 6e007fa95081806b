//! Names of repositories and the environment.

use crate::hub::settings::Settings;
use crate::hub::{FetchError, Repo};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

#[test]
fn a_name_has_a_revision_and_a_quantisation() {
    let repo: Repo = "org/name".parse().expect("a name");
    assert_eq!(
        (repo.id(), repo.revision(), repo.quant()),
        ("org/name", "main", None)
    );
    let repo: Repo = "org/na-me_1.5@refs/pr/7:Q4_K_M".parse().expect("a name");
    assert_eq!(
        (repo.id(), repo.revision(), repo.quant()),
        ("org/na-me_1.5", "refs/pr/7", Some("Q4_K_M"))
    );
    assert_eq!(repo.to_string(), "org/na-me_1.5@refs/pr/7:Q4_K_M");
    assert_eq!("gpt2".parse::<Repo>().expect("a name").id(), "gpt2");
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    for text in [
        "",
        "/",
        "org/",
        "/name",
        "a/b/c",
        "../name",
        "org/..",
        ".hidden/x",
        "org/name:",
        "org/name@",
        "org/name@../../x",
        "org/name:../x",
        "org/na me",
        "org/name?x=1",
        "org\\name",
        "org/n\u{1b}[2J",
        "https://huggingface.co/org/name",
    ] {
        let error = text.parse::<Repo>().expect_err(text).to_string();
        assert!(error.contains("ORG/NAME[@REVISION][:QUANT]"), "{error}");
    }
    assert!("a".repeat(97).parse::<Repo>().is_err());
}

fn read(variables: &[(&str, &str)]) -> Result<Settings, FetchError> {
    let variables: Vec<(String, String)> = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let find = move |name: &str| {
        let found = variables.iter().find(|(found, _)| found == name);
        found.map(|(_, value)| OsString::from(value))
    };
    Settings::read(&find, Some(PathBuf::from("/home/me")))
}

#[test]
fn the_environment_is_that_of_other_tools() {
    let settings = read(&[]).expect("the usual");
    assert_eq!(settings.endpoint, "https://huggingface.co");
    assert_eq!(settings.cache, Path::new("/home/me/.cache/huggingface/hub"));
    assert!(settings.token.is_none() && !settings.offline);

    let settings = read(&[("XDG_CACHE_HOME", "/c")]).expect("settings");
    assert_eq!(settings.cache, Path::new("/c/huggingface/hub"));
    let settings = read(&[("HF_HOME", "/hf"), ("XDG_CACHE_HOME", "/c")]).expect("settings");
    assert_eq!(settings.cache, Path::new("/hf/hub"));
    let settings = read(&[
        ("HF_HOME", "/hf"),
        ("HF_HUB_CACHE", "/cache"),
        ("HF_TOKEN", " hf_abc\n"),
        ("HF_ENDPOINT", "https://mirror.example/"),
        ("HF_HUB_OFFLINE", "ON"),
    ])
    .expect("settings");
    assert_eq!(settings.cache, Path::new("/cache"));
    assert_eq!(settings.token.as_deref(), Some("hf_abc"));
    assert_eq!(settings.endpoint, "https://mirror.example");
    assert!(settings.offline);
}

#[test]
fn a_login_leaves_a_token() {
    let home = tempfile::tempdir().expect("a folder");
    std::fs::write(home.path().join("token"), "hf_file\n").expect("written");
    let path = home.path().to_str().expect("UTF-8");
    let settings = read(&[("HF_HOME", path)]).expect("settings");
    assert_eq!(settings.token.as_deref(), Some("hf_file"));
    let settings = read(&[("HF_HOME", path), ("HF_TOKEN", "hf_env")]).expect("settings");
    assert_eq!(settings.token.as_deref(), Some("hf_env"));
}

#[test]
fn settings_that_mean_nothing_are_refused_and_tokens_never_shown() {
    let error = |variables: &[(&str, &str)]| match read(variables) {
        Ok(_) => panic!("{variables:?} is taken"),
        Err(error) => error.to_string(),
    };
    assert!(
        error(&[("HF_ENDPOINT", "huggingface.co")]).contains("HF_ENDPOINT is `huggingface.co`")
    );
    assert!(error(&[("HF_HUB_OFFLINE", "maybe")]).contains("expected 1 or 0"));
    let message = error(&[("HF_TOKEN", "secret\nheader: x")]);
    assert!(
        message.contains("HF_TOKEN") && !message.contains("secret"),
        "{message}"
    );
}
