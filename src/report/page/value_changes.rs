//! Which values in two JSON texts differ, and which words in two texts.

use similar::{ChangeTag, TextDiff};

use super::json::JsonView;

/// Bytes of a text that are compared word by word: 8 KiB. The time grows with the square of the differences.
const COMPARED_TEXT: usize = 8 << 10;

/// A value that differs.
#[derive(Debug, PartialEq)]
pub(super) struct ValueChange<'v> {
    /// Where the value is, such as `.messages[2].content`; empty for the whole value.
    pub(super) place: String,
    /// `None` if only the later text has the value.
    pub(super) before: Option<&'v JsonView<'v>>,
    /// `None` if only the earlier text has the value.
    pub(super) after: Option<&'v JsonView<'v>>,
}

/// Returns the smallest values that differ, in their order.
pub(super) fn value_changes<'v>(
    before: &'v JsonView<'v>,
    after: &'v JsonView<'v>,
) -> Vec<ValueChange<'v>> {
    let mut found = Vec::new();
    collect("", before, after, &mut found);
    found
}

fn collect<'v>(
    place: &str,
    before: &'v JsonView<'v>,
    after: &'v JsonView<'v>,
    found: &mut Vec<ValueChange<'v>>,
) {
    match (before, after) {
        _ if before == after => {}
        (JsonView::Object(old), JsonView::Object(new)) => {
            let place = |key: &str| format!("{place}.{key}");
            for (key, value) in old {
                match after.get(key) {
                    Some(other) => collect(&place(key), value, other, found),
                    None => found.push(ValueChange {
                        place: place(key),
                        before: Some(value),
                        after: None,
                    }),
                }
            }
            for (key, value) in new.iter().filter(|(key, _)| before.get(key).is_none()) {
                found.push(ValueChange { place: place(key), before: None, after: Some(value) });
            }
        }
        (JsonView::Array(old), JsonView::Array(new)) => items(place, old, new, found),
        _ => found.push(ValueChange {
            place: place.to_owned(),
            before: Some(before),
            after: Some(after),
        }),
    }
}

/// Items between the equal beginnings and ends of two arrays are compared one by one.
fn items<'v>(
    place: &str,
    old: &'v [JsonView<'v>],
    new: &'v [JsonView<'v>],
    found: &mut Vec<ValueChange<'v>>,
) {
    let begin = old.iter().zip(new).take_while(|(old, new)| old == new).count();
    let (rest_old, rest_new) = (&old[begin..], &new[begin..]);
    let ends = rest_old.iter().rev().zip(rest_new.iter().rev());
    let end = ends.take_while(|(old, new)| old == new).count();
    let (rest_old, rest_new) =
        (&rest_old[..rest_old.len() - end], &rest_new[..rest_new.len() - end]);
    for index in 0..rest_old.len().max(rest_new.len()) {
        let place = format!("{place}[{}]", begin + index);
        match (rest_old.get(index), rest_new.get(index)) {
            (Some(old), Some(new)) => collect(&place, old, new, found),
            (before, after) => found.push(ValueChange { place, before, after }),
        }
    }
}

/// Two texts in pieces that are equal or not.
pub(super) struct WordChanges {
    pub(super) pieces: Vec<(ChangeTag, String)>,
    /// Words that only the earlier or only the later text has.
    pub(super) removed: u64,
    pub(super) added: u64,
    /// Whether only the beginnings were compared.
    pub(super) is_cut: bool,
}

impl WordChanges {
    pub(super) fn of(before: &str, after: &str) -> Self {
        let cut = |text: &str| text.floor_char_boundary(COMPARED_TEXT);
        let (old, new) = (&before[..cut(before)], &after[..cut(after)]);
        let is_cut = old.len() < before.len() || new.len() < after.len();
        let words = TextDiff::from_words(old, new);
        let mut changes = Self { pieces: Vec::new(), removed: 0, added: 0, is_cut };
        for change in words.iter_all_changes() {
            let is_word = u64::from(!change.value().trim().is_empty());
            match change.tag() {
                ChangeTag::Delete => changes.removed += is_word,
                ChangeTag::Insert => changes.added += is_word,
                ChangeTag::Equal => {}
            }
            // Neighbours of one kind become one piece, so that long equal text is found.
            match changes.pieces.last_mut() {
                Some((tag, text)) if *tag == change.tag() => text.push_str(change.value()),
                _ => changes.pieces.push((change.tag(), change.value().to_owned())),
            }
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(before: &str, after: &str) -> Vec<String> {
        let (before, after) = (JsonView::of(before), JsonView::of(after));
        value_changes(&before, &after).into_iter().map(|it| it.place).collect()
    }

    #[test]
    fn smallest_values_that_differ_are_found() {
        assert_eq!(
            places(
                r#"{"m":[{"r":"u","c":"a"},{"c":"b"}],"x":1,"gone":2}"#,
                r#"{"x":1.0,"m":[{"r":"u","c":"z"},{"c":"b"}],"new":[]}"#
            ),
            [".m[0].c", ".x", ".gone", ".new"]
        );
        // An item that is put in or taken out does not change the others.
        assert_eq!(places("[1,2,3]", "[1,9,2,3]"), ["[1]"]);
        assert_eq!(places("[1,2,3]", "[3]"), ["[0]", "[1]"]);
        assert_eq!(places(r#""a""#, "null"), [""]);
        assert_eq!(places(r#"{"a":1,"b":2}"#, r#"{"b":2,"a":1}"#), [] as [&str; 0]);
    }

    #[test]
    fn words_are_counted() {
        let words = WordChanges::of("one two three four", "one 2 three four five");
        assert_eq!((words.removed, words.added, words.is_cut), (1, 3 - 1, false));
        let long = "word ".repeat(4000);
        assert!(WordChanges::of(&long, "word").is_cut);
    }
}
