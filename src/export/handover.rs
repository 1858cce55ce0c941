//! Pages from the stream to the writer, by the handful, so that the writer is not woken for each
//! page. What was gathered is handed over whatever ends the stream.

use std::{mem, pin::pin, time::Duration};

use futures::{Stream, StreamExt};
use tokio::{select, sync::mpsc, time::sleep};

use super::writer::Message;
use crate::{client::Page, error::Result};

/// Handfuls that wait for the writer beside the pages that the paginator holds.
pub(super) const HANDOVER: usize = 1;
/// Bytes of pages that are handed over at once.
const HANDFUL_BYTES: usize = 1 << 20;
/// How long a page waits for others to be handed over with: a fast API sends megabytes in this time,
/// and whoever reads from a pipe does not notice it.
const HANDFUL_TIME: Duration = Duration::from_millis(5);

/// Hands pages to the writer; ends with the stream. A writer that is gone has an error of its own,
/// and that one tells why.
pub(super) async fn pump(
    pages: &mut (impl Stream<Item = Result<Page>> + Unpin),
    sender: mpsc::Sender<Message>,
) -> Result<()> {
    let mut handful = Handful { pages: Vec::new(), bytes: 0, sender };
    loop {
        let gathered = gather(pages, &mut handful).await;
        if !handful.hand_over().await {
            return Ok(());
        }
        match gathered {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => return Err(error),
        }
    }
    // Without this message the writer takes the end of the channel for an interruption.
    drop(handful.sender.send(Message::End).await);
    Ok(())
}

/// Takes pages as long as they come soon; says whether the stream may have more.
async fn gather(
    pages: &mut (impl Stream<Item = Result<Page>> + Unpin),
    handful: &mut Handful,
) -> Result<bool> {
    let Some(first) = pages.next().await.transpose()? else { return Ok(false) };
    handful.add(first);
    let mut soon = pin!(sleep(HANDFUL_TIME));
    while !handful.is_full() {
        select! {
            biased;
            page = pages.next() => match page.transpose()? {
                Some(page) => handful.add(page),
                None => return Ok(false),
            },
            () = &mut soon => break,
        }
    }
    Ok(true)
}

struct Handful {
    pages: Vec<Page>,
    bytes: usize,
    sender: mpsc::Sender<Message>,
}

impl Handful {
    fn add(&mut self, page: Page) {
        self.bytes += page.bytes();
        self.pages.push(page);
    }

    /// No page is worth waiting for after the last.
    fn is_full(&self) -> bool {
        self.bytes >= HANDFUL_BYTES || self.pages.last().is_some_and(Page::ends_stream)
    }

    /// Whether the writer is still there to take it, if there is anything.
    async fn hand_over(&mut self) -> bool {
        if self.pages.is_empty() {
            return true;
        }
        self.bytes = 0;
        self.sender.send(Message::Pages(mem::take(&mut self.pages))).await.is_ok()
    }
}

impl Drop for Handful {
    /// An interruption, which waits for nobody: the part that these pages complete is one that the next run need not fetch.
    fn drop(&mut self) {
        if !self.pages.is_empty() {
            // A writer that is busy has enough to finish.
            drop(self.sender.try_send(Message::Pages(mem::take(&mut self.pages))));
        }
    }
}
