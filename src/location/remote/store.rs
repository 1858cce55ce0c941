//! One bucket: its kind, its settings, and its connection. The connection is made at the first use.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use object_store::{
    BackoffConfig, ClientConfigKey, ClientOptions, ObjectStore, RetryConfig,
    aws::{AmazonS3Builder, AmazonS3ConfigKey},
    azure::{AzureConfigKey, MicrosoftAzureBuilder},
    client::{HttpClient, HttpConnector},
    gcp::{GoogleCloudStorageBuilder, GoogleConfigKey},
    multipart::MultipartStore,
};
use secrecy::ExposeSecret;
use url::Url;

use crate::{
    error::{Cause, Error, Result},
    location::StorageOptions,
    net::{proxies, tls, urls::is_loopback},
};

/// Most retries of one request after a 5xx, a 429 or a broken connection.
const MAX_RETRIES: usize = 4;
/// Retry time limit of one request.
const RETRY_FOR: Duration = Duration::from_secs(20);
/// Time limit for connecting, unless the option `connect_timeout` is set.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time limit for one request with a body of up to 8 MiB, unless the option `timeout` is set.
const TIMEOUT: Duration = Duration::from_secs(120);

/// The traits that a connection needs.
pub(crate) trait Backend: ObjectStore + MultipartStore {}

impl<T: ObjectStore + MultipartStore> Backend for T {}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StoreKind {
    S3,
    Gcs,
    Azure,
}

impl StoreKind {
    fn of(scheme: &str) -> Self {
        match scheme {
            "s3" => Self::S3,
            "gs" => Self::Gcs,
            _ => Self::Azure,
        }
    }

    /// A host of the provider. Without a configured endpoint, it is compared with `NO_PROXY`.
    fn host(self) -> &'static str {
        match self {
            Self::S3 => "https://s3.amazonaws.com",
            Self::Gcs => "https://storage.googleapis.com",
            Self::Azure => "https://account.blob.core.windows.net",
        }
    }

    /// The provider's name for a bucket.
    pub(crate) fn bucket(self) -> &'static str {
        match self {
            Self::S3 | Self::Gcs => "bucket",
            Self::Azure => "container",
        }
    }
}

pub(crate) struct Store {
    kind: StoreKind,
    /// Scheme, bucket and, for Azure, the account.
    url: Url,
    options: StorageOptions,
    backend: Mutex<Option<Arc<dyn Backend>>>,
}

impl Store {
    /// Checks the names of the options. Does not connect.
    pub(super) fn new(url: &Url, options: &StorageOptions) -> Result<Self> {
        let kind = StoreKind::of(url.scheme());
        for (key, _) in options.pairs() {
            check_key(kind, key)?;
        }
        let mut bucket = url.clone();
        bucket.set_path("");
        Ok(Self { kind, url: bucket, options: options.clone(), backend: Mutex::default() })
    }

    #[cfg(test)]
    pub(super) fn over(backend: Arc<dyn Backend>) -> Self {
        let url = Url::parse("s3://memory").expect("a URL");
        let options = StorageOptions::default();
        Self { kind: StoreKind::S3, url, options, backend: Mutex::new(Some(backend)) }
    }

    /// The name of the bucket or container. In `abfs://container@account/`, it is before the host.
    pub(super) fn bucket(&self) -> &str {
        match self.url.username() {
            "" => self.url.host_str().unwrap_or_default(),
            container => container,
        }
    }

    pub(crate) fn kind(&self) -> StoreKind {
        self.kind
    }

    /// Returns the connection, and makes it at the first call.
    pub(super) fn backend(&self) -> Result<Arc<dyn Backend>> {
        let mut backend = self.backend.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(backend) = &*backend {
            return Ok(backend.clone());
        }
        let made = match self.kind {
            StoreKind::S3 => self.s3(),
            StoreKind::Gcs => self.gcs(),
            StoreKind::Azure => self.azure(),
        }?;
        Ok(backend.insert(made).clone())
    }

    fn s3(&self) -> Result<Arc<dyn Backend>> {
        use AmazonS3ConfigKey::{Client, DisableBulkDelete, Endpoint, S3Endpoint};
        // Delete one object per request: every S3-compatible store supports that.
        let builder = AmazonS3Builder::from_env().with_config(DisableBulkDelete, "true");
        let mut builder = builder.with_url(self.url.as_str());
        // The environment can set `S3Endpoint`, which has precedence over `Endpoint`. So an `endpoint`
        // option sets both.
        if let Some((_, value)) = self.pairs().find(|(key, _)| matches!(key, Endpoint)) {
            builder = builder.with_config(S3Endpoint, value);
        }
        for (key, value) in self.pairs::<AmazonS3ConfigKey>() {
            builder = builder.with_config(key, value);
        }
        let endpoint =
            [S3Endpoint, Endpoint].into_iter().find_map(|key| builder.get_config_value(&key));
        let connector = self.connector(endpoint)?;
        let client = self.client(&connector, |key| builder.get_config_value(&Client(key)))?;
        let builder = builder.with_client_options(client).with_retry(retry());
        let built = builder.with_http_connector(connector).build();
        built.map(|store| Arc::new(store) as _).map_err(|error| self.unusable(error))
    }

