//! Conditional puts: an object replaces the version that this run has seen, and no other.
//!
//! A request can be delivered long after the run that sent it gave it up: by a proxy, a gateway, or the
//! store's own queue. The condition is what keeps such a request from replacing a newer export; the lock
//! alone cannot, because it is checked before the request leaves.
//!
//! A store that does not know conditional puts (it answers 501, or the storage option
//! `conditional_put=disabled` is given) is asked for the version right before a plain put. A store that
//! ignores the condition cannot be told from one that applies it. On both, a plain put that is delivered
//! late still replaces what is there.

use bytes::Bytes;
use object_store::{ObjectStoreExt, PutMode, PutPayload, UpdateVersion};

use super::lock::LeaseWatch;
use crate::{
    error::{Error, Result},
    location::{Remote, is_unsupported, version},
};

/// What must be at a name for an object to appear there.
#[derive(Debug, Clone)]
pub(super) enum Condition {
    /// Anything: the name holds the token of this run, or every run writes the same there.
    Any,
    /// Nothing.
    Free,
    /// This version.
    Unchanged(UpdateVersion),
}

impl Condition {
    /// That what was seen stays as it was.
    pub(super) fn still(seen: Option<UpdateVersion>) -> Self {
        seen.map_or(Self::Free, Self::Unchanged)
    }

    /// Whether it holds now. A request between this answer and the next one is not noticed.
    pub(super) fn holds(&self, place: &Remote) -> Result<bool> {
        Ok(match self {
            Self::Any => true,
            Self::Free => place.head()?.is_none(),
            Self::Unchanged(seen) => {
                place.head()?.is_some_and(|meta| is_same(&version(&meta), seen))
            }
        })
    }

    /// Whether a request can name it: not if the store gave no ETag.
    fn can_be_sent(&self) -> bool {
        !matches!(self, Self::Unchanged(seen) if seen.e_tag.is_none())
    }

    fn mode(&self) -> PutMode {
        match self {
            Self::Any => PutMode::Overwrite,
            Self::Free => PutMode::Create,
            Self::Unchanged(seen) => PutMode::Update(seen.clone()),
        }
    }
}

fn is_same(now: &UpdateVersion, seen: &UpdateVersion) -> bool {
    is_same_e_tag(now.e_tag.as_deref(), seen.e_tag.as_deref()) && now.version == seen.version
}

/// Whether two ETags are the same. Some stores quote them in headers and not in listings.
pub(super) fn is_same_e_tag(one: Option<&str>, other: Option<&str>) -> bool {
    let bare = |e_tag: &str| e_tag.trim_start_matches("W/").trim_matches('"').to_owned();
    one.map(bare) == other.map(bare)
}

/// An object that has appeared, with what the store calls its bytes, if it says so.
#[derive(Debug)]
pub(super) struct Appeared {
    pub(super) e_tag: Option<String>,
}

impl LeaseWatch {
    /// Puts an object under the guard of the lock and, unless the name is this run's own, looks whether
    /// it is there then. `None`: the condition does not hold, or another object is there after all.
    pub(super) fn put(
        &self,
        place: &Remote,
        bytes: Bytes,
        condition: &Condition,
    ) -> Result<Option<Appeared>> {
        let mut sent = None;
        if condition.can_be_sent() {
            let first = self.send(place, &bytes, condition.mode())?;
            sent = Some(first).filter(|sent| !sent.as_ref().is_err_and(is_unsupported));
        }
        let sent = match sent {
            Some(sent) => sent,
            None if !condition.holds(place)? => return Ok(None),
            None => self.send(place, &bytes, PutMode::Overwrite)?,
        };
        let e_tag = match sent {
            Ok(e_tag) if matches!(condition, Condition::Any) => {
                return Ok(Some(Appeared { e_tag }));
            }
            Ok(e_tag) => e_tag,
            // Perhaps by this very put, if it was sent again because its answer was lost.
            Err(
                object_store::Error::AlreadyExists { .. }
                | object_store::Error::Precondition { .. },
            ) => None,
            Err(error) => return Err(place.failed("write", &error)),
        };
        let Some(meta) = place.head()?.filter(|meta| meta.size == bytes.len() as u64) else {
            return Ok(None);
        };
        let same = e_tag.is_some() && is_same_e_tag(meta.e_tag.as_deref(), e_tag.as_deref());
        Ok((same || place.holds(&bytes)?).then_some(Appeared { e_tag: meta.e_tag }))
    }

    fn send(
        &self,
        place: &Remote,
        bytes: &Bytes,
        mode: PutMode,
    ) -> Result<object_store::Result<Option<String>>> {
        let (store, path) = place.target()?;
        let payload = PutPayload::from(bytes.clone());
        let put = async move { store.put_opts(&path, payload, mode.into()).await };
        Ok(self.guard(put)?.map(|put| put.e_tag))
    }

    /// Removes an object under the guard of the lock.
    pub(super) fn remove(&self, place: &Remote) -> Result<()> {
        let (store, path) = place.target()?;
        match self.guard(async move { store.delete(&path).await })? {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(place.failed("remove", &error)),
        }
    }
}

/// What a name holds that does not hold what was put there.
pub(super) fn replaced(place: &Remote) -> Error {
    Error::Store {
        action: "write",
        url: place.to_string(),
        hint: Some("does something else write to this prefix or remove from it?"),
        source: "what the store has is not what was sent".into(),
    }
}
