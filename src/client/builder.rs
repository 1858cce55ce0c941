//! Builds a client: the default of each setting, and a check of all settings before the first request.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use reqwest::{
    header::{HeaderMap, HeaderName, HeaderValue},
    redirect,
};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::{
    Client, ClientInner,
    connection::{ApiKey, Connection},
    key::{Key, cleaned, without_keys},
    retry::RetryPolicy,
    transport::HttpTransport,
};
use crate::{
    error::{Cause, Error, Result},
    files::read_input,
    net::{
        proxies, tls,
        urls::{is_loopback, quotable},
    },
    throttle::{Concurrency, Rate, Throttle},
};

/// Default base URL of the API.
const BASE_URL: &str = "https://api.overmindlab.ai";
/// Default time limit of a whole request.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Default time limit for connecting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Default longest time without a new byte of a body.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Default size limit of a page body: 64 MiB.
const MAX_PAGE_BYTES: usize = 64 << 20;

/// Options of a [`Client`].
///
/// ```
/// use std::time::Duration;
/// use overmind_export::{Client, Concurrency};
///
/// let client = Client::builder()
///     .base_url("http://127.0.0.1:8080")
///     .api_key("ovr_example")
///     .timeout(Duration::from_secs(20))
///     .concurrency("8".parse()?)
///     .build()?;
/// assert_eq!(client.limit(), 8);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct ClientBuilder {
    settings: Connection,
}

impl ClientBuilder {
    /// Creates a builder with the defaults, and with the key and the base URL from the environment.
    pub fn from_env() -> Self {
        Self { settings: Connection::from_env() }
    }

    /// Sets the base URL of the API. Default: `https://api.overmindlab.ai`. A path is kept as a prefix.
    pub fn base_url(mut self, url: impl Into<String>) -> Self {
        self.settings.base_url = Some(url.into());
        self
    }

    /// Sets the key. It is sent as `X-Api-Key`, and only to the origin of the base URL.
    pub fn api_key(mut self, key: impl Into<SecretString>) -> Self {
        self.settings.api_key = Some(ApiKey::Text(key.into()));
        self.settings.api_key_origin = None;
        self
    }

    /// Sets the origin of the key for hints, such as `the variable MY_KEY`. Call this after
    /// [`api_key`](Self::api_key), which resets the origin.
    pub fn api_key_origin(mut self, origin: impl Into<String>) -> Self {
        self.settings.api_key_origin = Some(origin.into());
        self
    }

    /// Reads the key from the first line of a file, without white space around it.
    ///
    /// # Errors
    /// [`Error::ConfigurationFile`] when the file is unreadable or its first line is empty.
    /// [`Error::ApiKey`] when the first line is not a key.
    pub fn api_key_file(self, path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let unusable = |source| Error::ConfigurationFile {
            what: "the key file",
            path: path.to_owned(),
            source,
        };
        let text = read_key_file(path).map_err(unusable)?;
        let origin = format!("the file {}", path.display());
        let line = text.lines().next().unwrap_or_default();
        match cleaned(line) {
            Ok("") => Err(unusable("its first line is empty".into())),
            Ok(key) => {
                warn_if_readable_by_others(path);
                Ok(self.api_key(key).api_key_origin(origin))
            }
            Err(why) => Err(Error::ApiKey { why, origin: Some(origin) }),
        }
    }

