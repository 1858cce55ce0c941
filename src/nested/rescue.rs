//! Takes the values that do not fit the type of their column out of a row. `restore.rs` puts them back.
//!
//! ```text
//!  JSON text of a column ──► text that fits its type, with null instead of other values ──► builder
//!                       └──► the other values by path, such as {".input.n":"seven"}     ──► column `_rescued`
//! ```
//!
//! A path has the place in each list: `.input.messages[1].content`. The values keep their tokens. Both halves together
//! are equal to the original text.

use std::collections::HashSet;

use super::{
    cursor::{JsonCursor, JsonKind, Read},
    number::{float_of, integer_of},
    paths::{NestPath, NestStep},
    restore::{RescuePath, RescueStep},
    text::LONGEST,
    types::{MOST_CELLS, NestedField, NestedType},
};
use crate::json_text::push_json_string;

/// Name of the column with the values that do not fit.
pub(crate) const RESCUED: &str = "_rescued";
/// Most paths that are named in records and messages.
const NAMED_PATHS: usize = 10;
/// Longest path that is named, in bytes.
const NAMED_BYTES: usize = 200;

impl NestedField {
    /// Returns the column of the values that do not fit.
    pub(crate) fn rescued() -> Self {
        let why = "values that do not fit the type of their column".to_owned();
        Self::new(RESCUED, NestedType::Json { why, row: None })
    }
}

/// Returns the types of all columns with JSON, as records have them. `rescues` says whether the files have a column for
/// values that do not fit.
pub(crate) fn recorded_types(types: &[NestedField], rescues: bool) -> Vec<NestedField> {
    types.iter().cloned().chain(rescues.then(NestedField::rescued)).collect()
}

/// The paths of values that did not fit: the first ones, with `[]` for every element of a list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RescuedPaths(pub(crate) Vec<String>);

impl RescuedPaths {
    fn add(&mut self, path: &NestPath) {
        if self.0.len() < NAMED_PATHS {
            let mut path = path.to_string();
            if path.len() > NAMED_BYTES {
                path.truncate(path.floor_char_boundary(NAMED_BYTES));
                path.push('…');
            }
            self.join(&[path]);
        }
    }

    /// Adds paths that were found later.
    pub(crate) fn join(&mut self, later: &[String]) {
        for path in later {
            if self.0.len() < NAMED_PATHS && !self.0.contains(path) {
                self.0.push(path.clone());
            }
        }
    }
}

/// A value that does not fit its type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MisfitValue {
    /// Its path, with the place in each list.
    pub(crate) path: String,
    /// Its JSON text.
    pub(crate) text: String,
    /// The name of the type; `None` for a member that the type does not have.
    pub(crate) expected: Option<&'static str>,
}

impl MisfitValue {
    /// Returns the first value in the text of a column that does not fit; `None` if all fit, or if the text is not JSON.
    pub(crate) fn first(column: (&str, &NestedType), text: &str) -> Option<Self> {
        let mut rescue = Rescue::new(1);
        rescue.fitting(column, 0, text).ok()?;
        rescue.first
    }
}

/// Takes the values that do not fit out of the rows of a batch.
#[derive(Debug)]
pub(crate) struct Rescue {
    /// The members of the object of each row; empty if everything fits.
    rows: Vec<String>,
    pub(crate) paths: RescuedPaths,
    /// The first value of all rows.
    first: Option<MisfitValue>,
    /// The index of the first row whose object is longer than readers accept, and its length in bytes.
    pub(crate) too_long: Option<(usize, usize)>,
}

impl Rescue {
    /// `rows` is the number of rows of the batch.
    pub(crate) fn new(rows: usize) -> Self {
        Self {
            rows: vec![String::new(); rows],
            paths: RescuedPaths::default(),
            first: None,
            too_long: None,
        }
    }

    /// Returns the text of a column's value in a row, reduced to what fits its type. `null` is no value. Columns must
    /// come in their order.
    ///
    /// # Errors
    /// When the text is not JSON.
    pub(crate) fn fitting(
        &mut self,
        (column, kind): (&str, &NestedType),
        row: usize,
        text: &str,
    ) -> Read<String> {
        let members = self.rows.get_mut(row).map(std::mem::take).unwrap_or_default();
        let before = members.len();
        let mut split = RowSplit {
            cursor: JsonCursor::new(text),
            place: RescuePath::of_column(column).to_string(),
            path: NestPath::of_column(column),
            fitting: String::with_capacity(text.len()),
            members,
            cells: MOST_CELLS,
            is_over: false,
            paths: &mut self.paths,
            first: &mut self.first,
        };
        split.value(kind)?;
        if split.is_over {
            split.members.truncate(before);
            split.fitting = "null".to_owned();
            split.rescue(text, None);
        }
        let RowSplit { cursor, fitting, members, .. } = split;
        cursor.end()?;
        // The columns before this one can have taken the room, so also the whole value can be too much.
        let length = object_length(&members);
        if length > LONGEST {
            self.too_long.get_or_insert((row, length));
        }
        if let Some(row) = self.rows.get_mut(row) {
            *row = members;
        }
        Ok(fitting)
    }

    /// Returns the value of the column of rescued values in each row.
    pub(crate) fn objects(&self) -> impl Iterator<Item = Option<String>> {
        self.rows.iter().map(|members| (!members.is_empty()).then(|| format!("{{{members}}}")))
    }
}

/// Returns the length of the object with these members, in bytes.
fn object_length(members: &str) -> usize {
    members.len() + "{}".len()
}