    fn gcs(&self) -> Result<Arc<dyn Backend>> {
        use GoogleConfigKey::{BaseUrl, Client};
        let mut builder = GoogleCloudStorageBuilder::from_env().with_url(self.url.as_str());
        for (key, value) in self.pairs::<GoogleConfigKey>() {
            builder = builder.with_config(key, value);
        }
        let connector = self.connector(builder.get_config_value(&BaseUrl))?;
        let client = self.client(&connector, |key| builder.get_config_value(&Client(key)))?;
        let builder = builder.with_client_options(client).with_retry(retry());
        let built = builder.with_http_connector(connector).build();
        built.map(|store| Arc::new(store) as _).map_err(|error| self.unusable(error))
    }

    fn azure(&self) -> Result<Arc<dyn Backend>> {
        use AzureConfigKey::{Client, Endpoint, UseEmulator};
        let mut builder = MicrosoftAzureBuilder::from_env().with_url(self.url.as_str());
        for (key, value) in self.pairs::<AzureConfigKey>() {
            builder = builder.with_config(key, value);
        }
        // The same address for the emulator as in the `object_store` crate.
        let emulator = builder.get_config_value(&UseEmulator).as_deref() == Some("true");
        let endpoint = if emulator {
            let url = std::env::var("AZURITE_BLOB_STORAGE_URL");
            Some(url.unwrap_or_else(|_| "http://127.0.0.1:10000".to_owned()))
        } else {
            builder.get_config_value(&Endpoint)
        };
        let connector = self.connector(endpoint)?;
        let client = self.client(&connector, |key| builder.get_config_value(&Client(key)))?;
        let builder = builder.with_client_options(client).with_retry(retry());
        let built = builder.with_http_connector(connector).build();
        built.map(|store| Arc::new(store) as _).map_err(|error| self.unusable(error))
    }

    /// The given options, with their names parsed for this store.
    fn pairs<K: std::str::FromStr>(&self) -> impl Iterator<Item = (K, String)> {
        self.options.pairs().filter_map(|(key, value)| {
            Some((key.to_ascii_lowercase().parse().ok()?, value.expose_secret().to_owned()))
        })
    }

    fn connector(&self, endpoint: Option<String>) -> Result<Connector> {
        let tls = tls::config(self.options.ca_cert())?;
        let endpoint = endpoint.and_then(|text| Url::parse(&text).ok());
        Ok(Connector { tls, endpoint })
    }

    /// The HTTP client's options, from the environment and the storage options.
    ///
    /// # Errors
    /// [`Error::PlainHttpStore`] for an `http://` endpoint on another machine without `allow_http`.
    fn client(
        &self,
        connector: &Connector,
        value: impl Fn(ClientConfigKey) -> Option<String>,
    ) -> Result<ClientOptions> {
        let values: HashMap<_, _> = CLIENT_KEYS
            .into_iter()
            .filter_map(|name| {
                let key: ClientConfigKey = name.parse().ok()?;
                Some((key, value(key)?))
            })
            .collect();
        let mut options = ClientOptions::new()
            .with_timeout(TIMEOUT)
            .with_connect_timeout(CONNECT_TIMEOUT)
            .with_allow_http(false);
        for (key, value) in values {
            options = options.with_config(key, value);
        }
        let endpoint = connector.endpoint.clone().or_else(|| Url::parse(self.kind.host()).ok());
        match options.get_config_value(&ClientConfigKey::ProxyUrl) {
            _ if endpoint.as_ref().is_none_or(is_loopback) => {}
            Some(url) => {
                proxies::check("the storage option proxy_url", &url)?;
            }
            None => {
                endpoint.as_ref().map(proxies::for_url).transpose()?;
            }
        }
        let allowed =
            options.get_config_value(&ClientConfigKey::AllowHttp).as_deref() == Some("true");
        match connector.endpoint.as_ref().filter(|url| url.scheme() == "http") {
            Some(url) if is_loopback(url) => Ok(options.with_allow_http(true)),
            Some(url) if !allowed => Err(Error::PlainHttpStore { url: origin(url) }),
            _ => Ok(options),
        }
    }

    fn unusable(&self, error: object_store::Error) -> Error {
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        let why = self.without_secrets(cause.unwrap_or_else(|| error.to_string()));
        Error::Configuration(format!("{} cannot be used: {why}", self.url))
    }

