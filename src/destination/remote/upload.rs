//! An object that is being written: a multipart upload, published in one step.
//!
//! At most three blocks of 8 MiB are in memory: one that is being filled and two in flight. An object
//! smaller than one block is sent as one put, except a part: a put would make it visible.
//!
//! Every upload is journalled before its first block, so that the next run can abort it after a kill. Only
//! an upload without any block can be left behind.

use std::{
    collections::VecDeque,
    fmt, io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use object_store::{MultipartId, ObjectMeta, PutPayload, multipart::PartId, path::Path};
use serde::{Deserialize, Serialize};
use tokio::{select, task::JoinHandle};

use super::{
    completion::StagedUpload,
    lock::LeaseWatch,
    put::{Condition, PutOutcome, replaced},
};
use crate::{
    error::{Error, Result, causes},
    location::{Remote, is_unanswered, spawn, wait},
};

/// Size of an upload's blocks in bytes: 8 MiB. Some stores require that all blocks have the same size.
const BLOCK: usize = 8 << 20;
/// Most blocks in flight. Bounds the memory of an upload to three blocks.
const IN_FLIGHT: usize = 2;
/// Most blocks of an object: the limit of S3 and Google Cloud Storage.
const BLOCKS: usize = 10_000;

/// The effect of closing an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OnClose {
    /// Publishes the object.
    Publish,
    /// Waits until the store has all full blocks. [`Upload::complete`] sends a small object and publishes.
    Wait,
    /// Waits until the store has all bytes, and leaves the upload open: [`Upload::staged`].
    Stage,
}

/// The journal entry of an upload that has begun.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct BegunUpload {
    path: String,
    id: MultipartId,
}

/// A handle on an object that is being written. Clones share the same upload.
#[derive(Clone)]
pub(crate) struct Upload {
    shared: Arc<Mutex<UploadShared>>,
    target: Remote,
}

struct UploadShared {
    target: Remote,
    /// The control object that records the upload's id.
    journal: Remote,
    watch: LeaseWatch,
    on_close: OnClose,
    block: Vec<Bytes>,
    filled: usize,
    bytes: u64,
    id: Option<MultipartId>,
    blocks: usize,
    in_flight: VecDeque<JoinHandle<object_store::Result<PartId>>>,
    parts: Vec<PartId>,
    /// ETag of the object, once it is published.
    e_tag: Option<String>,
    /// Whether the upload was completed or aborted.
    over: bool,
    /// Whether the store did not answer the request that completes the upload, and the object is not there.
    is_unconfirmed: bool,
}

impl Upload {
    pub(super) fn new(
        target: Remote,
        journal: Remote,
        watch: LeaseWatch,
        on_close: OnClose,
    ) -> Self {
        let shared = UploadShared {
            target: target.clone(),
            journal,
            watch,
            on_close,
            block: Vec::new(),
            filled: 0,
            bytes: 0,
            id: None,
            blocks: 0,
            in_flight: VecDeque::new(),
            parts: Vec::new(),
            e_tag: None,
            over: false,
            is_unconfirmed: false,
        };
        Self { shared: Arc::new(Mutex::new(shared)), target }
    }

    pub(crate) fn target(&self) -> &Remote {
        &self.target
    }

