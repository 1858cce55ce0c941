//! Places of JSON columns where a few values differ from all others: their type, their keys, their texts.

use std::collections::HashMap;

use super::{
    ColumnProfile, ValueProfile,
    tree::{
        TreeMember, TreeNode, ValueKind,
        texts::{OddText, Tally, earlier},
    },
};
use crate::{batch::Column, report::masked::ValueTrail};

/// Values at a place from which on something can be rare: 100.
const ENOUGH: u64 = 100;
/// Something is rare if it is that of at most one value in this number: 100.
pub(crate) const RARE: u64 = 100;
/// Empty texts are odd if at most one text in this number is empty: 10. If more are empty, an empty text is a usual value.
const SELDOM: u64 = 10;
/// Most values in which a variable of a template is an accident, as a part of all: one in 20.
const ACCIDENTS: u64 = 20;
/// A text is frequent if it is that of at least one value in this number: 50.
const FREQUENT: u64 = 50;
/// Most rare or missing keys of an object. With more, its keys are data.
const MOST_KEYS: usize = 3;

/// What differs at a place. The order is that of the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PlaceOddity {
    /// A rare type, and the type that most values have.
    Kind {
        kind: ValueKind,
        usual: ValueKind,
    },
    /// Numbers, and texts that are numbers. The count is that of the texts.
    NumbersAsText {
        numbers: u64,
    },
    /// Objects without a key that almost all have.
    MissingKey,
    /// A key that hardly any object has, and a key with almost the same spelling.
    RareKey {
        like: Option<Box<str>>,
    },
    Text(OddText),
    /// One text that many values are. The count is the least number.
    Repeated {
        text: Box<str>,
        is_cut: bool,
    },
    /// Texts that differ only in case, spaces, `_` and `-`. The count is that of the rarer ones.
    Spellings(Vec<(Box<str>, u64)>),
}

/// Values that differ from the others at their place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OddPlace {
    /// The path of the values, such as `.input.messages[]`.
    pub(crate) trail: ValueTrail,
    /// Whether it is in the expected output.
    pub(crate) is_output: bool,
    pub(crate) what: PlaceOddity,
    pub(crate) count: u64,
    /// Number of values, of which the count is a part.
    pub(crate) whole: u64,
    /// An example, from 1; 0 if none is known.
    pub(crate) row: u64,
}

/// What is known of a place besides its values.
#[derive(Clone, Copy, Default)]
struct PlaceRole {
    is_output: bool,
    is_tags: bool,
    is_root: bool,
    is_item: bool,
    /// Whether it is the content of turns, which are looked at on their own.
    is_turn_content: bool,
}

/// Returns what differs in the columns, the rarest first.
pub(crate) fn odd_places(columns: &[ColumnProfile]) -> Vec<OddPlace> {
    let mut found = Vec::new();
    for column in columns {
        if let ValueProfile::Json(tree) | ValueProfile::Tags(tree, _) = &column.values {
            let is_output = column.api == Some(Column::ExpectedOutput);
            let is_tags = column.api == Some(Column::Tags);
            let role = PlaceRole { is_output, is_tags, is_root: true, ..PlaceRole::default() };
            collect(&tree.root, &ValueTrail::of(column.column.name()), role, &mut found);
        }
    }
    found.sort_by(|a, b| {
        // Counts of different places are compared as shares.
        let of = |it: &OddPlace| it.count as f64 / it.whole as f64;
        of(a).total_cmp(&of(b)).then_with(|| a.trail.as_str().cmp(b.trail.as_str()))
    });
    found
}

fn collect(node: &TreeNode, trail: &ValueTrail, role: PlaceRole, found: &mut Vec<OddPlace>) {
    let mut push = |trail: &ValueTrail, what, tally: Tally, whole| {
        let Tally { count, row } = tally;
        let (trail, is_output) = (trail.clone(), role.is_output);
        found.push(OddPlace { trail, is_output, what, count, whole, row });
    };
    kinds(node, role, &mut |what, tally, whole| push(trail, what, tally, whole));
    texts(node, role, &mut |what, tally, whole| push(trail, what, tally, whole));
    if node.turns == 0 {
        keys(node, &mut |name, what, tally| push(&trail.member(name), what, tally, node.objects()));
    }
    for member in &node.members {
        let is_content = node.turns > 0 && matches!(&*member.name, "content" | "text" | "parts");
        let role =
            PlaceRole { is_root: false, is_item: false, is_turn_content: is_content, ..role };
        collect(&member.node, &trail.member(&member.name), role, found);
    }
    if let Some(item) = &node.item {
        let role = PlaceRole { is_root: false, is_item: true, ..role };
        collect(item, &trail.item(), role, found);
    }
}

