//! A place in an object store, and the requests that a [`Location`](super::Location) sends to it.

mod error;
mod file;
mod runtime;
mod several;
mod store;

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use object_store::{
    GetOptions, ObjectMeta, ObjectStoreExt, PutMode, PutPayload, UpdateVersion,
    path::{self, Path},
};
use tokio::time;
use url::Url;

use self::error::explain;
use self::store::Store;
pub(crate) use self::{
    error::{UNREACHABLE, is_lost_upload, is_unanswered, is_unsupported},
    file::RemoteFile,
    runtime::{spawn, wait},
    store::Backend,
};
use super::{Opened, PlaceEntry, StorageOptions};
use crate::{
    error::{Error, Result, human},
    net::urls::quotable,
    text::grouped,
};

/// Time limit for the first request of a run, including its retries.
const SHORT_TIME_LIMIT: Duration = Duration::from_secs(10);
/// Time limit for each other request before the first page, including its retries. It is longer than the
/// retries of [`store`] take, so that a store that asks to slow down gets all of them.
const CHECK: Duration = Duration::from_secs(30);
/// Time limit for a listing with all its pages. Some stores have sent the same page again and again.
const LISTING: Duration = Duration::from_secs(600);
/// Attempts to change an object. Each failed attempt means that another run changed it.
const CHANGES: usize = 20;
/// Largest object that is read whole, in bytes: 256 MiB. A manifest of 500,000 parts has 170 MB.
pub(crate) const WHOLE: u64 = 256 << 20;
/// Largest control object that is written and read, in bytes: 16 MiB. The names of 200,000 superseded parts need 10 MB.
pub(crate) const LARGEST_CONTROL: u64 = 16 << 20;

#[derive(Debug, Clone)]
pub(crate) struct Remote {
    store: Arc<Store>,
    path: Path,
    /// The URL as given.
    text: Arc<str>,
    /// Time limit for one request, including its retries. `None`: only the retries are limited.
    limit: Option<Duration>,
}

/// The objects and folders directly below a prefix.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// Names of objects and folders, sorted.
    pub(crate) names: Vec<String>,
    /// Listed metadata of the objects, by name.
    pub(crate) objects: BTreeMap<String, ObjectMeta>,
}

/// The content and the version of an object. A conditional put with this version replaces no other one.
#[derive(Debug)]
pub(crate) struct Versioned {
    pub(crate) bytes: Vec<u8>,
    pub(crate) version: UpdateVersion,
}

/// The result of a read with a size limit.
enum FoundObjects {
    Nothing,
    TooLarge(u64),
    Whole(Versioned),
}

/// Returns why a path is not valid. The library's own text quotes the path, which holds the rest of a password with a
/// slash in it.
fn path_problem(error: &path::Error) -> &'static str {
    match error {
        path::Error::EmptySegment { .. } => "its path has two slashes in a row",
        path::Error::BadSegment { .. } => {
            "its path has the name . or .., or a character that no store allows"
        }
        path::Error::NonUnicode { .. } => "its path is not UTF-8",
        _ => "its path is not valid",
    }
}

/// The version of an object, for a conditional put.
pub(crate) fn version(meta: &ObjectMeta) -> UpdateVersion {
    UpdateVersion { e_tag: meta.e_tag.clone(), version: meta.version.clone() }
}

impl Remote {
    pub(super) fn new(text: &str, url: &Url, options: &StorageOptions) -> Result<Self> {
        let wrong = |why: &str| Error::invalid("location", quotable(text), why);
        if url.host_str().is_none_or(str::is_empty) {
            return Err(wrong("it names no bucket: use the form s3://bucket/name"));
        }
        let azure = url.scheme().starts_with('a');
        if url.password().is_some() || (!azure && !url.username().is_empty()) {
            return Err(wrong(
                "it must not hold a user name or a password: they come from the environment or \
                 from the storage options",
            ));
        }
        let path = Path::from_url_path(url.path()).map_err(|error| wrong(path_problem(&error)))?;
        let store = Arc::new(Store::new(url, options)?);
        Ok(Self { store, path, text: text.into(), limit: None })
    }

