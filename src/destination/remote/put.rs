//! Conditional puts (compare-and-swap): an object replaces only the version that this run has seen.
//!
//! A proxy, a gateway or the store's own queue can deliver a request long after its run cancelled it. The
//! condition keeps such a request from replacing a newer export. The lock alone cannot, because it is
//! checked before the request is sent.
//!
//! Some stores do not support conditional puts: they answer 501, or the storage option
//! `conditional_put=disabled` is given. There, the run asks for the version immediately before a plain put.
//! Other stores ignore the condition, which a run cannot detect. On both kinds of store, a plain put that is
//! delivered late still replaces the current object.

use bytes::Bytes;
use object_store::{ObjectStoreExt, PutMode, PutPayload, UpdateVersion};

use super::lock::LeaseWatch;
use crate::{
    error::{Error, Result},
    location::{Remote, is_unsupported, version},
};

/// The state that a name must have for a put to succeed.
#[derive(Debug, Clone)]
pub(super) enum Condition {
    /// Any state: the name contains the token of this run, or every run writes the same content.
    Any,
    /// No object exists.
    Free,
    /// The object still has this version.
    Unchanged(UpdateVersion),
}

impl Condition {
    /// The condition that the state is still the one that was seen.
    pub(super) fn still(seen: Option<UpdateVersion>) -> Self {
        seen.map_or(Self::Free, Self::Unchanged)
    }

    /// Whether the condition holds now. A request between this check and the next request is not noticed.
    pub(super) fn holds(&self, place: &Remote) -> Result<bool> {
        Ok(match self {
            Self::Any => true,
            Self::Free => place.head()?.is_none(),
            Self::Unchanged(seen) => {
                place.head()?.is_some_and(|meta| is_same(&version(&meta), seen))
            }
        })
    }

    /// Whether the condition can be sent with a request. Without an ETag it cannot.
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

/// Whether two ETags are the same. Some stores quote them in headers, but not in listings.
pub(super) fn is_same_e_tag(one: Option<&str>, other: Option<&str>) -> bool {
    let bare = |e_tag: &str| e_tag.trim_start_matches("W/").trim_matches('"').to_owned();
    one.map(bare) == other.map(bare)
}

/// A published object, with its ETag if the store sent one.
#[derive(Debug)]
pub(super) struct PutOutcome {
    pub(super) e_tag: Option<String>,
}

impl LeaseWatch {
    /// Puts an object, and cancels the request when the lock is lost. Unless the condition is
    /// [`Condition::Any`], this then checks that the store has the object.
    ///
    /// Returns `None` if the condition does not hold, or if another object has the name.
    pub(super) fn put(
        &self,
        place: &Remote,
        bytes: Bytes,
        condition: &Condition,
    ) -> Result<Option<PutOutcome>> {
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
                return Ok(Some(PutOutcome { e_tag }));
            }
            Ok(e_tag) => e_tag,
            // The object may come from this put: its answer was lost, and it was sent again.
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
        Ok((same || place.holds(&bytes)?).then_some(PutOutcome { e_tag: meta.e_tag }))
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

    /// Removes an object, and cancels the request when the lock is lost. A missing object is not an error.
    pub(super) fn remove(&self, place: &Remote) -> Result<()> {
        let (store, path) = place.target()?;
        match self.guard(async move { store.delete(&path).await })? {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(place.failed("remove", &error)),
        }
    }
}

/// The error when the stored object is not the one that this run put.
pub(super) fn replaced(place: &Remote) -> Error {
    Error::Store {
        action: "write",
        url: place.to_string(),
        hint: Some("check whether another program writes to this prefix or deletes from it"),
        source: "the stored object differs from the one that was sent".into(),
    }
}
