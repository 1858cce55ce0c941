//! The kind of an output: a file, a directory of parts, or standard output.

use std::fmt;

use super::Location;

/// The output of an export. Creating one accesses neither files nor stores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// One file or object. It appears when it is complete.
    File(Location),
    /// A directory of parts with a manifest. A local directory appears when it is complete. In an object
    /// store it is a prefix: its parts appear within seconds when the export is complete, then the manifest.
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
