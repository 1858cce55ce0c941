//! Values that nested columns cannot hold as the caller wants.

use super::phrases::of_row;
use crate::text::grouped;

/// A value, or a path, that cannot be nested as asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NestingError {
    /// A path of `nest` leads to values that no struct holds.
    #[error("`nest` {path:?} cannot be a struct: {because}")]
    NotStruct {
        /// The path, in its shortest form.
        path: String,
        /// What the values are, and the row that decided it, if a single row did.
        because: String,
    },
    /// With the given types, a value would be longer than readers of this crate accept.
    #[error(
        "{}{}, and readers accept {}",
        of_row(*row, id.as_deref()), too_long(column, *is_rescued, *bytes), grouped(*limit as u64)
    )]
    TooLong {
        /// Number of the row in the output, from 1; `None` if the output has splits.
        row: Option<u64>,
        /// Id of the row, if the export has this column.
        id: Option<String>,
        /// The column of the value.
        column: String,
        /// Whether the column for values that do not fit is too long, with the values of this one.
        is_rescued: bool,
        /// Length of the text that is read back, in bytes.
        bytes: usize,
        /// The limit in bytes.
        limit: usize,
    },
}

impl NestingError {
    /// Returns the next step for the user.
    pub(super) fn hint(&self) -> &'static str {
        match self {
            Self::NotStruct { because, .. } if because.contains("`max_columns`") => {
                "raise `max_columns`, or leave the path out"
            }
            Self::NotStruct { .. } => {
                "leave the path out; `overmind-export schema` prints the type of each value, and its reason"
            }
            Self::TooLong { .. } => {
                "nothing was published: change the type of the column to json in the `schema`, or leave `schema` out to \
                 find types that hold every value"
            }
        }
    }
}

/// Says what would be longer than readers accept.
fn too_long(column: &str, is_rescued: bool, bytes: usize) -> String {
    let bytes = grouped(bytes as u64);
    match is_rescued {
        true => format!("_rescued would have {bytes} bytes with the value of {column}"),
        false => format!(
            "{column} would have {bytes} bytes in the usual spelling of its numbers and escapes"
        ),
    }
}
