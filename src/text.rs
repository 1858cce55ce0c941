//! Text for people: replaces characters that control a terminal, and forms plurals. The command uses this
//! module too. It is not part of the library's public interface.

use std::fmt::{self, Display, Write};

/// Whether a character controls a terminal: control characters, text directions and line ends.
fn controls_terminal(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61C}' | '\u{200E}' | '\u{200F}' | '\u{2028}' | '\u{2029}')
        || matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

fn replace_control(c: char) -> char {
    match c {
        '\n' | '\r' | '\t' | '\u{2028}' | '\u{2029}' => ' ',
        c if controls_terminal(c) => char::REPLACEMENT_CHARACTER,
        c => c,
    }
}

/// Returns bytes as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Returns the first `length` characters of a text, on one line and without control characters.
pub(crate) fn harmless(text: &str, length: usize) -> String {
    text.chars().take(length).map(replace_control).collect()
}

/// Returns the start of a text in quotes, with an ellipsis if it is longer than `length` characters.
pub(crate) fn quoted(text: &str, length: usize) -> String {
    match text.char_indices().nth(length) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// Returns a text of another program or library for a message of ours: backticks mark options of this program.
pub(crate) fn foreign(text: impl Display) -> String {
    text.to_string().replace('`', "\"")
}

/// Says in plain words why a text is not JSON, or not the JSON that was expected.
pub(crate) fn json_mistake(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match error.classify() {
        serde_json::error::Category::Eof => "it ends too early".to_owned(),
        serde_json::error::Category::Syntax => {
            let line = match error.line() {
                ..=1 => String::new(),
                line => format!("line {}, ", grouped(line as u64)),
            };
            format!("an error at {line}byte {}", grouped(error.column() as u64))
        }
        // A mistake of ours has no place in the text.
        _ => foreign(text.rsplit_once(" at line ").map_or(&*text, |(mistake, _)| mistake)),
    }
}

/// Returns the known name that a person probably meant; `None` if all are too different.
pub(crate) fn similar<'a>(
    typed: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    /// A name with a typing error usually has 0.8 or more. Two different keys rarely have 0.7.
    const SIMILAR: f64 = 0.7;
    let nearest = most_similar(typed, known, |name| name);
    nearest.filter(|(likeness, _)| *likeness >= SIMILAR).map(|(_, name)| name)
}

/// Asks whether a known name was meant, to follow a message about a mistyped one. Empty if all are too different.
pub(crate) fn did_you_mean<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let meant = similar(typed, known);
    meant.map(|meant| format!(": did you mean {meant}?")).unwrap_or_default()
}

/// Returns the known name whose `part` is most similar to a mistyped text, with the likeness from 0 to 1.
pub(crate) fn most_similar<'a>(
    typed: &str,
    known: impl IntoIterator<Item = &'a str>,
    part: impl Fn(&'a str) -> &'a str,
) -> Option<(f64, &'a str)> {
    let typed = typed.to_lowercase();
    let likeness = |name: &'a str| strsim::jaro_winkler(&typed, &part(name).to_lowercase());
    let known = known.into_iter().map(|name| (likeness(name), name));
    known.max_by(|(a, _), (b, _)| a.total_cmp(b))
}

/// Replaces each text in backticks for which `replace` returns another one. The others keep their backticks.
pub(crate) fn replace_quoted(
    text: &str,
    replace: impl Fn(&str, Option<&str>) -> Option<String>,
) -> String {
    let mut parts = text.split('`');
    let mut changed = parts.next().unwrap_or_default().to_owned();
    while let Some(quoted) = parts.next() {
        let Some(after) = parts.next() else {
            // A backtick without its pair.
            changed.push('`');
            changed.push_str(quoted);
            break;
        };
        let (name, value) = match quoted.split_once(' ') {
            Some((name, value)) => (name, Some(value)),
            None => (quoted, None),
        };
        match replace(name, value) {
            Some(other) => changed.push_str(&other),
            None => changed.extend(["`", quoted, "`"]),
        }
        changed.push_str(after);
    }
    changed
}

