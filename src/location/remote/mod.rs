//! A place in an object store, and the requests that a [`Location`](super::Location) makes of it.

mod error;
mod file;
mod runtime;
mod store;

use std::{fmt, sync::Arc, time::Duration};

use futures::{StreamExt, TryStreamExt, stream};
use object_store::{
    GetOptions, ListResult, ObjectMeta, ObjectStoreExt, PutMode, PutPayload, path::Path,
};
use tokio::time;
use url::Url;

use self::error::explain;
use self::store::Store;
pub(crate) use self::{
    file::RemoteFile,
    runtime::{spawn, wait},
    store::Backend,
};
use super::{Opened, StorageOptions, local::WHOLE};
use crate::{
    error::{Error, Result},
    urls::quotable,
};

/// How long the first request of a run may take, its retries included.
const PATIENCE: Duration = Duration::from_secs(10);
/// Requests that remove objects at once.
const AT_ONCE: usize = 8;

#[derive(Debug, Clone)]
pub(crate) struct Remote {
    store: Arc<Store>,
    path: Path,
    /// As it was typed.
    text: Arc<str>,
}

impl Remote {
    pub(super) fn new(text: &str, url: &Url, options: &StorageOptions) -> Result<Self> {
        let wrong = |why: &str| Error::invalid("location", quotable(text), why);
        if url.host_str().is_none_or(str::is_empty) {
            return Err(wrong("it names no bucket, as s3://bucket/name does"));
        }
        let azure = url.scheme().starts_with('a');
        if url.password().is_some() || (!azure && !url.username().is_empty()) {
            return Err(wrong(
                "it must not hold a user name or a password: they come from the environment or \
                 from --storage-option",
            ));
        }
        let path = Path::from_url_path(url.path()).map_err(|error| wrong(&error.to_string()))?;
        Ok(Self { store: Arc::new(Store::new(url, options)?), path, text: text.into() })
    }

    #[cfg(test)]
    pub(crate) fn in_memory(path: &str) -> Self {
        let store = Store::over(Arc::new(object_store::memory::InMemory::new()));
        let text = format!("s3://memory/{path}").into();
        Self { store: Arc::new(store), path: Path::parse(path).expect("a path"), text }
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

    /// The names that we give are plain; one that a listing gave comes back as it was.
    fn with(&self, path: &str, text: Arc<str>) -> Self {
        let path = Path::parse(path).unwrap_or_else(|_| Path::from(path));
        Self { store: self.store.clone(), path, text }
    }

    pub(crate) fn name(&self) -> &str {
        self.path.filename().unwrap_or_default()
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The connection and the path, to be used on the stores' runtime.
    pub(crate) fn target(&self) -> Result<(Arc<dyn Backend>, Path)> {
        Ok((self.store.backend()?, self.path.clone()))
    }

    /// An error about this place, in our words.
    pub(crate) fn failed(&self, action: &'static str, error: &object_store::Error) -> Error {
        let trouble = explain(error, &self.store);
        Error::Store {
            action,
            url: self.text.to_string(),
            hint: trouble.hint,
            source: trouble.why.into(),
        }
    }

    /// What the store says about the object; `None` if there is none.
    pub(crate) fn head(&self) -> Result<Option<ObjectMeta>> {
        let (store, path) = self.target()?;
        match wait(async move { store.head(&path).await })? {
            Ok(meta) => Ok(Some(meta)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed("read", &error)),
        }
    }

    pub(crate) fn read(&self) -> Result<Option<Vec<u8>>> {
        let (store, path) = self.target()?;
        let read = async move {
            let found = store.get_opts(&path, GetOptions::default()).await?;
            if found.meta.size > WHOLE { Ok(None) } else { found.bytes().await.map(Some) }
        };
        match wait(read)? {
            Ok(Some(bytes)) => Ok(Some(bytes.into())),
            Ok(None) => Err(Error::Store {
                action: "read",
                url: self.text.to_string(),
                hint: None,
                source: format!(
                    "it is larger than {WHOLE} bytes, the most that such an object may have"
                )
                .into(),
            }),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed("read", &error)),
        }
    }

    pub(crate) fn write(&self, bytes: &[u8]) -> Result<()> {
        let (store, path) = self.target()?;
        let payload = PutPayload::from(bytes.to_vec());
        let put = wait(async move { store.put(&path, payload).await })?;
        put.map(drop).map_err(|error| self.failed("write", &error))
    }

    /// Writes it if there is nothing of this name, whatever else happens at the same time; `false` if
    /// there is.
    pub(crate) fn create(&self, bytes: &[u8]) -> Result<bool> {
        let (store, path) = self.target()?;
        let payload = PutPayload::from(bytes.to_vec());
        let put = async move { store.put_opts(&path, payload, PutMode::Create.into()).await };
        match wait(put)? {
            Ok(_) => Ok(true),
            Err(object_store::Error::AlreadyExists { .. }) => Ok(false),
            Err(error) => Err(self.failed("write", &error)),
        }
    }

    pub(crate) fn names(&self) -> Result<Vec<String>> {
        let (store, path) = self.target()?;
        self.listed(wait(async move { store.list_with_delimiter(Some(&path)).await })?)
    }

    fn listed(&self, listed: object_store::Result<ListResult>) -> Result<Vec<String>> {
        let listed = listed.map_err(|error| self.failed("list", &error))?;
        let objects = listed.objects.iter().map(|object| &object.location);
        let mut names: Vec<String> = objects
            .chain(&listed.common_prefixes)
            .filter(|path| **path != self.path)
            .filter_map(|path| Some(path.filename()?.to_owned()))
            .collect();
        names.sort();
        names.dedup();
        Ok(names)
    }

    /// As [`names`](Self::names), for the first request of a run: a store that does not answer within
    /// seconds is told from one that is slow.
    pub(crate) fn first_names(&self) -> Result<Vec<String>> {
        let (store, path) = self.target()?;
        let list = async move { store.list_with_delimiter(Some(&path)).await };
        match wait(time::timeout(PATIENCE, list))? {
            Ok(listed) => self.listed(listed),
            Err(_) => Err(Error::Store {
                action: "list",
                url: self.text.to_string(),
                hint: Some(error::UNREACHABLE),
                source: format!("no answer in {} s", PATIENCE.as_secs()).into(),
            }),
        }
    }

    pub(crate) fn remove(&self) -> Result<()> {
        let (store, path) = self.target()?;
        match wait(async move { store.delete(&path).await })? {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.failed("remove", &error)),
        }
    }

    /// Removes these objects in it, several at a time; fine if some are missing.
    pub(crate) fn remove_all(&self, names: impl IntoIterator<Item = String>) -> Result<()> {
        let (store, _) = self.target()?;
        let places: Vec<_> = names.into_iter().map(|name| self.child(&name)).collect();
        let remove = stream::iter(places).map(move |place| {
            let store = store.clone();
            async move {
                match store.delete(&place.path).await {
                    Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
                    Err(error) => Err(place.failed("remove", &error)),
                }
            }
        });
        wait(remove.buffer_unordered(AT_ONCE).try_collect::<()>())?
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
                source: "there is no object of this name".into(),
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
