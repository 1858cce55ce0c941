//! Paths in the JSON columns of a row, such as `.input.messages[].content`.

use std::{fmt, str::FromStr};

use crate::error::{Error, Result};

/// A path to a node: the column, then members, and `[]` for the elements of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NestPath(Vec<NestStep>);

/// A step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NestStep {
    Member(String),
    Elements,
}

impl NestPath {
    /// Returns the path of a column.
    pub(crate) fn of_column(name: &str) -> Self {
        Self(vec![NestStep::Member(name.to_owned())])
    }

    /// Returns the name of the column.
    pub(crate) fn column(&self) -> &str {
        match self.0.first() {
            Some(NestStep::Member(name)) => name,
            _ => "",
        }
    }

    /// Whether all nodes of the path are nodes of the other path, or below them.
    pub(super) fn is_within(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0)
    }

    /// Returns the path with another step at its end.
    pub(super) fn below(&self, step: NestStep) -> Self {
        let mut path = self.clone();
        path.push(step);
        path
    }

    pub(super) fn push(&mut self, step: NestStep) {
        self.0.push(step);
    }

    pub(super) fn pop(&mut self) {
        self.0.pop();
    }
}

impl FromStr for NestPath {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || {
            let why = "a path looks like .input.messages[].content or .tags[\"a b\"]";
            Error::invalid("path", text, why)
        };
        let mut steps = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix("[]") {
                (steps.push(NestStep::Elements), rest = after).1
            } else if let Some(after) = rest.strip_prefix('[') {
                let mut names = serde_json::Deserializer::from_str(after).into_iter::<String>();
                let name = names.next().and_then(Result::ok).ok_or_else(wrong)?;
                let end = names.byte_offset();
                rest = after.get(end..).and_then(|it| it.strip_prefix(']')).ok_or_else(wrong)?;
                steps.push(NestStep::Member(name));
            } else {
                let after = rest.strip_prefix('.').ok_or_else(wrong)?;
                let end = after.find(['.', '[']).unwrap_or(after.len());
                let (name, after) = after.split_at(end);
                if name.contains([',', ' ', '"']) {
                    let why = "give each path with an option of its own, and a name with other characters as \
                               [\"a b\"]";
                    return Err(Error::invalid("path", text, why));
                }
                // As in jq, a bracket can follow the first dot.
                if name.is_empty() && !(steps.is_empty() && after.starts_with("[\"")) {
                    return Err(wrong());
                }
                if !name.is_empty() {
                    steps.push(NestStep::Member(name.to_owned()));
                }
                rest = after;
            }
        }
        match steps.first() {
            Some(NestStep::Member(_)) => Ok(Self(steps)),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for NestPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_plain = |name: &str| {
            !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-')
        };
        for (index, step) in self.0.iter().enumerate() {
            match step {
                NestStep::Elements => f.write_str("[]")?,
                NestStep::Member(name) if is_plain(name) => write!(f, ".{name}")?,
                NestStep::Member(name) => {
                    let dot = if index == 0 { "." } else { "" };
                    write!(f, "{dot}[{}]", serde_json::Value::from(name.as_str()))?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_written_as_in_jq() {
        for text in [
            ".input",
            ".input.messages[].content",
            ".tags[\"a b\"][][]",
            ".[\"a.b\"].c",
            ".a[\"\"].b",
        ] {
            assert_eq!(text.parse::<NestPath>().unwrap().to_string(), text);
        }
        assert_eq!(".input.a".parse::<NestPath>().unwrap().column(), "input");
        for text in [".input.a,.tags", ".a b", ".\"a\""] {
            let told = text.parse::<NestPath>().unwrap_err().to_string();
            assert!(told.contains("give each path with an option of its own"), "{told}");
        }
        for text in ["", "input", ".", "..a", ".a[", ".a[0]", ".[]", "[]", ".a[\"b\"", ".a."] {
            let told = text.parse::<NestPath>().unwrap_err().to_string();
            assert!(told.contains("is not a valid path: a path looks like"), "{told}");
        }
    }
}
