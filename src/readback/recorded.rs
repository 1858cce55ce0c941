//! Finds the manifest to compare an export with. Other programs may write files with the same names.

use crate::{
    error::{Error, Result},
    location::Location,
    record::{manifest::Manifest, place::FoundRecord},
};

/// The content of the file with a manifest's name.
pub(super) enum FoundManifest {
    Missing,
    /// A file of another program.
    Foreign,
    Ours(Box<Manifest>),
}

impl FoundManifest {
    /// Reads the file.
    ///
    /// # Errors
    /// [`Error::Damaged`] for our manifest that is damaged or has an unknown layout. [`Error::Io`] and
    /// [`Error::Store`] when reading fails.
    pub(super) fn load(location: &Location) -> Result<Self> {
        let Some(bytes) = location.read()? else { return Ok(Self::Missing) };
        Self::parsed(Manifest::parse(&bytes, location), &bytes)
    }

    /// Parses the record of a directory or prefix.
    ///
    /// # Errors
    /// The [`Error::Damaged`] of [`load`](Self::load).
    pub(super) fn of(found: &FoundRecord) -> Result<Self> {
        Self::parsed(found.manifest(), &found.bytes)
    }

    fn parsed(manifest: Result<Manifest>, bytes: &[u8]) -> Result<Self> {
        match manifest {
            Ok(manifest) => Ok(Self::Ours(Box::new(manifest))),
            Err(Error::Damaged { .. }) if !is_ours(bytes) => Ok(Self::Foreign),
            Err(error) => Err(error),
        }
    }
}

/// Whether an unreadable manifest is ours. Damage may have changed one of the texts, so either one is enough.
fn is_ours(bytes: &[u8]) -> bool {
    let has = |text: &str| memchr::memmem::find(bytes, text.as_bytes()).is_some();
    has(concat!("\"", env!("CARGO_PKG_NAME"), "\""))
        || has("\"format_version\"") && has("\"parts\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_manifest_differs_from_foreign_file() {
        let ours = [
            r#"{"format_version":1,"tool":{"name":"overmind-export","version":"1"},"par"#,
            r#"{"format_version":2,"tool":{"name":"overmind-export"},"parts":[]}"#,
        ];
        assert!(ours.iter().all(|text| is_ours(text.as_bytes())));
        let foreign = ["", "{}", r#"{"hello":1}"#, r#"{"format_version":2}"#, "\u{0}\u{1}"];
        assert!(!foreign.iter().any(|text| is_ours(text.as_bytes())));
    }
}
