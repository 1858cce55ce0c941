//! The last request of a multipart upload, which makes its object visible.
//!
//! An error of this request proves nothing. If an answer is lost, the request is sent again, and Azure and
//! some S3-compatible stores refuse the second one. So after any error, the object itself decides.

use std::time::Duration;

use object_store::{MultipartId, ObjectMeta, ObjectStoreExt, multipart::PartId, path::Path};
use serde::{Deserialize, Serialize};
use tokio::time;

use crate::location::{Backend, is_lost_upload, is_unanswered};

/// Attempts to complete an upload.
const ATTEMPTS: usize = 3;
/// How often to check for an object after a request without an answer, or when the upload is gone. S3 can take
/// minutes to join many blocks.
const POLLS: usize = 10;
/// Time between two checks.
const POLL_INTERVAL: Duration = Duration::from_secs(3);

/// An upload whose blocks are all in the store. Any process can complete it from these values.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct StagedUpload {
    /// Azure's uploads have no id: there it is empty.
    pub(super) id: MultipartId,
    /// Ids of the blocks, in order.
    pub(super) blocks: Vec<String>,
}

impl StagedUpload {
    /// Completes the upload. `is_done` tells the new object from one that was there before. Returns the ETag,
    /// if the store sent one.
    ///
    /// # Errors
    /// An error for which [`is_lost_upload`] holds only if the object has not appeared for half a minute: an
    /// earlier attempt, also one of an ended run, may have completed the upload.
    pub(super) async fn complete(
        &self,
        store: &dyn Backend,
        path: &Path,
        is_done: impl Fn(&ObjectMeta) -> bool + Sync,
    ) -> object_store::Result<Option<String>> {
        let mut attempt = 1;
        loop {
            let blocks = self.blocks.iter().map(|id| PartId { content_id: id.clone() }).collect();
            let error = match store.complete_multipart(path, &self.id, blocks).await {
                Ok(put) => return Ok(put.e_tag),
                Err(error) => error,
            };
            let is_lost = is_lost_upload(&error);
            let looks = if is_lost || is_unanswered(&error) { POLLS } else { 1 };
            match has_arrived(store, path, looks, &is_done).await {
                Ok(true) => {
                    tracing::debug!(
                        "{path} is complete, although the store answered with an error"
                    );
                    return Ok(None);
                }
                // Nobody knows whether the object is there.
                Err(unknown) if is_lost => return Err(unknown),
                _ if is_lost || attempt == ATTEMPTS => return Err(error),
                _ => attempt += 1,
            }
        }
    }
}

/// Looks for the object of a completion that the store has not confirmed. A store may still be working on a
/// request that it has not answered. Fails if the last look fails.
async fn has_arrived(
    store: &dyn Backend,
    path: &Path,
    looks: usize,
    is_done: &(impl Fn(&ObjectMeta) -> bool + Sync),
) -> object_store::Result<bool> {
    let mut arrived = Ok(false);
    for look in 0..looks {
        if look > 0 {
            time::sleep(POLL_INTERVAL).await;
        }
        arrived = match store.head(path).await {
            Ok(meta) if is_done(&meta) => return Ok(true),
            Ok(_) | Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        };
    }
    arrived
}
