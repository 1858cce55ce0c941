//! The link to the newest snapshot of a job, where the job asks for one.

use std::path::Path;
#[cfg(unix)]
use std::{fs, io, path::PathBuf};

#[cfg(unix)]
use crate::error::Error;
use crate::error::Result;

#[cfg(unix)]
fn is_unknown(error: &io::Error) -> bool {
    use io::ErrorKind::{PermissionDenied, Unsupported};
    matches!(error.kind(), PermissionDenied | Unsupported)
}

/// Replaces the link `path` by a link to a snapshot. The link is relative if the snapshot is below its folder, so
/// that users can move the whole folder.
pub(super) fn point(path: &Path, snapshot: &Path) -> Result<()> {
    #[cfg(unix)]
    {
        let to = path.parent().and_then(|folder| snapshot.strip_prefix(folder).ok());
        let to = to.map_or_else(|| std::path::absolute(snapshot), |to| Ok(to.to_owned()));
        let to: PathBuf = to.map_err(Error::io("find", snapshot))?;
        match fs::symlink_metadata(path) {
            Ok(found) if !found.is_symlink() => {
                return Err(Error::Output {
                    path: path.to_owned(),
                    why: "is not a link, so it cannot point at the newest snapshot".to_owned(),
                    hint: Some("move it away, or give another path as the job's link"),
                    source: None,
                });
            }
            Ok(_) if fs::read_link(path).is_ok_and(|target| target == to) => {
                return Ok(());
            }
            _ => {}
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let aside = path.with_file_name(format!(".{name}.{:08x}.new", fastrand::u32(..)));
        match std::os::unix::fs::symlink(to, &aside) {
            // Some file systems do not support links. `latest.json` has the same information.
            Err(error) if is_unknown(&error) => {
                tracing::warn!(path = %path.display(), %error, "cannot create the link to the newest snapshot");
                Ok(())
            }
            linked => linked.and_then(|()| fs::rename(&aside, path)).map_err(|error| {
                drop(fs::remove_file(&aside));
                Error::io("write", path)(error)
            }),
        }
    }
    #[cfg(not(unix))]
    {
        // On these systems a link needs a privilege that few users have. `latest.json` has the same information.
        let _ = (path, snapshot);
        Ok(())
    }
}
