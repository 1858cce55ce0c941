//! The output of an export by many workers: a directory or a prefix with a plan.

use std::path::PathBuf;

use crate::{
    destination::{OutputRequest, PlanUse},
    error::{Error, Result},
    location::{Location, StorageOptions, Target},
    output,
    record::layout::PartLayout,
};

/// The output that a plan was begun for. Every step takes it, on any machine: a directory that all of them share, or the
/// URL of a prefix.
///
/// ```
/// use overmind_export::{StorageOptions, cluster::ClusterOutput};
/// let output = ClusterOutput::new("s3://lake/eval/")
///     .storage(StorageOptions::default().with("region", "eu-north-1"));
/// ```
#[derive(Debug, Clone)]
pub struct ClusterOutput {
    output: PathBuf,
    storage: StorageOptions,
    temp_dir: Option<PathBuf>,
}

impl ClusterOutput {
    /// Names the output, as it was given to [`begin`](super::begin).
    pub fn new(output: impl Into<PathBuf>) -> Self {
        Self { output: output.into(), storage: StorageOptions::default(), temp_dir: None }
    }

    /// Sets the options of the object store; default none. The plan does not have them.
    #[must_use]
    pub fn storage(mut self, storage: StorageOptions) -> Self {
        self.storage = storage;
        self
    }

    /// Sets the folder of temporary files, such as the ids of a commit that exceed 4 MiB; default that of the system.
    #[must_use]
    pub fn temp_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.temp_dir = Some(folder.into());
        self
    }

    pub(super) fn given(&self) -> &PathBuf {
        &self.output
    }

    pub(super) fn storage_options(&self) -> &StorageOptions {
        &self.storage
    }

    pub(super) fn temporary(&self) -> Option<&PathBuf> {
        self.temp_dir.as_ref()
    }

    /// Returns the directory or prefix. Sends nothing.
    ///
    /// # Errors
    /// [`Error::Usage`] for a single file or standard output.
    pub(super) fn location(&self) -> Result<Location> {
        directory(&output::target(&self.output, &self.storage)?)
    }

    /// Returns the request for the output when its plan is unknown.
    pub(super) fn request(&self) -> Result<OutputRequest> {
        Ok(OutputRequest {
            target: Target::Directory(self.location()?),
            overwrite: false,
            sidecar: false,
            record: None,
            staging: None,
            success_file: false,
            layout: PartLayout::default(),
            in_drafts: false,
            plan_use: PlanUse::Allow,
            temp_dir: self.temp_dir.clone().unwrap_or_else(std::env::temp_dir),
        })
    }
}

/// Returns the directory or prefix of a target.
pub(super) fn directory(target: &Target) -> Result<Location> {
    match target {
        Target::Directory(location) => Ok(location.clone()),
        other => Err(Error::Usage(format!(
            "many workers write a directory of parts, but {other} is not one: give a path that ends in a slash"
        ))),
    }
}
