//! Decides the types of JSON columns from what was seen in them. A value never loses information: where no type holds
//! every value, the JSON text stays.

use std::collections::HashMap;

use super::{
    infer::{InferredColumn, InferredNode, MOST_KEYS, Member, Sight},
    paths::{NestPath, NestStep},
    types::{AS_ASKED, NO_VALUE, NestedField, NestedType},
};
use crate::error::{Error, Result};

/// What the caller decides about types.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NestRules {
    /// Objects that become columns although they look like maps.
    pub(crate) nest: Vec<NestPath>,
    /// Nodes that stay JSON text.
    pub(crate) text: Vec<NestPath>,
    /// Most columns that have no columns in them.
    pub(crate) most_columns: usize,
}

impl NestRules {
    /// Default of the most columns: 1,000. Readers take that many in less than a second.
    pub(crate) const MOST_COLUMNS: usize = 1_000;

    /// Refuses an object that becomes columns at or below a node that stays JSON text.
    pub(crate) fn check_paths(&self) -> Result<()> {
        let is_text = |path: &&NestPath| self.text.iter().any(|text| path.is_within(text));
        match self.nest.iter().find(is_text) {
            None => Ok(()),
            Some(path) => {
                let why = "`text` keeps it JSON text: leave out one of the two";
                Err(Error::invalid("path of `nest`", path.to_string(), why))
            }
        }
    }

    /// Refuses fewer columns than the `own` ones that there are when every JSON column is one.
    pub(crate) fn check_columns(&self, own: usize) -> Result<()> {
        if self.most_columns < own {
            let why = format!("the output has {own} columns, and each needs one");
            return Err(Error::invalid("number of columns", self.most_columns.to_string(), why));
        }
        Ok(())
    }

    /// Returns the rules as JSON: they decide the bytes of an output.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        let texts = |paths: &[NestPath]| paths.iter().map(NestPath::to_string).collect::<Vec<_>>();
        serde_json::json!({
            "nest": texts(&self.nest),
            "text": texts(&self.text),
            "max_columns": self.most_columns,
        })
    }
}

impl Default for NestRules {
    fn default() -> Self {
        Self { nest: Vec::new(), text: Vec::new(), most_columns: Self::MOST_COLUMNS }
    }
}

/// A member that fewer than one of this many objects have is rare.
const RARE: u64 = 3;
/// From this number of objects on, members can be rare.
const MANY_OBJECTS: u64 = 10;
/// From this number on, rare members of one type, and nothing else, are the keys of a map.
const RARE_KEYS: usize = 4;
/// From this number on, names that differ only in digits are the keys of a map.
const NUMBERED_KEYS: usize = 3;

/// Decides the types of columns. `others` is the number of columns of the output that hold no JSON.
pub(crate) fn resolve(
    columns: &[(String, InferredColumn)],
    others: usize,
    rules: &NestRules,
) -> Vec<NestedField> {
    let mut fields: Vec<NestedField> = columns
        .iter()
        .map(|(name, column)| {
            let kind = match column.is_overfull {
                true => text("too many different members", None),
                false => Resolving { rules, path: NestPath::of_column(name) }.kind(&column.root),
            };
            NestedField::new(name.clone(), kind)
        })
        .collect();
    let leaves = |fields: &[NestedField]| -> usize {
        others + fields.iter().map(|field| field.kind.leaves()).sum::<usize>()
    };
    while leaves(&fields) > rules.most_columns {
        let Some(widest) = fields.iter().map(|field| width(&field.kind)).max() else { break };
        // The first of the widest objects becomes one column.
        if widest < 2 || !fields.iter_mut().any(|field| fold(&mut field.kind, widest)) {
            break;
        }
    }
    fields
}

/// Largest number of members of an object in this type.
fn width(kind: &NestedType) -> usize {
    match kind {
        NestedType::List { item } => width(item),
        NestedType::Struct { fields } => {
            let below = fields.iter().map(|field| width(&field.kind)).max();
            fields.len().max(below.unwrap_or_default())
        }
        _ => 0,
    }
}

/// Makes the first object with this number of members JSON text. Returns whether there was one.
fn fold(kind: &mut NestedType, members: usize) -> bool {
    match kind {
        NestedType::List { item } => fold(item, members),
        NestedType::Struct { fields } if fields.len() == members => {
            *kind = text("more columns than `max_columns`", None);
            true
        }
        NestedType::Struct { fields } => {
            fields.iter_mut().any(|field| fold(&mut field.kind, members))
        }
        _ => false,
    }
}

fn text(why: impl Into<String>, row: Option<u64>) -> NestedType {
    NestedType::Json { why: why.into(), row }
}

struct Resolving<'a> {
    rules: &'a NestRules,
    path: NestPath,
}

