//! The columns of an export: those of the API, and those that expressions compute. Never holds values.

use std::{borrow::Cow, collections::HashMap, fmt, str::FromStr, sync::Arc};

use arrow_schema::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Column;
use crate::{
    error::{Error, Result},
    nested::HOLDS_JSON,
};

/// Key in a field's metadata that marks the column of whole lines.
const HOLDS_LINES: &str = "overmind_export:lines";

/// The time zone of timestamps.
const UTC: &str = "UTC";
/// Longest name of a column, in bytes.
const LONGEST_NAME: usize = 200;

/// The type of the values of a column. Each value can be null.
///
/// Options and records have its name, such as `int`, or `int[]` for a list:
///
/// ```
/// use overmind_export::{ColumnType, ListItem};
///
/// let lists: ColumnType = "int[]".parse()?;
/// assert_eq!(lists, ColumnType::List(ListItem::Int));
/// # Ok::<(), overmind_export::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ColumnType {
    /// Text.
    #[default]
    String,
    /// An integer of 64 bits.
    Int,
    /// A floating-point number of 64 bits. Finite.
    Float,
    /// True or false.
    Bool,
    /// A time, to the microsecond, in UTC.
    Timestamp,
    /// JSON text.
    Json,
    /// A list. Each element can be null.
    List(ListItem),
}

/// The type of the elements of a list. They are the values of the [`ColumnType`] with the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ListItem {
    /// Text.
    String,
    /// An integer of 64 bits.
    Int,
    /// A floating-point number of 64 bits. Finite.
    Float,
    /// True or false.
    Bool,
    /// A time, to the microsecond, in UTC.
    Timestamp,
    /// JSON text: for elements of several types, or for objects.
    Json,
}

impl ListItem {
    const ALL: [Self; 6] =
        [Self::String, Self::Int, Self::Float, Self::Bool, Self::Timestamp, Self::Json];

    /// Returns the type of a column with such values.
    pub const fn column_type(self) -> ColumnType {
        match self {
            Self::String => ColumnType::String,
            Self::Int => ColumnType::Int,
            Self::Float => ColumnType::Float,
            Self::Bool => ColumnType::Bool,
            Self::Timestamp => ColumnType::Timestamp,
            Self::Json => ColumnType::Json,
        }
    }

    /// Returns the Arrow field of the elements, named as the Parquet format has it.
    pub(super) fn field(self) -> FieldRef {
        Arc::new(Field::new("element", self.column_type().data_type(), true))
    }
}

impl ColumnType {
    /// Returns all types: first those that are no lists.
    fn all() -> impl Iterator<Item = Self> {
        let lists = ListItem::ALL.into_iter().map(Self::List);
        ListItem::ALL.into_iter().map(ListItem::column_type).chain(lists)
    }

    /// Returns the name, as options and records have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Int => "int",
            Self::Float => "float",
            Self::Bool => "bool",
            Self::Timestamp => "timestamp",
            Self::Json => "json",
            Self::List(ListItem::String) => "string[]",
            Self::List(ListItem::Int) => "int[]",
            Self::List(ListItem::Float) => "float[]",
            Self::List(ListItem::Bool) => "bool[]",
            Self::List(ListItem::Timestamp) => "timestamp[]",
            Self::List(ListItem::Json) => "json[]",
        }
    }

    /// Whether the values, or the elements of the lists, are JSON text.
    pub(crate) fn holds_json(self) -> bool {
        matches!(self, Self::Json | Self::List(ListItem::Json))
    }

    /// Returns the Arrow type of the column.
    pub fn data_type(self) -> DataType {
        match self {
            Self::String | Self::Json => DataType::Utf8,
            Self::Int => DataType::Int64,
            Self::Float => DataType::Float64,
            Self::Bool => DataType::Boolean,
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into())),
            Self::List(item) => DataType::List(item.field()),
        }
    }

    /// Returns the type of a field of an export, or of its batches; `None` if no export has such a field.
    pub fn of_field(field: &Field) -> Option<Self> {
        if let Ok(column) = field.name().parse::<Column>() {
            return Some(column.column_type());
        }
        let holds_json = field.metadata().contains_key(HOLDS_JSON);
        Self::all().find(|it| it.holds_json() == holds_json && it.fits(field.data_type()))
    }

    /// Whether values of this type have the Arrow type. The name of list elements may differ.
    fn fits(self, data_type: &DataType) -> bool {
        match (self, data_type) {
            (Self::List(item), DataType::List(element)) => {
                item.column_type().fits(element.data_type())
            }
            _ => self.data_type() == *data_type,
        }
    }

    /// Whether a sink can write this Arrow type.
    pub(crate) fn writes(data_type: &DataType) -> bool {
        Self::all().any(|it| it.fits(data_type))
    }
}

impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for ColumnType {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::all().find(|it| it.name() == text).ok_or_else(|| {
            let known = ListItem::ALL.map(|it| it.column_type().name()).join(", ");
            let why = format!("the types are {known}, and lists of them, such as string[]");
            Error::invalid("type of a column", text, why)
        })
    }
}

impl Serialize for ColumnType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for ColumnType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = Cow::<'de, str>::deserialize(deserializer)?;
        name.parse().map_err(serde::de::Error::custom)
    }
}

impl Column {
    /// Returns the type of the column's values.
    pub const fn column_type(self) -> ColumnType {
        match self {
            Self::Id | Self::Persona => ColumnType::String,
            Self::Order => ColumnType::Int,
            Self::Input | Self::ExpectedOutput | Self::Tags | Self::AdditionalProperties => {
                ColumnType::Json
            }
        }
    }
}

/// A column of an export: one of the API's, or one that an expression computes.
///
/// A record writes a column of the API as its name, and another one with its type:
///
/// ```
/// use overmind_export::{Column, ColumnType, OutputColumn};
///
/// let topic = OutputColumn::computed("topic", ColumnType::String)?;
/// let columns = [OutputColumn::from(Column::Id), topic];
/// let json = serde_json::to_string(&columns).expect("columns are JSON");
/// assert_eq!(json, r#"["id",{"name":"topic","type":"string"}]"#);
/// # Ok::<(), overmind_export::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputColumn {
    name: String,
    column_type: ColumnType,
    is_line: bool,
}

impl OutputColumn {
    /// Returns a column that an expression computes. With the name of a column of the API, it replaces that column.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a name that a file format cannot have, for `id`, which is never replaced, and for another
    /// type than that of the replaced column.
    pub fn computed(name: impl Into<String>, column_type: ColumnType) -> Result<Self> {
        let name = name.into();
        let wrong = |why: String| Err(Error::invalid("column", name.clone(), why));
        if name.is_empty() {
            return wrong("a column needs a name".to_owned());
        }
        if name.len() > LONGEST_NAME {
            return wrong(format!("a name has at most {LONGEST_NAME} bytes"));
        }
        if let Some(c) =
            name.chars().find(|c| c.is_control() || c.is_whitespace() || ",:=\"".contains(*c))
        {
            return wrong(format!("a name cannot contain {c:?}"));
        }
        match name.parse::<Column>() {
            Ok(Column::Id) => wrong("the id of a row is never replaced".to_owned()),
            Ok(column) if column.column_type() != column_type => {
                let kind = column.column_type();
                wrong(format!(
                    "it replaces {column}, which is always of the type {kind}: give another name"
                ))
            }
            _ => Ok(Self { name, column_type, is_line: false }),
        }
    }

    /// Returns the only column of an output whose rows are JSON values instead of objects with columns. JSON Lines
    /// write each value as its line, as it is.
    pub fn lines() -> Self {
        Self { name: "line".to_owned(), column_type: ColumnType::Json, is_line: true }
    }

    /// Whether the values are whole lines of JSON Lines: see [`lines`](Self::lines).
    pub fn is_line(&self) -> bool {
        self.is_line
    }

    /// Returns the column of a field of an export; `None` if no export has such a field.
    pub(crate) fn of_field(field: &Field) -> Option<Self> {
        match field.name().parse::<Column>() {
            Ok(column) => Some(column.into()),
            Err(_) if field.metadata().contains_key(HOLDS_LINES) => Some(Self::lines()),
            Err(_) => Self::computed(field.name(), ColumnType::of_field(field)?).ok(),
        }
    }

    /// Returns the name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the type of the values.
    pub fn column_type(&self) -> ColumnType {
        self.column_type
    }

    /// Returns the column of the API with this name; `None` if there is none.
    pub fn of_api(&self) -> Option<Column> {
        self.name.parse().ok()
    }

    /// Returns the Arrow schema of an export with these columns.
    pub fn schema(columns: &[Self]) -> SchemaRef {
        Arc::new(Schema::new(columns.iter().map(Self::field).collect::<Vec<_>>()))
    }

    pub(crate) fn field(&self) -> Field {
        let api = self.of_api();
        let field = Field::new(&self.name, self.column_type.data_type(), api != Some(Column::Id));
        let marks = [
            (HOLDS_JSON, self.column_type.holds_json() && api.is_none()),
            (HOLDS_LINES, self.is_line),
        ];
        let marks = marks.into_iter().filter(|(_, is_set)| *is_set);
        let metadata = marks.map(|(mark, _)| (mark.to_owned(), "true".to_owned()));
        field.with_metadata(metadata.collect::<HashMap<_, _>>())
    }
}

