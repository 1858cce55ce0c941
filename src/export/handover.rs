//! Passes pages from the stream to the writer in page batches, so that each page need not wake the writer.
//! When the stream ends or fails, the collected pages are passed on, even if this must wait for the
//! writer. An interruption does not wait: it passes them on only if the writer has room.

use std::{mem, pin::pin, time::Duration};

use futures::{Stream, StreamExt};
use tokio::{select, sync::mpsc, time::sleep};

use crate::{client::Page, error::Result};

pub(super) enum WriterMessage {
    /// The next pages, in order.
    Pages(Vec<Page>),
    /// The stream is complete.
    End,
}

/// Number of page batches that wait for the writer: 1. The paginator holds further pages.
pub(super) const QUEUED_BATCHES: usize = 1;
/// Bytes of pages in a full page batch: 1 MiB.
const BATCH_BYTES: usize = 1 << 20;
/// How long a page waits for others before it is passed on: 5 ms. A fast API sends megabytes in this time,
/// and the reader of a pipe does not notice the delay.
const BATCH_DELAY: Duration = Duration::from_millis(5);

/// Passes pages to the writer until the stream ends. If the writer has ended, this returns without an
/// error, because the writer reports the cause itself.
pub(super) async fn forward(
    pages: &mut (impl Stream<Item = Result<Page>> + Unpin),
    sender: mpsc::Sender<WriterMessage>,
) -> Result<()> {
    let mut batch = PageBatch { pages: Vec::new(), bytes: 0, sender };
    loop {
        let gathered = gather(pages, &mut batch).await;
        if !batch.hand_over().await {
            return Ok(());
        }
        match gathered {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => return Err(error),
        }
    }
    // Without this message the writer would take the end of the channel for an interruption.
    drop(batch.sender.send(WriterMessage::End).await);
    Ok(())
}

/// Collects pages for at most 5 ms after the first. Returns whether the stream may have more.
async fn gather(
    pages: &mut (impl Stream<Item = Result<Page>> + Unpin),
    batch: &mut PageBatch,
) -> Result<bool> {
    let Some(first) = pages.next().await.transpose()? else { return Ok(false) };
    batch.add(first);
    let mut soon = pin!(sleep(BATCH_DELAY));
    while !batch.is_full() {
        select! {
            biased;
            page = pages.next() => match page.transpose()? {
                Some(page) => batch.add(page),
                None => return Ok(false),
            },
            () = &mut soon => break,
        }
    }
    Ok(true)
}

struct PageBatch {
    pages: Vec<Page>,
    bytes: usize,
    sender: mpsc::Sender<WriterMessage>,
}

impl PageBatch {
    fn add(&mut self, page: Page) {
        self.bytes += page.bytes();
        self.pages.push(page);
    }

    /// Whether the page batch must be passed on now. The last page of the stream also makes it full.
    fn is_full(&self) -> bool {
        self.bytes >= BATCH_BYTES || self.pages.last().is_some_and(Page::ends_stream)
    }

    /// Passes the pages on, if there are any. Returns whether the writer is still running.
    async fn hand_over(&mut self) -> bool {
        if self.pages.is_empty() {
            return true;
        }
        self.bytes = 0;
        self.sender.send(WriterMessage::Pages(mem::take(&mut self.pages))).await.is_ok()
    }
}

impl Drop for PageBatch {
    /// Handles an interruption without waiting. If these pages complete a part, the next run need not
    /// fetch them.
    fn drop(&mut self) {
        if !self.pages.is_empty() {
            // If the writer is busy, the pages are dropped.
            drop(self.sender.try_send(WriterMessage::Pages(mem::take(&mut self.pages))));
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, stream};

    use super::*;
    use crate::error::Error;

    fn page(number: u64) -> Page {
        let body = br#"{"count":9,"next":null,"previous":null,"results":[]}"#;
        Page::decode(number, body.to_vec()).unwrap()
    }

    fn numbers(message: Option<WriterMessage>) -> Vec<u64> {
        match message {
            Some(WriterMessage::Pages(pages)) => pages.iter().map(Page::number).collect(),
            Some(WriterMessage::End) => vec![0],
            None => Vec::new(),
        }
    }

    fn broken() -> Result<Page> {
        Err(Error::Usage("broken".to_owned()))
    }

    #[tokio::test(start_paused = true)]
    async fn failed_stream_still_delivers_collected_pages() {
        let (sender, mut receiver) = mpsc::channel(1);
        sender.send(WriterMessage::Pages(vec![page(7)])).await.unwrap();
        let mut pages = stream::iter([Ok(page(8)), Ok(page(9)), broken()]);
        let mut forward = Box::pin(forward(&mut pages, sender));
        // The channel stays full for longer than any wait in this module.
        tokio::select! {
            _ = &mut forward => panic!("no reader took the pages"),
            () = sleep(Duration::from_secs(60)) => {}
        }
        assert_eq!(numbers(receiver.recv().await), [7]);
        assert_eq!(forward.await.unwrap_err().to_string(), "broken");
        assert_eq!(numbers(receiver.recv().await), [8, 9]);
        assert!(receiver.recv().await.is_none(), "an end message after an error");
    }

    #[tokio::test(start_paused = true)]
    async fn end_message_follows_last_pages() {
        let (sender, mut receiver) = mpsc::channel(4);
        // The second page comes after the time that a page waits for others.
        let mut pages = Box::pin(stream::iter([1, 2, 3]).then(async |number| {
            if number == 2 {
                sleep(2 * BATCH_DELAY).await;
            }
            Ok(page(number))
        }));
        forward(&mut pages, sender).await.unwrap();
        for expected in [vec![1], vec![2, 3], vec![0], vec![]] {
            assert_eq!(numbers(receiver.recv().await), expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn interruption_delivers_pages_without_waiting() {
        for room in [true, false] {
            let (sender, mut receiver) = mpsc::channel(1);
            if !room {
                sender.send(WriterMessage::Pages(vec![page(7)])).await.unwrap();
            }
            let mut pages = stream::iter([Ok(page(8))]).chain(stream::pending());
            // The interruption comes while pages are collected.
            let forwarding = Box::pin(forward(&mut pages, sender)).now_or_never();
            assert!(forwarding.is_none());
            assert_eq!(numbers(receiver.recv().await), [if room { 8 } else { 7 }]);
            assert!(receiver.recv().await.is_none());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn ended_writer_reports_its_own_error() {
        let (sender, receiver) = mpsc::channel(1);
        drop(receiver);
        forward(&mut stream::iter([Ok(page(1)), broken()]), sender).await.unwrap();
    }
}
