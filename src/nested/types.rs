//! The types of JSON columns: what records, schemas of files and builders share.

use std::{collections::HashMap, sync::Arc};

use arrow_schema::{DataType, Field, Fields};
use serde::{Deserialize, Serialize};

use super::paths::{NestPath, NestStep};

/// Key in a field's metadata that marks a text as JSON.
pub(crate) const HOLDS_JSON: &str = "overmind_export:json";
/// Key in a field's metadata with the reason why the field stays JSON text.
const WHY: &str = "overmind_export:why";
/// Why a node without values is JSON text.
pub(super) const NO_VALUE: &str = "no value";
/// Why a column that given types do not name is JSON text.
pub(super) const NOT_GIVEN: &str = "not in the schema";
/// Why a node is JSON text that the caller wants so.
pub(super) const AS_ASKED: &str = "as asked for";
/// Name of the field in a list, as the Parquet format has it.
const ELEMENT: &str = "element";
/// Most cells of the elements of lists in a row: 4,194,304, which take 32 MiB. A short text can have many more, such as
/// `[{},{}]` where objects have hundreds of members. Readers decode a row as a whole.
pub(super) const MOST_CELLS: usize = 1 << 22;
/// Most lists in each other. DuckDB needs twice the time for each further one: 0.02 s for 16, and 4 s for 24.
pub(super) const MOST_LISTS: usize = 16;
/// Most columns and groups of a schema, as the Parquet format counts them. Readers of this crate accept 10,000.
const MOST_ELEMENTS: usize = 9_000;

/// The type of the values of a JSON column, or of a part of these values. Each can be null.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
#[non_exhaustive]
pub enum NestedType {
    /// Text.
    String,
    /// An integer of 64 bits.
    Int,
    /// A floating-point number of 64 bits. It has the digits of the JSON number.
    Float,
    /// True or false.
    Bool,
    /// JSON text: no other type holds every value.
    Json {
        /// The reason, such as `string and object`.
        why: String,
        /// Number of the row that forced it, among the rows written, from 1. `None` if no single row did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        row: Option<u64>,
    },
    /// A list.
    List {
        /// The type of its elements.
        item: Box<NestedType>,
    },
    /// An object with known members.
    Struct {
        /// The members, in the order in which they first appeared.
        fields: Vec<NestedField>,
    },
}

/// A JSON column, or a member of an object, and its type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct NestedField {
    /// The name.
    pub name: String,
    /// The type of the values.
    #[serde(flatten)]
    pub kind: NestedType,
}

impl NestedField {
    /// Returns the column, or the member, with this name and type.
    ///
    /// ```
    /// use overmind_export::{NestedField, NestedType, NestingOptions};
    ///
    /// let topic = NestedField::new("topic", NestedType::String);
    /// let tags = NestedField::new("tags", NestedType::Struct { fields: vec![topic] });
    /// let nesting = NestingOptions { schema: Some(vec![tags]), ..NestingOptions::default() };
    /// assert_eq!(nesting.schema.unwrap()[0].name, "tags");
    /// ```
    pub fn new(name: impl Into<String>, kind: NestedType) -> Self {
        Self { name: name.into(), kind }
    }

    /// Returns the Arrow field.
    pub(crate) fn field(&self) -> Field {
        self.kind.field(&self.name)
    }

    /// Returns the path of each column without columns in it, such as `.input.messages[].content`, and its type.
    pub(crate) fn leaves(&self) -> Vec<(String, &'static str)> {
        let mut found = Vec::new();
        self.kind.leaves_below(NestPath::of_column(&self.name), &mut found);
        found
    }
}

impl NestedType {
    /// Returns the Arrow type.
    pub fn data_type(&self) -> DataType {
        match self {
            Self::String | Self::Json { .. } => DataType::Utf8,
            Self::Int => DataType::Int64,
            Self::Float => DataType::Float64,
            Self::Bool => DataType::Boolean,
            Self::List { item } => DataType::List(item.element()),
            Self::Struct { fields } => {
                DataType::Struct(fields.iter().map(NestedField::field).collect::<Fields>())
            }
        }
    }

    fn field(&self, name: &str) -> Field {
        let field = Field::new(name, self.data_type(), true);
        match self {
            Self::Json { why, row } => {
                let why = match row {
                    Some(row) => format!("row {row}: {why}"),
                    None => why.clone(),
                };
                let pairs = [(HOLDS_JSON, "true".to_owned()), (WHY, why)];
                field.with_metadata(HashMap::from(pairs.map(|(key, text)| (key.to_owned(), text))))
            }
            _ => field,
        }
    }

    /// Returns the field of a list with elements of this type.
    pub(super) fn element(&self) -> Arc<Field> {
        Arc::new(self.field(ELEMENT))
    }

    /// Returns the type of a column that given types do not name.
    pub(crate) fn not_given() -> Self {
        Self::Json { why: NOT_GIVEN.to_owned(), row: None }
    }

