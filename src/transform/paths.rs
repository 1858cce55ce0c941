//! The paths of values that a transformation replaces, such as `.input.messages[].name`: parsed, checked and printed.

use std::{fmt, ops::Range};

use super::{json_text::string_end, row_value::FIELDS};
use crate::{
    error::{Error, Result},
    text::similar,
};

/// Most paths of an option: one bit of a [`PathSet`](super::places::PathSet) for each.
pub(super) const MOST_PATHS: usize = 64;
/// Most steps of a path. The search for its values recurses to this depth.
const MOST_STEPS: usize = 64;
/// Largest text with paths, in bytes: 16 KiB.
const LARGEST: usize = 16 << 10;

/// The path of values in a row. Its first step is the name of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ValuePath {
    pub(crate) field: String,
    pub(crate) steps: Vec<PathStep>,
}

/// A step from a value to its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PathStep {
    /// The members of an object with this key.
    Key(String),
    /// The item of an array at this place. A negative one counts from the end.
    Item(i64),
    /// All items of an array, or the values of all members of an object.
    Each,
}

impl fmt::Display for ValuePath {
    /// Writes the path in its shortest form, so that equal paths have equal texts.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = |f: &mut fmt::Formatter<'_>, key: &str| match is_name(key) {
            true => write!(f, ".{key}"),
            false => write!(f, ".{}", serde_json::Value::from(key)),
        };
        key(f, &self.field)?;
        self.steps.iter().try_for_each(|step| match step {
            PathStep::Key(name) => key(f, name),
            PathStep::Item(place) => write!(f, "[{place}]"),
            PathStep::Each => f.write_str("[]"),
        })
    }
}

impl ValuePath {
    /// Returns the path of a whole field.
    pub(crate) fn of_field(field: &str) -> Self {
        Self { field: field.to_owned(), steps: Vec::new() }
    }

    /// Whether a value of one path can be a value of the other, or be in it.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        let can_be_same = |(one, other): (&PathStep, &PathStep)| match (one, other) {
            (PathStep::Key(one), PathStep::Key(other)) => one == other,
            // A negative place can be any.
            (PathStep::Item(one @ 0..), PathStep::Item(other @ 0..)) => one == other,
            (PathStep::Key(_), PathStep::Item(_)) | (PathStep::Item(_), PathStep::Key(_)) => false,
            _ => true,
        };
        self.field == other.field && self.steps.iter().zip(&other.steps).all(can_be_same)
    }

    /// Whether all values of the path are in values of the other path, or are the same.
    pub(super) fn is_within(&self, other: &Self) -> bool {
        self.field == other.field && self.steps.starts_with(&other.steps)
    }

    /// Parses the paths of an option. Each text has one path, or several with commas between them.
    ///
    /// # Errors
    /// [`Error::Expression`] for the first path that is not valid or that is given twice, and [`Error::Usage`] for too
    /// many paths.
    pub(super) fn parse_all(option: &'static str, texts: &[String]) -> Result<Vec<Self>> {
        let mut paths: Vec<Self> = Vec::new();
        for text in texts {
            let refused = |refusal: PathRefusal| Error::Expression {
                option,
                expression: text.clone(),
                position: refusal.part.start,
                length: refusal.part.len(),
                why: refusal.why.to_owned(),
            };
            if text.len() > LARGEST {
                return Err(refused(refusal(0..1, "it has more than 16 KiB")));
            }
            let mut parser = PathParser { text, at: 0 };
            loop {
                let (path, range) = parser.path().map_err(refused)?;
                if paths.contains(&path) {
                    return Err(refused(refusal(range, "this path is given twice")));
                }
                paths.push(path);
                if !parser.has_another().map_err(refused)? {
                    break;
                }
            }
        }
        match paths.len() {
            0..=MOST_PATHS => Ok(paths),
            more => Err(Error::Usage(format!("`{option}` has {more} paths, and the limit is 64"))),
        }
    }
}

impl ValuePath {
    /// Returns the path in the field that was probably meant, if this one begins with an unknown field.
    pub(super) fn meant(&self) -> Option<Self> {
        if FIELDS.contains(&&*self.field) {
            return None;
        }
        // The id and the order are never replaced.
        let replaced = FIELDS.into_iter().filter(|name| !matches!(*name, "id" | "order"));
        let field = similar(&self.field, replaced)?;
        Some(Self { field: field.to_owned(), steps: self.steps.clone() })
    }
}

/// A part of a text that is not valid in a path, and why.
struct PathRefusal {
    part: Range<usize>,
    why: &'static str,
}

fn refusal(part: Range<usize>, why: &'static str) -> PathRefusal {
    PathRefusal { part, why }
}

