//! Text as people are shown it: nothing in it steers a terminal, and one row is no "1 rows". Shared
//! with the command; no part of the library's interface.

/// The beginning of a text, so many characters, on one line and without anything that a terminal
/// would obey.
pub fn harmless(text: &str, length: usize) -> String {
    text.chars()
        .take(length)
        .map(|c| match c {
            '\n' | '\r' | '\t' => ' ',
            c if c.is_control() => char::REPLACEMENT_CHARACTER,
            c => c,
        })
        .collect()
}

/// The noun for so many.
pub fn plural(count: u64, noun: &str) -> String {
    if count == 1 { noun.to_owned() } else { format!("{noun}s") }
}
