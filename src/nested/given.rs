//! Types that a caller gives: reads and checks them.

use std::{collections::HashSet, str::FromStr};

use serde_json::Value;

use super::{
    paths::{NestPath, NestStep},
    types::{AS_ASKED, MOST_LISTS, NestedField, NestedType},
};
use crate::{
    error::{Error, Result},
    text::{harmless, json_mistake},
};

/// Deepest nesting of lists and structs that is written.
pub(super) const DEPTH: usize = 32;
/// Number of characters of a wrong value that a message shows.
const SHOWN: usize = 60;

/// Columns and their types, as the command `schema` prints them and as records have them.
#[derive(Debug, Clone)]
pub struct GivenSchema(
    /// The columns. One that holds no JSON has the type of its values.
    pub(crate) Vec<NestedField>,
    /// The names and the types of columns with types that no JSON column has, such as timestamp.
    pub(crate) Vec<(String, String)>,
);

impl FromStr for GivenSchema {
    type Err = Error;

    /// Reads the JSON object that the command `schema` prints, or the record of an export with nested columns.
    fn from_str(text: &str) -> Result<Self> {
        let wrong = |why: String| Error::invalid("schema", harmless(text, SHOWN), why);
        let read: Value = serde_json::from_str(text).map_err(|error| {
            let mistake = json_mistake(&error);
            wrong(format!(
                "it is not JSON ({mistake}): give the output of `overmind-export schema`"
            ))
        })?;
        let (of_record, key) = match read.get("nested") {
            Some(Value::Array(fields)) => (Some(fields), "nested"),
            _ => (None, "columns"),
        };
        let columns = match (of_record, read.get("columns")) {
            (Some(fields), _) | (None, Some(Value::Array(fields))) => fields,
            _ => {
                return Err(wrong(
                    "it has no list of columns: give the output of `overmind-export schema`"
                        .to_owned(),
                ));
            }
        };
        let (mut typed, mut others) = (Vec::new(), Vec::new());
        for (place, column) in columns.iter().enumerate() {
            let name = read_name(column, || format!("`{key}[{place}]`"))?;
            let kind = column.get("type").and_then(Value::as_str);
            match kind {
                Some(kind) if kind == "timestamp" || kind.ends_with("[]") => {
                    others.push((name.to_owned(), kind.to_owned()));
                }
                _ => typed.push(NestedField::new(
                    name,
                    read_type(column, &NestPath::of_column(name), 0)?,
                )),
            }
        }
        match typed.is_empty() {
            true => Err(wrong("it names no column with a type".to_owned())),
            false => Ok(Self(typed, others)),
        }
    }
}

/// Returns the error of a part of a schema that cannot be read.
fn unreadable(part: &Value, why: String) -> Error {
    Error::invalid("part of a schema", harmless(&part.to_string(), SHOWN), why)
}

/// Returns the name of a column or of a member.
fn read_name(field: &Value, place: impl Fn() -> String) -> Result<&str> {
    let name = field.get("name").and_then(Value::as_str);
    name.ok_or_else(|| unreadable(field, format!("{} needs a \"name\", a string", place())))
}

/// Returns the type at this path.
fn read_type(given: &Value, path: &NestPath, depth: usize) -> Result<NestedType> {
    let missing = |what: &str| unreadable(given, format!("{path} needs {what}"));
    if depth > DEPTH {
        return Err(unreadable(given, format!("{path} is nested too deeply")));
    }
    let kind = given.get("type").and_then(Value::as_str);
    Ok(match kind.ok_or_else(|| missing("a \"type\", a string"))? {
        "string" => NestedType::String,
        "int" => NestedType::Int,
        "float" => NestedType::Float,
        "bool" => NestedType::Bool,
        "json" => NestedType::Json {
            why: given.get("why").and_then(Value::as_str).unwrap_or(AS_ASKED).to_owned(),
            row: given.get("row").and_then(Value::as_u64),
        },
        "list" => {
            let item = given.get("item").ok_or_else(|| missing("an \"item\", with a \"type\""))?;
            let below = path.below(NestStep::Elements);
            NestedType::List { item: Box::new(read_type(item, &below, depth + 1)?) }
        }
        "struct" => {
            let fields = given.get("fields").and_then(Value::as_array);
            let fields = fields.ok_or_else(|| missing("\"fields\", a list"))?.iter().enumerate();
            let read = |(place, field)| {
                let name = read_name(field, || format!("`fields[{place}]` of {path}"))?;
                let below = path.below(NestStep::Member(name.to_owned()));
                Ok(NestedField::new(name, read_type(field, &below, depth + 1)?))
            };
            NestedType::Struct { fields: fields.map(read).collect::<Result<_>>()? }
        }
        other => {
            let why =
                format!("{path} can have the type string, int, float, bool, json, list or struct");
            return Err(Error::invalid("type in a schema", harmless(other, SHOWN), why));
        }
    })
}

