//! One line of a JSON Lines export, in either form of its JSON columns.
//!
//! The line itself says its form, see [`is_text_line`]: JSON Lines have no metadata, and a value cannot say it. The
//! string `"42"` is a string in one form and a number in the other.

use std::{borrow::Cow, fmt};

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::{
    batch::{Column, OutputColumn},
    sink::is_text_line,
    text::json_mistake,
};

/// Most columns of a line. An export has at most as many.
const MOST_COLUMNS: usize = 1000;
/// The names of the columns of the API, for messages.
const NAMES: &[&str] = &[
    Column::Id.name(),
    Column::Order.name(),
    Column::Input.name(),
    Column::ExpectedOutput.name(),
    Column::Persona.name(),
    Column::Tags.name(),
    Column::AdditionalProperties.name(),
];

pub(crate) struct JsonLine<'a> {
    fields: Vec<(Cow<'a, str>, &'a RawValue)>,
    /// Whether JSON columns are strings of JSON text.
    is_text: bool,
}

/// The columns that a line may have.
#[derive(Clone, Copy)]
pub(super) enum LineColumns<'a> {
    /// Those of a record.
    Recorded(&'a [OutputColumn]),
    /// At least one of the API. Others are computed columns, whose types only a record tells.
    Any,
}

/// Reads the fields of a line. A column that the export does not have is missing in every line.
struct LineFields<'c>(LineColumns<'c>);

impl<'de> DeserializeSeed<'de> for LineFields<'_> {
    type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for LineFields<'_> {
    type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with the columns of a row")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields: Self::Value = Vec::with_capacity(NAMES.len());
        while let Some(name) = map.next_key::<LineName<'de>>()? {
            let name = name.0;
            if fields.len() == MOST_COLUMNS {
                return Err(de::Error::custom(format_args!(
                    "it has more than {MOST_COLUMNS} columns"
                )));
            }
            if fields.iter().any(|(other, _)| *other == name) {
                return Err(de::Error::custom(format_args!("it has {name:?} twice")));
            }
            if let LineColumns::Recorded(columns) = self.0
                && !columns.iter().any(|column| column.name() == name)
            {
                let why = format_args!("it has {name:?}, which its record does not list");
                return Err(de::Error::custom(why));
            }
            fields.push((name, map.next_value()?));
        }
        if let (LineColumns::Any, Some((first, _))) = (self.0, fields.first())
            && !fields.iter().any(|(name, _)| NAMES.contains(&&**name))
        {
            return Err(de::Error::custom(format_args!(
                "it has {first:?} and no column of a row, which are {}; lines of a map can be read only with their record",
                NAMES.join(", ")
            )));
        }
        Ok(fields)
    }
}

/// The name of a field, borrowed if it has no escapes.
#[derive(serde::Deserialize)]
struct LineName<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> JsonLine<'a> {
    /// Parses a line. The error names a field that is not among these columns, or a fault in the JSON.
    pub(super) fn parse(line: &'a [u8], columns: LineColumns<'_>) -> Result<Self, String> {
        let is_object = line.trim_ascii_start().first() == Some(&b'{');
        Self::parsed(line, columns).map_err(|error| match error.is_data() {
            // An object of another kind has a mistake of its own.
            true if is_object => json_mistake(&error),
            true => "it is no object with the columns of a row".to_owned(),
            false => format!("it is not JSON: {}", json_mistake(&error)),
        })
    }

    fn parsed(line: &'a [u8], columns: LineColumns<'_>) -> serde_json::Result<Self> {
        let mut deserializer = serde_json::Deserializer::from_slice(line);
        let fields = LineFields(columns).deserialize(&mut deserializer)?;
        deserializer.end()?;
        Ok(Self { fields, is_text: is_text_line(line) })
    }

    /// Whether JSON is written as strings of its text.
    pub(super) fn is_text(&self) -> bool {
        self.is_text
    }

    /// Returns the names of the columns of the line, null or not.
    pub(super) fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.fields.iter().map(|(name, _)| &**name)
    }

    /// Whether the line has a column. `place` is where it probably is.
    pub(super) fn has(&self, name: &str, place: usize) -> bool {
        self.field(name, place).is_some()
    }

    /// Returns a value as JSON text. `None` for null and for a missing column. `place` is where the column probably is.
    pub(super) fn value(
        &self,
        (name, place): (&str, usize),
        is_json: bool,
    ) -> serde_json::Result<Option<Cow<'a, str>>> {
        let token = self.field(name, place).map(RawValue::get).filter(|token| *token != "null");
        match token {
            Some(token) if self.is_text && is_json => {
                serde_json::from_str(token).map(|text| Some(Cow::Owned(text)))
            }
            token => Ok(token.map(Cow::Borrowed)),
        }
    }

    fn field(&self, name: &str, place: usize) -> Option<&'a RawValue> {
        let is_it = |field: &&(Cow<'a, str>, &'a RawValue)| field.0 == name;
        let guessed = self.fields.get(place).filter(is_it);
        guessed.or_else(|| self.fields.iter().find(is_it)).map(|(_, value)| *value)
    }
}

/// Returns the datapoint of an exported line, as the API sent it: the members of `additional_properties` are fields
/// again. `None` if the line is a datapoint already.
///
/// A line counts as exported if it has only columns of an export, and either `additional_properties` or JSON text in
/// strings.
#[cfg(feature = "demo")]
pub(crate) fn datapoint(line: &[u8]) -> Option<String> {
    let parsed = JsonLine::parse(line, LineColumns::Any).ok()?;
    let others = Column::AdditionalProperties.name();
    let is_exported = parsed.is_text || parsed.has(others, 0);
    if !is_exported || parsed.names().any(|name| !NAMES.contains(&name)) {
        return None;
    }
    let mut row = String::with_capacity(line.len());
    for (place, column) in Column::ALL.into_iter().enumerate() {
        let at = (column.name(), place);
        let Some(value) = parsed.value(at, column.is_json()).ok()? else { continue };
        // In a string there can be any text.
        serde_json::from_str::<de::IgnoredAny>(&value).ok()?;
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
            let line = JsonLine::parse(line.as_bytes(), LineColumns::Any).unwrap();
            line.value(("input", 0), true).map(|value| value.map(Cow::into_owned)).ok()
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
