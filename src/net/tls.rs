//! TLS configuration: the root certificates of the system, an optional private authority, and one crypto
//! provider for all connections.
//!
//! Verification is always on: there is no option to skip it.

use std::{error::Error as StdError, io, path::Path, sync::Arc, time::SystemTime};

use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore,
    SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
    server::ParsedCertificate,
    time_provider::TimeProvider,
};
use rustls_platform_verifier::Verifier;

use crate::{
    error::{Cause, Error, Result},
    files::read_input,
};

/// Size limit of a certificate file: 16 MiB. A file with all public authorities has about 0.25 MB.
const LARGEST: u64 = 16 << 20;

/// Creates the TLS configuration. Trusts the roots of the system, and the certificates in the PEM file
/// `ca_cert`.
///
/// # Errors
/// [`Error::ConfigurationFile`] for an unusable PEM file, [`Error::NoRoots`] when the system has no roots.
pub(crate) fn config(ca_cert: Option<&Path>) -> Result<ClientConfig> {
    // Set explicitly, because only the application may choose a process-wide default provider.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|source| Error::Configuration(format!("TLS: {source}")))?;
    let given = ca_cert.map_or_else(|| Ok(Vec::new()), roots)?;
    // `roots` has already checked the given certificates, so this error is about the roots of the system.
    let system = Verifier::new_with_extra_roots(given.iter().cloned(), provider)
        .map_err(|_| Error::NoRoots)?;
    let verifier: Arc<dyn ServerCertVerifier> = match &given[..] {
        [] => Arc::new(system),
        _ => Arc::new(PinnedVerifier { given, system }),
    };
    let mut config =
        builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    config.time_provider = Arc::new(Time);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Creates a TLS configuration without any root, for connections that never use TLS.
///
/// It saves time: reading the roots of the system takes longer than a request to a server on this machine.
pub(crate) fn unused() -> Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|source| Error::Configuration(format!("TLS: {source}")))?;
    Ok(builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

/// The clock for checking certificates. The clock of rustls panics before 1970.
#[derive(Debug)]
struct Time;

impl TimeProvider for Time {
    fn current_time(&self) -> Option<UnixTime> {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?;
        Some(UnixTime::since_unix_epoch(since))
    }
}

/// Reads the certificates of a PEM file. Checks that each one can be a root.
fn roots(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let text = read_input(path, LARGEST).map_err(|error| unusable(path, error.into()))?;
    let (mut roots, mut store) = (Vec::new(), RootCertStore::empty());
    for (index, root) in CertificateDer::pem_slice_iter(&text).enumerate() {
        let wrong = |why| unusable(path, format!("its certificate {} {why}", index + 1).into());
        let root = root.map_err(|_| wrong("is not valid PEM: is the file complete?"))?;
        store.add(root.clone()).map_err(|_| wrong("is not an X.509 certificate"))?;
        roots.push(root);
    }
    if roots.is_empty() {
        return Err(unusable(path, "it contains no PEM certificate".into()));
    }
    Ok(roots)
}

/// A verifier that also accepts a given certificate if the server presents exactly that certificate.
///
/// For all other certificates, the verifier of the system decides. By the rules of WebPKI, a server may not
/// use a self-signed CA certificate (`CA:TRUE`, the default of `openssl req -x509`). A user who gives exactly
/// this certificate wants to trust it. Its name and dates are still checked.
#[derive(Debug)]
struct PinnedVerifier {
    given: Vec<CertificateDer<'static>>,
    system: Verifier,
}

impl ServerCertVerifier for PinnedVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self.system.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        match verified {
            // The verifier reports this after it checked the dates, but before it checks the name.
            Err(rustls::Error::InvalidCertificate(why))
                if is_authority(&why) && self.given.iter().any(|given| given == end_entity) =>
            {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.system.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.system.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.system.supported_verify_schemes()
    }
}

/// Whether the error means that a server presents a CA certificate as its own.
fn is_authority(why: &CertificateError) -> bool {
    let CertificateError::Other(other) = why else { return false };
    matches!(other.0.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity))
}

/// Explains in plain words why a certificate was refused. The verifier's own text contains type names.
pub(crate) fn explain(why: &CertificateError) -> String {
    use CertificateError::*;
    let text = match why {
        BadEncoding => "it is not an X.509 certificate",
        Expired | ExpiredContext { .. } => "it has expired, or the clock of this machine is wrong",
        NotValidYet | NotValidYetContext { .. } => {
            "it is not valid yet, or the clock of this machine is wrong"
        }
        Revoked => "it has been revoked",
        UnknownIssuer => "this machine does not trust the issuer",
        BadSignature => {
            "its issuer did not sign it: another authority with the same name may have signed it"
        }
        NotValidForNameContext { expected, presented } => {
            // The text has the form `DnsName("api.example.test")` or `IpAddress(127.0.0.1)`.
            let name = |text: &str| {
                let name = text.split_once('(').map_or(text, |(_, name)| name);
                name.trim_end_matches(')').trim_matches('"').to_owned()
            };
            let names: Vec<_> = presented.iter().map(|text| name(text)).collect();
            let names = if names.is_empty() { "no name".to_owned() } else { names.join(", ") };
            return format!("it is for {names}, not for {}", expected.to_str());
        }
        NotValidForName => "it is for another name",
        InvalidPurpose | InvalidPurposeContext { .. } => "it is not meant for servers",
        UnsupportedSignatureAlgorithmContext { .. }
        | UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "it is signed with an algorithm that is not supported, such as SHA-1"
        }
        why if is_authority(why) => {
            "it is a CA certificate (CA:TRUE): a server may use it only if you give exactly this \
             certificate with `ca_cert`"
        }
        Other(other) if other.0.downcast_ref() == Some(&webpki::Error::UnsupportedCertVersion) => {
            "it is an X.509 certificate of an old version; only version 3 is supported"
        }
        _ => "it breaks a rule for server certificates",
    };
    text.to_owned()
}

/// Finds an error of type `E` among the causes of an error.
///
/// Also looks inside each `io::Error`, which can contain a TLS error that its `source` skips.
pub(crate) fn find<'e, E: StdError + 'static>(
    error: &'e (dyn StdError + 'static),
) -> Option<&'e E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

/// Explains why a TLS handshake failed for a reason other than a certificate.
pub(crate) fn handshake(error: &rustls::Error) -> String {
    let text = match error {
        rustls::Error::AlertReceived(AlertDescription::ProtocolVersion)
        | rustls::Error::AlertReceived(AlertDescription::HandshakeFailure)
        | rustls::Error::PeerIncompatible(_) => {
            "the server supports none of today's safe TLS versions and ciphers"
        }
        rustls::Error::AlertReceived(AlertDescription::UnrecognisedName) => {
            "the server has no site with this name"
        }
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => {
            "the server asks for a client certificate, which is not supported"
        }
        rustls::Error::AlertReceived(_) => "the server ended the TLS handshake",
        _ => "the TLS handshake failed",
    };
    text.to_owned()
}

fn unusable(path: &Path, source: Cause) -> Error {
    Error::ConfigurationFile { what: "the certificate file", path: path.to_owned(), source }
}
