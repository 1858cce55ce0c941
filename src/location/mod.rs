//! A place that exports are read from and written to: a local path, or a URL of an object store.
//!
//! Both have the same blocking interface. Calls block the calling thread, so do not make them on a thread
//! that serves sockets. They work inside and outside a tokio runtime: requests to stores run on a separate
//! runtime (see `remote/runtime.rs`).
//!
//! This module does not know exports. It never prints or quotes a secret.

mod local;
mod meant;
mod opened;
mod options;
#[cfg(feature = "clouds")]
mod remote;
#[cfg(not(feature = "clouds"))]
#[path = "no_remote.rs"]
mod remote;
mod target;

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fmt,
    path::{Path, PathBuf},
};

use url::Url;

pub(crate) use self::local::is_aside;
pub(crate) use self::meant::mistake;
pub(crate) use self::opened::Opened;
pub(crate) use self::remote::Remote;
#[cfg(feature = "clouds")]
pub(crate) use self::remote::{
    Backend, LARGEST_CONTROL, Listing, UNREACHABLE, WHOLE, is_lost_upload, is_unanswered,
    is_unsupported, spawn, version, wait,
};
pub use self::{options::StorageOptions, target::Target};
use crate::{
    error::{Error, Result},
    net::urls::quotable,
};

/// URL schemes of the supported stores.
const STORES: [&str; 5] = ["s3", "gs", "az", "abfs", "abfss"];