    #[cfg(test)]
    pub(crate) fn in_memory(path: &str) -> Self {
        let store = Store::over(Arc::new(object_store::memory::InMemory::new()));
        let text = format!("s3://memory/{path}").into();
        Self { store: Arc::new(store), path: Path::parse(path).expect("a path"), text, limit: None }
    }

    /// The same place for checks before the first page: each request has the time limit [`CHECK`].
    pub(crate) fn with_short_limit(&self) -> Self {
        Self { limit: Some(CHECK), ..self.clone() }
    }

    /// The same place for the export itself: a request may take as long as its retries take.
    pub(crate) fn without_limit(&self) -> Self {
        Self { limit: None, ..self.clone() }
    }

    pub(crate) fn child(&self, name: &str) -> Self {
        let path = if self.path.is_root() { name.into() } else { format!("{}/{name}", self.path) };
        let text = format!("{}/{name}", self.text.trim_end_matches('/')).into();
        self.with(&path, text)
    }

    pub(crate) fn sibling(&self, name: &str) -> Self {
        let folder = self.path.as_ref().rsplit_once('/').map(|(folder, _)| folder);
        let path = folder.map_or_else(|| name.to_owned(), |folder| format!("{folder}/{name}"));
        let text = self.text.trim_end_matches('/');
        let text = text.rsplit_once('/').map_or(text, |(folder, _)| folder);
        self.with(&path, format!("{text}/{name}").into())
    }

    /// The prefix that this place is in; `None` for a bucket.
    pub(crate) fn parent(&self) -> Option<Self> {
        if self.path.is_root() {
            return None;
        }
        let path = self.path.as_ref().rsplit_once('/').map_or("", |(folder, _)| folder);
        let text = self.text.trim_end_matches('/').rsplit_once('/')?.0;
        Some(self.with(path, text.into()))
    }

    /// The place with another path. A valid path, such as one from a listing, is used unchanged. Any other
    /// path is percent-encoded.
    fn with(&self, path: &str, text: Arc<str>) -> Self {
        let path = Path::parse(path).unwrap_or_else(|_| Path::from(path));
        Self { path, text, ..self.clone() }
    }

    pub(crate) fn name(&self) -> &str {
        self.path.filename().unwrap_or_default()
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The name of the bucket or container.
    pub(crate) fn bucket(&self) -> &str {
        self.store.bucket()
    }

    /// Whether both places have the same bucket and path.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        (self.bucket(), &self.path) == (other.bucket(), &other.path)
    }

    /// Whether a place is this one, or below it in the same bucket.
    pub(crate) fn contains(&self, other: &Self) -> bool {
        self.bucket() == other.bucket() && other.path.prefix_matches(&self.path)
    }

    /// The connection and the path, for use on the stores' runtime.
    pub(crate) fn target(&self) -> Result<(Arc<dyn Backend>, Path)> {
        Ok((self.store.backend()?, self.path.clone()))
    }

    /// Converts an error of the store into an [`Error::Store`] about this place.
    pub(crate) fn failed(&self, action: &'static str, error: &object_store::Error) -> Error {
        let trouble = explain(error, &self.store);
        Error::Store {
            action,
            url: self.text.to_string(),
            hint: trouble.hint,
            source: trouble.why.into(),
        }
    }

