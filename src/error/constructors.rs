//! Makes errors.

use std::{io, path::PathBuf};

use super::Error;

/// A boxed cause.
pub type Cause = Box<dyn std::error::Error + Send + Sync + 'static>;

impl Error {
    pub(crate) fn invalid(
        what: &'static str,
        value: impl Into<String>,
        why: impl Into<String>,
    ) -> Self {
        Self::Invalid { what, value: value.into(), why: why.into() }
    }

    /// Replaces the origin of the key in [`Error::ApiKey`] with `better`. Other errors stay as they are.
    pub(crate) fn with_key_origin(mut self, better: Option<&str>) -> Self {
        if let (Self::ApiKey { origin, .. }, Some(better)) = (&mut self, better) {
            *origin = Some(better.to_owned());
        }
        self
    }

    /// Wraps an error of your own [`Sink`](crate::Sink).
    ///
    /// ```
    /// let error = overmind_export::Error::sink("the table is read-only");
    /// assert_eq!(error.one_line(), "the sink failed: the table is read-only");
    /// assert_eq!(error.exit_code(), 74);
    /// ```
    pub fn sink(cause: impl Into<Cause>) -> Self {
        Self::Sink { source: cause.into() }
    }

    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}

/// Allows `?` in your own [`Sink`](crate::Sink). The error becomes [`Error::Sink`].
// Within this crate, `?` on an I/O error would lose the action and the path. The unit tests are built without
// this implementation, so that such a `?` does not compile.
#[cfg(not(test))]
impl From<io::Error> for Error {
    fn from(source: io::Error) -> Self {
        Self::sink(source)
    }
}
