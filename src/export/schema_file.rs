//! Reads a file with the schema of nested columns, which the command `schema` has printed.

use std::path::Path;

use crate::{
    batch::{Column, ColumnType},
    error::{Error, Result},
    files::read_regular,
    nested::{GivenSchema, NestedField},
};

/// Largest file with a schema, in bytes: 128 MiB, as records.
const LARGEST: u64 = 128 << 20;

impl GivenSchema {
    /// Reads a file that the command `schema` has printed, or the record of an export with nested columns.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be read, [`Error::Invalid`] when it is no schema.
    pub fn open(path: &Path) -> Result<Self> {
        let wrong = |why: &str| Error::invalid("schema", path.to_string_lossy(), why);
        let bytes = read_regular(path, LARGEST).map_err(Error::io("read", path))?;
        if bytes.starts_with(b"PAR1") || bytes.starts_with(b"ARROW1") {
            let why = "it is an export: give the output of `overmind-export schema` for it";
            return Err(wrong(why));
        }
        let text = String::from_utf8(bytes)
            .map_err(|_| wrong("it is not text: give the output of `overmind-export schema`"))?;
        text.parse().map_err(|error| in_file(error, path))
    }

    /// Returns the types of the nested columns.
    ///
    /// # Errors
    /// [`Error::Invalid`] when a column of the API has a type that it never has.
    ///
    /// ```
    /// use overmind_export::GivenSchema;
    ///
    /// let json = r#"{"columns": [{"name": "persona", "type": "string"}]}"#;
    /// let types = json.parse::<GivenSchema>()?.into_types()?;
    /// assert_eq!(types[0].name, "persona");
    /// # Ok::<(), overmind_export::Error>(())
    /// ```
    pub fn into_types(self) -> Result<Vec<NestedField>> {
        let Self(types, others) = self;
        for (name, kind) in others {
            kind.parse::<ColumnType>()?;
            if let Ok(column) = name.parse::<Column>() {
                let own = column.column_type();
                let why = format!("the column {name} has the type {own}");
                return Err(Error::invalid("type in a schema", kind, why));
            }
        }
        Ok(types)
    }
}

/// Returns the types of the columns in the file.
///
/// # Errors
/// Those of [`GivenSchema::open`] and of [`GivenSchema::into_types`].
pub(crate) fn read(path: &Path) -> Result<Vec<NestedField>> {
    let types = GivenSchema::open(path)?.into_types().map_err(|error| in_file(error, path))?;
    let checked = types.iter().try_for_each(NestedField::check);
    checked.map(|()| types).map_err(|error| in_part(error, path))
}

/// Names the file in an error about its text, or about a part of it.
fn in_file(error: Error, path: &Path) -> Error {
    match error {
        // The value is the text of the file.
        Error::Invalid { what: "schema", why, .. } => {
            Error::invalid("schema", path.to_string_lossy(), why)
        }
        error => in_part(error, path),
    }
}

/// Names the file in an error about a part of its text.
fn in_part(error: Error, path: &Path) -> Error {
    let Error::Invalid { what, value, why } = error else { return error };
    // A column of the API that holds no JSON has one type only.
    let mut typed = Column::ALL.into_iter().filter(|it| it.column_type() != ColumnType::Json);
    let is_its = |it: &Column| why.starts_with(&format!(".{it} can have the type"));
    let why = match typed.find(is_its) {
        Some(column) => format!("the column {column} has the type {}", column.column_type()),
        None => why,
    };
    Error::Invalid { what, value, why: format!("{why} (in {})", path.display()) }
}