    /// Sets the time limit of a whole request, including connecting and the body. Default: 60 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.settings.timeout = Some(timeout);
        self
    }

    /// Sets the time limit for connecting. Default: 10 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.settings.connect_timeout = Some(timeout);
        self
    }

    /// Sets the longest time without a new byte of a body. Default: 30 s.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.settings.idle_timeout = Some(timeout);
        self
    }

    /// Sets a PEM file with certificates to trust, in addition to the system's.
    pub fn ca_cert(mut self, path: impl Into<PathBuf>) -> Self {
        self.settings.ca_cert = Some(path.into());
        self
    }

    /// Allows plain http to another machine. Default: false, because the key would cross the network
    /// unencrypted. Loopback addresses are always allowed.
    pub fn allow_http(mut self, allow: bool) -> Self {
        self.settings.allow_http = Some(allow);
        self
    }

    /// Sets the largest number of requests in flight. Default: [`Concurrency::Auto`].
    pub fn concurrency(mut self, concurrency: Concurrency) -> Self {
        self.settings.concurrency = Some(concurrency);
        self
    }

    /// Sets the largest number of requests to start in a given time. Default: only the limits that the API
    /// asks for.
    pub fn rate_limit(mut self, rate: Rate) -> Self {
        self.settings.rate_limit = Some(rate);
        self
    }

    /// Sets the largest number of retries of one request. Default: 20. The retry time limit usually ends the
    /// run earlier: see [`retry_for`](Self::retry_for).
    pub fn max_retries(mut self, retries: u64) -> Self {
        self.settings.max_retries = Some(retries);
        self
    }

    /// Sets the retry time limit: the run ends when the API only fails for this long.
    ///
    /// Default: 2 minutes, or 15 seconds if the API has never answered.
    pub fn retry_for(mut self, time: Duration) -> Self {
        self.settings.retry_for = Some(time);
        self
    }

    /// Sets the size limit of a page body in bytes, after decompression. Default: 64 MiB, at most 1 GiB.
    pub fn max_page_bytes(mut self, bytes: usize) -> Self {
        self.settings.max_page_bytes = Some(bytes);
        self
    }

    /// Checks all options and creates the client. Sends no request.
    ///
    /// # Errors
    /// - [`Error::Invalid`]: the size limit of a page is out of range.
    /// - [`Error::NoKey`]: there is no key.
    /// - [`Error::ApiKey`]: the key is malformed: it is in quotes, is a placeholder, a whole header or an
    ///   assignment, or contains an invalid character.
    /// - [`Error::Proxy`]: a proxy from the environment is unusable.
    /// - [`Error::NoRoots`]: the system has no CA certificates.
    /// - [`Error::BaseUrl`]: the base URL is malformed, or has credentials, a query or a fragment.
    /// - [`Error::PlainHttp`]: the base URL is plain http to another machine, which is not allowed by
    ///   default.
    /// - [`Error::ConfigurationFile`]: the certificate file is unusable.
    /// - [`Error::Configuration`]: the HTTP client cannot be created.
    pub fn build(self) -> Result<Client> {
        let settings = self.settings;
        let max_body = settings.max_page_bytes.unwrap_or(MAX_PAGE_BYTES);
        // All rows of a page may go into one Arrow array, whose offsets have 31 bits.
        if !(1..=1 << 30).contains(&max_body) {
            let bytes = max_body.to_string();
            return Err(Error::invalid("largest page", bytes, "use 1 byte to 1 GiB"));
        }
        let base = base_url(settings.base_url.as_deref().unwrap_or(BASE_URL))?;
        let allow_http = settings.allow_http.unwrap_or(false);
        if base.scheme() == "http" && !allow_http && !is_loopback(&base) {
            return Err(Error::PlainHttp { url: without_keys(base.as_str()) });
        }
        let key = key(&settings)?;
        let proxy = if is_loopback(&base) { None } else { proxies::for_url(&base)? };
        let transport = HttpTransport {
            http: http(&settings, &base, &key)?,
            timeout: settings.timeout.unwrap_or(TIMEOUT),
            idle_timeout: settings.idle_timeout.unwrap_or(IDLE_TIMEOUT),
            max_body,
            proxy: proxy.clone(),
        };
        let concurrency = settings.concurrency.unwrap_or(Concurrency::Auto);
        let default = RetryPolicy::default();
        Ok(Client(Arc::new(ClientInner {
            transport: Arc::new(transport),
            base,
            key: Arc::new(Key::new(key.into(), settings.api_key_origin.map(Into::into))),
            proxy,
            throttle: Throttle::new(concurrency, settings.rate_limit),
            retry: RetryPolicy {
                max_retries: settings.max_retries.unwrap_or(default.max_retries),
                retry_for: settings.retry_for,
            },
            timer: Arc::default(),
            meter: Arc::default(),
        })))
    }
}

/// Returns the cleaned key.
fn key(settings: &Connection) -> Result<String> {
    let key = match &settings.api_key {
        Some(ApiKey::Text(key)) => key.expose_secret(),
        Some(ApiKey::File(_)) | None => "",
    };
    match cleaned(key) {
        Ok("") => Err(Error::NoKey),
        Ok(key) => Ok(key.to_owned()),
        Err(why) => {
            let origin = settings.api_key_origin.clone();
            Err(Error::ApiKey { why, origin })
        }
    }
}

fn http(settings: &Connection, base: &Url, key: &str) -> Result<reqwest::Client> {
    let mut headers = HeaderMap::new();
    headers.insert(HeaderName::from_static("x-api-key"), key_header(key)?);
    headers.insert(reqwest::header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
    headers.insert(reqwest::header::ACCEPT, HeaderValue::from_static("application/json"));
    let origin = base.origin();
    // The key is a default header, so a redirect to another origin would leak it.
    let within_origin = redirect::Policy::custom(move |attempt| {
        if attempt.url().origin() != origin || attempt.previous().len() > 5 {
            attempt.stop()
        } else {
            attempt.follow()
        }
    });
    // In this case no request goes to a proxy or to another origin.
    let plain = base.scheme() == "http" && is_loopback(base) && settings.ca_cert.is_none();
    let tls = if plain { tls::unused() } else { tls::config(settings.ca_cert.as_deref()) };
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("overmind-export/", env!("CARGO_PKG_VERSION")))
        .default_headers(headers)
        .redirect(within_origin)
        // Only `retry.rs` retries. The retries of reqwest are for HTTP/2 and would copy each request.
        .retry(reqwest::retry::never().max_retries_per_request(0))
        .connect_timeout(settings.connect_timeout.unwrap_or(CONNECT_TIMEOUT))
        .tcp_nodelay(true)
        .tls_backend_preconfigured(tls?);
    if is_loopback(base) {
        builder = builder.no_proxy();
    }
    builder.build().map_err(|error| Error::Configuration(format!("HTTP client: {error}")))
}

