//! What the environment says of hubs, under the names that `huggingface_hub` reads.

use super::FetchError;
use std::ffi::OsString;
use std::path::PathBuf;

const HUB: &str = "https://huggingface.co";

/// Where models come from and where they are kept.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Settings {
    /// The hub's address, without a slash at its end.
    pub(super) endpoint: String,
    /// The folder that holds `models--ORG--NAME`.
    pub(super) cache: PathBuf,
    pub(super) token: Option<String>,
    pub(super) offline: bool,
}

impl Settings {
    /// Reads `HF_ENDPOINT`, `HF_HUB_CACHE`, `HF_HOME`, `HF_TOKEN` (else the file that
    /// a login leaves) and `HF_HUB_OFFLINE`. Empty variables count as absent.
    pub(super) fn read(
        variable: &dyn Fn(&str) -> Option<OsString>,
        home: Option<PathBuf>,
    ) -> Result<Self, FetchError> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let path = |name: &str| set(name).map(PathBuf::from);
        let text = |name: &'static str| match set(name).map(OsString::into_string) {
            None => Ok(None),
            Some(Ok(text)) => Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty())),
            Some(Err(_)) => Err(FetchError::Setting {
                name,
                expected: "text",
                found: "bytes that are not UTF-8".to_owned(),
            }),
        };
        let hf_home = path("HF_HOME")
            .or_else(|| path("XDG_CACHE_HOME").map(|cache| cache.join("huggingface")))
            .or_else(|| home.map(|home| home.join(".cache/huggingface")));
        let cache = path("HF_HUB_CACHE")
            .or_else(|| path("HUGGINGFACE_HUB_CACHE"))
            .or_else(|| hf_home.as_ref().map(|home| home.join("hub")))
            .ok_or(FetchError::NoCache)?;
        let token_file = path("HF_TOKEN_PATH").or_else(|| hf_home.map(|home| home.join("token")));
        let token = match text("HF_TOKEN")? {
            Some(token) => Some(token),
            None => token_file
                .and_then(|file| std::fs::read_to_string(file).ok())
                .map(|token| token.trim().to_owned())
                .filter(|token| !token.is_empty()),
        };
        Ok(Self {
            endpoint: endpoint(text("HF_ENDPOINT")?.unwrap_or_else(|| HUB.to_owned()))?,
            cache,
            token: token
                .map(|token| checked_token("HF_TOKEN", token))
                .transpose()?,
            offline: is_on("HF_HUB_OFFLINE", text("HF_HUB_OFFLINE")?)?,
        })
    }
}

/// A hub's address without a slash at its end.
fn endpoint(text: String) -> Result<String, FetchError> {
    let address = text.trim_end_matches('/');
    let host = address
        .strip_prefix("https://")
        .or_else(|| address.strip_prefix("http://"));
    let plain = |host: &str| !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_graphic());
    if host.is_some_and(plain) {
        Ok(address.to_owned())
    } else {
        Err(FetchError::Setting {
            name: "HF_ENDPOINT",
            expected: "an address such as https://huggingface.co",
            found: text,
        })
    }
}

/// A token that can stand in a header.
pub(super) fn checked_token(name: &'static str, token: String) -> Result<String, FetchError> {
    if !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(token);
    }
    Err(FetchError::Setting {
        name,
        expected: "a token such as hf_...",
        found: "something with spaces or other signs".to_owned(),
    })
}

fn is_on(name: &'static str, text: Option<String>) -> Result<bool, FetchError> {
    let Some(text) = text else {
        return Ok(false);
    };
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Ok(true),
        "0" | "false" | "no" | "off" => Ok(false),
        _ => Err(FetchError::Setting {
            name,
            expected: "1 or 0",
            found: text,
        }),
    }
}
