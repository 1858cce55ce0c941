//! Which values in two JSON texts differ, and which words in two texts.

use std::collections::{HashMap, VecDeque};

use similar::{ChangeTag, DiffableStr as _, TextDiff};

use super::json_view::{JsonMember, JsonView};
use crate::{diff::is_same_value, text::counted};

/// Bytes of a text that are compared word by word: 8 KiB.
const COMPARED_TEXT: usize = 8 << 10;
/// Words that may differ, in both texts together: 400, which takes less than a millisecond. The time of a comparison grows
/// with the square of this number, and of a text that was written anew, equal words say nothing.
const MOST_DIFFERENT: usize = 400;

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

impl ValueChange<'_> {
    /// Returns the place without the numbers of items, such as `.messages[].content`.
    pub(super) fn any_place(&self) -> String {
        let mut pieces = self.place.split('[');
        let mut place = pieces.next().unwrap_or_default().to_owned();
        for piece in pieces {
            let rest = piece.trim_start_matches(|it: char| it.is_ascii_digit());
            place.push('[');
            place.push_str(if rest.starts_with(']') { rest } else { piece });
        }
        place
    }

    /// Returns both values as people write them, shortened to this number of characters. A text has quotes if the other
    /// value is no text: `"1"` became `1`.
    pub(super) fn shown(&self, most: usize) -> [Option<String>; 2] {
        let is_text = |it: Option<&JsonView<'_>>| it.is_none_or(|it| it.as_text().is_some());
        let are_texts = is_text(self.before) && is_text(self.after);
        [self.before, self.after].map(|value| {
            let text = value?.as_text().filter(|text| are_texts && !text.is_empty());
            Some(match text {
                Some(text) => shortened(text, most),
                None => shortened(&value?.laid_out(), most),
            })
        })
    }
}

/// Returns the beginning of a text, and how many characters follow.
pub(super) fn shortened(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => {
            let more = text[end..].chars().count() as u64;
            format!("{}… ({} more)", &text[..end], counted(more, "character"))
        }
        None => text.to_owned(),
    }
}

/// Returns the smallest values that differ, in their order. Two spellings of a value do not differ. `is_cut` says of which
/// side there is only the beginning: what the other side has beyond its end is not missing there.
pub(super) fn value_changes<'v>(
    before: &'v JsonView<'v>,
    after: &'v JsonView<'v>,
    is_cut: [bool; 2],
) -> Vec<ValueChange<'v>> {
    let mut found = Vec::new();
    collect("", before, after, is_cut, &mut found);
    found
}

/// Whether values differ only because a text ends. `is_cut` says which values may be beginnings.
fn is_same_so_far(before: &JsonView<'_>, after: &JsonView<'_>, is_cut: [bool; 2]) -> bool {
    match (before, after) {
        (JsonView::Text(old), JsonView::Text(new)) => {
            is_cut[0] && new.starts_with(&**old) || is_cut[1] && old.starts_with(&**new)
        }
        // A token at the end of a text can be half of a number.
        (JsonView::Token(_), _) if is_cut[0] => true,
        (_, JsonView::Token(_)) if is_cut[1] => true,
        _ => false,
    }
}

fn collect<'v>(
    place: &str,
    before: &'v JsonView<'v>,
    after: &'v JsonView<'v>,
    is_cut: [bool; 2],
    found: &mut Vec<ValueChange<'v>>,
) {
    match (before, after) {
        _ if is_same(before, after) || is_same_so_far(before, after, is_cut) => {}
        (JsonView::Object(old), JsonView::Object(new)) => {
            let place = |key: &str| format!("{place}.{key}");
            // Only the last value of a beginning can be a beginning.
            let ends = [old.last(), new.last()].map(|it| it.map(|(_, value)| value));
            for ((key, value), other) in old.iter().zip(counterparts(old, new)) {
                match other {
                    Some(other) => {
                        let values = [value, other];
                        let is_end = |side: usize| {
                            is_cut[side]
                                && ends[side].is_some_and(|it| std::ptr::eq(it, values[side]))
                        };
                        collect(&place(key), value, other, [is_end(0), is_end(1)], found);
                    }
                    None if value.is_null() || is_cut[1] => {}
                    None => found.push(ValueChange {
                        place: place(key),
                        before: Some(value),
                        after: None,
                    }),
                }
            }
            for ((key, value), other) in new.iter().zip(counterparts(new, old)) {
                if !value.is_null() && other.is_none() && !is_cut[0] {
                    found.push(ValueChange { place: place(key), before: None, after: Some(value) });
                }
            }
        }
        (JsonView::Array(old), JsonView::Array(new)) => items(place, old, new, is_cut, found),
        _ => found.push(ValueChange {
            place: place.to_owned(),
            before: Some(before),
            after: Some(after),
        }),
    }
}

