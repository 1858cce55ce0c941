//! Proxies of the environment, checked before they are used.
//!
//! The HTTP client ignores a variable that it cannot read and goes without a proxy. Here such a
//! variable is an error that names it. Values are never quoted: they can hold a password.

use std::env;

use hyper::Uri;
use hyper_util::client::proxy::matcher::Matcher;
use url::Url;

use crate::error::{Error, Result};

/// Schemes that are served.
const SCHEMES: [&str; 6] = ["http", "https", "socks4", "socks4a", "socks5", "socks5h"];

/// A proxy that requests go through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProxySource {
    /// Where it was set: a variable, or an option.
    pub(crate) name: &'static str,
    /// Whether the connection to the proxy itself is encrypted.
    pub(crate) is_https: bool,
}

/// The variable whose proxy requests to this URL go through, if there is one.
///
/// # Errors
/// [`Error::Proxy`] when its value cannot be used.
pub(crate) fn for_url(url: &Url) -> Result<Option<ProxySource>> {
    // To lose bytes is to be refused below, and not to be overlooked.
    from(url, |name| env::var_os(name).map(|value| value.to_string_lossy().into_owned()))
}

fn from(url: &Url, variable: impl Fn(&str) -> Option<String>) -> Result<Option<ProxySource>> {
    // The HTTP client's own order. A variable that is set and empty hides the next one.
    let first =
        |names: [&'static str; 2]| names.into_iter().find_map(|name| Some((name, variable(name)?)));
    let of_scheme = match url.scheme() {
        "https" => first(["HTTPS_PROXY", "https_proxy"]),
        // In CGI a header of the request sets HTTP_PROXY.
        _ if variable("REQUEST_METHOD").is_some() => None,
        _ => first(["HTTP_PROXY", "http_proxy"]),
    };
    let set = of_scheme.filter(|(_, value)| !value.is_empty());
    let set = set.or_else(|| first(["ALL_PROXY", "all_proxy"]));
    let Some((name, value)) = set.filter(|(_, value)| !value.is_empty()) else { return Ok(None) };
    let excluded = first(["NO_PROXY", "no_proxy"]).map(|(_, value)| value).unwrap_or_default();
    let any = Matcher::builder().all("http://proxy.invalid").no(excluded).build();
    let target = url.as_str().parse::<Uri>();
    if target.is_ok_and(|target| any.intercept(&target).is_none()) {
        return Ok(None);
    }
    check(name, &value).map(Some)
}

/// Refuses what the HTTP client would misread or ignore.
///
/// # Errors
/// [`Error::Proxy`] with the name, and without the value.
pub(crate) fn check(name: &'static str, value: &str) -> Result<ProxySource> {
    let refuse = |why: &str| Err(Error::Proxy { name: name.to_owned(), why: why.to_owned() });
    if value.ends_with(['\r', '\n']) {
        return refuse("it ends with a line break (\\r or \\n), as lines of Windows files do");
    }
    if value.starts_with(['"', '\'', '“', '‘']) || value.ends_with(['"', '\'', '”', '’']) {
        return refuse("it is in quotation marks");
    }
    if let Some(character) = value.chars().find(|c| !c.is_ascii_graphic()) {
        let code = u32::from(character);
        return refuse(&format!("it holds the character U+{code:04X}, which no URL has"));
    }
    let (scheme, rest) = value.split_once("://").unwrap_or(("http", value));
    if !SCHEMES.iter().any(|known| known.eq_ignore_ascii_case(scheme)) {
        return refuse("its scheme is none of http, https, socks4, socks4a, socks5 and socks5h");
    }
    // What ends the authority of a URL before its last `@` stands in the user name or the password.
    let credentials = rest.rsplit_once('@').map_or("", |(credentials, _)| credentials);
    if let Some(character) = credentials.chars().find(|c| "#/?@[]\\".contains(*c)) {
        let code = u32::from(character);
        return refuse(&format!(
            "its user name or password holds {character:?}: write %{code:02X} instead"
        ));
    }
    let url = format!("{}://{rest}", scheme.to_ascii_lowercase());
    let Ok(parsed) = Url::parse(&url) else { return refuse("it is not a URL") };
    let host = parsed.host_str().unwrap_or_default();
    if host.is_empty() {
        return refuse("it has no host");
    }
    // The client's own opinion.
    let matcher = Matcher::builder().all(value).build();
    if matcher.intercept(&Uri::from_static("http://api.invalid/")).is_none() {
        return refuse("it is not a URL");
    }
    Ok(ProxySource { name, is_https: scheme.eq_ignore_ascii_case("https") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(url: &str, variables: &[(&str, &str)]) -> Result<Option<&'static str>> {
        let variable = |name: &str| {
            let set = variables.iter().find(|(set, _)| *set == name);
            set.map(|(_, value)| (*value).to_owned())
        };
        from(&Url::parse(url).unwrap(), variable).map(|found| found.map(|found| found.name))
    }

    #[test]
    fn the_variable_that_is_used_is_found() {
        let both = [("HTTP_PROXY", "http://a:1"), ("HTTPS_PROXY", "http://b:2")];
        assert_eq!(proxy("http://x.test/", &both).unwrap(), Some("HTTP_PROXY"));
        assert_eq!(proxy("https://x.test/", &both).unwrap(), Some("HTTPS_PROXY"));
        assert_eq!(proxy("https://x.test/", &both[..1]).unwrap(), None);
        let all = [("all_proxy", "socks5h://a:1"), ("NO_PROXY", "other.test, .example.test")];
        assert_eq!(proxy("https://x.test/", &all).unwrap(), Some("all_proxy"));
        assert_eq!(proxy("https://other.test/", &all).unwrap(), None);
        assert_eq!(proxy("https://api.example.test/", &all).unwrap(), None);
        let empty = [("HTTPS_PROXY", ""), ("https_proxy", "http://a:1")];
        assert_eq!(proxy("https://x.test/", &empty).unwrap(), None);
        let cgi = [("REQUEST_METHOD", "GET"), ("HTTP_PROXY", "http://a:1")];
        assert_eq!(proxy("http://x.test/", &cgi).unwrap(), None);
        // What nobody uses may be what it likes.
        let broken = [("HTTP_PROXY", "ftp://x"), ("NO_PROXY", "x.test")];
        assert_eq!(proxy("https://y.test/", &broken).unwrap(), None);
        assert_eq!(proxy("http://x.test/", &broken).unwrap(), None);
        assert!(proxy("http://y.test/", &broken).is_err());
    }

    #[test]
    fn a_proxy_that_can_be_used_passes() {
        for value in [
            "http://proxy.test:3128",
            "HTTP://proxy.test:3128/",
            "proxy.test:3128",
            "proxy.test",
            "http://user:p%23ss%40@proxy.test:3128",
            "user:pass@proxy.test:3128",
            "http://[::1]:3128",
            "socks5://127.0.0.1:1080",
            "socks5h://user:pass@proxy.test",
        ] {
            assert!(check("HTTP_PROXY", value).is_ok(), "{value}");
        }
    }

    #[test]
    fn a_proxy_that_cannot_be_used_is_refused_by_its_name() {
        let table = [
            ("http://proxy.test:3128\r", "it ends with a line break"),
            ("\"http://proxy.test:3128\"", "it is in quotation marks"),
            ("'http://proxy.test:3128'", "it is in quotation marks"),
            ("http://proxy.test :3128", "the character U+0020"),
            ("\u{feff}http://proxy.test", "the character U+FEFF"),
            ("ftp://proxy.test", "its scheme is none of"),
            ("socks://proxy.test", "its scheme is none of"),
            ("http://user:hunter#2@proxy.test:3128", "holds '#': write %23"),
            ("http://user:hunter/2@proxy.test:3128", "holds '/': write %2F"),
            ("http://user:hunter@2@proxy.test:3128", "holds '@': write %40"),
            ("user:hunter?2@proxy.test", "holds '?': write %3F"),
            ("http://proxy.test:port", "it is not a URL"),
            ("http://proxy.test:99999", "it is not a URL"),
            ("http://", "it is not a URL"),
            ("http://:3128", "it is not a URL"),
        ];
        for (value, why) in table {
            let error = check("HTTPS_PROXY", value).unwrap_err();
            let text = error.to_string();
            assert!(text.starts_with("the proxy of HTTPS_PROXY cannot be used: "), "{text}");
            assert!(text.contains(why) && !text.contains("hunter"), "{value}: {text}");
            assert_eq!(error.exit_code(), 78);
        }
    }
}