impl Resolving<'_> {
    fn kind(&mut self, node: &InferredNode) -> NestedType {
        if self.rules.text.contains(&self.path) {
            return text(AS_ASKED, None);
        }
        let first = |sights: &[Sight]| sights.iter().filter_map(|it| node.first(*it)).min();
        let mut kinds: Vec<(u64, &str)> = [
            ("boolean", &[Sight::Bool][..]),
            ("number", &[Sight::Int, Sight::MinusZero, Sight::Double, Sight::LongNumber]),
            ("string", &[Sight::String]),
            ("array", &[Sight::Array]),
            ("object", &[Sight::Object]),
        ]
        .into_iter()
        .filter_map(|(kind, sights)| Some((first(sights)?, kind)))
        .collect();
        kinds.sort_unstable();
        match kinds.as_slice() {
            [] => text(NO_VALUE, None),
            [(_, "boolean")] => NestedType::Bool,
            [(_, "number")] => number(node),
            [(_, "string")] => match node.first(Sight::Surrogate) {
                Some(row) => text("half of a surrogate pair", Some(row)),
                None => NestedType::String,
            },
            [_] if node.first(Sight::Deep).is_some() => {
                text("nested too deeply", node.first(Sight::Deep))
            }
            [(_, "array")] => {
                self.path.push(NestStep::Elements);
                let none = InferredNode::default();
                let item = Box::new(self.kind(node.item.as_deref().unwrap_or(&none)));
                self.path.pop();
                NestedType::List { item }
            }
            [_] => self.object(node),
            // The row with the second kind forced it.
            [_, (row, _), ..] => {
                let names: Vec<&str> = kinds.iter().map(|(_, kind)| *kind).collect();
                text(names.join(" and "), Some(*row))
            }
        }
    }

    fn object(&mut self, node: &InferredNode) -> NestedType {
        let mut members: Vec<&Member> = node.members.iter().collect();
        members.sort_by_key(|member| member.first);
        if node.has_too_many {
            let row = members.get(MOST_KEYS).map(|member| member.first.0);
            return text(format!("more than {MOST_KEYS} members"), row);
        }
        if let Some((why, row)) = not_columns(node, &members) {
            return text(why, Some(row));
        }
        let is_asked = self.rules.nest.contains(&self.path);
        if !is_asked && let Some((why, row)) = numbered(node, &members) {
            return text(why, Some(row));
        }
        let fields: Vec<NestedField> = members
            .iter()
            .map(|member| {
                self.path.push(NestStep::Member(member.name.to_string()));
                let kind = self.kind(&member.node);
                self.path.pop();
                NestedField::new(&*member.name, kind)
            })
            .collect();
        if !is_asked && has_rare_keys(node, &members, &fields) {
            return text("its members differ from object to object, as in a map", None);
        }
        NestedType::Struct { fields }
    }
}

fn number(node: &InferredNode) -> NestedType {
    let first = |sight| node.first(sight);
    if let Some(row) = first(Sight::LongNumber) {
        return text("a number with more digits than a column holds", Some(row));
    }
    let fraction = first(Sight::Double);
    match (first(Sight::Int), fraction, first(Sight::MinusZero)) {
        (Some(_), None, None) => NestedType::Int,
        (Some(int), None, Some(zero)) => text("-0 and integers", Some(int.max(zero))),
        (Some(_), Some(fraction), _) if let Some(large) = first(Sight::LargeInt) => {
            text("a decimal and an integer beyond 2^53", Some(large.max(fraction)))
        }
        _ => NestedType::Float,
    }
}

/// Returns why objects cannot become columns at all, and the row that forced it.
fn not_columns(node: &InferredNode, members: &[&Member]) -> Option<(&'static str, u64)> {
    if members.is_empty() && node.first(Sight::Surrogate).is_none() {
        return Some(("no object has a member", node.first(Sight::Object)?));
    }
    if let Some(row) = node.first(Sight::Surrogate) {
        return Some(("half of a surrogate pair in a name", row));
    }
    if let Some(row) = node.first(Sight::Duplicate) {
        return Some(("the same name twice in an object", row));
    }
    if let Some(member) = members.iter().find(|member| member.name.is_empty()) {
        return Some(("an empty name", member.first.0));
    }
    if let Some(member) = members.iter().find(|member| member.name.contains(char::is_control)) {
        return Some(("a control character in a name", member.first.0));
    }
    let mut lower = HashMap::new();
    let again = members.iter().find(|it| lower.insert(it.name.to_lowercase(), ()).is_some());
    again.map(|member| ("names that differ only in case", member.first.0))
}

/// Returns why objects look like maps by their names, and the row that forced it.
fn numbered(node: &InferredNode, members: &[&Member]) -> Option<(&'static str, u64)> {
    if let Some(row) = node.first(Sight::IdKey) {
        return Some(("a name that looks like an id", row));
    }
    let mut stems = HashMap::<String, usize>::new();
    members.iter().find_map(|member| {
        let has_digits = member.name.contains(|c: char| c.is_ascii_digit());
        let count = stems.entry(stem(&member.name)).or_default();
        *count += usize::from(has_digits);
        let row = member.first.0;
        (*count == NUMBERED_KEYS).then_some(("names that differ only in a number", row))
    })
}

/// Replaces each run of digits with `0`.
fn stem(name: &str) -> String {
    let mut stem = String::with_capacity(name.len());
    for c in name.chars() {
        let c = if c.is_ascii_digit() { '0' } else { c };
        if c != '0' || !stem.ends_with('0') {
            stem.push(c);
        }
    }
    stem
}

/// Whether all members are rare and of one type, as the keys of a map are.
fn has_rare_keys(node: &InferredNode, members: &[&Member], fields: &[NestedField]) -> bool {
    let is_rare = |member: &&Member| member.values.saturating_mul(RARE) < node.objects;
    let same = |fields: &[NestedField]| {
        fields.windows(2).all(|two| match two {
            [one, other] => shape(&one.kind) == shape(&other.kind),
            _ => true,
        })
    };
    members.len() >= RARE_KEYS
        && node.objects >= MANY_OBJECTS
        && members.iter().all(is_rare)
        && same(fields)
}

/// A number for the outermost type. Integers and floating-point numbers have the same.
fn shape(kind: &NestedType) -> u8 {
    match kind {
        NestedType::String => 0,
        NestedType::Int | NestedType::Float => 1,
        NestedType::Bool => 2,
        NestedType::Json { .. } => 3,
        NestedType::List { .. } => 4,
        NestedType::Struct { .. } => 5,
    }
}
