//! The steps of a run around its rows: checks the output, opens its staging, publishes it. Each step ends soon when the
//! run is stopped.

use std::{
    pin::{Pin, pin},
    time::Duration,
};

use tokio::{select, time::timeout};

use super::{blocking, slot::DestinationSlot};
use crate::{
    destination::{Destination, Header, KeptPart, OutputRequest},
    error::{Error, Result},
    record::manifest::Manifest,
    tasks::Worker,
};

/// How long an interrupted run waits for its current work: 5 s for the writer, then 5 s for the cleanup.
pub(crate) const GRACE: Duration = Duration::from_secs(5);

/// Checks whether the output can be written.
pub(crate) async fn probe(
    wanted: OutputRequest,
    stop: Pin<&mut impl Future<Output = Error>>,
) -> Result<Destination> {
    let mut probing = pin!(blocking(move || Destination::probe(&wanted, false)));
    select! {
        probed = probing.as_mut() => probed,
        error = stop => {
            if let Ok(Ok(destination)) = timeout(GRACE, probing).await {
                drop(timeout(GRACE, blocking(move || Ok(destination.abandon()))).await);
            }
            Err(error)
        }
    }
}

/// Takes the lock and the parts of an interrupted run. Reading these parts can take long. With `restart`, the parts are
/// deleted.
pub(crate) async fn open(
    slot: &mut DestinationSlot,
    header: &Header,
    restart: bool,
    stop: Pin<&mut impl Future<Output = Error>>,
) -> Result<Vec<KeptPart>> {
    let (mut staged, header) = (slot.take()?, header.clone());
    // Only reading the parts of an interrupted run takes long.
    let is_fast = restart || staged.stopper().has_lock();
    let grace = if is_fast { GRACE } else { Duration::ZERO };
    let mut opening = Worker::start("opener", "opening the output", move || {
        let kept = staged.resume(&header, restart);
        let kept = kept.and_then(|kept| staged.open(&header).map(|()| kept));
        (staged, kept)
    })?;
    let (opened, stopped) = select! {
        opened = opening.join() => (opened, None),
        error = stop => match timeout(grace, opening.join()).await {
            Ok(opened) => (opened, Some(error)),
            Err(_) => return Err(error),
        },
    };
    let (staged, kept) = opened?;
    slot.put_back(staged);
    stopped.map_or(kept, Err)
}

/// Publishes the complete output. Returns the error of `stop`, if the publication did not end soon after it.
pub(crate) async fn publish(
    destination: Destination,
    manifest: Manifest,
    sidecar: bool,
    stop: Pin<&mut impl Future<Output = Error>>,
) -> Result<Option<Error>> {
    let mut publishing = pin!(blocking(move || destination.publish(&manifest, sidecar)));
    select! {
        published = publishing.as_mut() => published.map(|()| None),
        error = stop => match timeout(GRACE, publishing).await {
            // The publication was almost finished.
            Ok(published) => published.map(|()| None),
            Err(_) => Ok(Some(error)),
        },
    }
}

/// Deletes the staged files and releases the destination.
pub(crate) fn discard(mut destination: Destination) -> Result<()> {
    let forgotten = destination.forget();
    destination.abandon();
    forgotten
}
