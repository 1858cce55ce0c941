//! Random numbers that nobody can guess, from the crypto provider of TLS.

use rustls::crypto::ring;

use crate::error::{Error, Result};

/// Returns random bytes for a key.
///
/// # Errors
/// [`Error::Internal`] when the system has no random numbers.
pub(crate) fn random_bytes<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    let filled = ring::default_provider().secure_random.fill(&mut bytes);
    filled.map_err(|_| Error::Internal("the system gives no random numbers".to_owned()))?;
    Ok(bytes)
}
