//! Puts the values that did not fit the type of their column back into the text of the row.
//!
//! Files can come from any source: an object whose paths do not belong to its row is an error, and never a wrong value.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{
    cursor::{JsonCursor, JsonKind},
    given::DEPTH,
    paths::NestPath,
};
use crate::json_text::push_json_string;

/// A step of the path of a rescued value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum RescueStep {
    Member(String),
    /// A place in a list, from 0.
    Place(usize),
}

impl RescueStep {
    pub(super) fn append_to(&self, path: &mut String) {
        match self {
            Self::Place(index) => *path += &format!("[{index}]"),
            // Only the bracket of a column follows a dot, as in jq.
            Self::Member(name) => {
                let step = NestPath::of_column(name).to_string();
                let bracket = step.strip_prefix('.').filter(|it| it.starts_with('['));
                path.push_str(bracket.filter(|_| !path.is_empty()).unwrap_or(&step));
            }
        }
    }
}

/// The path of a rescued value, with the place in each list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RescuePath(Vec<RescueStep>);

impl RescuePath {
    pub(super) fn of_column(name: &str) -> Self {
        Self(vec![RescueStep::Member(name.to_owned())])
    }
}

impl fmt::Display for RescuePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut path = String::new();
        self.0.iter().for_each(|step| step.append_to(&mut path));
        f.write_str(&path)
    }
}

impl FromStr for RescuePath {
    type Err = WrongRescue;

    fn from_str(text: &str) -> Result<Self, WrongRescue> {
        let (mut steps, mut rest) = (Vec::new(), text);
        while !rest.is_empty() {
            if steps.len() > DEPTH + 1 {
                return Err(WrongRescue);
            }
            let dotted = rest.strip_prefix('.');
            // As in jq, a bracket can follow the first dot.
            let bracket = dotted.filter(|after| steps.is_empty() && after.starts_with("[\""));
            if let Some(after) = bracket.unwrap_or(rest).strip_prefix('[') {
                let (step, after) = if after.starts_with('"') {
                    let mut names = serde_json::Deserializer::from_str(after).into_iter::<String>();
                    let name = names.next().and_then(Result::ok).ok_or(WrongRescue)?;
                    let end = names.byte_offset();
                    (RescueStep::Member(name), after.get(end..).ok_or(WrongRescue)?)
                } else {
                    let end = after.find(']').ok_or(WrongRescue)?;
                    let (index, after) = after.split_at(end);
                    let is_plain = index == "0" || !index.starts_with(['0', '+']);
                    let index = index.parse().ok().filter(|_| is_plain).ok_or(WrongRescue)?;
                    (RescueStep::Place(index), after)
                };
                steps.push(step);
                rest = after.strip_prefix(']').ok_or(WrongRescue)?;
            } else {
                let after = dotted.ok_or(WrongRescue)?;
                let end = after.find(['.', '[']).unwrap_or(after.len());
                let (name, after) = after.split_at(end);
                steps.push(RescueStep::Member(name.to_owned()));
                rest = after;
            }
        }
        // One spelling of each path: two spellings would be two values at one path.
        let path = Self(steps);
        if path.to_string() == text && matches!(path.0.first(), Some(RescueStep::Member(_))) {
            Ok(path)
        } else {
            Err(WrongRescue)
        }
    }
}

/// The rescued values of a row are not those of its columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WrongRescue;

/// The rescued values of a row, by path.
#[derive(Debug, Default)]
pub(crate) struct RescuedRow<'a> {
    columns: BTreeMap<RescueStep, RescueTree<'a>>,
}

