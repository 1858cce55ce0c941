//! Pages from the stream to the writer, by the handful, so that the writer is not woken for each
//! page. What was gathered when the stream ends or errs is handed over, however busy the writer is;
//! an interruption waits for nobody, and hands it over if the writer has room.

use std::{mem, pin::pin, time::Duration};

use futures::{Stream, StreamExt};
use tokio::{select, sync::mpsc, time::sleep};

use super::writer::WriterMessage;
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
    sender: mpsc::Sender<WriterMessage>,
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
    drop(handful.sender.send(WriterMessage::End).await);
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
    sender: mpsc::Sender<WriterMessage>,
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
        self.sender.send(WriterMessage::Pages(mem::take(&mut self.pages))).await.is_ok()
    }
}

impl Drop for Handful {
    /// An interruption, which waits for nobody: the part that these pages complete is one that the next
    /// run need not fetch.
    fn drop(&mut self) {
        if !self.pages.is_empty() {
            // A writer that is busy has enough to finish.
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
    async fn what_was_gathered_is_handed_over_when_the_stream_errs_however_busy_the_writer_is() {
        let (sender, mut receiver) = mpsc::channel(1);
        sender.send(WriterMessage::Pages(vec![page(7)])).await.unwrap();
        let mut pages = stream::iter([Ok(page(8)), Ok(page(9)), broken()]);
        let mut pump = Box::pin(pump(&mut pages, sender));
        // The channel is full for as long as anything here could wait.
        tokio::select! {
            _ = &mut pump => panic!("nobody took the pages"),
            () = sleep(Duration::from_secs(60)) => {}
        }
        assert_eq!(numbers(receiver.recv().await), [7]);
        assert_eq!(pump.await.unwrap_err().to_string(), "broken");
        assert_eq!(numbers(receiver.recv().await), [8, 9]);
        assert!(receiver.recv().await.is_none(), "an end that is none");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_ends_is_told_after_its_last_pages() {
        let (sender, mut receiver) = mpsc::channel(4);
        // The second comes later than a page waits for others.
        let mut pages = Box::pin(stream::iter([1, 2, 3]).then(async |number| {
            if number == 2 {
                sleep(2 * HANDFUL_TIME).await;
            }
            Ok(page(number))
        }));
        pump(&mut pages, sender).await.unwrap();
        for expected in [vec![1], vec![2, 3], vec![0], vec![]] {
            assert_eq!(numbers(receiver.recv().await), expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_interruption_hands_over_what_was_gathered_if_there_is_room_and_waits_for_nobody() {
        for room in [true, false] {
            let (sender, mut receiver) = mpsc::channel(1);
            if !room {
                sender.send(WriterMessage::Pages(vec![page(7)])).await.unwrap();
            }
            let mut pages = stream::iter([Ok(page(8))]).chain(stream::pending());
            // Interrupted while it gathers.
            let pumping = Box::pin(pump(&mut pages, sender)).now_or_never();
            assert!(pumping.is_none());
            assert_eq!(numbers(receiver.recv().await), [if room { 8 } else { 7 }]);
            assert!(receiver.recv().await.is_none());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_writer_that_is_gone_tells_why_itself() {
        let (sender, receiver) = mpsc::channel(1);
        drop(receiver);
        pump(&mut stream::iter([Ok(page(1)), broken()]), sender).await.unwrap();
    }
}
