//! Texts that are odd by themselves: without content, instead of a value, a number in quotes, with a wrong encoding, or a
//! template that nobody has filled.

use std::sync::LazyLock;

use memchr::memmem::Finder;

/// Longest text that can be a placeholder or a number, in bytes.
const SHORT: usize = 24;
/// Longest name of a variable in a template, in bytes.
const LONGEST_NAME: usize = 48;
/// Texts that programs write where a value is missing, or that people write until there is one.
const PLACEHOLDERS: [&str; 20] = [
    "N/A",
    "n/a",
    "#N/A",
    "<NA>",
    "NaN",
    "nan",
    "null",
    "NULL",
    "None",
    "undefined",
    "TODO",
    "todo",
    "TBD",
    "tbd",
    "FIXME",
    "XXX",
    "placeholder",
    "PLACEHOLDER",
    "[object Object]",
    "#REF!",
];

static BRACES: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("{{"));

/// Why a text is odd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OddText {
    /// Nothing but white space.
    Blank,
    /// Something, but no letter and no digit.
    Wordless,
    /// `N/A`, `TODO` and the like.
    Placeholder,
    /// A JSON number in quotes.
    Numeric,
    /// A replacement character, or UTF-8 that was read as Windows-1252.
    Garbled,
    /// A variable in two braces, such as `{{name}}`.
    Template,
}

impl OddText {
    pub(crate) const ALL: [Self; 6] = [
        Self::Blank,
        Self::Wordless,
        Self::Placeholder,
        Self::Numeric,
        Self::Garbled,
        Self::Template,
    ];
}

/// A number of things, and the first row with one of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) count: u64,
    /// From 1; 0 if there is none.
    pub(crate) row: u64,
}

impl Tally {
    /// Returns whether this is the first one.
    pub(crate) fn add(&mut self, row: u64) -> bool {
        let is_first = self.count == 0;
        if is_first {
            self.row = row;
        }
        self.count += 1;
        is_first
    }

    pub(crate) fn join(&mut self, other: Self) {
        self.count += other.count;
        self.row = earlier(self.row, other.row);
    }
}

/// Returns the smaller of two numbers of rows, of which 0 is none.
pub(crate) fn earlier(a: u64, b: u64) -> u64 {
    if a == 0 || b == 0 { a.max(b) } else { a.min(b) }
}

/// What was seen in a text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TextSight {
    /// Bytes without white space around them.
    pub(crate) bytes: usize,
    pub(crate) has_words: bool,
    odd: u8,
}

impl TextSight {
    pub(crate) fn of(text: &str) -> Self {
        let trimmed = text.trim();
        let has_words = trimmed.chars().any(char::is_alphanumeric);
        let mut sight = Self { bytes: trimmed.len(), has_words, odd: 0 };
        if trimmed.is_empty() {
            sight.set(OddText::Blank);
            return sight;
        }
        if !has_words {
            sight.set(OddText::Wordless);
        }
        if trimmed.len() <= SHORT {
            if is_number(trimmed) {
                sight.set(OddText::Numeric);
            } else if PLACEHOLDERS.contains(&trimmed) {
                sight.set(OddText::Placeholder);
            }
        }
        if !text.is_ascii() && is_garbled(text) {
            sight.set(OddText::Garbled);
        }
        if has_template(text) {
            sight.set(OddText::Template);
        }
        sight
    }

    fn set(&mut self, odd: OddText) {
        self.odd |= 1 << odd as u8;
    }

    pub(crate) fn has(self, odd: OddText) -> bool {
        self.odd & 1 << odd as u8 != 0
    }
}

/// The odd texts at a place. Most places have none, and take no memory for them.
#[derive(Debug, Default)]
pub(crate) struct OddTexts(Option<Box<[Tally; OddText::ALL.len()]>>);

impl OddTexts {
    /// Adds a text of a row. Returns whether it is the first one of its kind.
    pub(crate) fn add(&mut self, sight: TextSight, row: u64) -> bool {
        if sight.odd == 0 {
            return false;
        }
        let tallies = self.0.get_or_insert_default();
        let mut is_first = false;
        for odd in OddText::ALL.into_iter().filter(|odd| sight.has(*odd)) {
            is_first |= tallies[odd as usize].add(row);
        }
        is_first
    }