    /// Replaces secrets in an error text, because the library may quote a value that it cannot parse.
    fn without_secrets(&self, text: String) -> String {
        let words = ["KEY", "SECRET", "TOKEN", "PASSWORD"];
        let secret = |name: &str| words.iter().any(|word| name.contains(word));
        let variables = std::env::vars_os().filter_map(|(name, value)| {
            secret(name.to_str()?).then(|| value.into_string().ok()).flatten()
        });
        let values = self.options.pairs().map(|(_, value)| value.expose_secret().to_owned());
        let all = values.chain(variables).filter(|value| !value.is_empty());
        all.fold(text, |text, value| text.replace(&value, "…"))
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("url", &self.url.as_str()).finish_non_exhaustive()
    }
}

/// The supported options of the connection. The others would weaken it or have no effect here.
const CLIENT_KEYS: [&str; 8] = [
    "allow_http",
    "connect_timeout",
    "default_content_type",
    "pool_idle_timeout",
    "proxy_excludes",
    "proxy_url",
    "timeout",
    "user_agent",
];

fn check_key(kind: StoreKind, key: &str) -> Result<()> {
    let lower = key.to_ascii_lowercase();
    let client = match kind {
        StoreKind::S3 => lower.parse().ok().map(|key| match key {
            AmazonS3ConfigKey::Client(key) => Some(key),
            _ => None,
        }),
        StoreKind::Gcs => lower.parse().ok().map(|key| match key {
            GoogleConfigKey::Client(key) => Some(key),
            _ => None,
        }),
        StoreKind::Azure => lower.parse().ok().map(|key| match key {
            AzureConfigKey::Client(key) => Some(key),
            _ => None,
        }),
    };
    let known =
        |key: ClientConfigKey| CLIENT_KEYS.iter().any(|name| name.parse().ok() == Some(key));
    match client {
        Some(None) => Ok(()),
        Some(Some(key)) if known(key) => Ok(()),
        Some(Some(_)) => Err(Error::invalid("storage option", key, "it is not supported here")),
        None => {
            let store = match kind {
                StoreKind::S3 => "S3",
                StoreKind::Gcs => "Google Cloud Storage",
                StoreKind::Azure => "Azure Blob Storage",
            };
            Err(Error::invalid("storage option", key, format!("{store} has no such option")))
        }
    }
}

fn retry() -> RetryConfig {
    let backoff = BackoffConfig {
        init_backoff: Duration::from_millis(100),
        max_backoff: Duration::from_secs(5),
        base: 2.0,
    };
    RetryConfig { backoff, max_retries: MAX_RETRIES, retry_timeout: RETRY_FOR }
}

fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

/// Makes the HTTP client, with our TLS configuration and without a proxy for endpoints on this machine.
#[derive(Debug, Clone)]
struct Connector {
    tls: rustls::ClientConfig,
    endpoint: Option<Url>,
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let generic = |source: Cause| object_store::Error::Generic { store: "HTTP client", source };
        let value = |key| options.get_config_value(&key);
        let time = |key| match value(key) {
            None => Ok(None),
            Some(text) => humantime::parse_duration(&text)
                .map(Some)
                .map_err(|error| generic(format!("{text:?} is not a duration: {error}").into())),
        };
        let mut builder =
            reqwest::Client::builder()
                .user_agent(value(ClientConfigKey::UserAgent).unwrap_or_else(|| {
                    concat!("overmind-export/", env!("CARGO_PKG_VERSION")).into()
                }))
                .https_only(value(ClientConfigKey::AllowHttp).as_deref() != Some("true"))
                // No decompression: the length of the received bytes must match the object's length.
                .no_gzip()
                .tcp_nodelay(true)
                .tls_backend_preconfigured(self.tls.clone());
        if let Some(time) = time(ClientConfigKey::Timeout)? {
            builder = builder.timeout(time);
        }
        if let Some(time) = time(ClientConfigKey::ConnectTimeout)? {
            builder = builder.connect_timeout(time);
        }
        if let Some(time) = time(ClientConfigKey::PoolIdleTimeout)? {
            builder = builder.pool_idle_timeout(time);
        }
        if self.endpoint.as_ref().is_some_and(is_loopback) {
            builder = builder.no_proxy();
        } else if let Some(url) = value(ClientConfigKey::ProxyUrl) {
            let proxy = reqwest::Proxy::all(url).map_err(|error| generic(error.into()))?;
            let except = value(ClientConfigKey::ProxyExcludes);
            let except = except.and_then(|text| reqwest::NoProxy::from_string(&text));
            builder = builder.proxy(proxy.no_proxy(except));
        }
        builder.build().map(HttpClient::new).map_err(|error| generic(error.into()))
    }
}
