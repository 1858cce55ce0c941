//! Text as people are shown it: nothing in it steers a terminal, and one row is no "1 rows". Shared
//! with the command; no part of the library's interface.

use std::fmt::{self, Display, Write};

/// Characters that change how the text around them is shown: directions, and ends of lines.
fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61C}' | '\u{200E}' | '\u{200F}' | '\u{2028}' | '\u{2029}')
        || matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

fn neutral(c: char) -> char {
    match c {
        '\n' | '\r' | '\t' | '\u{2028}' | '\u{2029}' => ' ',
        c if steers(c) => char::REPLACEMENT_CHARACTER,
        c => c,
    }
}

/// The beginning of a text, so many characters, on one line and without anything that a terminal
/// would obey.
pub(crate) fn harmless(text: &str, length: usize) -> String {
    text.chars().take(length).map(neutral).collect()
}

/// A text as [`harmless`] makes it, whole.
pub(crate) fn line(text: impl Display) -> String {
    struct Neutral(String);
    impl Write for Neutral {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0.extend(text.chars().map(neutral));
            Ok(())
        }
    }
    let mut line = Neutral(String::new());
    // Writing to a string does not fail.
    let _ = write!(line, "{text}");
    line.0
}

/// A text of several lines without anything else that a terminal would obey.
#[cfg(feature = "cli")]
pub(crate) fn harmless_lines(text: &str) -> String {
    text.chars().map(|c| if c == '\n' { c } else { neutral(c) }).collect()
}

/// JSON text with escapes for what a terminal would obey: the same value. In JSON, such characters are in
/// strings only; line ends between the values stay.
pub(crate) fn harmless_json(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        if steers(c) && c != '\n' {
            // Writing to a string does not fail; none of them needs two units.
            let _ = write!(text, "\\u{:04x}", u32::from(c));
        } else {
            text.push(c);
        }
    }
    text
}

/// The noun for so many.
pub(crate) fn plural(count: u64, noun: &str) -> String {
    if count == 1 { noun.to_owned() } else { format!("{noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every character that a terminal obeys, and some that it does not.
    const OBEYED: &str = "\0\u{7}\u{1b}\u{7f}\u{9b}\u{61C}\u{200E}\u{200F}\u{202A}\u{202B}\u{202C}\u{202D}\u{202E}\
         \u{2066}\u{2067}\u{2068}\u{2069}";

    #[test]
    fn lines_hold_nothing_a_terminal_obeys() {
        let shown = line(format_args!("a{OBEYED}b\n\r\t\u{2028}\u{2029}c é\u{200D}😀"));
        let replaced = "\u{fffd}".repeat(OBEYED.chars().count());
        assert_eq!(shown, format!("a{replaced}b     c é\u{200D}😀"));
        assert_eq!(harmless(OBEYED, 3), "\u{fffd}".repeat(3));
    }

    #[test]
    fn harmless_json_is_the_same_value() {
        let value = serde_json::json!({ OBEYED: format!("\u{2028}é😀{OBEYED}\n") });
        let json = serde_json::to_string(&value).unwrap() + "\n";
        let shown = harmless_json(&json);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
        assert!(!shown.trim_end_matches('\n').chars().any(steers), "{shown:?}");
    }
}
