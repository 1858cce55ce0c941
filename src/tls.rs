//! TLS: the system's roots, a private authority beside them, one crypto provider for everything.
//!
//! Never skips verification: there is no option for it.

use std::{path::Path, sync::Arc};

use rustls::{
    ClientConfig,
    pki_types::{CertificateDer, pem::PemObject},
};
use rustls_platform_verifier::Verifier;

use crate::error::{Cause, Error, Result};

/// The configuration, with the certificates of `ca_cert` (PEM) trusted besides the system's.
pub(crate) fn config(ca_cert: Option<&Path>) -> Result<ClientConfig> {
    // Given explicitly: a process-wide default provider is the application's to choose.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let failed = |source: rustls::Error| Error::Configuration(format!("TLS: {source}"));
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(failed)?;
    let verifier = match ca_cert {
        None => Verifier::new(provider),
        Some(path) => Ok(Verifier::new_with_extra_roots(roots(path)?, provider)
            .map_err(|error| unusable(path, error.into()))?),
    };
    let mut config = builder
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier.map_err(failed)?))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn roots(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let text = std::fs::read(path).map_err(|error| unusable(path, error.into()))?;
    let roots = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| unusable(path, error.to_string().into()))?;
    if roots.is_empty() {
        return Err(unusable(path, "it holds no PEM certificate".into()));
    }
    Ok(roots)
}

fn unusable(path: &Path, source: Cause) -> Error {
    Error::ConfigurationFile { what: "the certificate file", path: path.to_owned(), source }
}
