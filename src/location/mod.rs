//! A place that exports are read from and written to: a local path, or a URL of an object store.
//!
//! One blocking interface over both. Calls block the thread that makes them, so make none on a thread
//! that serves sockets. They work with and without a tokio runtime around: what a store needs runs on
//! a runtime of its own (see `remote/runtime.rs`). Knows nothing of what an export is, and nothing it
//! prints or quotes holds a secret.

mod local;
mod opened;
mod options;
#[cfg(feature = "clouds")]
mod remote;
#[cfg(not(feature = "clouds"))]
#[path = "no_remote.rs"]
mod remote;
mod target;

use std::{
    fmt,
    path::{Path, PathBuf},
};

use url::Url;

pub(crate) use self::opened::Opened;
pub(crate) use self::remote::Remote;
#[cfg(feature = "clouds")]
pub(crate) use self::remote::{
    Backend, Listing, UNREACHABLE, is_unanswered, is_unsupported, spawn, version, wait,
};
pub use self::{options::StorageOptions, target::Target};
use crate::{
    error::{Error, Result},
    net::urls::quotable,
};

/// Schemes of the stores that are known.
const STORES: [&str; 5] = ["s3", "gs", "az", "abfs", "abfss"];

/// A local path, or a URL of an object store: `s3://`, `gs://`, `az://`, `abfs://`, `abfss://`.
///
/// Cheap to clone. `Display` gives it as it was typed.
///
/// ```
/// use overmind_export::{Location, StorageOptions};
///
/// let options = StorageOptions::default();
/// assert!(Location::parse("out/rows.parquet", &options)?.as_local().is_some());
/// assert!(Location::parse("ftp://host/rows.parquet", &options).is_err());
/// # #[cfg(feature = "clouds")]
/// assert!(Location::parse("s3://bucket/rows.parquet", &options)?.as_local().is_none());
/// # Ok::<(), overmind_export::Error>(())
/// ```
#[derive(Clone)]
pub struct Location(PlaceKind);

#[derive(Clone)]
enum PlaceKind {
    Local(PathBuf),
    Remote(Remote),
}

impl Location {
    /// Takes what was typed: text with `://` in it is a URL, anything else a path. Sends nothing and
    /// touches no file.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a scheme that is not known, for a URL that holds more than a bucket and
    /// a name, and for a storage option that the store does not have.
    pub fn parse(text: &str, options: &StorageOptions) -> Result<Self> {
        let Some((scheme, _)) = text.split_once("://") else { return Ok(Self::from(text)) };
        let wrong = |why: &str| Error::invalid("location", quotable(text), why);
        let scheme = scheme.to_ascii_lowercase();
        if scheme != "file" && !STORES.contains(&scheme.as_str()) {
            return Err(wrong(
                "the schemes that are known are s3, gs, az, abfs, abfss and file; anything without \
                 :// is a local path",
            ));
        }
        let url = Url::parse(text).map_err(|error| wrong(&error.to_string()))?;
        if url.query().is_some() || url.fragment().is_some() {
            return Err(wrong("it must not have a query or a fragment: % encodes ? as %3F"));
        }
        if scheme == "file" {
            let why = "a file URL has an absolute path and no host, as file:///tmp/rows.parquet";
            let path = url.to_file_path().map_err(|()| wrong(why))?;
            return Ok(Self(PlaceKind::Local(path)));
        }
        Ok(Self(PlaceKind::Remote(Remote::new(text, &url, options)?)))
    }

    /// The path, if it is a local one.
    pub fn as_local(&self) -> Option<&Path> {
        match &self.0 {
            PlaceKind::Local(path) => Some(path),
            PlaceKind::Remote(_) => None,
        }
    }

    /// The place in a store, if it is one.
    #[cfg(feature = "clouds")]
    pub(crate) fn as_remote(&self) -> Option<&Remote> {
        match &self.0 {
            PlaceKind::Local(_) => None,
            PlaceKind::Remote(remote) => Some(remote),
        }
    }

    /// What lies in it under this name.
    pub(crate) fn child(&self, name: &str) -> Self {
        Self(match &self.0 {
            PlaceKind::Local(path) => PlaceKind::Local(path.join(name)),
            PlaceKind::Remote(remote) => PlaceKind::Remote(remote.child(name)),
        })
    }

    /// What lies beside it under this name.
    pub(crate) fn sibling(&self, name: &str) -> Self {
        Self(match &self.0 {
            PlaceKind::Local(path) => PlaceKind::Local(path.with_file_name(name)),
            PlaceKind::Remote(remote) => PlaceKind::Remote(remote.sibling(name)),
        })
    }

