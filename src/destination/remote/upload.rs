//! An object in the making: bytes leave in multipart uploads as they come, and appear in one step.
//!
//! At most three blocks of 8 MiB are held: one that fills and two on their way. What is shorter than a
//! block is one put. Every upload is journalled before its first block, so that a run that is killed
//! leaves nothing that the next one cannot abort, but an upload without a block.

use std::{
    collections::VecDeque,
    fmt, io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use object_store::{MultipartId, ObjectMeta, PutPayload, multipart::PartId, path::Path};
use serde::{Deserialize, Serialize};
use tokio::{select, task::JoinHandle, time};

use super::{
    lock::LeaseWatch,
    put::{Appeared, Condition, replaced},
};
use crate::{
    error::{Error, Result, causes},
    location::{Remote, is_unanswered, spawn, wait},
};

/// One block of an upload. All are of the same size, which some stores insist on.
const BLOCK: usize = 8 << 20;
/// Blocks on their way at once.
const IN_FLIGHT: usize = 2;
/// Blocks of an object, as S3 and Google have it.
const BLOCKS: usize = 10_000;

/// How often it is looked whether an object is there whose completion was not answered. S3 can take
/// minutes to put many blocks together.
const LOOKS: usize = 10;
/// The time between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// What is written down about an upload that has begun.
#[derive(Debug, Serialize, Deserialize)]
struct BegunUpload {
    path: String,
    id: MultipartId,
}

/// A handle on one object in the making; clones are the same upload.
#[derive(Clone)]
pub(crate) struct Upload {
    shared: Arc<Mutex<UploadShared>>,
    target: Remote,
}

struct UploadShared {
    target: Remote,
    /// Where the upload's id is written down.
    journal: Remote,
    watch: LeaseWatch,
    /// Does closing make it appear?
    appears_when_closed: bool,
    block: Vec<Bytes>,
    filled: usize,
    bytes: u64,
    id: Option<MultipartId>,
    blocks: usize,
    in_flight: VecDeque<JoinHandle<object_store::Result<PartId>>>,
    parts: Vec<PartId>,
    /// What the store calls the bytes, once they have appeared.
    e_tag: Option<String>,
    over: bool,
}

impl Upload {
    pub(super) fn new(
        target: Remote,
        journal: Remote,
        watch: LeaseWatch,
        appears_when_closed: bool,
    ) -> Self {
        let shared = UploadShared {
            target: target.clone(),
            journal,
            watch,
            appears_when_closed,
            block: Vec::new(),
            filled: 0,
            bytes: 0,
            id: None,
            blocks: 0,
            in_flight: VecDeque::new(),
            parts: Vec::new(),
            e_tag: None,
            over: false,
        };
        Self { shared: Arc::new(Mutex::new(shared)), target }
    }

    pub(crate) fn target(&self) -> &Remote {
        &self.target
    }

    fn shared(&self) -> MutexGuard<'_, UploadShared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes bytes; waits while as much is on its way as may be.
    pub(crate) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.shared().write(bytes).map_err(io::Error::other)
    }

    /// Waits until everything is with the store; makes it appear if closing does.
    pub(crate) fn close(&self) -> Result<()> {
        let mut shared = self.shared();
        if shared.id.is_some() {
            shared.send()?;
            while !shared.in_flight.is_empty() {
                shared.land()?;
            }
        }
        if shared.appears_when_closed && !shared.complete(&Condition::Any)? {
            return Err(replaced(&shared.target));
        }
        Ok(())
    }

    /// Makes it appear, after it was closed. `false`: the condition does not hold.
    ///
    /// No condition can be given to the request that completes an upload of several blocks: it is
    /// looked at right before, and what another run completes between the two requests is replaced.
    pub(super) fn complete(&self, condition: &Condition) -> Result<bool> {
        self.shared().complete(condition)
    }

    /// What the store calls the bytes, once they have appeared.
    pub(super) fn e_tag(&self) -> Option<String> {
        self.shared().e_tag.clone()
    }

    /// Gives it up; nothing of it stays with the store.
    pub(super) fn abort(&self) -> Result<()> {
        let mut shared = self.shared();
        shared.over = true;
        shared.block.clear();
        for block in shared.in_flight.drain(..) {
            block.abort();
        }
        let Some(id) = shared.id.clone() else { return Ok(()) };
        abort(&shared.target, shared.target.path(), id)?;
        shared.id = None;
        shared.journal.remove()
    }
}

