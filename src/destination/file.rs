//! One file: written as `.NAME.partial`, which is also its lock, and renamed when complete.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use super::{PartFile, fs as disk, parent, sidecar_name};
use crate::{
    error::{Error, Result},
    manifest::Manifest,
};

#[derive(Debug)]
pub(crate) struct SingleFile {
    target: PathBuf,
    overwrite: bool,
    staged: Option<Staged>,
}

#[derive(Debug)]
struct Staged {
    path: PathBuf,
    file: File,
}

impl SingleFile {
    /// Looks whether a file can go there; writes nothing.
    pub(super) fn probe(target: &Path, overwrite: bool, sidecar: bool) -> Result<Self> {
        disk::check_parent(target)?;
        let manifest = sidecar.then(|| sidecar_path(target));
        for path in [Some(target), manifest.as_deref()].into_iter().flatten() {
            if !overwrite && path.symlink_metadata().is_ok() {
                return Err(exists(path));
            }
        }
        disk::check_unlocked(&disk::staging_path(target), target)?;
        Ok(Self { target: target.to_owned(), overwrite, staged: None })
    }

    pub(super) fn name(&self) -> String {
        self.target.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Takes the lock.
    pub(super) fn open(&mut self) -> Result<()> {
        if self.staged.is_none() {
            let path = disk::staging_path(&self.target);
            let file = disk::lock(&path, &self.target)?;
            self.staged = Some(Staged { path, file });
        }
        Ok(())
    }

    /// The file, empty.
    pub(super) fn create(&mut self) -> Result<PartFile> {
        let Some(staged) = &self.staged else {
            return Err(Error::Internal("the output was not opened".to_owned()));
        };
        // What a killed run or an earlier sweep left is of no use.
        let failed = |error| Error::io("write", &staged.path)(error);
        staged.file.set_len(0).map_err(failed)?;
        let mut file = staged.file.try_clone().map_err(failed)?;
        io::Seek::rewind(&mut file).map_err(failed)?;
        Ok(PartFile::new(&self.target, file))
    }

    /// Makes it visible, complete, in one step; then the manifest that goes beside it, if one does.
    pub(super) fn publish(self, sidecar: Option<&Manifest>) -> Result<()> {
        let Some(staged) = &self.staged else {
            return Err(Error::Internal("the output was not opened".to_owned()));
        };
        let manifest_path = sidecar_path(&self.target);
        if self.overwrite && Manifest::read(&manifest_path).is_ok() {
            // It must not lie beside a file that it does not describe.
            fs::remove_file(&manifest_path).map_err(Error::io("remove", &manifest_path))?;
        }
        let renamed = if self.overwrite {
            fs::rename(&staged.path, &self.target)
        } else {
            disk::rename_new(&staged.path, &self.target)
        };
        renamed.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => {
                drop(fs::remove_file(&staged.path));
                exists(&self.target)
            }
            _ => Error::io("rename to", &self.target)(error),
        })?;
        if let Some(manifest) = sidecar {
            let aside = disk::staging_path(&manifest_path);
            let json = manifest.to_json()?;
            disk::write_durably(&aside, &json).map_err(Error::io("write", &aside))?;
            fs::rename(&aside, &manifest_path).map_err(Error::io("rename to", &manifest_path))?;
        }
        disk::sync_directory(parent(&self.target))
    }

    /// Gives up: nothing is published.
    pub(super) fn abandon(self) {
        if let Some(staged) = self.staged {
            // Best effort: the next run takes over whatever stays.
            drop(fs::remove_file(staged.path));
        }
    }
}

fn sidecar_path(target: &Path) -> PathBuf {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    target.with_file_name(sidecar_name(&name))
}

fn exists(target: &Path) -> Error {
    Error::Output {
        path: target.to_owned(),
        why: "exists already".to_owned(),
        hint: Some("give --overwrite to replace it, or another path"),
        source: None,
    }
}
