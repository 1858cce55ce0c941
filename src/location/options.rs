//! Settings of a store that are not in its URL: options by name, and a certificate file to trust.

#[cfg(feature = "clouds")]
use std::path::Path;
use std::{fmt, path::PathBuf};

use secrecy::SecretString;

/// Settings of an object store that are not in its URL.
///
/// The names are those of the `object_store` crate: `region`, `endpoint`, `allow_http`, … Options override
/// the environment (`AWS_*`, `GOOGLE_*`, `AZURE_*`). Values are never printed.
///
/// ```
/// use overmind_export::StorageOptions;
///
/// let options = StorageOptions::default().with("region", "eu-north-1").with("token", "secret");
/// assert!(!format!("{options:?}").contains("secret"));
/// ```
#[derive(Clone, Default)]
pub struct StorageOptions {
    pairs: Vec<(String, SecretString)>,
    ca_cert: Option<PathBuf>,
}

impl StorageOptions {
    /// Sets one option.
    #[must_use]
    pub fn with(mut self, key: impl Into<String>, value: impl Into<SecretString>) -> Self {
        self.pairs.push((key.into(), value.into()));
        self
    }

    /// Trusts the certificates in this PEM file in addition to those of the system.
    #[must_use]
    pub fn with_ca_cert(mut self, path: impl Into<PathBuf>) -> Self {
        self.ca_cert = Some(path.into());
        self
    }

    /// Returns whether nothing is set.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty() && self.ca_cert.is_none()
    }

    /// Adds the other options. If both set the same option, the other value wins.
    #[must_use]
    pub(crate) fn and(mut self, others: &Self) -> Self {
        self.pairs.extend(others.pairs.iter().cloned());
        self.ca_cert = others.ca_cert.clone().or(self.ca_cert);
        self
    }

    #[cfg(feature = "clouds")]
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &SecretString)> {
        self.pairs.iter().map(|(key, value)| (key.as_str(), value))
    }

    #[cfg(feature = "clouds")]
    pub(crate) fn ca_cert(&self) -> Option<&Path> {
        self.ca_cert.as_deref()
    }
}

impl fmt::Debug for StorageOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StorageOptions")
            .field("keys", &self.pairs.iter().map(|(key, _)| key).collect::<Vec<_>>())
            .field("ca_cert", &self.ca_cert)
            .finish()
    }
}
