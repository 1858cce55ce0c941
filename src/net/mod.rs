//! Network code that clients and servers share: TLS, proxies, URLs, and the connections of a server. Does
//! not depend on the API.

#[cfg(feature = "server")]
pub(crate) mod connections;
pub(crate) mod proxies;
pub(crate) mod tls;
pub(crate) mod urls;