    /// Whether nothing is known of the values, so that the text is not a decision about them.
    pub(super) fn is_unknown(&self) -> bool {
        matches!(self, Self::Json { why, .. } if why == NO_VALUE || why == NOT_GIVEN)
    }

    /// Whether the type is that of a text column: the JSON text itself.
    pub(crate) fn is_text(&self) -> bool {
        matches!(self, Self::Json { .. })
    }

    /// Returns the name, as in records.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Int => "int",
            Self::Float => "float",
            Self::Bool => "bool",
            Self::Json { .. } => "json",
            Self::List { .. } => "list",
            Self::Struct { .. } => "struct",
        }
    }

    fn leaves_below(&self, path: NestPath, found: &mut Vec<(String, &'static str)>) {
        match self {
            Self::List { item } => item.leaves_below(path.below(NestStep::Elements), found),
            Self::Struct { fields } => {
                for field in fields {
                    let below = path.below(NestStep::Member(field.name.clone()));
                    field.kind.leaves_below(below, found);
                }
            }
            scalar => found.push((path.to_string(), scalar.name())),
        }
    }

    /// Number of columns without columns in them.
    pub(crate) fn leaves(&self) -> usize {
        match self {
            Self::List { item } => item.leaves(),
            Self::Struct { fields } => fields.iter().map(|field| field.kind.leaves()).sum(),
            _ => 1,
        }
    }

    /// Number of columns and groups, as the Parquet format counts them: a list is two groups.
    pub(super) fn elements(&self) -> usize {
        match self {
            Self::List { item } => 2 + item.elements(),
            Self::Struct { fields } => {
                1 + fields.iter().map(|field| field.kind.elements()).sum::<usize>()
            }
            _ => 1,
        }
    }

    /// Number of cells that a value takes, without the elements of its lists: one for each column, or list, in it.
    pub(super) fn cells(&self) -> usize {
        match self {
            Self::Struct { fields } => fields.iter().map(|field| field.kind.cells()).sum(),
            _ => 1,
        }
    }

    /// Whether a file's column of this Arrow type has these values. Metadata and the name of list elements may differ.
    pub(crate) fn fits(&self, found: &DataType) -> bool {
        match (self, found) {
            (Self::List { item }, DataType::List(element)) => item.fits(element.data_type()),
            (Self::Struct { fields }, DataType::Struct(found)) => {
                let same = |(field, found): (&NestedField, &Arc<Field>)| {
                    field.name == *found.name() && field.kind.fits(found.data_type())
                };
                fields.len() == found.len() && fields.iter().zip(found).all(same)
            }
            (Self::List { .. } | Self::Struct { .. }, _) => false,
            (scalar, found) => scalar.data_type() == *found,
        }
    }
}

/// Whether readers accept a file with these columns. `others` is the number of its other columns.
pub(crate) fn is_readable(fields: &[NestedField], others: usize) -> bool {
    let nested = fields.iter().map(|field| field.kind.elements()).sum::<usize>();
    // A computed column can be a list.
    nested.saturating_add(others.saturating_mul(3)) <= MOST_ELEMENTS
}

/// Whether a file can have a column of this Arrow type as a typed JSON column.
pub(crate) fn is_nested(data_type: &DataType) -> bool {
    match data_type {
        DataType::Utf8 | DataType::Int64 | DataType::Float64 | DataType::Boolean => true,
        DataType::List(element) => is_nested(element.data_type()),
        DataType::Struct(fields) => {
            !fields.is_empty() && fields.iter().all(|field| is_nested(field.data_type()))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_hold_types_as_a_tree() {
        let json = r#"{"name":"input","type":"struct","fields":[{"name":"messages","type":"list","item":{"type":"struct","fields":[{"name":"content","type":"string"},{"name":"x","type":"json","why":"string and object","row":7}]}},{"name":"n","type":"int"}]}"#;
        let field: NestedField = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_string(&field).unwrap(), json);
        assert_eq!(field.kind.leaves(), 3);
        let paths = field.leaves().into_iter().map(|(path, kind)| format!("{path} {kind}"));
        let expected =
            [".input.messages[].content string", ".input.messages[].x json", ".input.n int"];
        assert_eq!(paths.collect::<Vec<_>>(), expected);
        assert!(field.kind.fits(&field.kind.data_type()) && is_nested(&field.kind.data_type()));
        assert!(!field.kind.fits(&DataType::Utf8) && !NestedType::Int.fits(&DataType::Float64));
        let arrow = field.field();
        let DataType::Struct(fields) = arrow.data_type() else { unreachable!() };
        let DataType::List(element) = fields[0].data_type() else { unreachable!() };
        let DataType::Struct(fields) = element.data_type() else { unreachable!() };
        assert_eq!(fields[1].metadata()[WHY], "row 7: string and object");
        assert_eq!((element.name().as_str(), element.is_nullable()), (ELEMENT, true));
    }
}
