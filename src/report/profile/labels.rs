//! The labels in a value of `tags`.

use std::collections::HashSet;

use twox_hash::XxHash3_64;

use crate::nested::{JsonCursor, JsonKind, MalformedJson};

/// Labels of a row that are looked through one by one: 32. Most rows have fewer, and need no hash table.
const LOOKED_THROUGH: usize = 32;

/// The labels of a row, by their hashes. The time for a label does not grow with their number.
#[derive(Default)]
pub(crate) struct LabelsOfRow {
    first: Vec<u64>,
    others: HashSet<u64>,
}

impl LabelsOfRow {
    /// Returns whether the row did not have the label before.
    pub(crate) fn insert(&mut self, label: &str) -> bool {
        let hash = XxHash3_64::oneshot(label.as_bytes());
        if self.first.contains(&hash) {
            return false;
        }
        if self.first.len() < LOOKED_THROUGH {
            self.first.push(hash);
            return true;
        }
        self.others.insert(hash)
    }
}

/// Calls `visit` with each label of a value of tags: the elements of an array, and the members of objects as
/// `key=value`. Arrays and objects below them are no labels.
pub(crate) fn labels(text: &str, visit: &mut dyn FnMut(&str)) -> Result<(), MalformedJson> {
    let mut cursor = JsonCursor::new(text);
    match cursor.kind()? {
        JsonKind::Array => {
            cursor.enter();
            while cursor.has_more()? {
                match cursor.kind()? {
                    JsonKind::Object => members(&mut cursor, visit)?,
                    _ => label(&mut cursor, None, &mut String::new(), visit)?,
                }
            }
            Ok(())
        }
        JsonKind::Object => members(&mut cursor, visit),
        _ => label(&mut cursor, None, &mut String::new(), visit),
    }
}

fn members(cursor: &mut JsonCursor<'_>, visit: &mut dyn FnMut(&str)) -> Result<(), MalformedJson> {
    cursor.enter();
    let mut text = String::new();
    while cursor.has_more()? {
        let key = cursor.key()?;
        let key = key.value().unwrap_or(key.text.into());
        label(cursor, Some(&key), &mut text, visit)?;
    }
    Ok(())
}

/// `text` is a buffer for the label.
fn label(
    cursor: &mut JsonCursor<'_>,
    key: Option<&str>,
    text: &mut String,
    visit: &mut dyn FnMut(&str),
) -> Result<(), MalformedJson> {
    let value = match cursor.kind()? {
        JsonKind::Array | JsonKind::Object | JsonKind::Null => return cursor.skip().map(drop),
        JsonKind::String => {
            let string = cursor.string()?;
            string.value().unwrap_or(string.text.into())
        }
        JsonKind::Bool | JsonKind::Number => cursor.scalar()?.into(),
    };
    match key {
        Some(key) => {
            text.clear();
            text.extend([key, "=", &value]);
            visit(text);
        }
        None => visit(&value),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_elements_and_members() {
        let mut found = Vec::new();
        let text = r#"["a",7,{"k":"v","n":null,"x":[1]},["no"],null,{"b":true}]"#;
        labels(text, &mut |label| found.push(label.to_owned())).unwrap();
        assert_eq!(found, ["a", "7", "k=v", "b=true"]);
    }

    #[test]
    fn row_has_a_label_once() {
        let mut row = LabelsOfRow::default();
        let names: Vec<String> = (0..100).chain(0..100).map(|it| it.to_string()).collect();
        assert_eq!(names.iter().filter(|name| row.insert(name)).count(), 100);
    }
}
