//! What clients and servers share: TLS, proxies, URLs, and a server's connections. Knows no API.

#[cfg(feature = "server")]
pub(crate) mod connections;
pub(crate) mod proxies;
pub(crate) mod tls;
pub(crate) mod urls;
