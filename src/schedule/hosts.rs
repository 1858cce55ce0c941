//! Decides which host names a server answers to. A web site can give its own name the address of this machine (DNS
//! rebinding). A browser then lets the site read the answers, unless the server refuses its name.

use std::net::{IpAddr, SocketAddr};

use hyper::{
    Uri,
    header::{HOST, HeaderMap},
};

/// Whether a request names a host that a web site cannot choose. `local` is this end of the connection. `is_public` is
/// whether the answer tells nothing that a site must not read.
///
/// A connection over loopback has to name loopback. One over a network has to name an address, because only a name can
/// be given another address; metrics are answered under every name there, since scrapers find a service by its name.
///
/// A request without a host is answered: every browser sends one.
pub(super) fn is_own(uri: &Uri, headers: &HeaderMap, local: SocketAddr, is_public: bool) -> bool {
    let named = headers.get_all(HOST).iter().map(|value| value.to_str().ok());
    let hosts = named.chain(uri.authority().map(|authority| Some(authority.as_str())));
    let (own, mut hosts) = (local.ip().to_canonical(), hosts);
    hosts.all(|host| {
        let Some(name) = host.and_then(name_of) else { return false };
        match name.parse::<IpAddr>().map(|it| it.to_canonical()) {
            Ok(address) => address == own || address.is_loopback() || !own.is_loopback(),
            Err(_) => is_localhost(name) || is_public && !own.is_loopback(),
        }
    })
}

/// `localhost` and the names below it are loopback for every browser.
fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

/// Returns the name or the address of a host with an optional port; `None` if it is not one.
fn name_of(host: &str) -> Option<&str> {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    let has_port = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
    (!name.is_empty() && has_port).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(host: &str, local: &str, is_public: bool) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, host.parse().unwrap());
        is_own(&Uri::from_static("/"), &headers, local.parse().unwrap(), is_public)
    }

    #[test]
    fn loopback_answers_to_loopback_only() {
        for local in ["127.0.0.1:9464", "[::1]:9464", "[::ffff:127.0.0.1]:9464"] {
            for host in
                ["localhost:9464", "LocalHost", "a.localhost", "127.0.0.1:9464", "[::1]:9464"]
            {
                assert!(answers(host, local, false), "{host} at {local}");
            }
            for host in [
                "example.org",
                "example.org:9464",
                "localhost.example.org",
                "127.0.0.1.example.org",
                "10.0.0.1",
                "notlocalhost",
                "user@localhost",
                "localhost:80:80",
                "[::1",
                "[::1]x",
                "",
                "\u{e9}",
            ] {
                assert!(
                    !answers(host, local, false) && !answers(host, local, true),
                    "{host} at {local}"
                );
            }
        }
        assert!(answers("127.0.0.2:9464", "127.0.0.2:9464", false));
    }

    #[test]
    fn network_answers_to_addresses_and_metrics_to_names() {
        let local = "10.0.0.5:9464";
        for host in ["10.0.0.5:9464", "192.0.2.7:80", "localhost", "[fd00::1]:9464"] {
            assert!(answers(host, local, false), "{host}");
        }
        assert!(!answers("exporter.monitoring:9464", local, false));
        assert!(answers("exporter.monitoring:9464", local, true));
    }

    #[test]
    fn every_stated_host_counts() {
        let (local, mut headers) = ("127.0.0.1:9464".parse().unwrap(), HeaderMap::new());
        assert!(is_own(&Uri::from_static("/"), &headers, local, false));
        headers.append(HOST, "localhost".parse().unwrap());
        assert!(!is_own(&Uri::from_static("http://example.org/"), &headers, local, false));
        headers.append(HOST, "example.org".parse().unwrap());
        assert!(!is_own(&Uri::from_static("/"), &headers, local, false));
    }
}
