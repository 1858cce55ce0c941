//! One line of a JSON Lines export, in either form of its JSON columns.
//!
//! The line itself says its form, see [`is_text_line`]: JSON Lines have no metadata, and a value cannot say it. The
//! string `"42"` is a string in one form and a number in the other.

use std::borrow::Cow;

use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use crate::{batch::Column, sink::is_text_line};

pub(crate) struct JsonLine<'a> {
    fields: LineFields<'a>,
    /// Whether JSON columns are strings of JSON text.
    is_text: bool,
}

/// The fields of a line. A column that the export does not have is missing in every line.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LineFields<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    order: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    input: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    expected_output: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    persona: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    tags: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    additional_properties: Option<&'a RawValue>,
}

/// Distinguishes an explicit null from a missing field.
fn present<'de, D: serde::Deserializer<'de>>(value: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(value).map(Some)
}

impl<'a> JsonLine<'a> {
    /// Parses a line. The error names a field that no export has, or a fault in the JSON.
    pub(super) fn parse(line: &'a [u8]) -> serde_json::Result<Self> {
        Ok(Self { fields: serde_json::from_slice(line)?, is_text: is_text_line(line) })
    }

    /// Returns the columns of the line, null or not.
    pub(super) fn columns(&self) -> impl Iterator<Item = Column> {
        Column::ALL.into_iter().filter(|column| self.field(*column).is_some())
    }

    /// Returns a value as JSON text. `None` for null and for a missing column.
    pub(super) fn value(&self, column: Column) -> serde_json::Result<Option<Cow<'a, str>>> {
        let token = self.field(column).map(RawValue::get).filter(|token| *token != "null");
        match token {
            Some(token) if self.is_text && column.is_json() => {
                serde_json::from_str(token).map(|text| Some(Cow::Owned(text)))
            }
            token => Ok(token.map(Cow::Borrowed)),
        }
    }

    fn field(&self, column: Column) -> Option<&'a RawValue> {
        match column {
            Column::Id => self.fields.id,
            Column::Order => self.fields.order,
            Column::Input => self.fields.input,
            Column::ExpectedOutput => self.fields.expected_output,
            Column::Persona => self.fields.persona,
            Column::Tags => self.fields.tags,
            Column::AdditionalProperties => self.fields.additional_properties,
        }
    }
}

/// Returns the datapoint of an exported line, as the API sent it: the members of `additional_properties` are fields
/// again. `None` if the line is a datapoint already.
///
/// A line counts as exported if it has only columns of an export, and either `additional_properties` or JSON text in
/// strings.
#[cfg(feature = "demo")]
pub(crate) fn datapoint(line: &[u8]) -> Option<String> {
    let parsed = JsonLine::parse(line).ok()?;
    if !parsed.is_text && parsed.fields.additional_properties.is_none() {
        return None;
    }
    let mut row = String::with_capacity(line.len());
    for column in Column::ALL {
        let Some(value) = parsed.value(column).ok()? else { continue };
        // In a string there can be any text.
        serde_json::from_str::<IgnoredAny>(&value).ok()?;
        row.push(if row.is_empty() { '{' } else { ',' });
        if column == Column::AdditionalProperties {
            let members = value.trim().strip_prefix('{')?.strip_suffix('}')?.trim();
            match members {
                "" => drop(row.pop()),
                members => row.push_str(members),
            }
        } else {
            row.extend(["\"", column.name(), "\":", &value]);
        }
    }
    row.push('}');
    Some(row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spaces_at_the_start_alone_mark_text() {
        let value = |line: &str| {
            let line = JsonLine::parse(line.as_bytes()).unwrap();
            line.value(Column::Input).map(|value| value.map(Cow::into_owned)).ok()
        };
        let (text, json) = (Some(Some("42".to_owned())), Some(Some("\"42\"".to_owned())));
        assert_eq!(value("{ \"input\":\"42\"}\n"), text);
        assert_eq!(value("{ \"id\":\"a\",\"input\":\"42\"}"), text);
        for line in ["{\"input\":\"42\"}", "{ \"input\": \"42\" }\r\n", " { \"input\":\"42\"}"] {
            assert_eq!(value(line), json, "{line}");
        }
        assert_eq!(value("{ \"input\":null}"), Some(None));
        assert_eq!(value("{ \"id\":\"a\"}"), Some(None));
        assert_eq!(value("{ \"input\":42}"), None);
    }

    #[cfg(feature = "demo")]
    #[test]
    fn datapoint_has_the_fields_of_the_api() {
        let table = [
            (
                r#"{"id":"a","input":1,"persona":null,"additional_properties":{"x":[1, 2],"y":"}"}}"#,
                Some(r#"{"id":"a","input":1,"x":[1, 2],"y":"}"}"#),
            ),
            (r#"{"id":"a","additional_properties":null}"#, Some(r#"{"id":"a"}"#)),
            (r#"{"id":"a","additional_properties":{ }}"#, Some(r#"{"id":"a"}"#)),
            (r#"{"additional_properties":{"x":1}}"#, Some(r#"{"x":1}"#)),
            (
                r#"{ "id":"a","input":"{\"k\":\"\\ud800\"}","additional_properties":"{\"x\":1}"}"#,
                Some(r#"{"id":"a","input":{"k":"\ud800"},"x":1}"#),
            ),
            // Datapoints as they are.
            (r#"{"id":"a","input":"42"}"#, None),
            (r#"{"id":"a","additional_properties":{"x":1},"other":2}"#, None),
            (r#"{"id":"a","additional_properties":[1]}"#, None),
            (r#"{ "id":"a","input":"not JSON"}"#, None),
            (r#"{ "id":"a","input":{}}"#, None),
        ];
        for (line, expected) in table {
            assert_eq!(datapoint(line.as_bytes()).as_deref(), expected, "{line}");
        }
    }
}