/// Whether two values are one value, as in a comparison that ignores the spelling.
fn is_same(one: &JsonView<'_>, other: &JsonView<'_>) -> bool {
    match (one, other) {
        (JsonView::Token(one), JsonView::Token(other)) => is_same_value(one, other),
        (JsonView::Array(items), JsonView::Array(others)) => {
            let same = |(one, other)| is_same(one, other);
            items.len() == others.len() && items.iter().zip(others).all(same)
        }
        (JsonView::Object(members), JsonView::Object(others)) => {
            let agrees = |((_, value), other): (&JsonMember<'_>, Option<&JsonView<'_>>)| {
                other.map_or(value.is_null(), |other| is_same(value, other))
            };
            let is_old = |((_, value), other): (&JsonMember<'_>, Option<&JsonView<'_>>)| {
                value.is_null() || other.is_some()
            };
            members.iter().zip(counterparts(members, others)).all(agrees)
                && others.iter().zip(counterparts(others, members)).all(is_old)
        }
        (one, other) => one == other,
    }
}

/// Returns, for each member of an object, the value of the same key in another object. Of repeated keys, the second belongs
/// to the second.
fn counterparts<'v>(
    members: &[JsonMember<'_>],
    others: &'v [JsonMember<'v>],
) -> Vec<Option<&'v JsonView<'v>>> {
    let mut values: HashMap<&str, VecDeque<&JsonView<'_>>> = HashMap::new();
    for (key, value) in others {
        values.entry(key).or_default().push_back(value);
    }
    members.iter().map(|(key, _)| values.get_mut(&**key)?.pop_front()).collect()
}

