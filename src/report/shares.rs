//! How many rows of a snapshot have each persona, label and type of JSON value: what drifts from snapshot to snapshot.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    masked::{MaskedValues, ValueTrail},
    profile::{
        Profile, ValueProfile,
        figures::CommonValues,
        tree::{JsonTree, TreeNode},
    },
};
use crate::batch::Column;

/// Values of a column that are counted in each snapshot. The share of any other value is below one part in 512.
const MOST_COUNTED: usize = 512;
/// Keys of a column whose types are counted. 30 snapshots of seven columns then take less than 4 MiB.
const MOST_KEYS: usize = 64;
/// Levels of keys whose types are counted: the keys of a column, and the keys of objects in them.
const KEY_LEVELS: usize = 2;
/// Number of rows with each value.
#[derive(Debug, Clone, Default)]
pub(super) struct SharedCounts {
    pub(super) counts: BTreeMap<DriftGroup, BTreeMap<SharedValue, u64>>,
    /// By how many the counts of a group can be too large. The count of a value without one is at most this.
    errors: BTreeMap<DriftGroup, u64>,
    /// The columns with too many keys. Their keys are not counted.
    many_keys: BTreeSet<String>,
    /// The columns that were read.
    pub(super) columns: BTreeSet<String>,
    /// The values that nobody may see.
    pub(super) masked: MaskedValues,
}

/// What rows have in a group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SharedValue {
    Value(String),
    /// They have no value. A value can be text of any name, so this is none.
    Missing,
}

impl SharedValue {
    /// Returns the text for the page.
    pub(super) fn name(&self, group: &DriftGroup) -> String {
        match (self, group) {
            (Self::Value(value), _) => value.clone(),
            (Self::Missing, DriftGroup::Persona) => "null (no persona)".to_owned(),
            (Self::Missing, DriftGroup::Label | DriftGroup::Types(_)) => "missing".to_owned(),
        }
    }
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
    pub(super) fn new(counts: BTreeMap<DriftGroup, BTreeMap<SharedValue, u64>>) -> Self {
        Self { counts, ..Self::default() }
    }

    /// Counts from the profile, without reading rows.
    pub(super) fn of(profile: &Profile, masked: MaskedValues, shows_values: bool) -> Self {
        let mut all = Self { masked, ..Self::default() };
        for column in &profile.columns {
            let name = column.column.name();
            all.columns.insert(name.to_owned());
            // All values are null, which says nothing about the data.
            if all.masked.has_column(name) {
                continue;
            }
            let is_persona = column.api == Some(Column::Persona);
            if let ValueProfile::Json(tree) | ValueProfile::Tags(tree, _) = &column.values {
                all.add_types(name, tree, profile.rows);
            }
            match &column.values {
                ValueProfile::Text(values) if is_persona && shows_values => {
                    all.add_values(DriftGroup::Persona, values, column.nulls);
                }
                ValueProfile::Tags(_, values) if shows_values => {
                    all.add_values(DriftGroup::Label, values, 0);
                }
                _ => {}
            }
        }
        all
    }

    fn add_values(&mut self, group: DriftGroup, values: &CommonValues, nulls: u64) {
        let common = values.top(MOST_COUNTED).into_iter();
        let common = common.map(|(value, rows)| (SharedValue::Value(value), rows));
        let null = (nulls > 0).then_some((SharedValue::Missing, nulls));
        self.errors.insert(group.clone(), values.most_error());
        self.counts.insert(group, common.chain(null).collect());
    }

    /// Returns the number of rows with a value; `None` if it is not known, because the values are masked or left out.
    pub(super) fn rows_with(
        &self,
        group: &DriftGroup,
        value: &SharedValue,
        rows: u64,
    ) -> Option<u64> {
        if let Some(counts) = self.counts.get(group) {
            return (!self.is_masked(group)).then(|| counts.get(value).copied().unwrap_or(0));
        }
        let DriftGroup::Types(place) = group else { return None };
        let column = TypedPlace { column: place.column.clone(), keys: Vec::new() };
        let is_read = self.counts.contains_key(&DriftGroup::Types(column));
        // No row has a key that the whole snapshot does not have.
        let missing = if *value == SharedValue::Missing { rows } else { 0 };
        (is_read && !self.is_masked(group)).then_some(missing)
    }

    #[cfg(test)]
    pub(super) fn set_error(&mut self, group: DriftGroup, error: u64) {
        self.errors.insert(group, error);
    }

    /// Returns by how many the counts of a group can be too large.
    pub(super) fn error(&self, group: &DriftGroup) -> u64 {
        self.errors.get(group).copied().unwrap_or(0)
    }

    /// Whether the values at the place of these types, or around it, are masked.
    fn is_masked(&self, group: &DriftGroup) -> bool {
        let DriftGroup::Types(place) = group else { return false };
        let mut trail = ValueTrail::of(&place.column);
        let mut is_masked = self.masked.has(&trail);
        for key in &place.keys {
            trail = trail.member(key);
            is_masked |= self.masked.has(&trail);
        }
        is_masked
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

fn types(node: &TreeNode, rows: u64) -> BTreeMap<SharedValue, u64> {
    let kinds = node.kinds();
    let kinds = kinds.map(|(kind, values)| (SharedValue::Value(kind.name().to_owned()), values));
    let mut counts: BTreeMap<_, _> = kinds.collect();
    // An object can have a key twice.
    let missing = rows.saturating_sub(node.rows);
    if missing > 0 {
        counts.insert(SharedValue::Missing, missing);
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
            let counts = counts.iter().map(|(value, rows)| format!("{} {rows}", value.name(group)));
            (group.name(), counts.collect::<Vec<_>>().join(", "))
        });
        let counts: Vec<_> = counts.collect();
        let counts: Vec<_> = counts.iter().map(|(name, it)| (name.as_str(), it.as_str())).collect();
        assert_eq!(
            counts,
            [
                ("Types of c", "object 3"),
                ("Types of c.a", "integer 1, object 2"),
                ("Types of c.a.b", "object 1, string 1, missing 1"),
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