/// Reads paths from a text.
struct PathParser<'a> {
    text: &'a str,
    /// Position of the next byte.
    at: usize,
}

impl<'a> PathParser<'a> {
    /// Reads a path. Returns it with its range.
    fn path(&mut self) -> Result<(ValuePath, Range<usize>), PathRefusal> {
        self.space();
        let start = self.at;
        if !self.takes(b'.') {
            let why = match self.rest() {
                "" => "a path is missing: write one such as .persona",
                _ => "a path begins with a dot, such as .tags.user.email",
            };
            return Err(self.here(why));
        }
        let first = self.at;
        let field = match self.next() {
            Some(b'[') => match self.bracket()? {
                PathStep::Key(key) => key,
                PathStep::Item(_) | PathStep::Each => {
                    let why = "a row is an object: begin with the name of a field";
                    return Err(refusal(first..self.at, why));
                }
            },
            _ => self.key()?,
        };
        let why = match field.as_str() {
            "id" => Some("the id of a row is never replaced"),
            "order" => Some("the order of a row is never replaced"),
            "additional_properties" => {
                Some("name an unknown field itself, such as .source_trace_id")
            }
            _ => None,
        };
        if let Some(why) = why {
            return Err(refusal(first..self.at, why));
        }
        let mut steps = Vec::new();
        loop {
            let begin = self.at;
            let step = match self.next() {
                Some(b'?') => {
                    self.at += 1;
                    continue;
                }
                Some(b'[') => self.bracket()?,
                Some(b'.') => {
                    self.at += 1;
                    match self.next() {
                        Some(b'[') => self.bracket()?,
                        Some(b'.') => {
                            return Err(refusal(begin..self.at + 1, "name each step of the path"));
                        }
                        _ => PathStep::Key(self.key()?),
                    }
                }
                _ => break,
            };
            if field == "persona" {
                let why = "the persona is a string, which has no parts";
                return Err(refusal(begin..self.at, why));
            }
            if steps.len() == MOST_STEPS {
                return Err(refusal(begin..self.at, "a path has at most 64 steps"));
            }
            steps.push(step);
        }
        Ok((ValuePath { field, steps }, start..self.at))
    }

    /// Reads the comma before another path, or the end of the text.
    fn has_another(&mut self) -> Result<bool, PathRefusal> {
        self.space();
        match self.next() {
            None => Ok(false),
            Some(b',') => {
                self.at += 1;
                Ok(true)
            }
            Some(_) => Err(self.here("only paths are allowed here: names, [] and [N]")),
        }
    }