    /// Makes a request and waits for its result, at most for the time limit of this place.
    fn ask<T: Send + 'static>(
        &self,
        action: &'static str,
        request: impl Future<Output = object_store::Result<T>> + Send + 'static,
    ) -> Result<object_store::Result<T>> {
        let Some(limit) = self.limit else { return wait(request) };
        // Create the timer on the stores' runtime: the calling thread may have none.
        let request = async move { time::timeout(limit, request).await };
        wait(request)?.map_err(|_| Error::Store {
            action,
            url: self.text.to_string(),
            hint: Some(UNREACHABLE),
            source: format!("no answer in {}", human(limit)).into(),
        })
    }

    /// Reads the metadata of the object; `None` if it is missing.
    pub(crate) fn head(&self) -> Result<Option<ObjectMeta>> {
        let (store, path) = self.target()?;
        match self.ask("read", async move { store.head(&path).await })? {
            Ok(meta) => Ok(Some(meta)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed("read", &error)),
        }
    }

    /// Reads the whole object; `None` if it is missing.
    ///
    /// # Errors
    /// [`Error::Store`] when it has more bytes than [`WHOLE`], or when the request fails.
    pub(crate) fn read(&self) -> Result<Option<Vec<u8>>> {
        Ok(self.read_versioned()?.map(|found| found.bytes))
    }

    /// Like [`read`](Self::read), but also returns the version.
    pub(crate) fn read_versioned(&self) -> Result<Option<Versioned>> {
        match self.read_within(WHOLE)? {
            FoundObjects::Nothing => Ok(None),
            FoundObjects::Whole(found) => Ok(Some(found)),
            FoundObjects::TooLarge(bytes) => Err(Error::Store {
                action: "read",
                url: self.text.to_string(),
                hint: None,
                source: format!(
                    "it has {} bytes; at most {} are read",
                    grouped(bytes),
                    grouped(WHOLE)
                )
                .into(),
            }),
        }
    }

    /// Reads a control object; `None` if it is missing. If it has more bytes than [`LARGEST_CONTROL`], no run
    /// wrote it, and the result is empty: callers ignore an object that they cannot parse.
    pub(crate) fn read_control(&self) -> Result<Option<Vec<u8>>> {
        self.read_control_within(LARGEST_CONTROL)
    }

    /// Like [`read_control`](Self::read_control), but for an object of up to [`WHOLE`] bytes.
    pub(crate) fn read_large_control(&self) -> Result<Option<Vec<u8>>> {
        self.read_control_within(WHOLE)
    }

    fn read_control_within(&self, limit: u64) -> Result<Option<Vec<u8>>> {
        Ok(match self.read_within(limit)? {
            FoundObjects::Nothing => None,
            FoundObjects::Whole(found) => Some(found.bytes),
            FoundObjects::TooLarge(bytes) => {
                let bytes = grouped(bytes);
                tracing::warn!("{self} has {bytes} bytes: no run wrote it, so it is ignored");
                Some(Vec::new())
            }
        })
    }

    /// Whether the object has exactly these bytes.
    pub(crate) fn holds(&self, bytes: &[u8]) -> Result<bool> {
        let found = self.read_within(bytes.len() as u64)?;
        Ok(matches!(found, FoundObjects::Whole(found) if found.bytes == bytes))
    }

    /// Reads an object of at most `limit` bytes. Does not read the content of a larger one.
    fn read_within(&self, limit: u64) -> Result<FoundObjects> {
        let (store, path) = self.target()?;
        let read = async move {
            let found = store.get_opts(&path, GetOptions::default()).await?;
            if found.meta.size > limit {
                return Ok(FoundObjects::TooLarge(found.meta.size));
            }
            let version = version(&found.meta);
            Ok(FoundObjects::Whole(Versioned { bytes: found.bytes().await?.into(), version }))
        };
        match self.ask("read", read)? {
            Ok(found) => Ok(found),
            Err(object_store::Error::NotFound { .. }) => Ok(FoundObjects::Nothing),
            Err(error) => Err(self.failed("read", &error)),
        }
    }

    pub(crate) fn write(&self, bytes: &[u8]) -> Result<()> {
        let (store, path) = self.target()?;
        let payload = PutPayload::from(bytes.to_vec());
        let put = self.ask("write", async move { store.put(&path, payload).await })?;
        put.map(drop).map_err(|error| self.failed("write", &error))
    }

    /// Writes the object if none exists, atomically; `false` if one exists.
    ///
    /// In a store without conditional puts, this first checks whether the object exists. Two runs that check
    /// at the same time both write.
    pub(crate) fn create(&self, bytes: &[u8]) -> Result<bool> {
        let (store, path) = self.target()?;
        let payload = PutPayload::from(bytes.to_vec());
        let put = async move { store.put_opts(&path, payload, PutMode::Create.into()).await };
        match self.ask("write", put)? {
            Ok(_) => Ok(true),
            Err(object_store::Error::AlreadyExists { .. }) => Ok(false),
            Err(error) if is_unsupported(&error) => {
                let free = self.head()?.is_none();
                if free {
                    self.write(bytes)?;
                }
                Ok(free)
            }
            Err(error) => Err(self.failed("write", &error)),
        }
    }

    /// Changes the content of the object, which may be missing, with a conditional put. If another run changes it at
    /// the same time, `change` is applied to that run's content.
    ///
    /// In a store without conditional puts, one of two changes at the same time is lost.
    pub(crate) fn update(&self, change: impl Fn(&[u8]) -> Vec<u8>) -> Result<()> {
        for _ in 0..CHANGES {
            let (before, mode) = match self.read_versioned()? {
                None => (Vec::new(), PutMode::Create),
                Some(Versioned { bytes, version }) if version.e_tag.is_none() => {
                    (bytes, PutMode::Overwrite)
                }
                Some(Versioned { bytes, version }) => (bytes, PutMode::Update(version)),
            };
            let after = change(&before);
            if after == before {
                return Ok(());
            }
            let (store, path) = self.target()?;
            let payload = PutPayload::from(after.clone());
            let put = async move { store.put_opts(&path, payload, mode.into()).await };
            match self.ask("write", put)? {
                Ok(_) => return Ok(()),
                Err(
                    object_store::Error::AlreadyExists { .. }
                    | object_store::Error::Precondition { .. }
                    | object_store::Error::NotFound { .. },
                ) => {}
                Err(error) if is_unsupported(&error) => return self.write(&after),
                Err(error) => return Err(self.failed("write", &error)),
            }
        }
        Err(Error::Store {
            action: "write",
            url: self.text.to_string(),
            hint: None,
            source: format!("other runs changed it {CHANGES} times in the meantime").into(),
        })
    }

    pub(crate) fn names(&self) -> Result<Vec<String>> {
        Ok(self.list()?.names)
    }

    /// Like [`names`](Self::names), but also returns the size of each object.
    pub(crate) fn entries(&self) -> Result<Vec<PlaceEntry>> {
        let Listing { names, objects } = self.list()?;
        let entry = |name: String| match objects.get(&name) {
            Some(object) => PlaceEntry { name, size: Some(object.size), kind: "an object" },
            None => PlaceEntry { name, size: None, kind: "a folder" },
        };
        Ok(names.into_iter().map(entry).collect())
    }

    /// Lists the objects and folders directly below this prefix.
    pub(crate) fn list(&self) -> Result<Listing> {
        let (store, path) = self.target()?;
        let bounded = Self { limit: self.limit.or(Some(LISTING)), ..self.clone() };
        let listed =
            bounded.ask("list", async move { store.list_with_delimiter(Some(&path)).await })?;
        let listed = listed.map_err(|error| self.failed("list", &error))?;
        let name = |path: &Path| Some(path.filename()?.to_owned());
        let folders = listed.common_prefixes.iter().filter(|path| **path != self.path);
        let mut names: Vec<String> = folders.filter_map(name).collect();
        let objects = listed.objects.into_iter().filter(|object| object.location != self.path);
        let objects: BTreeMap<String, ObjectMeta> =
            objects.filter_map(|object| Some((name(&object.location)?, object))).collect();
        names.extend(objects.keys().cloned());
        names.sort();
        names.dedup();
        Ok(Listing { names, objects })
    }

    /// Like [`list`](Self::list), but with the shorter time limit [`SHORT_TIME_LIMIT`]. As the first request of a run,
    /// it detects an unreachable store within seconds.
    pub(crate) fn first_list(&self) -> Result<Listing> {
        Self { limit: Some(SHORT_TIME_LIMIT), ..self.clone() }.list()
    }

    pub(crate) fn remove(&self) -> Result<()> {
        let (store, path) = self.target()?;
        match self.ask("remove", async move { store.delete(&path).await })? {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.failed("remove", &error)),
        }
    }

    pub(super) fn is_object(&self) -> Result<bool> {
        Ok(!self.path.is_root() && self.head()?.is_some())
    }

    pub(crate) fn open(&self) -> Result<Opened> {
        let Some(meta) = self.head()? else {
            return Err(Error::Store {
                action: "open",
                url: self.text.to_string(),
                hint: None,
                source: "there is no object with this name".into(),
            });
        };
        Ok(Opened::Remote(RemoteFile::new(self.clone(), &meta)))
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests;
