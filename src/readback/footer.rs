//! Checks the schema in a Parquet footer before the Parquet library reads it.
//!
//! The library builds the schema tree by recursion. It also allocates memory for the number of children that an
//! element declares. So a footer of a few KB can overflow the stack or exhaust the memory, and the process cannot
//! recover from either.
//!
//! The library reads some fields without a check of their declared type. So this module checks the types too.
//! Otherwise it and the library could disagree about the start of the next field.

use std::io;

use super::pages::{BINARY, BYTE, Compact, I32, LIST, STRUCT};
use crate::text::grouped;

/// Maximum number of columns and groups in a schema. An export has seven columns.
const ELEMENTS: u64 = 10_000;
/// Maximum nesting depth of groups. Writers of JSON and Avro nest a few dozen groups.
const DEPTH: usize = 64;
/// Type code of a boolean field. The code is also the value: 1 is true, 2 is false.
const BOOL: u8 = 1;

/// Checks the schema of a footer. Returns a footer that contains only this schema.
///
/// # Errors
/// The problem, as a predicate. In the message, it follows the words "its footer".
pub(super) fn schema_of(footer: &[u8]) -> Result<Vec<u8>, String> {
    // Only the errors of `wrong` have a text. All others are errors of the decoder.
    find_schema(footer).map_err(|error| match error.get_ref() {
        Some(why) => why.to_string(),
        None => "is cut short or malformed".to_owned(),
    })
}

fn find_schema(footer: &[u8]) -> io::Result<Vec<u8>> {
    const SCHEMA: i64 = 2;
    let mut compact = Compact::new(footer);
    let mut field = 0;
    while let Some(kind) = compact.field(&mut field)? {
        if field != SCHEMA {
            compact.skip(kind, 0)?;
            continue;
        }
        if kind != LIST {
            return Err(wrong("has a schema that is not a list"));
        }
        let start = compact.bytes as usize;
        compact.schema()?;
        let list = footer.get(start..compact.bytes as usize).unwrap_or_default();
        // The list's field header, the list, and the end of the structure.
        return Ok([&[(SCHEMA as u8) << 4 | LIST], list, &[0]].concat());
    }
    Err(wrong("has no schema"))
}

fn wrong(why: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.into())
}

impl Compact<&[u8]> {
    /// Reads the schema: the list of the tree's elements, in which each group precedes its children.
    fn schema(&mut self) -> io::Result<()> {
        let (count, kind) = self.list()?;
        if kind != STRUCT {
            return Err(wrong("has a schema whose elements are not structures"));
        }
        if count > ELEMENTS {
            return Err(wrong(format!(
                "declares {} columns and groups, and the limit is {}",
                grouped(count),
                grouped(ELEMENTS)
            )));
        }
        // For each open group, the number of its children that have not been read yet.
        let mut open: Vec<u64> = Vec::new();
        for index in 0..count {
            match open.last_mut() {
                Some(left) => *left -= 1,
                None if index == 0 => {}
                None => return Err(wrong("has columns outside of its schema")),
            }
            let (children, rest) = (self.element()?, count - index - 1);
            if children > rest {
                return Err(wrong(format!(
                    "declares a group of {children} children, but {rest} other elements follow"
                )));
            }
            if children > 0 {
                open.push(children);
            }
            if open.len() > DEPTH {
                return Err(wrong(format!("nests groups more than {DEPTH} deep")));
            }
            while open.pop_if(|left| *left == 0).is_some() {}
        }
        if open.is_empty() { Ok(()) } else { Err(wrong("has a schema that is cut short")) }
    }