impl NestedField {
    /// Refuses a type that files cannot have, or that readers cannot address.
    pub(crate) fn check(&self) -> Result<()> {
        check(&self.kind, &NestPath::of_column(&self.name), 0)
    }
}

fn check(kind: &NestedType, path: &NestPath, depth: usize) -> Result<()> {
    let wrong = |why: &str| Err(Error::invalid("schema", path.to_string(), why));
    if depth > DEPTH {
        return wrong("it is nested too deeply");
    }
    match kind {
        NestedType::List { .. } if path.lists() >= MOST_LISTS => {
            wrong("it has more than 16 lists in each other, for which readers take too long")
        }
        NestedType::List { item } => check(item, &path.below(NestStep::Elements), depth + 1),
        NestedType::Struct { fields } if fields.is_empty() => wrong("a struct needs a field"),
        NestedType::Struct { fields } => {
            let mut names = HashSet::new();
            for field in fields {
                let name = &field.name;
                if name.is_empty() || name.contains(char::is_control) {
                    return wrong("a name is empty or has a control character");
                }
                if !names.insert(name.to_lowercase()) {
                    return wrong("two names are equal, or differ only in case");
                }
                check(&field.kind, &path.below(NestStep::Member(name.clone())), depth + 1)?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_types_are_checked() {
        let field = |kind: &str| {
            let text = format!(
                r#"{{"columns":[{{"name":"at","type":"timestamp"}},{{"name":"c",{kind}}}]}}"#
            );
            text.parse::<GivenSchema>().map(|given| given.0[0].check())
        };
        assert!(field(r#""type":"list","item":{"type":"int"}"#).unwrap().is_ok());
        for kind in [
            r#""type":"struct","fields":[]"#,
            r#""type":"struct","fields":[{"name":"","type":"int"}]"#,
            r#""type":"struct","fields":[{"name":"a","type":"int"},{"name":"A","type":"int"}]"#,
        ] {
            assert!(field(kind).unwrap().is_err(), "{kind}");
        }
        let lists = |count: usize| {
            let (open, close) = (r#""type":"list","item":{"#.repeat(count), "}".repeat(count));
            field(&format!(r#"{open}"type":"int"{close}"#)).unwrap().is_ok()
        };
        assert!(lists(MOST_LISTS) && !lists(MOST_LISTS + 1));
        for text in ["", "[]", "{}", r#"{"columns":[]}"#] {
            let told = text.parse::<GivenSchema>().unwrap_err().to_string();
            assert!(told.contains("is not a valid schema"), "{told}");
        }
    }

    #[test]
    fn mistakes_in_a_schema_name_their_path() {
        for (column, expected) in [
            (
                r#"{"name":"a","type":"strng"}"#,
                r#""strng" is not a valid type in a schema: .a can have the type string, int, float, bool, json, list or struct"#,
            ),
            (
                r#"{"name":"a","type":"struct","fields":[{"name":"b","type":"list","item":{"type":"date"}}]}"#,
                r#""date" is not a valid type in a schema: .a.b[] can have the type string, int, float, bool, json, list or struct"#,
            ),
            (
                r#"{"name":"a","kind":7}"#,
                r#""{\"kind\":7,\"name\":\"a\"}" is not a valid part of a schema: .a needs a "type", a string"#,
            ),
            (
                r#"{"type":"int"}"#,
                r#""{\"type\":\"int\"}" is not a valid part of a schema: `columns[0]` needs a "name", a string"#,
            ),
            (
                r#"{"name":"a","type":"struct","fields":[7]}"#,
                r#""7" is not a valid part of a schema: `fields[0]` of .a needs a "name", a string"#,
            ),
            (
                r#"{"name":"a","type":"list"}"#,
                r#""{\"name\":\"a\",\"type\":\"list\"}" is not a valid part of a schema: .a needs an "item", with a "type""#,
            ),
        ] {
            let text = format!(r#"{{"columns":[{column}]}}"#);
            assert_eq!(text.parse::<GivenSchema>().unwrap_err().to_string(), expected);
        }
        let text = r#"{"columns":[{"name":"a","type":"json"},{"name":"t","type":"timestamp"}]}"#;
        let given = text.parse::<GivenSchema>().unwrap();
        assert!(given.0[0].kind.is_text() && given.1 == [("t".to_owned(), "timestamp".to_owned())]);
    }
}