/// A local path (also as a `file://` URL), or a URL of an object store: `s3://`, `gs://`, `az://`, `abfs://`,
/// `abfss://`.
///
/// Cheap to clone. `Display` prints it as it was given.
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
    /// Parses a location as a user types it: text that contains `://` is a URL, other text is a path. Sends
    /// no request and opens no file.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an unknown scheme, for a malformed URL such as one with one slash, for a URL with a query,
    /// a fragment or a password, for a path that begins with `~/`, and for a storage option that the store does not
    /// have.
    pub fn parse(text: &str, options: &StorageOptions) -> Result<Self> {
        let wrong = |why: &str| Error::invalid("location", quotable(text), why);
        let Some((scheme, _)) = text.split_once("://") else {
            return mistake(text).map_or(Ok(Self::from(text)), |why| Err(wrong(&why)));
        };
        let scheme = scheme.to_ascii_lowercase();
        if scheme != "file" && !STORES.contains(&scheme.as_str()) {
            return Err(wrong(
                "the known schemes are s3, gs, az, abfs, abfss and file; anything without \
                 :// is a local path",
            ));
        }
        let url = Url::parse(text).map_err(|error| wrong(&error.to_string()))?;
        if url.query().is_some() || url.fragment().is_some() {
            return Err(wrong("it must not have a query or a fragment: write ? as %3F"));
        }
        if scheme == "file" {
            let why =
                "a file URL has an absolute path and no host, such as file:///tmp/rows.parquet";
            let path = url.to_file_path().map_err(|()| wrong(why))?;
            return Ok(Self(PlaceKind::Local(path)));
        }
        Ok(Self(PlaceKind::Remote(Remote::new(text, &url, options)?)))
    }

    /// Parses a location like [`parse`](Self::parse). A path need not be UTF-8.
    ///
    /// # Errors
    /// The same as for [`parse`](Self::parse), and [`Error::Invalid`] for a URL that is not UTF-8.
    pub fn of(text: impl AsRef<OsStr>, options: &StorageOptions) -> Result<Self> {
        let text = text.as_ref();
        let shown = text.to_string_lossy();
        match text.to_str() {
            Some(text) => Self::parse(text, options),
            None if shown.contains("://") => {
                let why = "a URL is UTF-8: write other bytes as %XX";
                Err(Error::invalid("location", quotable(&shown), why))
            }
            None => Ok(Self::from(Path::new(text))),
        }
    }

    /// Returns the path of a local location; `None` for a store.
    pub fn as_local(&self) -> Option<&Path> {
        match &self.0 {
            PlaceKind::Local(path) => Some(path),
            PlaceKind::Remote(_) => None,
        }
    }

    /// Returns the place in a store; `None` for a local path.
    pub(crate) fn as_remote(&self) -> Option<&Remote> {
        match &self.0 {
            PlaceKind::Local(_) => None,
            PlaceKind::Remote(remote) => Some(remote),
        }
    }

    /// The location with this name inside this one.
    pub(crate) fn child(&self, name: &str) -> Self {
        Self(match &self.0 {
            PlaceKind::Local(path) => PlaceKind::Local(path.join(name)),
            PlaceKind::Remote(remote) => PlaceKind::Remote(remote.child(name)),
        })
    }

    /// The location with this name in the same folder or prefix. A name that begins with this location's own
    /// [`name`](Self::name) gets its exact bytes, which need not be UTF-8.
    pub(crate) fn sibling(&self, name: &str) -> Self {
        Self(match &self.0 {
            PlaceKind::Local(path) => {
                let own = path.file_name().unwrap_or_default();
                let exact = name.strip_prefix(&*own.to_string_lossy()).map(|suffix| {
                    let mut exact = own.to_owned();
                    exact.push(suffix);
                    exact
                });
                PlaceKind::Local(path.with_file_name(exact.unwrap_or_else(|| name.into())))
            }
            PlaceKind::Remote(remote) => PlaceKind::Remote(remote.sibling(name)),
        })
    }

    /// The folder or prefix that this location is in; `None` for a bucket and for a path of one name.
    pub(crate) fn parent(&self) -> Option<Self> {
        Some(Self(match &self.0 {
            PlaceKind::Local(path) => match path.parent()? {
                parent if parent.as_os_str().is_empty() => return None,
                parent => PlaceKind::Local(parent.to_owned()),
            },
            PlaceKind::Remote(remote) => PlaceKind::Remote(remote.parent()?),
        }))
    }

    /// The last segment of the path; empty for a bucket and for a path that ends in `..`.
    pub(crate) fn name(&self) -> String {
        match &self.0 {
            PlaceKind::Local(path) => {
                path.file_name().unwrap_or_default().to_string_lossy().into_owned()
            }
            PlaceKind::Remote(remote) => remote.name().to_owned(),
        }
    }

    /// The location as given, as a path for errors.
    pub(crate) fn to_path(&self) -> PathBuf {
        match &self.0 {
            PlaceKind::Local(path) => path.clone(),
            PlaceKind::Remote(remote) => remote.to_string().into(),
        }
    }

    /// Reads a whole file or object; `None` if it is missing.
    pub(crate) fn read(&self) -> Result<Option<Vec<u8>>> {
        match &self.0 {
            PlaceKind::Local(path) => local::read(path),
            PlaceKind::Remote(remote) => remote.read(),
        }
    }

    /// Writes a whole file or object, and replaces an existing one. Readers see the old or the new content,
    /// never a part. The result is durable. Missing parent folders are created.
    pub(crate) fn write(&self, bytes: &[u8]) -> Result<()> {
        match &self.0 {
            PlaceKind::Local(path) => local::write(path, bytes),
            PlaceKind::Remote(remote) => remote.write(bytes),
        }
    }

    /// Lists the names of the files and folders directly in this location, sorted. Empty if it is missing.
    pub(crate) fn names(&self) -> Result<Vec<String>> {
        match &self.0 {
            PlaceKind::Local(path) => local::names(path),
            PlaceKind::Remote(remote) => remote.names(),
        }
    }

    /// Lists the entries directly in this location, sorted by name. Empty if it is missing. Links are not
    /// followed.
    pub(crate) fn entries(&self) -> Result<Vec<PlaceEntry>> {
        match &self.0 {
            PlaceKind::Local(path) => local::entries(path),
            PlaceKind::Remote(remote) => remote.entries(),
        }
    }

    /// Lists the entries like [`entries`](Self::entries), and those in these folders. The name of an entry in a folder is
    /// its path below this location. A folder whose entries are listed is not in the list itself.
    pub(crate) fn entries_in(&self, folders: &BTreeSet<&str>) -> Result<Vec<PlaceEntry>> {
        let mut entries = self.entries()?;
        // Sorted, a folder comes after the one that it is in.
        for folder in folders {
            let is_it = |entry: &PlaceEntry| {
                entry.name == *folder && entry.size.is_none() && entry.is_folder()
            };
            let Some(at) = entries.iter().position(is_it) else { continue };
            entries.remove(at);
            let within = self.child(folder).entries()?.into_iter();
            entries.extend(
                within
                    .map(|entry| PlaceEntry { name: format!("{folder}/{}", entry.name), ..entry }),
            );
        }
        entries.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(entries)
    }

    /// Removes one file or object. A missing one is not an error.
    pub(crate) fn remove(&self) -> Result<()> {
        match &self.0 {
            PlaceKind::Local(path) => local::remove(path),
            PlaceKind::Remote(remote) => remote.remove(),
        }
    }

    /// Whether this is a local directory, or a prefix with at least one object. A store has no empty folders.
    pub(crate) fn is_directory(&self) -> Result<bool> {
        match &self.0 {
            PlaceKind::Local(path) => Ok(path.is_dir()),
            PlaceKind::Remote(remote) => Ok(!remote.names()?.is_empty()),
        }
    }

    /// Whether this is an existing file or object.
    pub(crate) fn is_file(&self) -> Result<bool> {
        match &self.0 {
            PlaceKind::Local(path) => Ok(path.is_file()),
            PlaceKind::Remote(remote) => remote.is_object(),
        }
    }

    /// Opens a file or object for reads at any offset, in bounded memory.
    pub(crate) fn open(&self) -> Result<Opened> {
        match &self.0 {
            PlaceKind::Local(path) => local::open(path),
            PlaceKind::Remote(remote) => remote.open(),
        }
    }
}

/// An entry in a folder or below a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PlaceEntry {
    pub(crate) name: String,
    /// Size of a regular file or an object in bytes; `None` for any other entry.
    pub(crate) size: Option<u64>,
    /// The kind of the entry with its article, for messages.
    pub(crate) kind: &'static str,
}

impl PlaceEntry {
    /// Whether it is a directory or a prefix, and not a link to one.
    fn is_folder(&self) -> bool {
        ["a directory", "a folder"].contains(&self.kind)
    }
}

#[cfg(all(test, feature = "clouds"))]
impl Location {
    /// A place in a store in memory.
    pub(crate) fn in_memory(prefix: &str) -> Self {
        Self(PlaceKind::Remote(Remote::in_memory(prefix)))
    }
}

impl From<&str> for Location {
    /// Always a local path, even if the text looks like a URL.
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