/// Items between the equal beginnings and ends of two arrays are compared one by one.
fn items<'v>(
    place: &str,
    old: &'v [JsonView<'v>],
    new: &'v [JsonView<'v>],
    is_cut: [bool; 2],
    found: &mut Vec<ValueChange<'v>>,
) {
    let begin = old.iter().zip(new).take_while(|(old, new)| is_same(old, new)).count();
    let (rest_old, rest_new) = (&old[begin..], &new[begin..]);
    let ends = rest_old.iter().rev().zip(rest_new.iter().rev());
    // The end of a beginning is not that of the array.
    let end = match is_cut {
        [false, false] => ends.take_while(|(old, new)| is_same(old, new)).count(),
        _ => 0,
    };
    let (rest_old, rest_new) =
        (&rest_old[..rest_old.len() - end], &rest_new[..rest_new.len() - end]);
    let is_end = |side: usize, index: usize| {
        is_cut[side] && index + 1 == [rest_old.len(), rest_new.len()][side]
    };
    for index in 0..rest_old.len().max(rest_new.len()) {
        let place = format!("{place}[{}]", begin + index);
        match (rest_old.get(index), rest_new.get(index)) {
            (Some(old), Some(new)) => {
                collect(&place, old, new, [is_end(0, index), is_end(1, index)], found);
            }
            (Some(_), None) if is_cut[1] => {}
            (None, Some(_)) if is_cut[0] => {}
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
        let mut changes = Self { pieces: Vec::new(), removed: 0, added: 0, is_cut };
        let (old, new) = (old.tokenize_words(), new.tokenize_words());
        let begin = old.iter().zip(&new).take_while(|(old, new)| old == new).count();
        let (rest_old, rest_new) = (&old[begin..], &new[begin..]);
        let ends = rest_old.iter().rev().zip(rest_new.iter().rev());
        let end = ends.take_while(|(old, new)| old == new).count();
        let (rest_old, rest_new) =
            (&rest_old[..rest_old.len() - end], &rest_new[..rest_new.len() - end]);
        if are_similar(rest_old, rest_new, MOST_DIFFERENT) {
            let words = TextDiff::from_slices(&old, &new);
            words.iter_all_changes().for_each(|it| changes.push(it.tag(), it.value()));
        } else {
            let of = [
                (ChangeTag::Equal, &old[..begin]),
                (ChangeTag::Delete, rest_old),
                (ChangeTag::Insert, rest_new),
                (ChangeTag::Equal, &old[old.len() - end..]),
            ];
            of.iter().for_each(|(tag, words)| words.iter().for_each(|it| changes.push(*tag, it)));
        }
        changes
    }

    fn push(&mut self, tag: ChangeTag, word: &str) {
        let is_word = u64::from(!word.trim().is_empty());
        match tag {
            ChangeTag::Delete => self.removed += is_word,
            ChangeTag::Insert => self.added += is_word,
            ChangeTag::Equal => {}
        }
        // Neighbours of one kind become one piece, so that long equal text is found.
        match self.pieces.last_mut() {
            Some((last, text)) if *last == tag => text.push_str(word),
            _ => self.pieces.push((tag, word.to_owned())),
        }
    }
}

/// Whether two texts differ in at most `most` words: Myers' greedy algorithm, without the path.
fn are_similar<'t>(old: &[&'t str], new: &[&'t str], most: usize) -> bool {
    if old.len().abs_diff(new.len()) > most {
        return false;
    }
    // Numbers are compared faster than words.
    let mut numbers = HashMap::<&'t str, usize>::new();
    let [old, new] = [old, new].map(|words| {
        let number = |word: &&'t str| {
            let next = numbers.len();
            *numbers.entry(*word).or_insert(next)
        };
        words.iter().map(number).collect::<Vec<usize>>()
    });
    // For each diagonal, `most` in the middle, the words of the old text that are passed on the furthest path.
    let mut passed = vec![0_usize; 2 * most + 3];
    for different in 0..=most {
        for at in (most + 1 - different..=most + 1 + different).step_by(2) {
            let (left, right) = (passed[at - 1], passed[at + 1]);
            let is_first = at == most + 1 - different;
            let is_last = at == most + 1 + different;
            let mut of_old = match is_first || !is_last && left < right {
                true => right,
                false => left + 1,
            };
            let of_new = |of_old: usize| (of_old + most + 1).wrapping_sub(at);
            while old.get(of_old).is_some_and(|word| new.get(of_new(of_old)) == Some(word)) {
                of_old += 1;
            }
            passed[at] = of_old;
            if of_old >= old.len() && of_new(of_old) >= new.len() {
                return true;
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(before: &str, after: &str) -> Vec<String> {
        let (before, after) = (JsonView::of(before), JsonView::of(after));
        value_changes(&before, &after, [false; 2]).into_iter().map(|it| it.place).collect()
    }

    /// A text that grows pushes other values behind the end of the part that is compared.
    #[test]
    fn values_behind_a_cut_are_not_gone() {
        let whole = r#"{"a":"xyz","b":{"c":[1,22,{"d":"end"}],"e":3}}"#;
        let grown = r#"{"a":"xy and z","b":{"c":[1,23,{"d":"end"}],"e":3}}"#;
        for cut in 1..grown.len() {
            for (old, new) in [(whole, &grown[..cut]), (&grown[..cut], whole)] {
                let is_cut = [old, new].map(JsonView::is_beginning);
                let (before, after) = (JsonView::of(old), JsonView::of(new));
                for change in value_changes(&before, &after, is_cut) {
                    let is_true = matches!(change.place.as_str(), ".a" | ".b.c[1]");
                    assert!(is_true, "{} in {old} and {new}", change.place);
                }
            }
        }
        let changes = |old: &str, new: &str| {
            let is_cut = [old, new].map(JsonView::is_beginning);
            let (before, after) = (JsonView::of(old), JsonView::of(new));
            value_changes(&before, &after, is_cut).len()
        };
        assert_eq!(changes(r#"{"a":"xyz","b":1}"#, r#"{"a":"other","#), 1);
        assert_eq!(changes(r#"{"a":"xyz"}"#, r#"{"b":1,"#), 1);
    }

    #[test]
    fn smallest_values_that_differ_are_found() {
        assert_eq!(
            places(
                r#"{"m":[{"r":"u","c":"a"},{"c":"b"}],"x":1,"gone":2,"none":null}"#,
                r#"{"x":1.5,"m":[{"c":"z","r":"u"},{"c":"b"}],"new":[],"null":null}"#
            ),
            [".m[0].c", ".x", ".gone", ".new"]
        );
        // Numbers are compared by value, also in items and below the deepest level.
        assert_eq!(places(r#"[1,{"a":0.10},2]"#, r#"[1e0,{"a":0.1},9,2.0]"#), ["[2]"]);
        let deep = |number: &str| format!("{}{number}{}", "[".repeat(40), "]".repeat(40));
        assert_eq!(places(&deep("1"), &deep("1.0")), [] as [&str; 0]);
        assert_eq!(places(&deep("1"), &deep("1.0000000000000000001")).len(), 1);
        // An item that is put in or taken out does not change the others.
        assert_eq!(places("[1,2,3]", "[1,9,2,3]"), ["[1]"]);
        assert_eq!(places("[1,2,3]", "[3]"), ["[0]", "[1]"]);
        assert_eq!(places(r#""a""#, "null"), [""]);
        assert_eq!(places(r#"{"a":1,"b":2}"#, r#"{"b":2,"a":1}"#), [] as [&str; 0]);
        let repeated = |number: &str| format!(r#"[{{"k":1,"k":2}},{{"k":1,"k":{number}}}]"#);
        assert_eq!(places(&repeated("2"), &repeated("3")), ["[1].k"]);
    }

    #[test]
    fn words_are_counted() {
        let words = WordChanges::of("one two three four", "one 2 three four five");
        assert_eq!((words.removed, words.added, words.is_cut), (1, 3 - 1, false));
        let long = "word ".repeat(4000);
        assert!(WordChanges::of(&long, "word").is_cut);
    }

    #[test]
    fn words_are_similar_up_to_a_number_of_differences() {
        let words = |text: &'static str| text.split(' ').collect::<Vec<_>>();
        for (old, new, different) in [
            ("a b c", "a b c", 0),
            ("a b c", "a c", 1),
            ("a", "b", 2),
            ("a b c a b b a", "c b a b a c", 5),
            ("x y", "a b c d", 6),
        ] {
            let (old, new) = (words(old), words(new));
            for most in 0..10 {
                assert_eq!(are_similar(&old, &new, most), most >= different, "{old:?} {most}");
                assert_eq!(are_similar(&new, &old, most), most >= different, "{new:?} {most}");
            }
        }
    }

    #[test]
    fn rewritten_text_is_one_change() {
        let text = |step: usize| {
            let letter = |it: usize| char::from(b'a' + (it * it * step % 23) as u8).to_string();
            (0..4000).map(letter).collect::<Vec<_>>().join(" ")
        };
        let of = |text: &str| format!("begin {text} end");
        let words = WordChanges::of(&of(&text(5)), &of(&text(7)));
        let tags: Vec<ChangeTag> = words.pieces.iter().map(|(tag, _)| *tag).collect();
        use ChangeTag::{Delete, Equal, Insert};
        assert_eq!(tags, [Equal, Delete, Insert, Equal]);
        assert!(words.removed > 3900 && words.added > 3900, "{} {}", words.removed, words.added);
    }
}
