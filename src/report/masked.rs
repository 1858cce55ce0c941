//! Which values were replaced before anybody could see them: by the export itself, or by the report. A masked value is
//! null, so the page says where null means masked.

use super::source::ExportFacts;
use crate::transform::TransformRecord;

/// The paths of values that were replaced.
#[derive(Debug, Clone, Default)]
pub(super) struct MaskedValues {
    /// In their shortest form, such as `.input.messages[].content`.
    paths: Vec<String>,
}

impl MaskedValues {
    /// The paths that an export masked, and those that a report masks.
    pub(super) fn of(facts: &ExportFacts, report: &[String]) -> Self {
        let mut paths = masked_paths(facts);
        paths.extend(report.iter().cloned());
        paths.sort();
        paths.dedup();
        Self { paths }
    }

    pub(super) fn paths(&self) -> &[String] {
        &self.paths
    }

    /// Whether all values of a column are masked.
    pub(super) fn has_column(&self, name: &str) -> bool {
        self.has(&ValueTrail::of(name))
    }

    /// Whether values in a column are masked.
    pub(super) fn reaches(&self, name: &str) -> bool {
        let ValueTrail(column) = ValueTrail::of(name);
        let mut rest = self.paths.iter().filter_map(|path| path.strip_prefix(column.as_str()));
        rest.any(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    }

    /// Whether the values at a place are masked.
    pub(super) fn has(&self, trail: &ValueTrail) -> bool {
        self.paths.contains(&trail.0)
    }
}

/// The place of a value in a row, in the form of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ValueTrail(String);

impl ValueTrail {
    pub(super) fn of(column: &str) -> Self {
        Self(String::new()).member(column)
    }

    pub(super) fn member(&self, key: &str) -> Self {
        let mut characters = key.chars();
        let begins = characters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
        let is_name = begins && characters.all(|c| c.is_ascii_alphanumeric() || c == '_');
        match is_name {
            true => Self(format!("{}.{key}", self.0)),
            false => Self(format!("{}.{}", self.0, serde_json::Value::from(key))),
        }
    }

    pub(super) fn item(&self) -> Self {
        Self(format!("{}[]", self.0))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Returns the paths that an export has masked, in their order.
pub(super) fn masked_paths(facts: &ExportFacts) -> Vec<String> {
    transforms(facts).flat_map(|it| it.mask.iter().cloned()).collect()
}

/// Returns the paths whose values an export has replaced by pseudonyms, in their order.
pub(super) fn pseudonym_paths(facts: &ExportFacts) -> Vec<String> {
    transforms(facts).flat_map(|it| it.pseudonymise.iter().cloned()).collect()
}

fn transforms(facts: &ExportFacts) -> impl Iterator<Item = &TransformRecord> {
    facts.earlier.iter().map(|it| &it.transform).chain(&facts.transform)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trails_have_the_form_of_paths() {
        let trail = ValueTrail::of("input").member("messages").item().member("a b").member("x");
        assert_eq!(trail.as_str(), ".input.messages[].\"a b\".x");
        let paths = vec![trail.as_str().to_owned(), ".persona".to_owned()];
        let masked = MaskedValues::of(&ExportFacts::default(), &paths);
        assert!(masked.reaches("input") && !masked.reaches("in"));
        assert!(masked.has(&trail) && masked.has_column("persona") && !masked.has_column("input"));
    }
}
