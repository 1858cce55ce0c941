//! The row as the one object that an expression sees. Only the fields that it reads are parsed.

use std::{fmt, rc::Rc};

use jaq_json::Num;
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{
    budget,
    columns::FieldsRead,
    json,
    value::{JqValue, MEMBER, Members},
};
use crate::{client::Row, text::foreign};

/// The fields that every row has, in the order of the object.
pub(crate) const FIELDS: [&str; 6] = ["id", "order", "input", "expected_output", "persona", "tags"];

/// Returns the object with the fields that are read. Their bytes are counted.
///
/// # Errors
/// The field that cannot be parsed, and why.
pub(super) fn of(row: &Row<'_>, fields: &FieldsRead) -> Result<JqValue, String> {
    let is_read = |name: &str| match fields {
        FieldsRead::All => true,
        FieldsRead::Named(names) => names.contains(name),
    };
    let mut object = Members::default();
    let parse = |name: &str, text: Option<&str>| match text {
        None => Ok(JqValue::Null),
        Some(text) => {
            budget::read(text.len());
            json::parse(text).map_err(|why| format!("in the field {name}: {why}"))
        }
    };
    let text = |text: &str| {
        budget::read(text.len());
        JqValue::text(text)
    };
    for name in FIELDS.into_iter().filter(|name| is_read(name)) {
        let value = match name {
            "id" if !row.has_id => JqValue::Null,
            "id" => JqValue::text(&row.id.to_string()),
            // A row's order fits in 64 bits, as on every supported system.
            "order" => {
                row.order.map_or(JqValue::Null, |order| JqValue::Num(Num::from_integral(order)))
            }
            "persona" => row.persona.map_or(JqValue::Null, text),
            "input" => parse(name, row.input)?,
            "expected_output" => parse(name, row.expected_output)?,
            _ => parse(name, row.tags)?,
        };
        budget::copy(MEMBER);
        object.insert(Rc::new(name.to_owned()), value);
    }
    let reads_others = match fields {
        FieldsRead::All => true,
        FieldsRead::Named(names) => names.iter().any(|name| !FIELDS.contains(&name.as_str())),
    };
    if let Some(others) = row.additional_properties.filter(|_| reads_others) {
        let members: JsonMembers<'_> = serde_json::from_str(others)
            .map_err(|error| format!("in the unknown fields: {}", foreign(error)))?;
        for (key, value) in members.0 {
            // A key with a lone surrogate cannot be named.
            let key = match (serde_json::from_str::<String>(key.get()), fields) {
                (Ok(key), _) => key,
                (Err(_), FieldsRead::Named(_)) => continue,
                (Err(error), FieldsRead::All) => {
                    return Err(format!("in the name of an unknown field: {}", foreign(error)));
                }
            };
            if is_read(&key) {
                let value = parse(&key, Some(value.get()))?;
                budget::copy(key.len() + MEMBER);
                object.insert(Rc::new(key), value);
            }
        }
    }
    Ok(JqValue::object(object))
}

/// The members of an object, with the tokens of keys and values. Their bytes are counted.
struct JsonMembers<'a>(Vec<(&'a RawValue, &'a RawValue)>);

impl<'de> Deserialize<'de> for JsonMembers<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfObject;
        impl<'de> Visitor<'de> for OfObject {
            type Value = JsonMembers<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    budget::copy(size_of_val(&member));
                    members.push(member);
                }
                Ok(JsonMembers(members))
            }
        }
        deserializer.deserialize_map(OfObject)
    }
}