    fn shared(&self) -> MutexGuard<'_, UploadShared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes bytes. Blocks while the maximum number of blocks is in flight.
    pub(crate) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.shared().write(bytes).map_err(io::Error::other)
    }

    /// Sends the rest and waits until the store has all blocks. Then does what [`OnClose`] says.
    pub(crate) fn close(&self) -> Result<()> {
        let mut shared = self.shared();
        if shared.on_close == OnClose::Stage && shared.id.is_none() {
            shared.check()?;
            shared.begin()?;
        }
        if shared.id.is_some() {
            shared.send()?;
            while !shared.in_flight.is_empty() {
                shared.wait_for_block()?;
            }
        }
        if shared.on_close == OnClose::Publish && !shared.complete(&Condition::Any)? {
            return Err(replaced(&shared.target));
        }
        Ok(())
    }

    /// The closed upload of a part; `None` if it was never begun.
    pub(super) fn staged(&self) -> Option<StagedUpload> {
        self.shared().staged()
    }

    /// Removes the journal of the upload: another object records it now.
    pub(super) fn forget_journal(&self) -> Result<()> {
        self.shared().journal.remove()
    }

    /// Publishes the closed object. Returns `false` if the condition does not hold.
    ///
    /// The request that completes an upload of several blocks takes no condition. So the condition is
    /// checked just before it, and an object that another run completes in between is replaced.
    pub(super) fn complete(&self, condition: &Condition) -> Result<bool> {
        self.shared().complete(condition)
    }

    /// Whether the upload was completed or aborted. After [`complete`](Self::complete), the object is then
    /// visible, even if an error was returned.
    pub(super) fn is_over(&self) -> bool {
        self.shared().over
    }

    /// Whether the store may still complete the object, although [`complete`](Self::complete) failed.
    pub(super) fn is_unconfirmed(&self) -> bool {
        self.shared().is_unconfirmed
    }

    /// ETag of the object, once it is published.
    pub(super) fn e_tag(&self) -> Option<String> {
        self.shared().e_tag.clone()
    }

    /// Cancels the upload. S3 and Google Cloud Storage then remove its blocks. Azure keeps them for a week,
    /// invisible, and charges for them.
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

    fn check(&self) -> Result<()> {
        if self.over || self.watch.is_stopped() {
            return Err(self.watch.error());
        }
        Ok(())
    }

    fn staged(&self) -> Option<StagedUpload> {
        let blocks = self.parts.iter().map(|part| part.content_id.clone()).collect();
        Some(StagedUpload { id: self.id.clone()?, blocks })
    }

    /// Sends the current block. Begins the multipart upload with the first one.
    fn send(&mut self) -> Result<()> {
        self.check()?;
        if self.filled == 0 {
            return Ok(());
        }
        if self.blocks == BLOCKS {
            let limit = (BLOCKS * BLOCK) >> 30;
            return Err(Error::Store {
                action: "write",
                url: self.target.to_string(),
                hint: Some(
                    "export to a prefix, which is split into parts: a URL that ends in a slash",
                ),
                source: format!("an object has at most {BLOCKS} blocks, or {limit} GiB").into(),
            });
        }
        let id = match &self.id {
            Some(id) => id.clone(),
            None => self.begin()?,
        };
        while self.in_flight.len() >= IN_FLIGHT {
            self.wait_for_block()?;
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
        // Journal the id, so that the next run can abort the upload.
        self.id = Some(id.clone());
        let begun = BegunUpload { path: self.target.path().to_string(), id: id.clone() };
        self.journal.write(&json(&begun)?)?;
        Ok(id)
    }

    /// Waits for the oldest block in flight.
    fn wait_for_block(&mut self) -> Result<()> {
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
        self.check()?;
        let appeared = match self.staged() {
            Some(staged) => self.complete_blocks(staged, condition)?,
            None => self.watch.put(&self.target, self.block.concat().into(), condition)?,
        };
        let Some(PutOutcome { e_tag }) = appeared else { return Ok(false) };
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
        staged: StagedUpload,
        condition: &Condition,
    ) -> Result<Option<PutOutcome>> {
        let before = match condition {
            Condition::Any => None,
            _ if !condition.holds(&self.target)? => return Ok(None),
            _ => self.target.head()?,
        };
        let (store, path) = self.target.target()?;
        let bytes = self.bytes;
        let complete = async move {
            let is_done = |now: &ObjectMeta| {
                let same = |before: &ObjectMeta| {
                    (&before.e_tag, before.last_modified) == (&now.e_tag, now.last_modified)
                };
                now.size == bytes && !before.as_ref().is_some_and(same)
            };
            staged.complete(&*store, &path, is_done).await
        };
        let completed = self.watch.guard(complete)?;
        let e_tag = match completed {
            Ok(e_tag) => e_tag,
            Err(error) => {
                self.is_unconfirmed = is_unanswered(&error);
                return Err(self.failed(&error));
            }
        };
        // The object is visible now, even if the next request fails.
        self.over = true;
        if !matches!(condition, Condition::Any) {
            let meta = self.target.head()?;
            if meta.is_none_or(|meta| meta.size != self.bytes) {
                return Ok(None);
            }
        }
        Ok(Some(PutOutcome { e_tag }))
    }

    fn failed(&self, error: &object_store::Error) -> Error {
        self.target.failed("write", error)
    }
}

/// Aborts the upload of an ended run to this place. If the store refuses, the journal stays for a later run,
/// and this run continues. An upload to another place is not aborted: no run writes such a journal.
pub(super) fn abort_journalled(journal: &Remote, place: &Remote) -> Result<()> {
    if let Some(json) = journal.read_control()?
        && let Ok(begun) = serde_json::from_slice::<BegunUpload>(&json)
    {
        if begun.path != place.path().as_ref() {
            tracing::warn!("{journal} names an upload to another place: it is not aborted");
        } else if abort(journal, place.path(), begun.id).is_err() {
            return Ok(());
        }
    }
    journal.remove()
}

/// Aborts an upload. A missing upload is not an error: it was completed or aborted before.
fn abort(place: &Remote, path: &Path, id: MultipartId) -> Result<()> {
    let (store, _) = place.target()?;
    let upload = (path.clone(), id.clone());
    match wait(async move { store.abort_multipart(&upload.0, &upload.1).await })? {
        Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
        Err(error) => {
            let error = place.failed("abort the upload of", &error);
            let why = causes(&error).join(": ");
            tracing::warn!("an upload of {path} stays open (upload id {id}): {error}: {why}");
            Err(error)
        }
    }
}

/// Aborts an upload of this place. If the store refuses, writes a journal for a later run, and continues.
pub(super) fn abort_or_journal(place: &Remote, id: MultipartId, journal: &Remote) -> Result<()> {
    if abort(place, place.path(), id.clone()).is_ok() {
        return Ok(());
    }
    let path = place.path().to_string();
    journal.write(&json(&BegunUpload { path, id })?)
}

fn json(begun: &BegunUpload) -> Result<Vec<u8>> {
    serde_json::to_vec(begun).map_err(|error| Error::Internal(format!("upload: {error}")))
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload").field("target", &self.target).finish_non_exhaustive()
    }
}
