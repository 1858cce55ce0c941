//! Texts that many rows have at a place where texts are free, such as one refusal in a tenth of the answers.

use twox_hash::XxHash3_64;

/// Number of counters: 1,024, which take 16 KiB.
const SLOTS: usize = 1 << 10;
/// From this number on, a text is remembered.
const REMEMBERED_FROM: u64 = 10;
/// Most texts that are remembered.
const MOST_TEXTS: usize = 8;
/// Bytes of a text that are remembered.
const SHOWN: usize = 120;
/// Shortest text that is counted, in bytes. Short ones are numbers, names and labels, which repeat.
const SHORTEST: usize = 10;

/// Counts repeated texts with one counter for each part of the hashes. Another text of the same part takes one off the
/// counter, so a count is never too high, and that of a frequent text is hardly too low (majority vote of Boyer and Moore).
#[derive(Debug)]
pub(crate) struct RepeatedTexts {
    slots: Box<[RepeatSlot]>,
    texts: Vec<RepeatedText>,
}

#[derive(Debug, Clone, Copy, Default)]
struct RepeatSlot {
    hash: u64,
    count: u64,
}

/// A text that many rows have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RepeatedText {
    hash: u64,
    /// A row with it, from 1.
    pub(crate) row: u64,
    /// Its beginning.
    pub(crate) text: Box<str>,
    pub(crate) is_cut: bool,
}

impl Default for RepeatedTexts {
    fn default() -> Self {
        Self { slots: vec![RepeatSlot::default(); SLOTS].into(), texts: Vec::new() }
    }
}

impl RepeatedTexts {
    /// Whether a text is counted: words, and not a name or a number.
    pub(crate) fn counts(text: &str) -> bool {
        text.len() >= SHORTEST && memchr::memchr(b' ', text.trim().as_bytes()).is_some()
    }

    /// Adds a text of a row. Returns whether the row is an example of a repeated text.
    pub(crate) fn add(&mut self, text: &str, row: u64) -> bool {
        let hash = XxHash3_64::oneshot(text.as_bytes());
        let slot = &mut self.slots[hash as usize % SLOTS];
        slot.join(RepeatSlot { hash, count: 1 });
        let is_new = slot.hash == hash
            && slot.count == REMEMBERED_FROM
            && self.texts.len() < MOST_TEXTS
            && self.texts.iter().all(|it| it.hash != hash);
        if is_new {
            let end = text.floor_char_boundary(SHOWN);
            let shown = text.get(..end).unwrap_or(text);
            let is_cut = end < text.len();
            self.texts.push(RepeatedText { hash, row, text: shown.into(), is_cut });
        }
        is_new
    }

    pub(crate) fn join(&mut self, other: Self) {
        self.slots.iter_mut().zip(other.slots).for_each(|(own, other)| own.join(other));
        for text in other.texts {
            match self.texts.iter_mut().find(|it| it.hash == text.hash) {
                Some(own) if text.row < own.row => *own = text,
                Some(_) => {}
                None => self.texts.push(text),
            }
        }
    }

    /// Returns the most frequent text, with the least number of its values.
    pub(crate) fn most_frequent(&self) -> Option<(&RepeatedText, u64)> {
        let count = |text: &RepeatedText| {
            let slot = self.slots[text.hash as usize % SLOTS];
            if slot.hash == text.hash { slot.count } else { 0 }
        };
        let all = self.texts.iter().map(|text| (text, count(text)));
        all.max_by_key(|(text, count)| (*count, std::cmp::Reverse(text.row)))
    }
}

impl RepeatSlot {
    fn join(&mut self, other: Self) {
        if self.hash == other.hash {
            self.count += other.count;
        } else if other.count > self.count {
            *self = Self { hash: other.hash, count: other.count - self.count };
        } else {
            self.count -= other.count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(rows: std::ops::Range<u64>) -> RepeatedTexts {
        let mut texts = RepeatedTexts::default();
        for row in rows {
            match row % 20 {
                0 => texts.add("I cannot help with that.", row),
                _ => texts.add(&format!("an answer to {row}"), row),
            };
        }
        texts
    }

    #[test]
    fn count_of_a_frequent_text_is_hardly_too_low() {
        let mut texts = filled(1..5_001);
        texts.join(filled(5_001..10_001));
        let (text, count) = texts.most_frequent().unwrap();
        assert_eq!((&*text.text, text.is_cut), ("I cannot help with that.", false));
        // The tenth one in the first rows.
        assert_eq!(text.row, 200);
        assert!((480..=500).contains(&count), "{count}");
        assert!(texts.texts.len() <= 2, "{:?}", texts.texts);
    }

    #[test]
    fn names_and_numbers_are_not_counted() {
        for (text, counts) in [
            ("72", false),
            ("not_applicable_here", false),
            ("I cannot.", false),
            ("I can not.", true),
        ] {
            assert_eq!(RepeatedTexts::counts(text), counts, "{text}");
        }
    }
}