impl Connection {
    /// Creates a client with these settings. Sends no request.
    ///
    /// Reads a key file only here, after all sources are merged. A key file that another source replaces
    /// does not need to exist.
    ///
    /// # Errors
    /// [`Error::ConfigurationFile`] when the key file is unreadable, and the errors of
    /// [`ClientBuilder::build`].
    pub fn client(self) -> Result<Client> {
        let Some(ApiKey::File(path)) = &self.api_key else {
            return ClientBuilder { settings: self }.build();
        };
        let (path, origin) = (path.clone(), self.api_key_origin.clone());
        let builder = ClientBuilder { settings: self }.api_key_file(path);
        let builder = builder.map_err(|error| error.with_key_origin(origin.as_deref()))?;
        match origin {
            Some(origin) => builder.api_key_origin(origin).build(),
            None => builder.build(),
        }
    }
}

fn key_header(key: &str) -> Result<HeaderValue> {
    // The error must not quote the value.
    let mut header = HeaderValue::from_str(key)
        .map_err(|_| Error::Internal("the API key cannot be a header".to_owned()))?;
    header.set_sensitive(true);
    Ok(header)
}

/// Reads the whole text of a key file.
fn read_key_file(path: &Path) -> Result<String, Cause> {
    // 64 KiB is plenty for one line. The limit matters for a pipe, as in `--api-key-file <(pass overmind)`.
    const LARGEST: u64 = 64 << 10;
    let bytes = read_input(path, LARGEST).map_err(|error| match error.kind() {
        io::ErrorKind::FileTooLarge => "it is larger than 64 KiB, and a key is one line".into(),
        _ => Cause::from(error),
    })?;
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err("it is UTF-16, as PowerShell writes it: save it as UTF-8".into());
    }
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8".into())
}

fn base_url(text: &str) -> Result<Url> {
    // The text can contain the key: users easily swap the variables for the key and the URL.
    let quoted = without_keys(&quotable(text));
    let refuse = |why: &str| Error::BaseUrl { url: quoted.clone(), why: why.to_owned() };
    let scheme = "it must begin with https:// (or http:// for this machine)";
    let mut url = Url::parse(text).map_err(|error| match error {
        url::ParseError::RelativeUrlWithoutBase => refuse(scheme),
        error => refuse(&error.to_string()),
    })?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refuse("it must not hold a user name or a password: give the key separately"));
    }
    if !matches!(url.scheme(), "http" | "https") {
        return Err(refuse(scheme));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(refuse("it must not have a query or a fragment"));
    }
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    Ok(url)
}

fn warn_if_readable_by_others(path: &Path) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(path).map_or(0, |metadata| metadata.permissions().mode());
        if mode & 0o077 != 0 {
            let path = path.display();
            tracing::warn!("other users can read {path}: run chmod 600 {path}");
        }
    }
    #[cfg(not(unix))]
    let _ = path;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(builder: ClientBuilder) -> String {
        builder.build().unwrap_err().to_string()
    }

    #[test]
    fn plain_http_to_another_machine_must_be_allowed() {
        let builder = || Client::builder().api_key("k");
        assert!(builder().base_url("http://127.0.0.1:1").build().is_ok());
        assert!(builder().base_url("http://[::1]:1").build().is_ok());
        assert!(builder().base_url("http://localhost").build().is_ok());
        assert_eq!(
            refused(builder().base_url("http://10.0.0.1")),
            "http://10.0.0.1/ is plain http: the API key would cross the network unencrypted"
        );
        assert!(builder().base_url("http://10.0.0.1").allow_http(true).build().is_ok());
    }

    #[test]
    fn wrong_base_url_is_quoted_without_secrets() {
        let with = |url: &str| refused(Client::builder().api_key("k").base_url(url));
        let scheme = "it must begin with https:// (or http:// for this machine)";
        assert_eq!(with("api"), format!("the base URL \"api\" cannot be used: {scheme}"));
        assert!(with("ftp://x").ends_with(scheme));
        assert!(with("https://x/?a=1").ends_with("it must not have a query or a fragment"));
        for secret in [
            "https://user:hunter2@x",
            "https//user:hunter2@x",
            "user:hunter2@x",
            "https://x/?key=hunter2",
            "https:///user:hun@ter2:x@:y",
            "#hunter2",
            "ovr_hunter2",
            "http://ovr_hunter2",
        ] {
            let text = with(secret);
            assert!(!text.contains("hun") && !text.contains("ter2"), "{text}");
        }
    }

    #[test]
    fn key_with_invalid_character_is_not_quoted() {
        let text = refused(Client::builder().api_key("ovr_\u{7}canary"));
        assert_eq!(
            text,
            "the API key cannot be used: its character 5 is U+0007, and no key has that"
        );
        assert!(matches!(Client::builder().api_key(" \n").build(), Err(Error::NoKey)));
    }

    #[test]
    fn builder_debug_output_hides_the_key() {
        let text = format!("{:?}", Client::builder().api_key("ovr_canary"));
        assert!(!text.contains("canary"), "{text}");
    }
}