    /// Reads a name, or a string.
    fn key(&mut self) -> Result<String, PathRefusal> {
        let rest = self.rest();
        if rest.starts_with('"') {
            return self.string();
        }
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let name = &rest[..rest.find(|c| !is_part(c)).unwrap_or(rest.len())];
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            let why = match rest.chars().next() {
                Some(c) if c.is_alphanumeric() => "quote such a name, as in .\"größe\"",
                _ => "the name of a field is missing here",
            };
            return Err(self.here(why));
        }
        self.at += name.len();
        if self.rest().starts_with(|c: char| c.is_alphanumeric()) {
            return Err(self.here("quote such a name, as in .\"größe\""));
        }
        Ok(name.to_owned())
    }

    fn string(&mut self) -> Result<String, PathRefusal> {
        let (start, bytes) = (self.at, self.text.as_bytes());
        let end = (string_end(bytes, start) + 1).min(bytes.len());
        self.at = end;
        let quoted = self.text.get(start..end).unwrap_or_default();
        serde_json::from_str(quoted)
            .map_err(|_| refusal(start..end, "this is not the JSON text of a string"))
    }

    /// Reads `[]`, `[N]` or `["key"]`.
    fn bracket(&mut self) -> Result<PathStep, PathRefusal> {
        const WHY: &str = "write [] for all items, [N] for one, or [\"key\"]";
        let start = self.at;
        self.at += 1;
        self.space();
        let step = match self.next() {
            Some(b']') => PathStep::Each,
            Some(b'"') => PathStep::Key(self.string()?),
            _ => {
                let rest = self.rest();
                let is_digit = |c: char| c.is_ascii_digit() || c == '-';
                let digits = &rest[..rest.find(|c| !is_digit(c)).unwrap_or(rest.len())];
                let place = digits.parse().map_err(|_| self.here(WHY))?;
                self.at += digits.len();
                PathStep::Item(place)
            }
        };
        self.space();
        match self.takes(b']') {
            true => Ok(step),
            false if self.rest().is_empty() => {
                Err(refusal(start..start + 1, "the closing ] is missing"))
            }
            false => Err(self.here(WHY)),
        }
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn next(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Passes a byte if it is the next one.
    fn takes(&mut self, byte: u8) -> bool {
        let is_next = self.next() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn space(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
    }

    /// Refuses the next character.
    fn here(&self, why: &'static str) -> PathRefusal {
        let length = self.rest().chars().next().map_or(0, char::len_utf8);
        refusal(self.at..self.at + length, why)
    }
}

fn is_name(key: &str) -> bool {
    key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(text: &str) -> Result<Vec<String>> {
        let paths = ValuePath::parse_all("mask", &[text.to_owned()])?;
        Ok(paths.iter().map(ValuePath::to_string).collect())
    }

    #[test]
    fn paths_are_parsed_and_printed_in_short_form() {
        for (text, expected) in [
            (".persona", &[".persona"][..]),
            (" .tags.user.email , .persona ", &[".tags.user.email", ".persona"]),
            (".input.messages[].name,.input.x[-1]", &[".input.messages[].name", ".input.x[-1]"]),
            (r#".tags["user"]."e-mail""#, &[r#".tags.user."e-mail""#]),
            (r#".["tags"].[ "a,b" ] . [0]"#, &[r#".tags."a,b"[0]"#]),
            (r#"."source_trace_id"?"#, &[".source_trace_id"]),
            (".tags?.user?.email?", &[".tags.user.email"]),
            (".tags[]?", &[".tags[]"]),
            (r#".tags."\u0065\"ß""#, &[r#".tags."e\"ß""#]),
        ] {
            let text = text.replace(" . ", ".");
            assert_eq!(parsed(&text).unwrap(), expected, "{text}");
            assert_eq!(parsed(&expected.join(",")).unwrap(), expected);
        }
    }

    #[test]
    fn anything_but_a_path_is_refused_at_its_place() {
        for (text, position, length, why) in [
            ("", 0, 0, "a path is missing"),
            (".persona,", 9, 0, "a path is missing"),
            ("persona", 0, 1, "a path begins with a dot"),
            (".", 1, 0, "the name of a field is missing"),
            (".[]", 1, 2, "a row is an object"),
            (".[0].a", 1, 3, "a row is an object"),
            (".id", 1, 2, "the id of a row"),
            (r#".["order"]"#, 1, 9, "the order of a row"),
            (".additional_properties.x", 1, 21, "name an unknown field itself"),
            (".persona.first", 8, 6, "the persona is a string"),
            (".a | .b", 3, 1, "only paths are allowed here"),
            (".a .b", 3, 1, "only paths are allowed here"),
            (".tags..email", 5, 2, "name each step"),
            (".tags[1:3]", 7, 1, "write [] for all items"),
            (".tags[.n]", 6, 1, "write [] for all items"),
            (".tags[9223372036854775808]", 6, 1, "write [] for all items"),
            (".tags[", 6, 0, "write [] for all items"),
            (".tags[0", 5, 1, "the closing ] is missing"),
            (".größe", 3, 2, "quote such a name"),
            (".tags.ß", 6, 2, "quote such a name"),
            (".tags.0", 6, 1, "quote such a name"),
            (r#".tags."a\(1)""#, 6, 7, "this is not the JSON text"),
            (r#".tags."a"#, 6, 2, "this is not the JSON text"),
            (".a,.b,.a?", 6, 3, "this path is given twice"),
            ("map(.a)", 0, 1, "a path begins with a dot"),
        ] {
            let Err(Error::Expression { position: at, length: of, why: found, .. }) = parsed(text)
            else {
                panic!("{text}");
            };
            assert!(found.starts_with(why), "{text}: {found}");
            assert_eq!((at, of), (position, length), "{text}");
        }
        let paths: Vec<String> = (0..=MOST_PATHS).map(|index| format!(".tags.x{index}")).collect();
        let error = ValuePath::parse_all("mask", &paths).unwrap_err().to_string();
        assert_eq!(error, "`mask` has 65 paths, and the limit is 64");
        let deep = format!(".tags{}", ".x".repeat(MOST_STEPS + 1));
        assert!(parsed(&deep).unwrap_err().to_string().contains("at most 64 steps"));
        assert!(parsed(&deep[..deep.len() - 2]).is_ok());
        assert!(parsed(&".x".repeat(9000)).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in r#"[.\[\]"a-cß0?,\\ |-]{0,20}"#) {
            match parsed(&text) {
                Ok(paths) => prop_assert_eq!(parsed(&paths.join(",")).unwrap(), paths),
                Err(Error::Expression { position, length, .. }) => {
                    prop_assert!(text.get(position..position + length).is_some());
                }
                Err(error) => prop_assert!(false, "{}", error),
            }
        }
    }
}
