//! A column of a file that cannot be read.

use std::path::PathBuf;

/// A column that no export has, whose values have another type, or that only some lines of a file have.
#[derive(Debug, thiserror::Error)]
#[error("{}: {why}", path.display())]
#[non_exhaustive]
pub struct ColumnError {
    /// Path of the file.
    pub path: PathBuf,
    /// The problem with the column.
    pub why: String,
    /// The next step for the user, if the command can leave columns out.
    pub hint: Option<&'static str>,
}

impl super::Error {
    /// Returns the error of a column of a file. `why` follows the path.
    pub(crate) fn column(path: PathBuf, why: String, hint: Option<&'static str>) -> Self {
        Self::Column(Box::new(ColumnError { path, why, hint }))
    }

    /// Returns the file that is damaged or has the wrong column, and the problem.
    ///
    /// # Errors
    /// This error, if it is another one.
    pub(crate) fn damage(self) -> super::Result<(PathBuf, String)> {
        match self {
            Self::Damaged { path, why } => Ok((path, why)),
            Self::Column(error) => Ok((error.path, error.why)),
            other => Err(other),
        }
    }

    /// Returns the same error. That of a column without a hint gets this one.
    pub(crate) fn with_hint_of_column(self, hint: &'static str) -> Self {
        match self {
            Self::Column(error) if error.hint.is_none() => {
                Self::Column(Box::new(ColumnError { hint: Some(hint), ..*error }))
            }
            other => other,
        }
    }
}