/// Returns the whole text, cleaned like [`harmless`] does it.
pub(crate) fn line(text: impl Display) -> String {
    struct Neutral(String);
    impl Write for Neutral {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0.extend(text.chars().map(replace_control));
            Ok(())
        }
    }
    let mut line = Neutral(String::new());
    // Writing to a string cannot fail.
    let _ = write!(line, "{text}");
    line.0
}

/// Returns the whole text, cleaned like [`harmless`] does it, but with its line ends.
#[cfg(feature = "cli")]
pub(crate) fn harmless_lines(text: &str) -> String {
    text.chars().map(|c| if c == '\n' { c } else { replace_control(c) }).collect()
}

/// Escapes the characters of a JSON text that control a terminal. The JSON value stays the same.
///
/// In JSON, such characters occur only inside strings. Line ends between values are kept.
pub(crate) fn harmless_json(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        if controls_terminal(c) && c != '\n' {
            // Writing to a string cannot fail. Each of these characters is one UTF-16 unit.
            let _ = write!(text, "\\u{:04x}", u32::from(c));
        } else {
            text.push(c);
        }
    }
    text
}

/// Returns a number with a comma between groups of three digits: `1,234,567`.
///
/// Every quantity in text for people goes through this function. Ordinals (page 1234, line 12) and JSON do not.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Returns a number with its noun: `1 row`, `1,234 rows`.
pub(crate) fn counted(number: u64, noun: &str) -> String {
    format!("{} {}", grouped(number), plural(number, noun))
}

/// Lists ranges of pages as options have them: `3/16, 5/16`. Neighbours are joined: `3/16 to 5/16`.
pub(crate) fn ranges(numbers: &[u32], of: u32) -> String {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for &number in numbers {
        match runs.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(number) => *last = number,
            _ => runs.push((number, number)),
        }
    }
    let run = |&(first, last): &(u32, u32)| match first == last {
        true => format!("{first}/{of}"),
        false => format!("{first}/{of} to {last}/{of}"),
    };
    runs.iter().map(run).collect::<Vec<_>>().join(", ")
}

/// Serializes a path. JSON is UTF-8, so other bytes become replacement characters.
pub(crate) fn lossy_path<S: serde::Serializer>(
    path: &std::path::Path,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}

/// Returns the noun in the singular if `count` is 1, and otherwise in the plural.
pub(crate) fn plural(count: u64, noun: &str) -> String {
    if count == 1 { noun.to_owned() } else { format!("{noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Characters that control a terminal or the direction of text.
    const OBEYED: &str = "\0\u{7}\u{1b}\u{7f}\u{9b}\u{61C}\u{200E}\u{200F}\u{202A}\u{202B}\u{202C}\u{202D}\u{202E}\
         \u{2066}\u{2067}\u{2068}\u{2069}";

    #[test]
    fn line_replaces_control_characters() {
        let shown = line(format_args!("a{OBEYED}b\n\r\t\u{2028}\u{2029}c é\u{200D}😀"));
        let replaced = "\u{fffd}".repeat(OBEYED.chars().count());
        assert_eq!(shown, format!("a{replaced}b     c é\u{200D}😀"));
        assert_eq!(harmless(OBEYED, 3), "\u{fffd}".repeat(3));
    }

    #[test]
    fn numbers_have_thousands_separators() {
        let texts = [0, 999, 1000, 12_345, 999_999, 1_000_000, u64::MAX].map(grouped);
        let expected =
            ["0", "999", "1,000", "12,345", "999,999", "1,000,000", "18,446,744,073,709,551,615"];
        assert_eq!(texts, expected);
        assert_eq!([1, 1000].map(|it| counted(it, "row")), ["1 row", "1,000 rows"]);
    }

    #[test]
    fn harmless_json_keeps_the_value() {
        let value = serde_json::json!({ OBEYED: format!("\u{2028}é😀{OBEYED}\n") });
        let json = serde_json::to_string(&value).unwrap() + "\n";
        let shown = harmless_json(&json);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
        assert!(!shown.trim_end_matches('\n').chars().any(controls_terminal), "{shown:?}");
    }
}
