//! The connection settings from each source: flags, the environment, and a file.
//!
//! This module has no defaults. [`ClientBuilder`] has a default for each missing setting.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use secrecy::SecretString;

use super::{
    Client,
    builder::{ClientBuilder, KEY_VARIABLES, URL_VARIABLES, variable, variable_origin},
};
use crate::{
    error::Result,
    throttle::{Concurrency, Rate},
};

/// The connection settings from one source. A missing setting is `None`.
///
/// ```
/// use overmind_export::{ApiKey, Connection};
///
/// let mut typed = Connection::default();
/// typed.base_url = Some("http://127.0.0.1:8080".to_owned());
/// let mut file = Connection::default();
/// file.base_url = Some("https://api.overmindlab.ai".to_owned());
/// file.api_key = Some(ApiKey::from("ovr_example"));
/// let client = typed.or(file).client()?;
/// assert!(format!("{client:?}").contains("127.0.0.1:8080"));
/// # Ok::<(), overmind_export::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Connection {
    /// Base URL of the API.
    pub base_url: Option<String>,
    /// The key, or the file that contains it.
    pub api_key: Option<ApiKey>,
    /// Origin of the key, for hints, such as `the variable MY_KEY`.
    pub api_key_origin: Option<String>,
    /// Path of a PEM file with certificates to trust, in addition to the system's.
    pub ca_cert: Option<PathBuf>,
    /// Whether plain http to another machine is allowed.
    pub allow_http: Option<bool>,
    /// Largest number of requests in flight.
    pub concurrency: Option<Concurrency>,
    /// Largest number of requests to start in a given time.
    pub rate_limit: Option<Rate>,
    /// Time limit of a whole request, including its body.
    pub timeout: Option<Duration>,
    /// Time limit for connecting.
    pub connect_timeout: Option<Duration>,
    /// Longest time without a new byte of a body.
    pub idle_timeout: Option<Duration>,
    /// Largest number of retries of one request.
    pub max_retries: Option<u64>,
    /// Retry time limit: the longest time in which the API only fails.
    pub retry_for: Option<Duration>,
    /// Size limit of a page body in bytes, after decompression.
    pub max_page_bytes: Option<usize>,
}

/// A key, or the file that contains it.
#[derive(Debug, Clone)]
pub enum ApiKey {
    /// The key itself. It is never printed.
    Text(SecretString),
    /// A file whose first line is the key.
    File(PathBuf),
}

impl ApiKey {
    /// Returns the path of the key file, if the key is in a file.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::Text(_) => None,
            Self::File(path) => Some(path),
        }
    }
}

impl From<&str> for ApiKey {
    fn from(key: &str) -> Self {
        Self::Text(key.into())
    }
}

impl Connection {
    /// Reads the key and the base URL from the environment variables of the vendor's tools.
    pub fn from_env() -> Self {
        let key = variable(KEY_VARIABLES);
        Self {
            base_url: variable(URL_VARIABLES).map(|(_, url)| url),
            api_key_origin: key.as_ref().map(|(name, _)| variable_origin(name)),
            api_key: key.map(|(_, key)| ApiKey::Text(key.into())),
            ..Self::default()
        }
    }

    /// Merges two sources: takes each setting from `self`, or from `lower` if it is missing in `self`.
    #[must_use]
    pub fn or(self, lower: Self) -> Self {
        Self {
            base_url: self.base_url.or(lower.base_url),
            // A key and its origin come from the same source.
            api_key_origin: match self.api_key {
                Some(_) => self.api_key_origin,
                None => lower.api_key_origin,
            },
            api_key: self.api_key.or(lower.api_key),
            ca_cert: self.ca_cert.or(lower.ca_cert),
            allow_http: self.allow_http.or(lower.allow_http),
            concurrency: self.concurrency.or(lower.concurrency),
            rate_limit: self.rate_limit.or(lower.rate_limit),
            timeout: self.timeout.or(lower.timeout),
            connect_timeout: self.connect_timeout.or(lower.connect_timeout),
            idle_timeout: self.idle_timeout.or(lower.idle_timeout),
            max_retries: self.max_retries.or(lower.max_retries),
            retry_for: self.retry_for.or(lower.retry_for),
            max_page_bytes: self.max_page_bytes.or(lower.max_page_bytes),
        }
    }

    /// Creates a client with these settings. Sends no request.
    ///
    /// Reads a key file only here, after all sources are merged. A key file that another source replaces
    /// does not need to exist.
    ///
    /// # Errors
    /// [`Error::ConfigurationFile`](crate::Error::ConfigurationFile) when the key file is unreadable, and
    /// the errors of [`ClientBuilder::build`].
    pub fn client(self) -> Result<Client> {
        let set = ClientBuilder::default();
        let set = match self.api_key {
            Some(ApiKey::File(path)) => {
                let set = set.api_key_file(path);
                set.map_err(|error| error.with_key_origin(self.api_key_origin.as_deref()))?
            }
            Some(ApiKey::Text(key)) => set.api_key(key),
            None => set,
        };
        let set = given(set, self.api_key_origin, ClientBuilder::api_key_origin);
        let set = given(set, self.base_url, ClientBuilder::base_url);
        let set = given(set, self.ca_cert, ClientBuilder::ca_cert);
        let set = given(set, self.allow_http, ClientBuilder::allow_http);
        let set = given(set, self.concurrency, ClientBuilder::concurrency);
        let set = given(set, self.rate_limit, ClientBuilder::rate_limit);
        let set = given(set, self.timeout, ClientBuilder::timeout);
        let set = given(set, self.connect_timeout, ClientBuilder::connect_timeout);
        let set = given(set, self.idle_timeout, ClientBuilder::idle_timeout);
        let set = given(set, self.max_retries, ClientBuilder::max_retries);
        let set = given(set, self.retry_for, ClientBuilder::retry_for);
        let set = given(set, self.max_page_bytes, ClientBuilder::max_page_bytes);
        set.build()
    }
}

fn given<T>(
    builder: ClientBuilder,
    value: Option<T>,
    set: impl FnOnce(ClientBuilder, T) -> ClientBuilder,
) -> ClientBuilder {
    match value {
        Some(value) => set(builder, value),
        None => builder,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaced_key_file_is_not_read() {
        let missing = || Connection {
            api_key: Some(ApiKey::File("missing".into())),
            ..Connection::default()
        };
        let typed = Connection { api_key: Some("k".into()), ..Connection::default() };
        assert!(typed.or(missing()).client().is_ok());
        let error = missing().client().unwrap_err();
        assert_eq!(error.to_string(), "cannot use the key file missing");
    }

    #[test]
    fn connection_debug_output_hides_the_key() {
        let text = format!("{:?}", Connection { api_key: Some("canary".into()), ..<_>::default() });
        assert!(!text.contains("canary"), "{text}");
    }
}