impl From<Column> for OutputColumn {
    fn from(column: Column) -> Self {
        Self { name: column.name().to_owned(), column_type: column.column_type(), is_line: false }
    }
}

impl fmt::Display for OutputColumn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.name)
    }
}

/// The form of a column in a record.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum ColumnEntry {
    Api(Column),
    Computed {
        name: String,
        #[serde(rename = "type")]
        column_type: ColumnType,
        /// Whether each value is a whole line.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        is_line: bool,
    },
}

impl Serialize for OutputColumn {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let entry = match self.of_api() {
            Some(column) => ColumnEntry::Api(column),
            None => ColumnEntry::Computed {
                name: self.name.clone(),
                column_type: self.column_type,
                is_line: self.is_line,
            },
        };
        entry.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for OutputColumn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match ColumnEntry::deserialize(deserializer)? {
            ColumnEntry::Api(column) => Ok(column.into()),
            ColumnEntry::Computed { is_line: true, .. } => Ok(Self::lines()),
            ColumnEntry::Computed { name, column_type, is_line: false } => {
                Self::computed(name, column_type).map_err(serde::de::Error::custom)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_types_are_checked() {
        let refused =
            |name: &str, kind| OutputColumn::computed(name, kind).unwrap_err().to_string();
        for (name, kind, why) in [
            ("", ColumnType::String, "a column needs a name"),
            ("a b", ColumnType::String, "cannot contain ' '"),
            ("a:b", ColumnType::String, "cannot contain ':'"),
            ("a\nb", ColumnType::Int, "cannot contain '\\n'"),
            ("id", ColumnType::String, "the id of a row is never replaced"),
            ("input", ColumnType::Int, "always of the type json"),
            ("persona", ColumnType::Json, "always of the type string"),
            ("input", ColumnType::List(ListItem::Json), "always of the type json"),
        ] {
            let text = refused(name, kind);
            assert!(text.contains(why), "{name}: {text}");
        }
        assert!(OutputColumn::computed("a".repeat(201), ColumnType::Int).is_err());
        for (name, kind) in [("persona", ColumnType::String), ("topic.é-1", ColumnType::Float)] {
            assert!(OutputColumn::computed(name, kind).is_ok(), "{name}");
        }
    }

    #[test]
    fn records_have_the_type_of_computed_columns_only() {
        let json = r#"["order",{"name":"at","type":"timestamp"},{"name":"all","type":"json[]"}]"#;
        let columns: Vec<OutputColumn> = serde_json::from_str(json).unwrap();
        assert_eq!(columns[0], Column::Order.into());
        assert_eq!(columns[1].column_type(), ColumnType::Timestamp);
        assert_eq!(serde_json::to_string(&columns).unwrap(), json);
        let lines = serde_json::to_string(&OutputColumn::lines()).unwrap();
        assert_eq!(lines, r#"{"name":"line","type":"json","is_line":true}"#);
        assert!(serde_json::from_str::<OutputColumn>(&lines).unwrap().is_line());
        assert!(serde_json::from_str::<OutputColumn>(r#"{"name":"id","type":"int"}"#).is_err());
        assert!(serde_json::from_str::<OutputColumn>(r#""topic""#).is_err());
    }

    #[test]
    fn fields_have_the_type_of_their_column() {
        for kind in ColumnType::all() {
            let column = OutputColumn::computed("x", kind).unwrap();
            assert_eq!(ColumnType::of_field(&column.field()), Some(kind));
            assert_eq!(kind.name().parse::<ColumnType>().unwrap(), kind);
            assert!(ColumnType::writes(&kind.data_type()), "{kind}");
        }
        let item = Field::new("item", DataType::Int64, false);
        let lists = Field::new("x", DataType::List(Arc::new(item)), true);
        assert_eq!(ColumnType::of_field(&lists), Some(ColumnType::List(ListItem::Int)));
        let deep = Field::new("x", DataType::List(Arc::new(lists)), true);
        assert_eq!(ColumnType::of_field(&deep), None);
        assert!("int[][]".parse::<ColumnType>().is_err() && "[]".parse::<ColumnType>().is_err());
        let lines = OutputColumn::lines();
        assert_eq!(OutputColumn::of_field(&lines.field()), Some(lines));
        assert_eq!(
            ColumnType::of_field(&OutputColumn::from(Column::Tags).field()),
            Some(ColumnType::Json)
        );
        assert_eq!(ColumnType::of_field(&Field::new("x", DataType::Int8, true)), None);
    }

    #[test]
    fn api_columns_keep_their_types() {
        for column in Column::ALL {
            assert_eq!(column.column_type().data_type(), column.data_type(), "{column}");
            assert_eq!(column.column_type() == ColumnType::Json, column.is_json(), "{column}");
        }
    }
}
