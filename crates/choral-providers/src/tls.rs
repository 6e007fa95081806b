//! What makes a server believable, and what is said of one that is not.

use choral::provider::{ErrorKind, GenerateError};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use std::error::Error;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Variables that name authorities instead of the system's.
const VARIABLES: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

/// TLS by rustls and ring. Trusts what the system trusts (or `SSL_CERT_FILE` and
/// `SSL_CERT_DIR` name), and the authorities in the PEM file `ca_file` as well, for companies
/// have some of their own; where there is no system, as in a bare container, what Mozilla
/// trusts.
pub(crate) fn config(ca_file: Option<&Path>) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    let is_given = |name: &&&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if let Some(name) = VARIABLES.iter().find(is_given) {
        // The system may well have an odd file, but this one was meant.
        if let Some(error) = system.errors.first() {
            return Err(format!("{name}: {error}"));
        }
        if system.certs.is_empty() {
            return Err(format!("{name} names no certificate"));
        }
    }
    roots.add_parsable_certificates(system.certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    if let Some(path) = ca_file {
        let named = |problem: &dyn Error| format!("authorities of {}: {problem}", path.display());
        let found: Result<Vec<_>, _> =
            CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
        let found = found.map_err(|error| named(&error))?;
        if found.is_empty() {
            return Err(format!(
                "authorities of {}: expected certificates in PEM, found none",
                path.display()
            ));
        }
        for certificate in found {
            roots.add(certificate).map_err(|error| named(&error))?;
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

/// What is said of a server whose certificate is not believed, if that is what `error` is
/// about. Trying again does not help, and no other request would fare better.
pub(crate) fn refusal(error: &(dyn Error + 'static)) -> Option<GenerateError> {
    let mut next = Some(error);
    let problem = loop {
        let error = next?;
        if let Some(rustls::Error::InvalidCertificate(problem)) = of_rustls(error) {
            break problem;
        }
        next = error.source();
    };
    let hint = match problem {
        rustls::CertificateError::UnknownIssuer => {
            "; if its authority is your company's, name the file with it (SSL_CERT_FILE)"
        }
        _ => "",
    };
    let message = format!("the server's certificate is not trusted: {problem}{hint}");
    Some(GenerateError::new(ErrorKind::Config, message))
}

/// It may be inside of errors of the system's, whose source is not what they have but the
/// source of that.
fn of_rustls<'a>(mut error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    while let Some(inner) = error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref)
    {
        error = inner;
    }
    error.downcast_ref()
}
