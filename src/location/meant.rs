//! Typical mistakes in a typed path or URL: a `~` in quotes, and a URL with one slash. Reads only `HOME`.

use std::env;

use super::STORES;
use crate::net::urls::quotable;

/// Returns what a person probably meant, if the text has such a mistake.
pub(crate) fn mistake(text: &str) -> Option<String> {
    if let Some(rest) =
        text.strip_prefix('~').filter(|rest| rest.is_empty() || rest.starts_with('/'))
    {
        let home = env::var("HOME").ok().filter(|home| home.starts_with('/'));
        let meant = match home {
            Some(home) => format!("write {}{rest}", home.trim_end_matches('/')),
            None => "write the whole path".to_owned(),
        };
        return Some(format!("only a shell expands ~, and only outside of quotes: {meant}"));
    }
    let (scheme, rest) = text.split_once(':')?;
    let scheme = scheme.to_ascii_lowercase();
    let is_scheme = scheme == "file" || STORES.contains(&scheme.as_str());
    if !is_scheme || rest.starts_with("//") {
        return None;
    }
    // A file URL has an absolute path, and so a third slash.
    let slash = if scheme == "file" { "/" } else { "" };
    // The text may hold a password.
    let rest = quotable(rest.trim_start_matches('/'));
    Some(format!("a URL has two slashes after its scheme: write {scheme}://{slash}{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_with_one_slash_is_a_mistake() {
        let meant = |text| mistake(text)?.split_once("write ").map(|(_, meant)| meant.to_owned());
        let right = |text: &str| Some(text.to_owned());
        assert_eq!(meant("s3:/bucket/x"), right("s3://bucket/x"));
        assert_eq!(meant("GS:bucket/x"), right("gs://bucket/x"));
        assert_eq!(meant("file:/tmp/x"), right("file:///tmp/x"));
        assert_eq!(meant("s3:/user:hunter2@bucket/x?hunter2"), right("s3://…@bucket/x?…"));
        for fine in ["s3://bucket/x", "./s3:/x", "C:/x", "a:b", "~a", "a~", "./~/x", ""] {
            assert_eq!(mistake(fine), None, "{fine}");
        }
    }
}
