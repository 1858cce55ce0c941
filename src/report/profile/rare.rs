//! Values of another type than almost all values at their place.

use super::{
    ColumnProfile, ValueProfile,
    tree::{TreeNode, ValueKind},
};
use crate::report::masked::ValueTrail;

/// Values at a place from which on a type can be rare: 100.
const ENOUGH: u64 = 100;
/// A type is rare if it is that of at most one value in this number: 100.
const RARE: u64 = 100;

/// A rare type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RareKind {
    /// The path of the values, such as `.input.messages[]`.
    pub(crate) place: String,
    pub(crate) kind: ValueKind,
    pub(crate) count: u64,
    /// Number of values at the place that are not null.
    pub(crate) values: u64,
    /// The type that most of them have.
    pub(crate) usual: ValueKind,
    /// The first row with a value of the rare type, from 1.
    pub(crate) row: u64,
}

/// Returns the rare types in the columns, the rarest first.
pub(crate) fn rare_kinds(columns: &[ColumnProfile]) -> Vec<RareKind> {
    let mut found = Vec::new();
    for column in columns {
        if let ValueProfile::Json(tree) | ValueProfile::Tags(tree, _) = &column.values {
            collect(&tree.root, ValueTrail::of(column.column.name()), &mut found);
        }
    }
    found.sort_by(|a, b| {
        // Counts of different places are compared as shares.
        let of = |it: &RareKind| it.count as f64 / it.values as f64;
        of(a).total_cmp(&of(b)).then_with(|| a.place.cmp(&b.place))
    });
    found
}

fn collect(node: &TreeNode, trail: ValueTrail, found: &mut Vec<RareKind>) {
    let kinds: Vec<_> = node.kinds().filter(|(kind, _)| *kind != ValueKind::Null).collect();
    let values: u64 = kinds.iter().map(|(_, count)| count).sum();
    let usual = kinds.iter().max_by_key(|(_, count)| *count).map(|(kind, _)| *kind);
    if let Some(usual) = usual.filter(|_| values >= ENOUGH) {
        let is_rare = |kind: ValueKind, count: u64| {
            // 1 and 1.5 are both numbers.
            !(kind.is_number() && usual.is_number()) && kind != usual && count * RARE <= values
        };
        for (kind, count) in kinds.into_iter().filter(|(kind, count)| is_rare(*kind, *count)) {
            let (place, row) = (trail.as_str().to_owned(), node.first_row(kind));
            found.push(RareKind { place, kind, count, values, usual, row });
        }
    }
    for member in &node.members {
        collect(&member.node, trail.member(&member.name), found);
    }
    if let Some(item) = &node.item {
        collect(item, trail.item(), found);
    }
}
