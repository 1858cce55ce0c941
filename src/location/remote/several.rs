//! Requests for several objects below a prefix, some of them in flight at the same time.

use std::collections::BTreeMap;

use futures::{StreamExt, TryStreamExt, stream};
use object_store::{GetOptions, ObjectMeta, ObjectStoreExt};

use super::{LARGEST_CONTROL, Remote, runtime::wait};
use crate::error::Result;

/// Most requests for single objects in flight.
const AT_ONCE: usize = 8;

impl Remote {
    /// Reads the metadata of objects below this prefix, with [`AT_ONCE`] requests in flight. A missing
    /// object has `None`.
    pub(crate) fn heads(
        &self,
        names: impl IntoIterator<Item = String>,
    ) -> Result<BTreeMap<String, Option<ObjectMeta>>> {
        let (store, _) = self.target()?;
        let places: Vec<_> = names.into_iter().map(|name| (self.child(&name), name)).collect();
        let heads = stream::iter(places).map(move |(place, name)| {
            let store = store.clone();
            async move {
                match store.head(&place.path).await {
                    Ok(meta) => Ok((name, Some(meta))),
                    Err(object_store::Error::NotFound { .. }) => Ok((name, None)),
                    Err(error) => Err(place.failed("read", &error)),
                }
            }
        });
        wait(heads.buffer_unordered(AT_ONCE).try_collect())?
    }

    /// Reads control objects below this prefix, with [`AT_ONCE`] requests in flight. Missing ones are left out. One that is
    /// larger than any that a run writes reads as empty.
    pub(crate) fn reads(
        &self,
        names: impl IntoIterator<Item = String>,
    ) -> Result<Vec<(String, Vec<u8>)>> {
        let (store, _) = self.target()?;
        let places: Vec<_> = names.into_iter().map(|name| (self.child(&name), name)).collect();
        let reads = stream::iter(places).map(move |(place, name)| {
            let store = store.clone();
            async move {
                let read = async {
                    let found = store.get_opts(&place.path, GetOptions::default()).await?;
                    if found.meta.size > LARGEST_CONTROL {
                        return Ok(Vec::new());
                    }
                    found.bytes().await.map(|bytes| bytes.to_vec())
                };
                match read.await {
                    Ok(bytes) => Ok(Some((name, bytes))),
                    Err(object_store::Error::NotFound { .. }) => Ok(None),
                    Err(error) => Err(place.failed("read", &error)),
                }
            }
        });
        let read: Vec<Option<_>> = wait(reads.buffered(AT_ONCE).try_collect())??;
        Ok(read.into_iter().flatten().collect())
    }

    /// Removes these objects below the prefix, with [`AT_ONCE`] requests in flight. Missing objects are
    /// ignored.
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
}
