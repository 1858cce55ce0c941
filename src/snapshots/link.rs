//! The link to the newest snapshot of a job, on file systems that support links.

use std::path::Path;
#[cfg(unix)]
use std::{fs, io};

#[cfg(unix)]
use crate::error::Error;
use crate::error::Result;

/// The link to the newest snapshot, on file systems that support links.
pub(super) const LATEST: &str = "_latest";
/// The newest snapshot as JSON.
pub(super) const LATEST_JSON: &str = "_latest.json";

#[cfg(unix)]
fn is_unknown(error: &io::Error) -> bool {
    use io::ErrorKind::{PermissionDenied, Unsupported};
    matches!(error.kind(), PermissionDenied | Unsupported)
}

/// Replaces the link `_latest` by a link to another folder in the same directory. The link is relative, so
/// that users can move the whole root.
pub(super) fn point(folder: &Path, to: &str) -> Result<()> {
    let path = folder.join(LATEST);
    #[cfg(unix)]
    {
        match fs::symlink_metadata(&path) {
            Ok(found) if !found.is_symlink() => {
                return Err(Error::Output {
                    path,
                    why: "is not a link, so it cannot point at the newest snapshot".to_owned(),
                    hint: Some("move it away: the link to the newest snapshot needs that name"),
                    source: None,
                });
            }
            Ok(_) if fs::read_link(&path).is_ok_and(|target| target == Path::new(to)) => {
                return Ok(());
            }
            _ => {}
        }
        let aside = folder.join(format!(".{LATEST}.{:08x}.new", fastrand::u32(..)));
        match std::os::unix::fs::symlink(to, &aside) {
            // Some file systems do not support links. `_latest.json` has the same information.
            Err(error) if is_unknown(&error) => {
                tracing::warn!(path = %path.display(), %error, "cannot create the link to the newest snapshot");
                Ok(())
            }
            linked => linked.and_then(|()| fs::rename(&aside, &path)).map_err(|error| {
                drop(fs::remove_file(&aside));
                Error::io("write", &path)(error)
            }),
        }
    }
    #[cfg(not(unix))]
    {
        // On these systems a link needs a privilege that few users have. `_latest.json` has the same
        // information.
        let _ = (path, to);
        Ok(())
    }
}
