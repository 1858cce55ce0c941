//! What a place becomes: a file, a directory of parts, or standard output. Never looks at it.

use std::fmt;

use super::Location;

/// Where an export goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// One file or object, which appears when it is complete.
    File(Location),
    /// A directory of parts with a manifest, which appears when it is complete; in an object store a
    /// prefix, where the parts come first and `_SUCCESS` says that it is complete.
    Directory(Location),
    /// Standard output.
    Stdout,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(place) | Self::Directory(place) => write!(f, "{place}"),
            Self::Stdout => f.write_str("standard output"),
        }
    }
}