#[derive(Debug)]
enum RescueTree<'a> {
    /// JSON text.
    Value(&'a str),
    Below(BTreeMap<RescueStep, RescueTree<'a>>),
}

impl<'a> RescuedRow<'a> {
    /// Reads the object of a row.
    ///
    /// # Errors
    /// When it is not an object whose names are different paths.
    pub(crate) fn parse(object: &'a str) -> Result<Self, WrongRescue> {
        let members: RescuedMembers<'a> = serde_json::from_str(object).map_err(|_| WrongRescue)?;
        let mut row = Self::default();
        for (path, value) in members.0 {
            let mut steps = path.parse::<RescuePath>()?.0;
            let last = steps.pop().ok_or(WrongRescue)?;
            let mut below = &mut row.columns;
            for step in steps {
                let tree = below.entry(step);
                let tree = tree.or_insert_with(|| RescueTree::Below(BTreeMap::new()));
                let RescueTree::Below(next) = tree else { return Err(WrongRescue) };
                below = next;
            }
            if below.insert(last, RescueTree::Value(value)).is_some() {
                return Err(WrongRescue);
            }
        }
        Ok(row)
    }

    /// Takes the values of a column. Returns the column's text with them, which is `fitting` if there are none.
    ///
    /// # Errors
    /// When a path does not lead to a null or to a missing member.
    pub(crate) fn restore(
        &mut self,
        column: &str,
        fitting: Option<&str>,
    ) -> Result<Option<String>, WrongRescue> {
        let Some(tree) = self.columns.remove(&RescueStep::Member(column.to_owned())) else {
            return Ok(fitting.map(str::to_owned));
        };
        let mut text = String::new();
        let mut cursor = JsonCursor::new(fitting.unwrap_or("null"));
        restore(&mut cursor, tree, &mut text)?;
        Ok(Some(text))
    }

    /// Whether values of columns are left that were not asked for.
    pub(crate) fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }
}

fn restore(
    cursor: &mut JsonCursor<'_>,
    tree: RescueTree<'_>,
    text: &mut String,
) -> Result<(), WrongRescue> {
    let found = cursor.kind().map_err(|_| WrongRescue)?;
    match (found, tree) {
        (JsonKind::Null, RescueTree::Value(value)) => {
            cursor.skip().map_err(|_| WrongRescue)?;
            text.push_str(value);
        }
        (JsonKind::Array, RescueTree::Below(mut below)) => {
            let mut index = 0;
            text.push('[');
            cursor.enter();
            while cursor.has_more().map_err(|_| WrongRescue)? {
                if index > 0 {
                    text.push(',');
                }
                match below.remove(&RescueStep::Place(index)) {
                    Some(tree) => restore(cursor, tree, text)?,
                    None => text.push_str(cursor.skip().map_err(|_| WrongRescue)?),
                }
                index += 1;
            }
            text.push(']');
            if !below.is_empty() {
                return Err(WrongRescue);
            }
        }
        (JsonKind::Object, RescueTree::Below(mut below)) => {
            let mut before = '{';
            cursor.enter();
            while cursor.has_more().map_err(|_| WrongRescue)? {
                let key = cursor.key().map_err(|_| WrongRescue)?;
                text.push(before);
                text.push('"');
                text.push_str(key.text);
                text.push_str("\":");
                let name = key.value().ok_or(WrongRescue)?.into_owned();
                match below.remove(&RescueStep::Member(name)) {
                    Some(tree) => restore(cursor, tree, text)?,
                    None => text.push_str(cursor.skip().map_err(|_| WrongRescue)?),
                }
                before = ',';
            }
            for (step, tree) in below {
                let (RescueStep::Member(name), RescueTree::Value(value)) = (step, tree) else {
                    return Err(WrongRescue);
                };
                text.push(before);
                push_json_string(&name, text);
                text.push(':');
                text.push_str(value);
                before = ',';
            }
            text.push_str(if before == '{' { "{}" } else { "}" });
        }
        _ => return Err(WrongRescue),
    }
    Ok(())
}

/// The members of an object, whose names can be equal.
struct RescuedMembers<'a>(Vec<(String, &'a str)>);

impl<'de> Deserialize<'de> for RescuedMembers<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MemberVisitor;

        impl<'de> Visitor<'de> for MemberVisitor {
            type Value = RescuedMembers<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(path) = map.next_key::<String>()? {
                    members.push((path, map.next_value::<&'de RawValue>()?.get()));
                }
                if members.is_empty() {
                    return Err(A::Error::custom("it has no member"));
                }
                Ok(RescuedMembers(members))
            }
        }

        deserializer.deserialize_map(MemberVisitor)
    }
}
