//! What a run would keep of an interrupted export to the same output, for a dry run.

use std::path::PathBuf;

use super::KeptPart;
use crate::error::Error;

/// The finished parts of an interrupted export that this run would keep, if they are intact.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Resumable {
    pub(crate) rows_read: u64,
    pub(crate) last_page: u64,
}

impl Resumable {
    /// Adds up the parts. `width` is the number of parts that share their pages.
    pub(super) fn of<'a>(parts: impl Iterator<Item = &'a KeptPart>, width: usize) -> Option<Self> {
        parts.step_by(width.max(1)).fold(None, |sum, KeptPart { part, .. }| {
            let before = sum.map_or(0, |sum: Self| sum.rows_read);
            let rows_read = before.saturating_add(part.rows_read);
            Some(Self { rows_read, last_page: part.last_page })
        })
    }
}

/// The error of a run with another plan than that of the interrupted export.
pub(super) fn not_resumed(path: PathBuf, difference: &str) -> Error {
    Error::Output {
        path,
        why: format!("an interrupted export to it cannot be resumed: {difference}"),
        hint: Some("give `restart` to delete its parts and start over"),
        source: None,
    }
}
