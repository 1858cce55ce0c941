//! Where bytes go: staged beside the target, published in one step, resumed after a kill.
//!
//! - Nothing partial is ever visible at the target: it is what it was before, or complete.
//! - An existing output is never touched unless overwriting was asked for, and then only a file, an
//!   empty directory, or a directory whose manifest is ours and lists everything in it.
//! - One run at a time writes a target; the lock of a dead process blocks nobody.
//!
//! Knows nothing of pages, rows or formats.

mod directory;
mod file;
mod fs;
mod journal;
mod part;

use std::path::Path;

pub(crate) use self::{
    directory::{Directory, interrupted},
    file::SingleFile,
    fs::{cannot_create, lock},
    journal::{Header, Kept},
    part::{PartFile, examine},
};
use crate::{
    error::Result,
    manifest::{Manifest, Part},
    plan::{ExportPlan, Target},
};

/// A target that was looked at and, once opened, holds its lock.
#[derive(Debug)]
pub(crate) enum Destination {
    File(SingleFile),
    Directory(Directory),
    Stdout,
}

impl Destination {
    /// Looks whether the export can go there; writes nothing.
    pub(crate) fn probe(plan: &ExportPlan) -> Result<Self> {
        let overwrite = plan.options.overwrite;
        Ok(match &plan.target {
            Target::File(path) => {
                Self::File(SingleFile::probe(path, overwrite, plan.options.manifest)?)
            }
            Target::Directory(path) => Self::Directory(Directory::probe(path, overwrite)?),
            Target::Stdout => Self::Stdout,
        })
    }

    /// Moves it out, to work on another thread; what stays behind publishes nothing.
    pub(crate) fn take(&mut self) -> Self {
        std::mem::replace(self, Self::Stdout)
    }

    /// Takes the lock where an interrupted run left something, and says what can be kept of it.
    pub(crate) fn resume(&mut self, header: &Header, restart: bool) -> Result<Vec<Kept>> {
        match self {
            Self::Directory(directory) => directory.resume(header, restart),
            Self::File(_) | Self::Stdout => Ok(Vec::new()),
        }
    }

    /// Takes the lock and makes room for parts.
    pub(crate) fn open(&mut self, header: &Header) -> Result<()> {
        match self {
            Self::File(file) => file.open(),
            Self::Directory(directory) => directory.open(header),
            Self::Stdout => Ok(()),
        }
    }

    /// A new file for the part with this index.
    pub(crate) fn create(&mut self, index: usize, extension: &str) -> Result<PartFile> {
        match self {
            Self::File(file) => file.create(),
            Self::Directory(directory) => directory.create(index, extension),
            Self::Stdout => Ok(PartFile::stdout()),
        }
    }

    /// The name that the part with this index has in the manifest.
    pub(crate) fn part_name(&self, index: usize, extension: &str) -> String {
        match self {
            Self::File(file) => file.name(),
            Self::Directory(_) => directory::part_name(index, extension),
            Self::Stdout => "-".to_owned(),
        }
    }

    /// A file for the ids of the part with this index, where a later run may continue this one.
    pub(crate) fn create_ids(&mut self, index: usize) -> Result<Option<PartFile>> {
        match self {
            Self::Directory(directory) => directory.create_ids(index).map(Some),
            Self::File(_) | Self::Stdout => Ok(None),
        }
    }

    /// Records a finished part, so that a run that continues this one keeps it.
    pub(crate) fn keep(
        &mut self,
        part: &Part,
        has_next: bool,
        last_order: Option<i64>,
    ) -> Result<()> {
        match self {
            Self::Directory(directory) => directory.keep(part, has_next, last_order),
            Self::File(_) | Self::Stdout => Ok(()),
        }
    }

    /// Makes the export visible, complete, in one step.
    pub(crate) fn publish(self, manifest: &Manifest, sidecar: bool) -> Result<()> {
        match self {
            Self::File(file) => file.publish(manifest, sidecar),
            Self::Directory(directory) => directory.publish(manifest),
            Self::Stdout => Ok(()),
        }
    }

    /// Gives up: nothing is published. Returns how many finished parts were kept for the next run.
    pub(crate) fn abandon(self) -> usize {
        match self {
            Self::File(file) => {
                file.abandon();
                0
            }
            Self::Directory(directory) => directory.abandon(),
            Self::Stdout => 0,
        }
    }

    /// Drops the parts that were kept: they turned out to be of no use.
    pub(crate) fn forget(&mut self) -> Result<()> {
        match self {
            Self::Directory(directory) => directory.forget(),
            Self::File(_) | Self::Stdout => Ok(()),
        }
    }
}

/// Where a run keeps, in a store, what is not part of the export.
pub(crate) const CONTROL: &str = "_overmind";

/// The name of the manifest of a single file, which lies beside it.
pub(crate) fn sidecar_name(name: &str) -> String {
    format!("{name}.manifest.json")
}

/// The folder that a path lies in; `.` for a bare name.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
