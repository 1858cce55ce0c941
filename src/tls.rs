//! TLS: the system's roots, a private authority beside them, one crypto provider for everything.
//!
//! Never skips verification: there is no option for it.

use std::{path::Path, sync::Arc, time::SystemTime};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, UnixTime, pem::PemObject},
    time_provider::TimeProvider,
};
use rustls_platform_verifier::Verifier;

use crate::{
    error::{Cause, Error, Result},
    files::read_input,
};

/// Bytes of a certificate file: all public authorities take a quarter of a megabyte.
const LARGEST: u64 = 16 << 20;

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
    config.time_provider = Arc::new(Time);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// A configuration that trusts nobody, for connections that are never encrypted: to read the system's
/// roots takes longer than to ask a server on this machine.
pub(crate) fn unused() -> Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|source| Error::Configuration(format!("TLS: {source}")))?;
    Ok(builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

/// The time for checking certificates. That of rustls panics before 1970.
#[derive(Debug)]
struct Time;

impl TimeProvider for Time {
    fn current_time(&self) -> Option<UnixTime> {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?;
        Some(UnixTime::since_unix_epoch(since))
    }
}

fn roots(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let text = read_input(path, LARGEST).map_err(|error| unusable(path, error.into()))?;
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
