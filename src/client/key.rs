//! The API key, and its removal from quoted texts.
//!
//! The text of a server can contain the key: some servers repeat a key when they refuse it. So every text
//! from an answer that is shown to a person goes through [`Key::redact`] when it is created.

use std::{borrow::Cow, sync::Arc};

use secrecy::{ExposeSecret, SecretString};

/// Prefix of every key of the API.
const PREFIX: &str = "ovr_";
/// Replacement for a removed key.
const GONE: &str = "[key]";

/// The key that is sent with each request.
#[derive(Debug, Default)]
pub(crate) struct Key {
    secret: SecretString,
    /// Origin of the key, for hints.
    origin: Option<Arc<str>>,
}

impl Key {
    pub(crate) fn new(secret: SecretString, origin: Option<Arc<str>>) -> Self {
        Self { secret, origin }
    }

    pub(crate) fn origin(&self) -> Option<Arc<str>> {
        self.origin.clone()
    }

    /// Removes the key, and everything else that looks like a key, from a text.
    ///
    /// Also removes a beginning of the key (4 characters or more) at the end of the text, because the text
    /// may have been cut.
    pub(crate) fn redact(&self, text: &str) -> String {
        let key = self.secret.expose_secret().trim();
        let mut text = Cow::Borrowed(text);
        // A shorter key is not a secret, and removing it would leave gaps in many words.
        if key.len() >= 8 {
            // Error texts of a parser quote strings with escapes, so the escaped key is removed too.
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

/// Cleans a key: removes white space and invisible characters around it.
///
/// Some editors add a byte order mark, and web pages add zero-width spaces. The result can be empty.
///
/// # Errors
/// The reason why the text is not a key. The reason does not quote the text.
pub(super) fn cleaned(key: &str) -> Result<&str, String> {
    let key = key.trim_matches(|c: char| c.is_whitespace() || is_invisible(c));
    let begins = |word: &str| key.get(..word.len()).is_some_and(|it| it.eq_ignore_ascii_case(word));
    let rest = key.strip_prefix(PREFIX);
    if key.starts_with(QUOTES) || key.ends_with(QUOTES) {
        return Err("it is in quotation marks: give it without them".to_owned());
    }
    if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '…', '<', '*', '$'])) {
        return Err("it is the placeholder of an example: replace it with the key".to_owned());
    }
    if ["bearer ", "x-api-key:", "authorization:"].into_iter().any(begins) {
        return Err("it is a whole header: give only the key".to_owned());
    }
    if begins("overmind_") || begins("export ") {
        return Err("it is an assignment: give only the part after the =".to_owned());
    }
    match key.chars().enumerate().find(|(_, c)| !matches!(c, ' '..='~' | '\t')) {
        Some((index, character)) => {
            let (place, code) = (index + 1, u32::from(character));
            let what = if is_invisible(character) { ", which is invisible" } else { "" };
            Err(format!("its character {place} is U+{code:04X}{what}, and no key has that"))
        }
        None => Ok(key),
    }
}

const QUOTES: [char; 9] = ['"', '\'', '`', '“', '”', '‘', '’', '«', '»'];

/// Whether a character is invisible: byte order mark, zero-width space or joiner, directional mark, or soft
/// hyphen.
fn is_invisible(character: char) -> bool {
    matches!(character, '\u{feff}' | '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{2064}' | '\u{ad}')
}

/// Replaces every word that begins with the prefix of a key by `[key]`.
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
    fn key_is_cleaned_or_refused_without_quoting_it() {
        for key in
            ["ovr_a", "\u{feff}ovr_a", " ovr_a\r\n", "\u{200b}ovr_a\u{2060}\u{200d}", "ovr_a\t"]
        {
            assert_eq!(cleaned(key).unwrap(), "ovr_a", "{key:?}");
        }
        for key in ["", "\u{feff} \u{200b}"] {
            assert_eq!(cleaned(key).unwrap(), "");
        }
        let table = [
            ("\"ovr_a\"", "it is in quotation marks"),
            ("'ovr_a", "it is in quotation marks"),
            ("“ovr_a”", "it is in quotation marks"),
            ("ovr_…", "it is the placeholder"),
            ("ovr_...", "it is the placeholder"),
            ("ovr_", "it is the placeholder"),
            ("ovr_<your key>", "it is the placeholder"),
            ("Bearer ovr_a", "it is a whole header"),
            ("X-Api-Key: ovr_a", "it is a whole header"),
            ("OVERMIND_LAB_API_KEY=ovr_a", "it is an assignment"),
            ("export OVERMIND_API_KEY=ovr_a", "it is an assignment"),
            ("ovr_\u{200b}canary", "its character 5 is U+200B, which is invisible"),
            ("ovr_canary\u{7}x", "its character 11 is U+0007, and"),
            ("ovr_cänary", "its character 6 is U+00E4, and"),
            ("ovr_\u{fffd}canary", "its character 5 is U+FFFD, and"),
        ];
        for (key, why) in table {
            let error = cleaned(key).unwrap_err();
            assert!(error.starts_with(why) && !error.contains("nary"), "{key:?}: {error}");
        }
    }

    #[test]
    fn keys_and_similar_words_are_redacted() {
        let key = Key::new(" s3cret\"key \n".into(), None);
        let table = [
            ("s3cret\"key is unknown", "[key] is unknown"),
            (r#"string "s3cret\"key", expected"#, r#"string "[key]", expected"#),
            // The text was cut in the middle of the key.
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
        let short = Key::new("k".into(), None);
        assert_eq!(short.redact("kick the bucket"), "kick the bucket");
    }
}