/// A value that is being split.
struct RowSplit<'a> {
    cursor: JsonCursor<'a>,
    /// The path with places, as text.
    place: String,
    /// The path without places.
    path: NestPath,
    fitting: String,
    members: String,
    /// Number of cells that are left for the elements of the row's lists.
    cells: usize,
    /// Whether the paths and values are longer than readers accept. Then the whole column is rescued: its path is short.
    is_over: bool,
    paths: &'a mut RescuedPaths,
    first: &'a mut Option<MisfitValue>,
}

/// Says what there is in the place of a value that does not fit.
fn expected(kind: &NestedType, found: JsonKind) -> &'static str {
    match (kind, found) {
        (NestedType::List { .. }, JsonKind::Array) => "room for fewer elements",
        (NestedType::Struct { .. }, JsonKind::Object) => "each name only once",
        _ => kind.name(),
    }
}

impl RowSplit<'_> {
    fn value(&mut self, kind: &NestedType) -> Read<()> {
        let found = self.cursor.kind()?;
        if self.is_over {
            return self.cursor.skip().map(drop);
        }
        if found == JsonKind::Null || matches!(kind, NestedType::Json { .. }) {
            self.fitting.push_str(self.cursor.skip()?);
            return Ok(());
        }
        let fits = match (kind, found) {
            (NestedType::String, JsonKind::String) => {
                self.cursor.clone().string()?.value().is_some()
            }
            (NestedType::Int, JsonKind::Number) => {
                integer_of(self.cursor.clone().scalar()?).is_some()
            }
            (NestedType::Float, JsonKind::Number) => {
                float_of(self.cursor.clone().scalar()?).is_some()
            }
            (NestedType::Bool, JsonKind::Bool) => true,
            (NestedType::List { item }, JsonKind::Array) if self.has_cells(item)? => {
                return self.list(item);
            }
            (NestedType::Struct { fields }, JsonKind::Object) if self.has_clear_names()? => {
                return self.object(fields);
            }
            _ => false,
        };
        let value = self.cursor.skip()?;
        if fits {
            self.fitting.push_str(value);
        } else {
            self.rescue(value, Some(expected(kind, found)));
            self.fitting.push_str("null");
        }
        Ok(())
    }

    fn rescue(&mut self, value: &str, expected: Option<&'static str>) {
        self.first.get_or_insert_with(|| MisfitValue {
            path: self.place.clone(),
            text: value.to_owned(),
            expected,
        });
        if !self.members.is_empty() {
            self.members.push(',');
        }
        push_json_string(&self.place, &mut self.members);
        self.members.push(':');
        self.members.push_str(value);
        self.is_over |= object_length(&self.members) > LONGEST;
        self.paths.add(&self.path);
    }

    /// Takes the cells of the elements of a list. Returns whether there were enough of them.
    fn has_cells(&mut self, item: &NestedType) -> Read<bool> {
        let (mut cursor, mut left) = (self.cursor.clone(), Some(self.cells));
        cursor.enter();
        while cursor.has_more()? {
            cursor.skip()?;
            left = left.and_then(|left| left.checked_sub(item.cells()));
        }
        self.cells = left.unwrap_or(self.cells);
        Ok(left.is_some())
    }

    fn list(&mut self, item: &NestedType) -> Read<()> {
        let (length, mut index) = (self.place.len(), 0_usize);
        self.path.push(NestStep::Elements);
        self.cursor.enter();
        self.fitting.push('[');
        while self.cursor.has_more()? {
            if index > 0 {
                self.fitting.push(',');
            }
            self.place += &format!("[{index}]");
            self.value(item)?;
            self.place.truncate(length);
            index += 1;
        }
        self.fitting.push(']');
        self.path.pop();
        Ok(())
    }

    fn object(&mut self, fields: &[NestedField]) -> Read<()> {
        let length = self.place.len();
        let (mut is_first, mut guess) = (true, 0);
        self.cursor.enter();
        self.fitting.push('{');
        while self.cursor.has_more()? {
            let key = self.cursor.key()?;
            let name = key.value().unwrap_or_default();
            let is_it = |field: &&NestedField| field.name == *name;
            let likely = fields.get(guess).filter(is_it);
            let field = likely.or_else(|| fields.iter().find(is_it));
            guess += 1;
            RescueStep::Member(name.to_string()).append_to(&mut self.place);
            self.path.push(NestStep::Member(name.into_owned()));
            match field {
                Some(field) => {
                    if !std::mem::take(&mut is_first) {
                        self.fitting.push(',');
                    }
                    self.fitting.push('"');
                    self.fitting.push_str(key.text);
                    self.fitting.push_str("\":");
                    self.value(&field.kind)?;
                }
                // The whole column is rescued.
                None if self.is_over => drop(self.cursor.skip()?),
                // Null and a missing member are the same.
                None if self.cursor.kind()? == JsonKind::Null => drop(self.cursor.skip()?),
                None => {
                    let value = self.cursor.skip()?;
                    self.rescue(value, None);
                }
            }
            self.path.pop();
            self.place.truncate(length);
        }
        self.fitting.push('}');
        Ok(())
    }

    /// Whether each member of the object has a path of its own: no name occurs twice, and each is a text.
    fn has_clear_names(&self) -> Read<bool> {
        let mut cursor = self.cursor.clone();
        let mut names = HashSet::new();
        cursor.enter();
        while cursor.has_more()? {
            let Some(name) = cursor.key()?.value() else { return Ok(false) };
            if !names.insert(name.into_owned()) {
                return Ok(false);
            }
            cursor.skip()?;
        }
        Ok(true)
    }
}
