//! How to reach the API, as far as each of several places says it: flags, the environment, a file.
//!
//! Decides nothing: what nobody says, [`ClientBuilder`] has a default for.

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

/// What one place says about the connection; what it does not say is `None`.
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
    /// Where the API lives.
    pub base_url: Option<String>,
    /// The key, or the file that holds it.
    pub api_key: Option<ApiKey>,
    /// Where the key comes from, for the hints of errors, such as `the variable MY_KEY`.
    pub api_key_origin: Option<String>,
    /// A PEM file of certificates to trust besides the system's.
    pub ca_cert: Option<PathBuf>,
    /// Whether plain http to another machine is allowed.
    pub allow_http: Option<bool>,
    /// Requests in flight at once.
    pub concurrency: Option<Concurrency>,
    /// The most requests to start in a given time.
    pub rate_limit: Option<Rate>,
    /// How long one request may take.
    pub timeout: Option<Duration>,
    /// How long connecting may take.
    pub connect_timeout: Option<Duration>,
    /// How long a body may go without a byte.
    pub idle_timeout: Option<Duration>,
    /// How often one request is retried.
    pub max_retries: Option<u64>,
    /// How long the API may do nothing but fail.
    pub retry_for: Option<Duration>,
    /// The largest page body, in bytes after decompression.
    pub max_page_bytes: Option<usize>,
}

/// A key, or where it is.
#[derive(Debug, Clone)]
pub enum ApiKey {
    /// The key itself; never printed.
    Text(SecretString),
    /// A file whose first line is the key.
    File(PathBuf),
}

impl ApiKey {
    /// The file, if it is in one.
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
    /// Key and base URL, from the variables that the vendor's tools use.
    pub fn from_env() -> Self {
        let key = variable(KEY_VARIABLES);
        Self {
            base_url: variable(URL_VARIABLES).map(|(_, url)| url),
            api_key_origin: key.as_ref().map(|(name, _)| variable_origin(name)),
            api_key: key.map(|(_, key)| ApiKey::Text(key.into())),
            ..Self::default()
        }
    }

    /// What this says, and what `lower` says where this says nothing.
    #[must_use]
    pub fn or(self, lower: Self) -> Self {
        Self {
            base_url: self.base_url.or(lower.base_url),
            // A key and where it comes from stay together.
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

    /// A client that does what this says; sends nothing. Of files with keys only the one that is
    /// left here is read: one that something else won over need not be there.
    ///
    /// # Errors
    /// [`Error::ConfigurationFile`](crate::Error::ConfigurationFile) when the key file cannot be
    /// read; as [`ClientBuilder::build`] otherwise.
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
    fn a_key_file_that_something_else_wins_over_need_not_be_there() {
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
    fn debugging_a_connection_shows_no_key() {
        let text = format!("{:?}", Connection { api_key: Some("canary".into()), ..<_>::default() });
        assert!(!text.contains("canary"), "{text}");
    }
}
