//! Says in the words of the caller's options how the plan of an interrupted run differs from the plan of this one.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::text::quoted;

/// Longest part of a value in a message, in characters.
const SHOWN: usize = 200;
/// The settings whose members are options of their own.
const GROUPS: [&str; 2] = ["query", "transform"];
/// Settings that often differ because another one does. That one is named.
const FOLLOWING: [&str; 4] = ["columns", "language", "on_error", "seed"];

/// Describes the first setting that differs; `None` if all are equal.
pub(super) fn changed_option(
    before: &Map<String, Value>,
    now: &Map<String, Value>,
) -> Option<String> {
    let (key, before, now) = first_difference(before, now)?;
    if !GROUPS.contains(&key) {
        return Some(described(key, before, now));
    }
    let members = |value: &Value| value.as_object().cloned().unwrap_or_default();
    let (before, now) = (members(before), members(now));
    first_difference(&before, &now).map(|(key, before, now)| match key {
        // The computed columns.
        "columns" => described("column", before, now),
        key => described(key, before, now),
    })
}

fn first_difference<'a>(
    before: &'a Map<String, Value>,
    now: &'a Map<String, Value>,
) -> Option<(&'a str, &'a Value, &'a Value)> {
    let keys: BTreeSet<&String> = before.keys().chain(now.keys()).collect();
    let value =
        |settings: &'a Map<String, Value>, key: &str| settings.get(key).unwrap_or(&Value::Null);
    let differing = keys.into_iter().filter(|key| value(before, key) != value(now, key));
    let (following, others): (Vec<_>, Vec<_>) =
        differing.partition(|key| FOLLOWING.contains(&key.as_str()));
    let key = others.into_iter().chain(following).next()?;
    Some((key, value(before, key), value(now, key)))
}

fn described(key: &str, before: &Value, now: &Value) -> String {
    let option = match key {
        "tool" => return versions("this program", before, now),
        "language" => return versions("the expression language", before, now),
        "pseudonym_key" => return "`pseudonym_key_file` has another key now".to_owned(),
        "num_datapoints" => {
            return "the list of datasets has another number of rows now".to_owned();
        }
        "metadata" => return "the list of datasets has other metadata now".to_owned(),
        "nesting" => return "the options of nested columns are others now".to_owned(),
        key => format!("`{key}`"),
    };
    let was = match written(before) {
        Some(before) => format!("was {before}"),
        None => "was not given".to_owned(),
    };
    let is =
        written(now).map_or_else(|| "it is not given".to_owned(), |now| format!("it is {now}"));
    format!("{option} {was}, now {is}")
}

fn versions(what: &str, before: &Value, now: &Value) -> String {
    let version = |value| written(value).unwrap_or_else(|| "none".to_owned());
    format!("the version of {what} was {}, now it is {}", version(before), version(now))
}

/// Returns a value as a caller writes it; `None` if it is not given.
fn written(value: &Value) -> Option<String> {
    match value {
        Value::Null | Value::Bool(false) => None,
        Value::Bool(true) => Some("given".to_owned()),
        Value::String(text) => Some(short(text)),
        Value::Array(items) if items.is_empty() => None,
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(item).collect();
            Some(short(&items.join(", ")))
        }
        Value::Object(_) => Some(short(&value.to_string())),
        Value::Number(number) => Some(number.to_string()),
    }
}

/// Returns an element of a list: a text, a column with its type and its expression, or a split with its fraction.
fn item(value: &Value) -> String {
    let text = |name: &str| value.get(name).and_then(Value::as_str);
    match (value, text("name"), text("type")) {
        (Value::String(text), ..) => text.clone(),
        (_, Some(name), Some(kind)) => match text("expression") {
            Some(expression) => format!("{name}:{kind}={expression}"),
            None => name.to_owned(),
        },
        (_, Some(name), None) => match text("fraction") {
            Some(fraction) => format!("{name}={fraction}"),
            None => name.to_owned(),
        },
        _ => value.to_string(),
    }
}

fn short(text: &str) -> String {
    quoted(text, SHOWN)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn changes_have_the_words_of_the_options() {
        let computed = json!([{"name": "n", "type": "int", "expression": ".order"}]);
        for (before, now, expected) in [
            (json!({"a": 1}), json!({"a": 1}), None),
            (
                json!({"rows_per_file": 100}),
                json!({"rows_per_file": 200}),
                Some("`rows_per_file` was 100, now it is 200"),
            ),
            (
                json!({"limit": null}),
                json!({"limit": 5}),
                Some("`limit` was not given, now it is 5"),
            ),
            (
                json!({"csv_bom": true}),
                json!({"csv_bom": false}),
                Some("`csv_bom` was given, now it is not given"),
            ),
            (
                json!({"columns": ["id", "tags"]}),
                json!({"columns": ["id"]}),
                Some("`columns` was \"id, tags\", now it is \"id\""),
            ),
            (
                json!({"transform": {"where": [".a", ".b"], "language": "1"}}),
                json!({"transform": {"where": [".a"], "language": "1"}}),
                Some("`where` was \".a, .b\", now it is \".a\""),
            ),
            (
                json!({"columns": ["id"], "transform": null}),
                json!({"columns": ["id", "n"], "transform": {"columns": computed, "language": "1", "on_error": "fail"}}),
                Some("`column` was not given, now it is \"n:int=.order\""),
            ),
            (
                json!({"transform": {"split": [{"name": "a", "fraction": "0.5"}]}}),
                json!({"transform": {"split": [{"name": "a", "fraction": "1"}]}}),
                Some("`split` was \"a=0.5\", now it is \"a=1\""),
            ),
            (
                json!({"transform": {"pseudonym_key": "1"}}),
                json!({"transform": {"pseudonym_key": "2"}}),
                Some("`pseudonym_key_file` has another key now"),
            ),
            (
                json!({"query": {"search": "x"}}),
                json!({"query": {}}),
                Some("`search` was \"x\", now it is not given"),
            ),
            (
                json!({"tool": "1.0"}),
                json!({"tool": "2.0"}),
                Some("the version of this program was \"1.0\", now it is \"2.0\""),
            ),
        ] {
            let (before, now) = (before.as_object().unwrap(), now.as_object().unwrap());
            assert_eq!(changed_option(before, now).as_deref(), expected);
        }
    }
}
