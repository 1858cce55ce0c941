//! Types that a caller gives: reads and checks them.

use std::{collections::HashSet, str::FromStr};

use serde::Deserialize;

use super::{
    paths::{NestPath, NestStep},
    types::{NestedField, NestedType},
};
use crate::error::{Error, Result};

/// Deepest nesting of lists and structs that is written.
pub(super) const DEPTH: usize = 32;

/// Columns and their types, as the command `schema` prints them and as records have them.
#[derive(Debug, Clone)]
pub struct GivenSchema(pub Vec<NestedField>);

/// A file of columns: the output of `schema`, or a record.
#[derive(Deserialize)]
struct SchemaText {
    #[serde(default)]
    nested: Option<Vec<NestedField>>,
    #[serde(default)]
    columns: Vec<serde_json::Value>,
}

impl FromStr for GivenSchema {
    type Err = Error;

    /// Reads the JSON object that the command `schema` prints, or the record of an export with nested columns.
    fn from_str(text: &str) -> Result<Self> {
        let wrong = |why: String| Error::invalid("schema", crate::text::harmless(text, 60), why);
        let read: SchemaText = serde_json::from_str(text).map_err(|error| {
            wrong(format!("it is not the output of `overmind-export schema`: {error}"))
        })?;
        // Columns that hold no JSON can have types of their own, such as timestamp.
        let typed = read.columns.into_iter().filter_map(|it| serde_json::from_value(it).ok());
        let fields = read.nested.unwrap_or_else(|| typed.collect());
        match fields.is_empty() {
            true => Err(wrong("it names no column with a type".to_owned())),
            false => Ok(Self(fields)),
        }
    }
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
                    return wrong("two names differ only in case");
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
        for text in ["", "[]", "{}", r#"{"columns":[{"name":"a","type":"date"}]}"#] {
            let told = text.parse::<GivenSchema>().unwrap_err().to_string();
            assert!(told.contains("is not a valid schema"), "{told}");
        }
    }
}
