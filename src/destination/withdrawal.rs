//! Takes back a directory that an ended commit has made visible, if its parts were changed since.
//!
//! Then the commit can no longer be finished. The record was not published, so no reader takes the directory for an export.
//! Its parts go back to the staging, where the next commit names the ranges to write again. A replaced export goes back
//! to the target.

use super::{
    PLAN,
    directory::Directory,
    journal::Announcement,
    ownership::{self, is_control},
    part::PartChecksum,
    publication::{REPLACED, is_whole},
    record_file::RecordState,
    staged::StagedDirectory,
};
use crate::{
    error::{Error, Result},
    files::Folder,
    record::{layout::folders_of, manifest::Manifest},
};

/// What is at the target of an announced publication that cannot be finished.
enum VisibleParts {
    /// None of the announced parts.
    Others,
    /// Some of the announced parts, and nothing else.
    Own,
    /// Some of the announced parts, and this file.
    Mixed(String),
}

impl Directory {
    /// Takes the announced parts of a plan back from the target, with the lock of the staging. Returns whether it did.
    ///
    /// # Errors
    /// [`Error::Output`] if the directory has other files, too.
    pub(super) fn withdraw(
        &self,
        staged: &StagedDirectory,
        announcement: &Announcement,
    ) -> Result<bool> {
        let root = &staged.root;
        let failed = |error| Error::io("look at", root.path())(error);
        if root.find(PLAN).map_err(failed)?.is_none() {
            return Ok(false);
        }
        let Some(manifest) = self.announced_record(root, announcement)? else { return Ok(false) };
        let Ok(visible) = self.parent.open_folder(&self.name) else { return Ok(false) };
        if self.record.state(announcement)? == RecordState::Published {
            return Ok(false);
        }
        match visible_parts(&visible, &manifest).map_err(Error::io("list", &self.target))? {
            VisibleParts::Others => return Ok(false),
            VisibleParts::Own => {}
            VisibleParts::Mixed(path) => {
                return Err(self.refused(
                    format!(
                        "an interrupted commit has made it visible. Since then, parts were changed or removed, and \
                         {path:?} was added"
                    ),
                    "move the directory away: then `overmind-export commit` names the ranges to write again, and \
                     `overmind-export abort` gives the export up",
                ));
            }
        }
        let back = match root.open_folder("data") {
            // The rest of a swap: the export that was replaced.
            Ok(data) => {
                let replaced = ownership::manifest(root, REPLACED).ok();
                if !replaced.is_some_and(|replaced| is_whole(&data, &replaced)) {
                    return Ok(false);
                }
                root.swap("data", &self.parent, &self.name, "old")
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                self.parent.rename(&self.name, root, "data")
            }
            Err(error) => Err(error),
        };
        let back = back.and_then(|()| self.parent.sync()).and_then(|()| root.sync());
        back.map_err(Error::io("move back", &self.target))?;
        Ok(true)
    }
}

fn visible_parts(visible: &Folder, manifest: &Manifest) -> std::io::Result<VisibleParts> {
    let (mut has_own, mut other) = (false, None);
    for (path, found) in visible.paths(&folders_of(manifest))? {
        let Some((_, bytes, sha256)) = manifest.files().find(|(listed, ..)| *listed == path) else {
            if !is_control(&path) {
                other.get_or_insert(path);
            }
            continue;
        };
        has_own = has_own || {
            let checksum = PartChecksum::Sha256(sha256.to_owned());
            let same = visible.read_below(&path).and_then(|mut file| checksum.matches(&mut file));
            found.size == bytes && same.unwrap_or(false)
        };
    }
    Ok(match (has_own, other) {
        (false, _) => VisibleParts::Others,
        (true, None) => VisibleParts::Own,
        (true, Some(path)) => VisibleParts::Mixed(path),
    })
}
