//! The schema in a Parquet footer, checked before the library builds its tree.
//!
//! The library builds the tree by recursion and reserves memory for as many children as an element declares: a
//! footer of a few KB can exhaust the stack or the memory, and neither can be caught. The library also reads some
//! fields whatever their declared type is. So the types are checked here as well, or the two would disagree about
//! where the next field begins.

use std::io;

use super::pages::{BINARY, BYTE, Compact, I32, LIST, STRUCT};

/// Columns and groups of a schema, at most. An export has seven columns.
const ELEMENTS: u64 = 10_000;
/// Groups that lie in one another, at most. Writers of JSON and Avro nest a few dozen.
const DEPTH: usize = 64;
/// A boolean field, whose value is its type: 1 or 2.
const BOOL: u8 = 1;

/// Checks the schema of a footer; gives a footer that holds nothing else.
///
/// # Errors
/// What is wrong, in words that go after "its footer".
pub(super) fn schema_of(footer: &[u8]) -> Result<Vec<u8>, String> {
    // An error with a text is one of those below.
    find_schema(footer).map_err(|error| match error.get_ref() {
        Some(why) => why.to_string(),
        None => "is cut short, or makes no sense".to_owned(),
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
    /// The list of a tree's elements, each group before its children.
    fn schema(&mut self) -> io::Result<()> {
        let (count, kind) = self.list()?;
        if kind != STRUCT {
            return Err(wrong("has a schema whose elements are not structures"));
        }
        if count > ELEMENTS {
            return Err(wrong(format!(
                "declares {count} columns and groups, and the limit is {ELEMENTS}"
            )));
        }
        // Children that are still to come, of each group that is open.
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
                    "declares a group of {children} children, and {rest} elements follow"
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

    /// An element of the schema; gives how many children it has.
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

    /// A union: the type's number, and a structure with its parameters.
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

    /// A structure whose first fields have these types.
    fn parameters(&mut self, kinds: &[u8]) -> io::Result<()> {
        let mut field = 0;
        while let Some(kind) = self.field(&mut field)? {
            let expected = usize::try_from(field - 1).ok().and_then(|at| kinds.get(at));
            // Both booleans are one type.
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

    /// An element without a name. Numbers are written twice as large (zigzag).
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
        assert_eq!(tree(&[&two, &leaf]), "declares a group of 2 children, and 1 elements follow");
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
    fn fields_of_another_type_are_refused() {
        // Children as a text; the library would read its length.
        let element = vec![0x48, 0, 0x18, 1, 9, 0];
        assert_eq!(told(&[element]), "has a schema with a field of a wrong type");
    }
}
