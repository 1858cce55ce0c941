//! Sends the pages of a stream through a transformation, in order, and stops without waiting for an evaluation.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use arrow_array::ArrayRef;
use tokio::sync::mpsc::{self, error::TryRecvError};

use super::handover::WriterMessage;
use crate::{
    client::{Page, Row},
    error::{Error, Result},
    transform::{RowBlock, Shaped, Stage},
};

/// Tells the writer that the run is interrupted. It then waits for no evaluation.
#[derive(Debug, Clone, Default)]
pub(super) struct WriterInterrupt(Arc<AtomicBool>);

impl WriterInterrupt {
    pub(super) fn set(&self) {
        self.0.store(true, Relaxed);
    }

    pub(super) fn is_set(&self) -> bool {
        self.0.load(Relaxed)
    }
}

/// Interrupts the writer when a caller drops its future: nothing may wait for an evaluation that does not end.
#[derive(Debug, Default)]
pub(super) struct InterruptOnDrop(pub(super) WriterInterrupt);

impl Drop for InterruptOnDrop {
    fn drop(&mut self) {
        self.0.set();
    }
}

impl RowBlock for Page {
    fn number(&self) -> u64 {
        Page::number(self)
    }

    fn size(&self) -> usize {
        self.memory()
    }

    fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        Page::rows(self)
    }
}

/// Transforms the pages until the end message, and passes each to `write`. Returns false if the channel closes without
/// the message, or after an interruption. Then it has also passed on the pages that were finished.
///
/// Pages wait for each other in the stage only while more pages are there: a slow API's rows are not held back.
pub(super) fn shape_pages(
    messages: &mut mpsc::Receiver<WriterMessage>,
    mut stage: Stage<Page>,
    interrupt: &WriterInterrupt,
    write: &mut dyn FnMut(Shaped<Page>) -> Result<()>,
) -> Result<bool> {
    // Passes on the oldest page. Returns false if there is none, or if the run is interrupted and the page not
    // finished.
    let mut take = |stage: &mut Stage<Page>| match stage.take(|| interrupt.is_set())? {
        Some(shaped) => write(shaped).map(|()| true),
        None => Ok::<_, Error>(false),
    };
    loop {
        let message = match messages.try_recv() {
            Err(TryRecvError::Empty) if stage.is_empty() => messages.blocking_recv(),
            Err(TryRecvError::Empty) => {
                if !take(&mut stage)? {
                    return Ok(false);
                }
                continue;
            }
            Err(TryRecvError::Disconnected) => None,
            Ok(message) => Some(message),
        };
        let Some(WriterMessage::Pages(pages)) = message else {
            // A run that failed or was interrupted also finishes the parts that it can.
            while take(&mut stage)? {}
            return Ok(message.is_some() && stage.is_empty());
        };
        for mut page in pages {
            while !stage.has_room(&page) {
                if !take(&mut stage)? {
                    return Ok(false);
                }
            }
            // The stage has its own limit, so that requests in flight keep the budget of the prefetch.
            page.release();
            stage.submit(page);
        }
    }
}

/// Returns the rows of a page that are written, each with its index in the computed columns: all, or those that the
/// transformation keeps and that equal no earlier row, with their replacements. A row that is mapped to several lines
/// is there several times.
pub(super) fn kept_rows<'a>(
    page: &'a Page,
    shaped: Option<&'a Shaped<Page>>,
) -> impl Iterator<Item = (usize, Row<'a>)> {
    split_rows(page, shaped).map(|(index, _, row)| (index, row))
}

/// Returns the rows like [`kept_rows`], each also with the number of its split, which is 0 without splits.
pub(super) fn split_rows<'a>(
    page: &'a Page,
    shaped: Option<&'a Shaped<Page>>,
) -> impl Iterator<Item = (usize, usize, Row<'a>)> {
    let is_kept = move |index: usize| shaped.is_none_or(|it| it.kept.get(index) == Some(&true));
    let maps = move |index: usize| shaped.and_then(|it| it.lines.get(index).copied());
    let rows = page.rows().enumerate().filter(move |(index, _)| is_kept(*index));
    let rows = rows.enumerate().flat_map(move |(kept, (index, row))| {
        let edited = shaped.and_then(|it| it.edited.get(kept)?.as_deref());
        let row = edited.map_or(row, |edited| edited.of(row));
        let is_duplicate = shaped.is_some_and(|it| it.duplicates.get(kept) == Some(&true));
        let split = shaped.and_then(|it| it.splits.get(kept).copied()).unwrap_or_default();
        std::iter::repeat_n((is_duplicate, split, row), maps(index).unwrap_or(1))
    });
    // Equal rows have computed values, too.
    let rows = rows.enumerate().filter(|(_, (is_duplicate, ..))| !is_duplicate);
    rows.map(|(at, (_, split, row))| (at, split, row))
}

/// Returns the computed columns of a page; none without a transformation.
pub(super) fn computed_columns(shaped: Option<&Shaped<Page>>) -> &[ArrayRef] {
    shaped.map_or(&[], |shaped| &shaped.columns)
}

pub(super) fn ended_early() -> Error {
    Error::Internal("the stream ended early".to_owned())
}
