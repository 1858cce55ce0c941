//! The connection settings from each source: flags, the environment, and a file.
//!
//! This is the only list of settings. It has no defaults: [`ClientBuilder`](crate::ClientBuilder) has one for
//! each missing setting.

use std::{
    env,
    path::{Path, PathBuf},
    time::Duration,
};

use secrecy::SecretString;

use crate::throttle::{Concurrency, Rate};

/// Environment variables of the vendor's tools, the current name first and the older name second.
pub(crate) const KEY_VARIABLES: [&str; 2] = ["OVERMIND_LAB_API_KEY", "OVERMIND_API_KEY"];
const URL_VARIABLES: [&str; 2] = ["OVERMIND_LAB_BASE_URL", "OVERMIND_API_URL"];

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
            api_key_origin: match (&self.api_key, &lower.api_key) {
                (Some(_), Some(_)) => both(self.api_key_origin, lower.api_key_origin),
                (Some(_), None) => self.api_key_origin,
                (None, _) => lower.api_key_origin,
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
}

/// Returns the origin of a key for a hint that also names the key that is not used. People often change that one.
fn both(used: Option<String>, unused: Option<String>) -> Option<String> {
    match (used, unused) {
        (Some(used), Some(unused)) => Some(format!("{used}, not from {unused}")),
        (used, _) => used,
    }
}

/// Returns the name and the value of the first variable that is set and not empty.
///
/// Bytes that are not UTF-8 become replacement characters. In a key, a later check refuses them.
fn variable(names: [&'static str; 2]) -> Option<(&'static str, String)> {
    names.into_iter().find_map(|name| {
        let value = env::var_os(name).filter(|value| !value.is_empty())?;
        Some((name, value.to_string_lossy().into_owned()))
    })
}

/// Returns the name of a variable as hints show it.
fn variable_origin(name: &str) -> String {
    format!("the variable {name}")
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
