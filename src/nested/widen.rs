//! Widens types, so that they also hold the values of other rows. They never become narrower.
//!
//! Inference starts with what the types say instead of with nothing. So all rules of inference hold.

use super::{
    columns::InferredColumns,
    infer::{InferredColumn, InferredItem, InferredNode, Member, Sight},
    paths::{NestPath, NestStep},
    resolve::NestRules,
    types::{NestedField, NestedType},
};

/// Returns the state of each column before its rows are added: columns of these types, and columns without a type.
pub(crate) fn expected_columns<'a>(
    types: &[NestedField],
    others: impl Iterator<Item = &'a str>,
) -> InferredColumns {
    let expected = |field: &NestedField| {
        (field.name.clone(), InferredColumn::with_root(expected_node(&field.kind)))
    };
    let mut columns: Vec<_> = types.iter().map(expected).collect();
    for name in others {
        if types.iter().all(|field| field.name != name) {
            columns.push((name.to_owned(), InferredColumn::default()));
        }
    }
    InferredColumns::expected(columns)
}

/// Returns these types, widened so that they hold all rows that were added to the columns. A node that is JSON text
/// stays so, except one without values. `others` is the number of columns of the output that hold no JSON.
pub(crate) fn widened(
    types: &[NestedField],
    columns: &InferredColumns,
    others: usize,
) -> Vec<NestedField> {
    let mut rules = NestRules::default();
    for field in types {
        collect_rules(&field.kind, NestPath::of_column(&field.name), &mut rules);
    }
    let mut widened = columns.resolve(others, &rules);
    for field in &mut widened {
        if let Some(before) = types.iter().find(|it| it.name == field.name) {
            keep_reasons(&before.kind, &mut field.kind);
        }
    }
    widened
}

/// Returns what values of this type look like. Their row is 0, so that they come before all others.
fn expected_node(kind: &NestedType) -> InferredNode {
    let mut node = InferredNode::default();
    match kind {
        NestedType::String => node.see(Sight::String, 0),
        NestedType::Int => node.see(Sight::Int, 0),
        NestedType::Float => node.see(Sight::Double, 0),
        NestedType::Bool => node.see(Sight::Bool, 0),
        // A rule keeps it, unless it had no values.
        NestedType::Json { .. } => {}
        NestedType::List { item } => {
            node.see(Sight::Array, 0);
            node.item = Some(Box::new(InferredItem::expected(expected_node(item))));
        }
        NestedType::Struct { fields } => {
            node.see(Sight::Object, 0);
            for (place, field) in fields.iter().enumerate() {
                node.push(Member::expected(&field.name, place, expected_node(&field.kind)));
            }
        }
    }
    node
}

/// Structs stay structs although their members may look like the keys of a map, and text stays text.
fn collect_rules(kind: &NestedType, path: NestPath, rules: &mut NestRules) {
    match kind {
        NestedType::Json { .. } if !kind.is_unknown() => rules.text.push(path),
        NestedType::List { item } => {
            collect_rules(item, path.below(NestStep::Elements), rules);
        }
        NestedType::Struct { fields } => {
            for field in fields {
                let below = path.below(NestStep::Member(field.name.clone()));
                collect_rules(&field.kind, below, rules);
            }
            rules.nest.push(path);
        }
        _ => {}
    }
}

/// A node that was JSON text keeps its reason, unless it had no values.
fn keep_reasons(before: &NestedType, now: &mut NestedType) {
    match (before, now) {
        (NestedType::Json { .. }, now @ NestedType::Json { .. })
            if !before.is_unknown() || now.is_unknown() =>
        {
            *now = before.clone();
        }
        (NestedType::List { item: before }, NestedType::List { item: now }) => {
            keep_reasons(before, now);
        }
        (NestedType::Struct { fields: before }, NestedType::Struct { fields: now }) => {
            for field in now {
                if let Some(before) = before.iter().find(|it| it.name == field.name) {
                    keep_reasons(&before.kind, &mut field.kind);
                }
            }
        }
        _ => {}
    }
}
