//! The API key, and its absence from whatever is quoted.
//!
//! What a server said may hold the key: some say it again when they refuse it. Every text that is made
//! from an answer and meant for a person goes through [`Key::redact`] when it is made.

use std::borrow::Cow;

use secrecy::{ExposeSecret, SecretString};

/// How every key of the API begins.
const PREFIX: &str = "ovr_";
const GONE: &str = "[key]";

/// The key that requests are sent with.
#[derive(Debug, Default)]
pub(crate) struct Key(SecretString);

impl Key {
    pub(crate) fn new(key: SecretString) -> Self {
        Self(key)
    }

    /// The text without the key, without a beginning of it at the end, where the text may have been
    /// cut, and without anything else that looks like a key.
    pub(crate) fn redact(&self, text: &str) -> String {
        let key = self.0.expose_secret().trim();
        let mut text = Cow::Borrowed(text);
        // A shorter text is no secret, and taking it out would leave gaps in every word.
        if key.len() >= 8 {
            // In the words of a parser, a quoted string is escaped.
            for key in [Cow::Borrowed(key), key.escape_debug().to_string().into()] {
                if text.contains(&*key) {
                    text = text.replace(&*key, GONE).into();
                }
            }
            let beginning = (4..key.len())
                .rev()
                .find(|length| key.get(..*length).is_some_and(|part| text.ends_with(part)));
            if let Some(length) = beginning {
                text = format!("{}{GONE}", &text[..text.len() - length]).into();
            }
        }
        without_keys(&text)
    }
}

/// The text without anything that begins as every key does.
pub(crate) fn without_keys(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(PREFIX) {
        let (before, found) = rest.split_at(at);
        let after = found[PREFIX.len()..]
            .trim_start_matches(|c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
        let is_word = before.ends_with(|c: char| c.is_ascii_alphanumeric());
        let is_bare = found.len() == PREFIX.len() + after.len();
        kept.push_str(before);
        kept.push_str(if is_word || is_bare { &found[..found.len() - after.len()] } else { GONE });
        rest = after;
    }
    kept.push_str(rest);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_a_key_nor_what_looks_like_one_is_quoted() {
        let key = Key::new(" s3cret\"key \n".into());
        let table = [
            ("s3cret\"key is unknown", "[key] is unknown"),
            (r#"string "s3cret\"key", expected"#, r#"string "[key]", expected"#),
            // Cut in the middle.
            ("<p>s3cret\"", "<p>[key]"),
            ("<p>s3c", "<p>s3c"),
            ("ovr_another-1 and ovr_x.", "[key] and [key]."),
            ("keys begin with ovr_", "keys begin with ovr_"),
            ("covr_7", "covr_7"),
            ("größe", "größe"),
        ];
        for (text, without) in table {
            assert_eq!(key.redact(text), without);
        }
        let short = Key::new("k".into());
        assert_eq!(short.redact("kick the bucket"), "kick the bucket");
    }
}
