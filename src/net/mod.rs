//! Network code that clients and servers share: TLS, its random numbers, proxies, URLs, and the connections of a
//! server. Does not depend on the API.

#[cfg(feature = "server")]
pub(crate) mod connections;
pub(crate) mod proxies;
mod random;
pub(crate) mod tls;
pub(crate) mod urls;

pub(crate) use self::random::random_bytes;
