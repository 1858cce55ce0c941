//! One run of a job at a time, whichever process it is in. A lock goes with the process that holds it.

use std::{
    fs::{self, File},
    path::PathBuf,
};

use crate::{
    destination,
    error::{Error, Result},
    location::Location,
};

/// Holds a job until it is dropped.
#[derive(Debug)]
pub(crate) struct JobLock {
    path: PathBuf,
    file: File,
}

impl JobLock {
    /// Takes the lock, making the job's folder if need be.
    ///
    /// # Errors
    /// [`Error::Locked`] when another run has it.
    pub(crate) fn take(folder: &Location) -> Result<Self> {
        let path = match folder.as_local() {
            Some(local) => {
                fs::create_dir_all(local)
                    .map_err(|error| destination::cannot_create(local, error))?;
                local.join(".lock")
            }
            None => of_store(folder)?,
        };
        let file = destination::lock(&path, &folder.to_path())?;
        Ok(Self { path, file })
    }
}

impl Drop for JobLock {
    fn drop(&mut self) {
        // While it is held: who waits for it looks whether it is still the file of that name.
        drop(fs::remove_file(&self.path));
        drop(self.file.unlock());
    }
}

/// A store has no locks that go with a process: the runs of one machine are kept apart here.
fn of_store(folder: &Location) -> Result<PathBuf> {
    let name = xxhash_rust::xxh3::xxh3_64(folder.to_string().as_bytes());
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let place = runtime.filter(|path| path.is_dir()).unwrap_or_else(std::env::temp_dir);
    let place = place.join("overmind-export");
    fs::create_dir_all(&place).map_err(Error::io("make", &place))?;
    Ok(place.join(format!("{name:016x}.lock")))
}