    pub(crate) fn join(&mut self, other: Self) {
        match (&mut self.0, other.0) {
            (Some(own), Some(other)) => {
                own.iter_mut().zip(*other).for_each(|(own, other)| own.join(other));
            }
            (own @ None, other) => *own = other,
            (Some(_), None) => {}
        }
    }

    pub(crate) fn get(&self, odd: OddText) -> Tally {
        self.0.as_ref().map(|tallies| tallies[odd as usize]).unwrap_or_default()
    }
}

/// Whether a text is a JSON number. `007` is none: somebody wants the zeros.
fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let mut bytes = digits.bytes();
    let begins = match (bytes.next(), bytes.next()) {
        (Some(b'0'), Some(b'0'..=b'9')) => false,
        (Some(b'0'..=b'9'), _) => true,
        _ => false,
    };
    let is_part = |byte: u8| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-');
    begins && digits.bytes().all(is_part) && digits.parse::<f64>().is_ok()
}

/// Whether a text shows that it was read in a wrong encoding: U+FFFD, `Ã` before a character that no word has there, or
/// the three characters to which quotes and dashes become.
fn is_garbled(text: &str) -> bool {
    let bytes = text.as_bytes();
    memchr::memchr3_iter(0xC3, 0xEF, 0xE2, bytes).any(|at| match bytes.get(at + 1..at + 3) {
        Some([0x83, 0xC2]) => bytes[at] == 0xC3,
        Some([0xBF, 0xBD]) => bytes[at] == 0xEF,
        _ => bytes.get(at..at + 5) == Some("â€".as_bytes()),
    })
}

/// Whether a text has a variable in two braces.
fn has_template(text: &str) -> bool {
    BRACES.find_iter(text.as_bytes()).any(|at| {
        let rest = text.as_bytes().get(at + 2..).unwrap_or_default();
        let rest = rest.get(..LONGEST_NAME).unwrap_or(rest).trim_ascii_start();
        let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.');
        let length = rest.iter().take_while(|byte| is_name(byte)).count();
        let begins = rest.first().is_some_and(|byte| byte.is_ascii_alphabetic() || *byte == b'_');
        // A letter in braces is a formula.
        begins && length > 1 && rest[length..].trim_ascii_start().starts_with(b"}}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn odd(text: &str) -> Vec<OddText> {
        let sight = TextSight::of(text);
        OddText::ALL.into_iter().filter(|odd| sight.has(*odd)).collect()
    }

    #[test]
    fn odd_texts_are_told_apart() {
        use OddText::*;
        for (text, expected) in [
            ("", vec![Blank]),
            (" \n\u{a0}", vec![Blank]),
            ("...", vec![Wordless]),
            ("👍", vec![Wordless]),
            (" N/A ", vec![Placeholder]),
            ("TODO", vec![Placeholder]),
            ("TODO: call back", vec![]),
            ("none", vec![]),
            ("7", vec![Numeric]),
            ("-0.5e3", vec![Numeric]),
            ("007", vec![]),
            ("2026-11-30", vec![]),
            ("1.2.3", vec![]),
            ("inf", vec![]),
            ("Iâ€™m", vec![Garbled]),
            ("cafÃ©", vec![Garbled]),
            ("a\u{fffd}", vec![Garbled]),
            ("NÃO, não, “yes” – 1 €, Übung，", vec![]),
            ("Hello {{customer_name}}!", vec![Template]),
            ("{{ order.id }}", vec![Template]),
            ("\\frac{{a}}{{b}} {{7*7}} {{{}}} {{not closed", vec![]),
        ] {
            assert_eq!(odd(text), expected, "{text:?}");
        }
    }

    #[test]
    fn tallies_join_to_the_first_row() {
        let (mut left, mut right) = (OddTexts::default(), OddTexts::default());
        let blank = TextSight::of("");
        assert!(right.add(blank, 9) && !right.add(blank, 12));
        assert!(!left.add(TextSight::of("x"), 3));
        left.join(right);
        let mut first = OddTexts::default();
        first.add(blank, 5);
        left.join(first);
        assert_eq!(left.get(OddText::Blank), Tally { count: 3, row: 5 });
        assert_eq!(left.get(OddText::Numeric), Tally::default());
    }
}
