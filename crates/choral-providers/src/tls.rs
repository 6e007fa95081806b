//! What makes a server believable.

use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;

/// TLS by rustls and ring. Trusts what the system trusts (or `SSL_CERT_FILE` and
/// `SSL_CERT_DIR` name), for companies have authorities of their own; where there is no
/// system, as in a bare container, what Mozilla trusts.
pub(crate) fn config() -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(system.certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}