impl UploadShared {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        let taken = bytes.len().min(BLOCK - self.filled);
        self.block.push(Bytes::copy_from_slice(&bytes[..taken]));
        self.filled += taken;
        self.bytes += taken as u64;
        if self.filled == BLOCK {
            self.send()?;
        }
        Ok(taken)
    }

    /// Sends the block that has filled; begins the upload if it is the first.
    fn send(&mut self) -> Result<()> {
        if self.over || self.watch.is_stopped() {
            return Err(self.watch.error());
        }
        if self.filled == 0 {
            return Ok(());
        }
        if self.blocks == BLOCKS {
            let limit = (BLOCKS * BLOCK) >> 30;
            return Err(Error::Store {
                action: "write",
                url: self.target.to_string(),
                hint: Some(
                    "export to a prefix, which is cut into parts: a URL that ends in a slash",
                ),
                source: format!("an object has at most {BLOCKS} blocks, here {limit} GiB").into(),
            });
        }
        let id = match &self.id {
            Some(id) => id.clone(),
            None => self.begin()?,
        };
        while self.in_flight.len() >= IN_FLIGHT {
            self.land()?;
        }
        let (store, path) = self.target.target()?;
        let payload: PutPayload = std::mem::take(&mut self.block).into_iter().collect();
        let (number, watch) = (self.blocks, self.watch.clone());
        self.filled = 0;
        self.blocks += 1;
        self.in_flight.push_back(spawn(async move {
            select! {
                part = store.put_part(&path, &id, number, payload) => part,
                () = watch.stopped() => Err(object_store::Error::Generic {
                    store: "upload",
                    source: "it was stopped".into(),
                }),
            }
        })?);
        Ok(())
    }

    fn begin(&mut self) -> Result<MultipartId> {
        let (store, path) = self.target.target()?;
        let begun = wait(async move { store.create_multipart(&path).await })?;
        let id = begun.map_err(|error| self.failed(&error))?;
        // From here on the next run can abort it.
        self.id = Some(id.clone());
        let begun = BegunUpload { path: self.target.path().to_string(), id: id.clone() };
        let json = serde_json::to_vec(&begun)
            .map_err(|error| Error::Internal(format!("upload: {error}")))?;
        self.journal.write(&json)?;
        Ok(id)
    }

    /// Waits for the block that was sent first.
    fn land(&mut self) -> Result<()> {
        let Some(block) = self.in_flight.pop_front() else { return Ok(()) };
        let part = wait(block)?
            .map_err(|error| Error::Internal(format!("sending a block stopped: {error}")))?;
        if self.watch.is_stopped() {
            return Err(self.watch.error());
        }
        self.parts.push(part.map_err(|error| self.failed(&error))?);
        Ok(())
    }

    fn complete(&mut self, condition: &Condition) -> Result<bool> {
        if self.over || self.watch.is_stopped() {
            return Err(self.watch.error());
        }
        let appeared = match self.id.clone() {
            Some(id) => self.complete_blocks(id, condition)?,
            None => self.watch.put(&self.target, self.block.concat().into(), condition)?,
        };
        let Some(Appeared { e_tag }) = appeared else { return Ok(false) };
        self.e_tag = e_tag;
        self.over = true;
        self.block.clear();
        if self.id.take().is_some() {
            self.journal.remove()?;
        }
        Ok(true)
    }

    fn complete_blocks(
        &mut self,
        id: MultipartId,
        condition: &Condition,
    ) -> Result<Option<Appeared>> {
        let before = match condition {
            Condition::Any => None,
            _ if !condition.holds(&self.target)? => return Ok(None),
            _ => self.target.head()?,
        };
        let (store, path) = self.target.target()?;
        let parts = std::mem::take(&mut self.parts);
        let complete = async move { store.complete_multipart(&path, &id, parts).await };
        let completed = self.watch.guard(complete)?;
        // What an error says depends on the store: some refuse a request that they have served already
        // and that was sent again because its answer was lost. What is there decides.
        let e_tag = match completed {
            Ok(put) => put.e_tag,
            Err(error) if self.has_arrived(before.as_ref(), &error)? => None,
            Err(error) => return Err(self.failed(&error)),
        };
        if !matches!(condition, Condition::Any) {
            let meta = self.target.head()?;
            if meta.is_none_or(|meta| meta.size != self.bytes) {
                return Ok(None);
            }
        }
        Ok(Some(Appeared { e_tag }))
    }

    /// Whether an object of this length is there after all, when the request that makes it appear has
    /// failed. A store may still be at work on a request that it has not answered.
    fn has_arrived(
        &self,
        before: Option<&ObjectMeta>,
        error: &object_store::Error,
    ) -> Result<bool> {
        let looks = if is_unanswered(error) { LOOKS } else { 1 };
        let same = |now: &ObjectMeta, before: &ObjectMeta| {
            (&before.e_tag, before.last_modified) == (&now.e_tag, now.last_modified)
        };
        for look in 0..looks {
            if look > 0 {
                self.watch.guard(async { time::sleep(LOOK_EVERY).await })?;
            }
            // A store that does not answer this either has nothing to say.
            let Ok(now) = self.target.head() else { return Ok(false) };
            let now = now.filter(|now| now.size == self.bytes);
            if now.is_some_and(|now| before.is_none_or(|before| !same(&now, before))) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn failed(&self, error: &object_store::Error) -> Error {
        self.target.failed("write", error)
    }
}

/// Aborts the upload to this place that a run that is gone has begun. What the store does not let go of
/// stays written down, and keeps no run from going on. An upload to another place, which a journal of
/// ours cannot name, is left alone.
pub(super) fn abort_journalled(journal: &Remote, place: &Remote) -> Result<()> {
    if let Some(json) = journal.read_control()?
        && let Ok(begun) = serde_json::from_slice::<BegunUpload>(&json)
    {
        if begun.path != place.path().as_ref() {
            tracing::warn!("{journal} names an upload elsewhere: it is left alone");
        } else if abort(journal, place.path(), begun.id).is_err() {
            return Ok(());
        }
    }
    journal.remove()
}

/// Fine if there is no such upload: it was completed or aborted before.
fn abort(place: &Remote, path: &Path, id: MultipartId) -> Result<()> {
    let (store, _) = place.target()?;
    let upload = (path.clone(), id.clone());
    match wait(async move { store.abort_multipart(&upload.0, &upload.1).await })? {
        Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
        Err(error) => {
            let error = place.failed("abort the upload of", &error);
            let why = causes(&error).join(": ");
            tracing::warn!("an upload of {path} stays open, of the id {id}: {error}: {why}");
            Err(error)
        }
    }
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload").field("target", &self.target).finish_non_exhaustive()
    }
}
