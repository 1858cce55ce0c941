//! Deletes snapshots.
//!
//! First the record is renamed to `snapshot=STAMP.removed.json` (in a store: copied, then deleted): the snapshot is no
//! longer complete. Then a local snapshot is moved to `.snapshot=STAMP.removed/` in the hidden folder, so that no reader sees a part of it, and
//! its files are deleted. The renamed record goes last. If the run is killed, the next run finishes the deletion.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    place::REMOVED,
    removal::{self, RemovalOutcome},
    series::Series,
};
use crate::{
    error::{Error, Result},
    files::Folder,
    location::{Location, PlaceEntry},
    record::{
        card::is_export_path,
        layout::{folder_and_name, folders_of},
        manifest::{Manifest, SUCCESS, is_desktop_file},
        stamp::Stamp,
    },
    text::grouped,
};

impl Series {
    /// Returns why an expired snapshot must not be deleted; `None` if it can be deleted.
    pub(crate) fn obstacle(&self, stamp: Stamp, manifest: &Manifest) -> Result<Option<String>> {
        let target = self.target(stamp);
        if target.as_local().is_some_and(Path::is_symlink) {
            return Ok(Some("is a link".to_owned()));
        }
        let parts = sizes(manifest);
        let obstacle = |entry: PlaceEntry| {
            let name = &entry.name;
            let listed = parts.get(name.as_str());
            let known = is_control(name);
            if listed.is_none() && !known {
                return Some(format!("holds {name:?}, which its manifest does not list"));
            }
            let Some(size) = entry.size else {
                return Some(format!("holds {name:?}, which is {}, not a file", entry.kind));
            };
            match listed {
                Some(_) if !is_export_path(name) => {
                    Some(format!("holds {name:?}, which is not the name of a part"))
                }
                Some(bytes) if *bytes != size => Some(format!(
                    "holds {name:?}, which has {} bytes, but its manifest records {}",
                    grouped(size),
                    grouped(*bytes)
                )),
                _ => None,
            }
        };
        Ok(target.entries_in(&folders_of(manifest))?.into_iter().find_map(obstacle))
    }

    /// Deletes a snapshot. Needs no free space, because the disk may be full.
    pub(crate) fn remove(&self, stamp: Stamp, manifest: &Manifest) -> Result<()> {
        let (record, mark) = (self.record(stamp), self.mark(stamp));
        match (record.as_local(), self.hidden.as_local()) {
            (Some(record), Some(hidden)) => {
                let name = mark.name();
                fs::rename(record, hidden.join(name)).map_err(Error::io("rename", record))?;
                let synced = Folder::open(hidden).and_then(|folder| folder.sync());
                synced.map_err(Error::io("sync", hidden))?;
            }
            _ => mark.write(&manifest.to_json()?)?,
        }
        match self.take_apart(stamp, manifest)? {
            None => Ok(()),
            Some((place, left)) => Err(removal::holds(&place, &left)),
        }
    }

    /// Finishes the deletions that a killed run had begun.
    pub(crate) fn finish_removals(&self) -> Result<()> {
        for name in self.hidden.names()? {
            let stamp = name.strip_suffix(REMOVED).and_then(Stamp::of_folder);
            let Some(stamp) = stamp else { continue };
            let Some(manifest) = Manifest::load(&self.mark(stamp))? else { continue };
            if let Some((place, left)) = self.take_apart(stamp, &manifest)? {
                let (path, name) = (place.display(), left.name);
                tracing::warn!(
                    "{path} remains of the deleted snapshot {stamp}: it holds {name:?}, {}, which is \
                     not part of the snapshot: move it away",
                    left.kind
                );
            }
        }
        Ok(())
    }

    /// The place of the record of a snapshot that is being deleted.
    fn mark(&self, stamp: Stamp) -> Location {
        self.hidden.child(&format!("{}{REMOVED}", stamp.folder()))
    }

    /// Deletes the files of a snapshot that is marked as being deleted, then the mark. Returns the folder that
    /// remains and an entry of it that is not ours, if there is one.
    fn take_apart(
        &self,
        stamp: Stamp,
        manifest: &Manifest,
    ) -> Result<Option<(PathBuf, PlaceEntry)>> {
        if let Some(found) = self.find_record(stamp)? {
            found.place.remove()?;
        }
        let (target, parts) = (self.target(stamp), sizes(manifest));
        let folders = folders_of(manifest);
        let is_folder = |path: &str| folders.contains(path);
        let ours = |entry: &PlaceEntry| is_ours(entry, &parts);
        if let (Some(from), Some(hidden)) = (target.as_local(), self.hidden.as_local()) {
            let aside = hidden.join(format!(".{}.removed", stamp.folder()));
            match fs::rename(from, &aside) {
                Ok(()) => {}
                // Moved already. On overlayfs a folder of a lower layer cannot be renamed, and on a full disk a new
                // name may need space: delete it in place.
                Err(error) if is_in_place(&error) => {}
                Err(error) => return Err(Error::io("rename", from)(error)),
            }
            for place in [&*aside, from] {
                if let RemovalOutcome::Foreign(left) =
                    removal::remove_folder(place, &is_folder, &ours)?
                {
                    return Ok(Some((place.to_owned(), left)));
                }
            }
        } else {
            for entry in target.entries_in(&folders)?.iter().filter(|entry| ours(entry)) {
                target.child(&entry.name).remove()?;
            }
        }
        self.mark(stamp).remove()?;
        Ok(None)
    }
}

fn is_in_place(error: &io::Error) -> bool {
    use io::ErrorKind::{CrossesDevices, DirectoryNotEmpty, NotFound, QuotaExceeded, StorageFull};
    matches!(
        error.kind(),
        NotFound | CrossesDevices | DirectoryNotEmpty | StorageFull | QuotaExceeded
    )
}

/// Returns the sizes of the manifest's files in bytes, by path.
fn sizes(manifest: &Manifest) -> HashMap<&str, u64> {
    manifest.files().map(|(path, bytes, _)| (path, bytes)).collect()
}

/// Returns whether retention may delete this entry.
///
/// It may delete parts with their recorded size, `_SUCCESS`, and files that a desktop environment has added. It
/// never deletes anything that is not a regular file.
fn is_ours(entry: &PlaceEntry, parts: &HashMap<&str, u64>) -> bool {
    let name = entry.name.as_str();
    let is_part = || is_export_path(name) && parts.get(name).copied() == entry.size;
    entry.size.is_some() && (is_control(name) || is_part())
}

/// Whether a path is that of a file which is part of no export, but can be deleted with it.
fn is_control(path: &str) -> bool {
    path == SUCCESS || is_desktop_file(folder_and_name(path).1)
}
