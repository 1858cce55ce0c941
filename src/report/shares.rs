//! How many rows of a snapshot have each persona, label and type of JSON value: what drifts from snapshot to snapshot.

use std::collections::{BTreeMap, BTreeSet};

use super::profile::{
    Profile, ValueProfile,
    figures::CommonValues,
    tree::{JsonTree, TreeNode},
};
use crate::batch::Column;

/// Values of a column that are counted in each snapshot. The share of any other value is below one part in 512.
const MOST_COUNTED: usize = 512;
/// Keys of a column whose types are counted. 30 snapshots of seven columns then take less than 4 MiB.
const MOST_KEYS: usize = 64;
/// Levels of keys whose types are counted: the keys of a column, and the keys of objects in them.
const KEY_LEVELS: usize = 2;
/// The name for rows without a value.
pub(super) const MISSING: &str = "missing";

/// Number of rows with each value.
#[derive(Debug, Clone, Default)]
pub(super) struct SharedCounts {
    pub(super) counts: BTreeMap<DriftGroup, BTreeMap<String, u64>>,
    /// The columns with too many keys. Their keys are not counted.
    many_keys: BTreeSet<String>,
}

/// What values are shares of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum DriftGroup {
    Persona,
    Label,
    /// The types of the values of a JSON column, or of a key in it.
    Types(TypedPlace),
}

/// A JSON column, or a key in it, such as `tags.difficulty`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TypedPlace {
    pub(super) column: String,
    /// The keys, outermost first; empty for the column.
    pub(super) keys: Vec<String>,
}

impl DriftGroup {
    pub(super) fn name(&self) -> String {
        match self {
            Self::Persona => "Personas".to_owned(),
            Self::Label => "Labels".to_owned(),
            Self::Types(place) => format!("Types of {}", place.name()),
        }
    }
}

impl TypedPlace {
    pub(super) fn name(&self) -> String {
        self.keys.iter().fold(self.column.clone(), |name, key| format!("{name}.{key}"))
    }
}

impl SharedCounts {
    #[cfg(test)]
    pub(super) fn new(counts: BTreeMap<DriftGroup, BTreeMap<String, u64>>) -> Self {
        Self { counts, ..Self::default() }
    }

    /// Counts from the profile, without reading rows.
    pub(super) fn of(profile: &Profile, shows_values: bool) -> Self {
        let mut all = Self::default();
        let common = |common: &CommonValues| common.top(MOST_COUNTED);
        for column in &profile.columns {
            let is_persona = column.api == Some(Column::Persona);
            if let ValueProfile::Json(tree) | ValueProfile::Tags(tree, _) = &column.values {
                all.add_types(column.column.name(), tree, profile.rows);
            }
            match &column.values {
                ValueProfile::Text(values) if is_persona && shows_values => {
                    let null = (column.nulls > 0).then(|| ("no persona".to_owned(), column.nulls));
                    let counts = common(values).into_iter().chain(null).collect();
                    all.counts.insert(DriftGroup::Persona, counts);
                }
                ValueProfile::Tags(_, values) if shows_values => {
                    all.counts.insert(DriftGroup::Label, common(values).into_iter().collect());
                }
                _ => {}
            }
        }
        all
    }

    fn add_types(&mut self, column: &str, tree: &JsonTree, rows: u64) {
        let place = TypedPlace { column: column.to_owned(), keys: Vec::new() };
        self.counts.insert(DriftGroup::Types(place.clone()), types(&tree.root, rows));
        match keys(place, tree) {
            Some(keys) => {
                let keys = keys.into_iter();
                let keys = keys.map(|(key, node)| (DriftGroup::Types(key), types(node, rows)));
                self.counts.extend(keys);
            }
            None => drop(self.many_keys.insert(column.to_owned())),
        }
    }

    /// Whether a group that is not in the counts has no value in the snapshot.
    pub(super) fn counts_all_of(&self, group: &DriftGroup) -> bool {
        match group {
            DriftGroup::Types(place) => {
                place.keys.is_empty() || !self.many_keys.contains(&place.column)
            }
            DriftGroup::Persona | DriftGroup::Label => true,
        }
    }
}

/// Returns the keys of a column, and of the objects in them; `None` if there are too many.
fn keys(column: TypedPlace, tree: &JsonTree) -> Option<Vec<(TypedPlace, &TreeNode)>> {
    let (mut all, mut level) = (Vec::new(), vec![(column, &tree.root)]);
    for _ in 0..KEY_LEVELS {
        let mut next = Vec::new();
        for (place, node) in level {
            // The keys of a map are values.
            if tree.is_overfull
                || node.is_map
                || all.len() + next.len() + node.members.len() > MOST_KEYS
            {
                return None;
            }
            next.extend(node.members.iter().map(|member| {
                let mut place = place.clone();
                place.keys.push(member.name.to_string());
                (place, &member.node)
            }));
        }
        all.extend(next.iter().cloned());
        level = next;
    }
    Some(all)
}

fn types(node: &TreeNode, rows: u64) -> BTreeMap<String, u64> {
    let mut counts: BTreeMap<_, _> =
        node.kinds().map(|(kind, values)| (kind.name().to_owned(), values)).collect();
    // An object can have a key twice.
    let missing = rows.saturating_sub(node.rows);
    if missing > 0 {
        counts.insert(MISSING.to_owned(), missing);
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The types of a column `c` with these values.
    fn types_of(rows: &[String]) -> SharedCounts {
        let (mut tree, mut all) = (JsonTree::default(), SharedCounts::default());
        for (row, text) in rows.iter().enumerate() {
            tree.add(text, row as u64 + 1, &mut |_| {}).unwrap();
        }
        all.add_types("c", &tree, rows.len() as u64);
        all
    }

    #[test]
    fn types_of_keys_are_counted_two_levels_deep() {
        let rows = [r#"{"a":{"b":{"c":1}}}"#, r#"{"a":{"b":"x"}}"#, r#"{"a":2}"#];
        let all = types_of(&rows.map(str::to_owned));
        let counts = all.counts.iter().map(|(group, counts)| {
            let counts = counts.iter().map(|(name, rows)| format!("{name} {rows}"));
            (group.name(), counts.collect::<Vec<_>>().join(", "))
        });
        let counts: Vec<_> = counts.collect();
        let counts: Vec<_> = counts.iter().map(|(name, it)| (name.as_str(), it.as_str())).collect();
        assert_eq!(
            counts,
            [
                ("Types of c", "object 3"),
                ("Types of c.a", "integer 1, object 2"),
                ("Types of c.a.b", "missing 1, object 1, string 1"),
            ]
        );
    }

    #[test]
    fn columns_with_many_keys_have_no_types_of_keys() {
        for (keys, is_counted) in [(MOST_KEYS, true), (MOST_KEYS + 1, false)] {
            let members: Vec<String> = (0..keys).map(|key| format!("\"{key}\":1")).collect();
            let all = types_of(&[format!("{{{}}}", members.join(","))]);
            let key = TypedPlace { column: "c".to_owned(), keys: vec!["0".to_owned()] };
            assert_eq!(all.counts_all_of(&DriftGroup::Types(key)), is_counted);
            assert_eq!(all.counts.len(), if is_counted { 1 + keys } else { 1 });
        }
    }
}