/// Whether one count is a rare part of a whole.
pub(crate) fn is_rare(count: u64, whole: u64) -> bool {
    whole >= ENOUGH && count > 0 && count * RARE <= whole
}

fn kinds(node: &TreeNode, role: PlaceRole, push: &mut dyn FnMut(PlaceOddity, Tally, u64)) {
    let all: Vec<_> = node.kinds().filter(|(kind, _)| *kind != ValueKind::Null).collect();
    let values: u64 = all.iter().map(|(_, count)| count).sum();
    let Some((usual, _)) = all.iter().max_by_key(|(_, count)| *count).copied() else { return };
    let tally = |kind: ValueKind, count: u64| Tally { count, row: node.first_row(kind) };
    let mut has_rare_kind = false;
    for (kind, count) in all.iter().copied().filter(|(kind, _)| *kind != usual) {
        // 1 and 1.5 are both numbers.
        if !(kind.is_number() && usual.is_number()) && is_rare(count, values) {
            has_rare_kind = true;
            push(PlaceOddity::Kind { kind, usual }, tally(kind, count), values);
        }
    }
    let nulls = node.values - values;
    // A turn with calls has no content.
    if is_rare(nulls, node.values) && !role.is_turn_content {
        let kind = ValueKind::Null;
        push(PlaceOddity::Kind { kind, usual }, tally(kind, nulls), node.values);
    }
    let numbers = all.iter().filter(|(kind, _)| kind.is_number());
    let (texts, numbers) =
        (node.texts.get(OddText::Numeric), numbers.map(|(_, count)| count).sum());
    if texts.count > 0 && numbers > 0 && values >= ENOUGH && !has_rare_kind {
        let first = [ValueKind::Integer, ValueKind::Number].map(|kind| node.first_row(kind));
        let row = match texts.count > numbers {
            true => first.into_iter().filter(|row| *row > 0).min().unwrap_or(0),
            false => texts.row,
        };
        let what = PlaceOddity::NumbersAsText { numbers };
        push(what, Tally { row, ..texts }, values);
    }
}

fn keys(node: &TreeNode, push: &mut dyn FnMut(&str, PlaceOddity, Tally)) {
    let objects = node.objects();
    if objects < ENOUGH || node.is_map {
        return;
    }
    let is_usual = |it: &&TreeMember| it.node.values * 10 >= objects * 9;
    let usual: HashMap<String, &TreeMember> =
        node.members.iter().filter(is_usual).map(|it| (spelling(&it.name), it)).collect();
    let rare = node.members.iter().filter(|it| is_rare(it.node.values, objects));
    let (alike, rare): (Vec<_>, Vec<_>) =
        rare.map(|it| (it, usual.get(&spelling(&it.name)))).partition(|(_, like)| like.is_some());
    let tally = |it: &TreeMember| Tally { count: it.node.values, row: it.first_row() };
    for (member, like) in &alike {
        let like = like.map(|it| it.name.clone());
        push(&member.name, PlaceOddity::RareKey { like }, tally(member));
    }
    if !usual.is_empty() && rare.len() <= MOST_KEYS {
        for (member, _) in rare {
            push(&member.name, PlaceOddity::RareKey { like: None }, tally(member));
        }
    }
    let missing = |it: &TreeMember| objects.saturating_sub(it.node.values);
    let mut named = 0;
    for member in node.members.iter().filter(|it| is_rare(missing(it), objects)) {
        let is_alike = |it: &&&TreeMember| it.name == member.name;
        let others = alike.iter().filter(|(_, like)| like.as_ref().is_some_and(is_alike));
        // Another spelling of the key explains it.
        if others.map(|(it, _)| it.node.values).sum::<u64>() < missing(member) && named < MOST_KEYS
        {
            named += 1;
            let tally = Tally { count: missing(member), row: member.missing_row };
            push(&member.name, PlaceOddity::MissingKey, tally);
        }
    }
}

