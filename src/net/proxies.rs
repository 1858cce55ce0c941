//! Proxies from environment variables, checked before use.
//!
//! The HTTP client ignores a malformed variable and connects without a proxy. Here, such a variable is an
//! error with the name of the variable. Errors never quote the value, because it can hold a password.

use std::env;

use hyper::Uri;
use hyper_util::client::proxy::matcher::Matcher;
use url::Url;

use crate::error::{Error, Result};

/// Supported schemes of proxies.
const SCHEMES: [&str; 6] = ["http", "https", "socks4", "socks4a", "socks5", "socks5h"];

/// A proxy for requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProxySource {
    /// Name of the variable or option that sets the proxy.
    pub(crate) name: &'static str,
    /// Whether the connection to the proxy itself is encrypted.
    pub(crate) is_https: bool,
}

/// Returns the variable that sets the proxy for this URL, if there is one.
///
/// # Errors
/// [`Error::Proxy`] when the value of the variable is unusable.
pub(crate) fn for_url(url: &Url) -> Result<Option<ProxySource>> {
    // A value that is not UTF-8 gets replacement characters here, so that `check` refuses it.
    from(url, |name| env::var_os(name).map(|value| value.to_string_lossy().into_owned()))
}

fn from(url: &Url, variable: impl Fn(&str) -> Option<String>) -> Result<Option<ProxySource>> {
    // Same order as in the HTTP client. A variable that is set but empty hides the next one.
    let first =
        |names: [&'static str; 2]| names.into_iter().find_map(|name| Some((name, variable(name)?)));
    let of_scheme = match url.scheme() {
        "https" => first(["HTTPS_PROXY", "https_proxy"]),
        // In CGI, a client could set HTTP_PROXY through the request header `Proxy`.
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

/// Checks the value of a proxy variable. Refuses values that the HTTP client would misread or ignore.
///
/// # Errors
/// [`Error::Proxy`] with the name of the variable, but without its value.
pub(crate) fn check(name: &'static str, value: &str) -> Result<ProxySource> {
    let refuse = |why: &str| Err(Error::Proxy { name: name.to_owned(), why: why.to_owned() });
    if value.ends_with(['\r', '\n']) {
        return refuse("it ends with a line break (\\r or \\n), like a line of a Windows file");
    }
    if value.starts_with(['"', '\'', '“', '‘']) || value.ends_with(['"', '\'', '”', '’']) {
        return refuse("it is in quotation marks");
    }
    if let Some(character) = value.chars().find(|c| !c.is_ascii_graphic()) {
        let code = u32::from(character);
        return refuse(&format!("it contains the character U+{code:04X}, which no URL has"));
    }
    let (scheme, rest) = value.split_once("://").unwrap_or(("http", value));
    if !SCHEMES.iter().any(|known| known.eq_ignore_ascii_case(scheme)) {
        return refuse("its scheme is none of http, https, socks4, socks4a, socks5 and socks5h");
    }
    // A delimiter before the last `@` belongs to the user name or the password, but ends the authority of a
    // URL early.
    let credentials = rest.rsplit_once('@').map_or("", |(credentials, _)| credentials);
    if let Some(character) = credentials.chars().find(|c| "#/?@[]\\".contains(*c)) {
        let code = u32::from(character);
        return refuse(&format!(
            "its user name or password contains {character:?}: write %{code:02X} instead"
        ));
    }
    let url = format!("{}://{rest}", scheme.to_ascii_lowercase());
    let Ok(parsed) = Url::parse(&url) else { return refuse("it is not a URL") };
    let host = parsed.host_str().unwrap_or_default();
    if host.is_empty() {
        return refuse("it has no host");
    }
    // Ask the HTTP client's own parser.
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
    fn variable_in_use_is_found() {
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
        // An unused variable is not checked.
        let broken = [("HTTP_PROXY", "ftp://x"), ("NO_PROXY", "x.test")];
        assert_eq!(proxy("https://y.test/", &broken).unwrap(), None);
        assert_eq!(proxy("http://x.test/", &broken).unwrap(), None);
        assert!(proxy("http://y.test/", &broken).is_err());
    }

    #[test]
    fn usable_proxy_passes() {
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
    fn unusable_proxy_error_names_variable_not_value() {
        let table = [
            ("http://proxy.test:3128\r", "it ends with a line break"),
            ("\"http://proxy.test:3128\"", "it is in quotation marks"),
            ("'http://proxy.test:3128'", "it is in quotation marks"),
            ("http://proxy.test :3128", "the character U+0020"),
            ("\u{feff}http://proxy.test", "the character U+FEFF"),
            ("ftp://proxy.test", "its scheme is none of"),
            ("socks://proxy.test", "its scheme is none of"),
            ("http://user:hunter#2@proxy.test:3128", "contains '#': write %23"),
            ("http://user:hunter/2@proxy.test:3128", "contains '/': write %2F"),
            ("http://user:hunter@2@proxy.test:3128", "contains '@': write %40"),
            ("user:hunter?2@proxy.test", "contains '?': write %3F"),
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
