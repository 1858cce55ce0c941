//! The file of a report: staged, then published in one step.

use std::{
    fmt,
    io::Write as _,
    path::{Path, PathBuf},
};

use super::Report;
use crate::{
    destination::{Destination, PartFile},
    error::{Error, Result},
    location::{Location, StorageOptions, Target},
};

/// A file that takes a report. If it is not published, the staged file is removed.
pub struct ReportFile {
    /// `None` after publication.
    target: Option<Destination>,
    file: PartFile,
}

impl ReportFile {
    /// Creates a staged file that [`publish`](Self::publish) makes visible as `output`: a path or an object's URL that
    /// ends in `.html`, or `-` for standard output. With `overwrite`, it replaces an existing file.
    ///
    /// # Errors
    /// [`Error::Invalid`] when `output` has another extension. [`Error::Output`] when it exists already or cannot be
    /// created. [`Error::Locked`] when another run is writing it.
    pub fn create(output: &Path, overwrite: bool, storage: &StorageOptions) -> Result<Self> {
        let target = match output == Path::new("-") {
            true => Target::Stdout,
            false => {
                let location = Location::of(output, storage)?;
                let name = PathBuf::from(location.name());
                let extension = name.extension().map(|it| it.to_ascii_lowercase());
                if !extension.is_some_and(|it| it == "html" || it == "htm") {
                    let why = "a report is a page: use a name that ends in .html, or - for standard output";
                    return Err(Error::invalid("output", output.to_string_lossy(), why));
                }
                Target::File(location)
            }
        };
        let mut destination = Destination::open_file(&target, overwrite)?;
        let file = destination.create(0, "html")?;
        Ok(Self { target: Some(destination), file })
    }

    /// Writes the report and publishes the file in one step. Returns its size in bytes.
    ///
    /// # Errors
    /// Every error that prevents completing or publishing the file. Nothing is published then, except after
    /// [`Error::NotDurable`] and [`Error::Replaced`].
    pub fn publish(mut self, report: &Report) -> Result<u64> {
        let html = report.as_html();
        let mut writer = self.file.writer();
        let written = writer.write_all(html.as_bytes()).and_then(|()| writer.flush());
        drop(writer);
        written.map_err(|source| {
            let failed = Error::Io { action: "write", path: "the report".into(), source };
            self.file.failure().unwrap_or(failed)
        })?;
        self.file.close()?;
        if let Some(target) = self.target.take() {
            target.publish_file()?;
        }
        Ok(html.len() as u64)
    }
}

impl fmt::Debug for ReportFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReportFile").field("file", &self.file).finish_non_exhaustive()
    }
}

impl Drop for ReportFile {
    /// Removes the staged file if it was not published.
    fn drop(&mut self) {
        if let Some(target) = self.target.take() {
            target.abandon();
        }
    }
}