    /// Reads an element of the schema. Returns the number of its children.
    fn element(&mut self) -> io::Result<u64> {
        let (mut field, mut children) = (0, 0);
        while let Some(kind) = self.field(&mut field)? {
            match (field, kind) {
                (5, I32) => children = self.size()?,
                (1..=3 | 6..=9, I32) => drop(self.integer()?),
                (4, BINARY) => self.skip(kind, 0)?,
                (10, STRUCT) => self.logical_type()?,
                (1..=10, _) => return Err(wrong("has a schema with a field of a wrong type")),
                _ => self.skip(kind, 0)?,
            }
        }
        Ok(children)
    }

    /// Reads a logical type. It is a union: the field number is the type, and the value is a structure with the
    /// type's parameters.
    fn logical_type(&mut self) -> io::Result<()> {
        let mut field = 0;
        while let Some(kind) = self.field(&mut field)? {
            let parameters: &[u8] = match (field, kind) {
                // Decimals; times and timestamps; integers; variants; geometry and geography.
                (5, STRUCT) => &[I32, I32],
                (7 | 8, STRUCT) => &[BOOL, STRUCT],
                (10, STRUCT) => &[BYTE, BOOL],
                (16, STRUCT) => &[BYTE],
                (17, STRUCT) => &[BINARY],
                (18, STRUCT) => &[BINARY, I32],
                (_, STRUCT) => &[],
                _ => return Err(wrong("has a schema with a field of a wrong type")),
            };
            self.parameters(parameters)?;
        }
        Ok(())
    }

    /// Reads a structure, and compares the types of its first fields with `kinds`.
    fn parameters(&mut self, kinds: &[u8]) -> io::Result<()> {
        let mut field = 0;
        while let Some(kind) = self.field(&mut field)? {
            let expected = usize::try_from(field - 1).ok().and_then(|at| kinds.get(at));
            // True (1) and false (2) are values of the same type.
            let found = if kind == 2 { BOOL } else { kind };
            if expected.is_some_and(|expected| *expected != found) {
                return Err(wrong("has a schema with a field of a wrong type"));
            }
            self.skip(kind, 0)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns an element with an empty name. The zigzag encoding doubles a positive number.
    fn element(children: u8) -> Vec<u8> {
        let count: &[u8] = if children > 0 { &[0x15, children * 2] } else { &[] };
        [&[0x35, 2, 0x18, 0], count, &[0]].concat()
    }

    fn footer(elements: &[Vec<u8>]) -> Vec<u8> {
        let count = elements.len() as u8;
        [vec![0x15, 4, 0x19, 0xFC, count], elements.concat(), vec![0]].concat()
    }

    fn told(elements: &[Vec<u8>]) -> String {
        schema_of(&footer(elements)).map_or_else(|why| why, |_| "ok".to_owned())
    }

    #[test]
    fn schema_must_be_one_tree() {
        let [leaf, one, two] = [0, 1, 2].map(element);
        let tree = |elements: &[&Vec<u8>]| {
            told(&elements.iter().map(|it| (*it).clone()).collect::<Vec<_>>())
        };
        assert_eq!(tree(&[&two, &leaf, &leaf]), "ok");
        assert_eq!(tree(&[&two, &one, &leaf, &leaf]), "ok");
        assert_eq!(
            tree(&[&two, &leaf]),
            "declares a group of 2 children, but 1 other elements follow"
        );
        assert_eq!(tree(&[&two, &one, &leaf]), "has a schema that is cut short");
        assert_eq!(tree(&[&one, &leaf, &leaf]), "has columns outside of its schema");
        let deep = |groups: usize| {
            let mut elements = vec![one.clone(); groups];
            elements.push(leaf.clone());
            told(&elements)
        };
        assert_eq!(deep(DEPTH), "ok");
        assert_eq!(deep(DEPTH + 1), "nests groups more than 64 deep");
    }

    #[test]
    fn field_with_wrong_type_is_refused() {
        // The number of children is a text here. The library would read the length of the text as this number.
        let element = vec![0x48, 0, 0x18, 1, 9, 0];
        assert_eq!(told(&[element]), "has a schema with a field of a wrong type");
    }
}