    /// Its own name: the last segment; empty for a bucket and for a path that ends in `..`.
    pub(crate) fn name(&self) -> String {
        match &self.0 {
            PlaceKind::Local(path) => {
                path.file_name().unwrap_or_default().to_string_lossy().into_owned()
            }
            PlaceKind::Remote(remote) => remote.name().to_owned(),
        }
    }

    /// For errors, which hold what was typed.
    pub(crate) fn to_path(&self) -> PathBuf {
        match &self.0 {
            PlaceKind::Local(path) => path.clone(),
            PlaceKind::Remote(remote) => remote.to_string().into(),
        }
    }

    /// All of a file or object; `None` if it is missing.
    pub(crate) fn read(&self) -> Result<Option<Vec<u8>>> {
        match &self.0 {
            PlaceKind::Local(path) => local::read(path),
            PlaceKind::Remote(remote) => remote.read(),
        }
    }

    /// Writes it whole: it is seen complete or not at all, in place of what was there, and it outlives
    /// a power failure. Makes the folders that it lies in.
    pub(crate) fn write(&self, bytes: &[u8]) -> Result<()> {
        match &self.0 {
            PlaceKind::Local(path) => local::write(path, bytes),
            PlaceKind::Remote(remote) => remote.write(bytes),
        }
    }

    /// The names of what lies directly in it, files and folders, sorted; none if it is missing.
    pub(crate) fn names(&self) -> Result<Vec<String>> {
        match &self.0 {
            PlaceKind::Local(path) => local::names(path),
            PlaceKind::Remote(remote) => remote.names(),
        }
    }

    /// What lies directly in it, sorted by name; nothing if it is missing. Links are not followed.
    pub(crate) fn entries(&self) -> Result<Vec<PlaceEntry>> {
        match &self.0 {
            PlaceKind::Local(path) => local::entries(path),
            PlaceKind::Remote(remote) => remote.entries(),
        }
    }

    /// Removes one file or object; fine if it is missing.
    pub(crate) fn remove(&self) -> Result<()> {
        match &self.0 {
            PlaceKind::Local(path) => local::remove(path),
            PlaceKind::Remote(remote) => remote.remove(),
        }
    }

    /// Whether something lies in it. A store has no empty folders.
    pub(crate) fn is_directory(&self) -> Result<bool> {
        match &self.0 {
            PlaceKind::Local(path) => Ok(path.is_dir()),
            PlaceKind::Remote(remote) => Ok(!remote.names()?.is_empty()),
        }
    }

    /// Whether it is a file or an object.
    pub(crate) fn is_file(&self) -> Result<bool> {
        match &self.0 {
            PlaceKind::Local(path) => Ok(path.is_file()),
            PlaceKind::Remote(remote) => remote.is_object(),
        }
    }

    /// A file or object to read at any offset, in bounded memory.
    pub(crate) fn open(&self) -> Result<Opened> {
        match &self.0 {
            PlaceKind::Local(path) => local::open(path),
            PlaceKind::Remote(remote) => remote.open(),
        }
    }
}

/// What lies in a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PlaceEntry {
    pub(crate) name: String,
    /// Bytes of a regular file or an object; `None` for all else.
    pub(crate) size: Option<u64>,
    /// What it is, in words, with an article.
    pub(crate) kind: &'static str,
}

#[cfg(all(test, feature = "clouds"))]
impl Location {
    /// A place in a store that is gone with the process.
    pub(crate) fn in_memory(prefix: &str) -> Self {
        Self(PlaceKind::Remote(Remote::in_memory(prefix)))
    }
}

impl From<&str> for Location {
    /// A local path, whatever it looks like.
    fn from(path: &str) -> Self {
        Self(PlaceKind::Local(path.into()))
    }
}

impl From<&Path> for Location {
    fn from(path: &Path) -> Self {
        Self(PlaceKind::Local(path.into()))
    }
}

impl From<PathBuf> for Location {
    fn from(path: PathBuf) -> Self {
        Self(PlaceKind::Local(path))
    }
}

impl PartialEq for Location {
    fn eq(&self, other: &Self) -> bool {
        self.to_path() == other.to_path()
    }
}

impl Eq for Location {}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            PlaceKind::Local(path) => write!(f, "{}", path.display()),
            PlaceKind::Remote(remote) => write!(f, "{remote}"),
        }
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Location").field(&self.to_string()).finish()
    }
}

#[cfg(test)]
mod tests;