fn texts(node: &TreeNode, role: PlaceRole, push: &mut dyn FnMut(PlaceOddity, Tally, u64)) {
    let kinds = node.kinds().find(|(kind, _)| *kind == ValueKind::String);
    let Some((_, all)) = kinds else { return };
    let is_seldom = |count: u64| all >= ENOUGH && count * SELDOM <= all;
    for odd in OddText::ALL {
        let tally = node.texts.get(odd);
        let is_odd = match odd {
            // Expected outputs and turns are looked at as a whole. In a list, an empty text is a choice.
            OddText::Blank => {
                let is_elsewhere = role.is_turn_content || (role.is_root && role.is_output);
                is_seldom(tally.count) && !role.is_item && !is_elsewhere
            }
            OddText::Wordless => {
                role.is_output && !role.is_root && !role.is_item && is_rare(tally.count, all)
            }
            OddText::Placeholder => role.is_output && !role.is_item && is_rare(tally.count, all),
            OddText::Numeric => false,
            OddText::Garbled => true,
            OddText::Template => tally.count * ACCIDENTS <= all,
        };
        if is_odd && tally.count > 0 {
            push(PlaceOddity::Text(odd), tally, all);
        }
    }
    // In a list, texts are parts of an answer, which repeat.
    let repeated = node.repeated.as_ref().filter(|_| !role.is_item);
    let repeated = repeated.and_then(|it| it.most_frequent());
    if let Some((text, count)) = repeated.filter(|(_, count)| count * FREQUENT >= all) {
        let what = PlaceOddity::Repeated { text: text.text.clone(), is_cut: text.is_cut };
        push(what, Tally { count, row: text.row }, all);
    }
    let few = node.few.sorted();
    let values = few.iter().filter(|it| it.is_text).map(|it| (&*it.text, it.count));
    // The labels of tags are looked at on their own. Among few values, chance decides which is usual.
    let groups = if role.is_tags || all < ENOUGH { Vec::new() } else { alike(values) };
    for group in groups.into_iter().filter(|group| is_usual_and_rare(group)) {
        let count = group.iter().skip(1).map(|(_, count)| count).sum();
        let of_few = |text: &str| few.iter().find(|it| *it.text == *text).map_or(0, |it| it.row);
        let row = rarer_row(&group, of_few);
        push(PlaceOddity::Spellings(group), Tally { count, row }, all);
    }
}

/// Whether a group has a spelling that is often used.
fn is_usual_and_rare(group: &[(Box<str>, u64)]) -> bool {
    group.first().is_some_and(|(_, count)| *count >= 10)
}

/// Returns the first row with a rarer spelling; 0 if it is not known.
pub(crate) fn rarer_row(group: &[(Box<str>, u64)], row_of: impl Fn(&str) -> u64) -> u64 {
    group.iter().skip(1).map(|(text, _)| row_of(text)).fold(0, earlier)
}

/// The form in which texts are alike that people write for one thing: without outer spaces, in lower case, and with one
/// sign for spaces, `_` and `-`.
fn spelling(text: &str) -> String {
    let mut form = String::with_capacity(text.len());
    for c in text.trim().chars() {
        match c {
            ' ' | '_' | '-' => form.push('_'),
            c => form.extend(c.to_lowercase()),
        }
    }
    form
}

/// Returns the groups of texts that are alike, each with the most common one first.
pub(crate) fn alike<'a>(
    texts: impl IntoIterator<Item = (&'a str, u64)>,
) -> Vec<Vec<(Box<str>, u64)>> {
    let mut groups = Vec::<(String, Vec<(Box<str>, u64)>)>::new();
    let mut places = HashMap::<String, usize>::new();
    for (text, count) in texts {
        let form = spelling(text);
        if form.is_empty() {
            continue;
        }
        let place = *places.entry(form.clone()).or_insert_with(|| {
            groups.push((form, Vec::new()));
            groups.len() - 1
        });
        groups[place].1.push((text.into(), count));
    }
    groups.retain(|(_, group)| group.len() > 1);
    for (_, group) in &mut groups {
        group.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    }
    groups.sort_by(|a, b| a.0.cmp(&b.0));
    groups.into_iter().map(|(_, group)| group).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_thing_are_alike() {
        let texts = [("vip", 9), ("New User", 2), ("new_user ", 3), ("new-user", 40), ("-1", 5)];
        let found = alike(texts.into_iter().chain([("1", 4), ("VIP2", 1), (" ", 1), ("", 8)]));
        let expected: Vec<(Box<str>, u64)> =
            vec![("new-user".into(), 40), ("new_user ".into(), 3), ("New User".into(), 2)];
        assert_eq!(found, [expected]);
    }
}
