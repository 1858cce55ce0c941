//! Passes the parts of an interrupted run to the proof without fetching them again.
//!
//! Kept pages count with the facts that the interrupted run recorded. This is valid only if the rows are
//! still the same. Therefore the first and the last kept page are fetched again and compared. A row that
//! was removed or inserted before the end of the kept parts shifts the rows of the last page.

use std::{fs::File, io::Read, path::PathBuf};

use uuid::Uuid;

use super::watch::{Boundary, PageWatch};
use crate::{
    client::Page,
    error::{Error, Result},
    proof::{PageFacts, Violation},
    tasks,
};

/// Ids to read at once: 65,536 ids are 1 MiB and take a few milliseconds to read.
const CHUNK: u64 = 64 << 10;

/// A part of an interrupted run that need not be fetched again: the facts of its pages, and the file
/// with its ids, at the beginnings of entries of this size.
#[derive(Debug, Clone)]
pub(crate) struct KeptPages {
    pub(crate) facts: PageFacts,
    pub(crate) rows: u64,
    /// The `order` of the part's first row, if it is to be compared with the row before. The run that wrote the part has not
    /// seen that row.
    pub(crate) first_order: Option<Option<i64>>,
    /// The `order` of the part's last row.
    pub(crate) last_order: Option<i64>,
    pub(crate) entry_bytes: u64,
    pub(crate) ids: PathBuf,
}

/// A part whose ids are being read.
struct Open<'a> {
    part: &'a KeptPages,
    /// Number of its ids that belong to the first page of the stream, which was fetched again.
    head: u64,
    /// Index of its first id that belongs to the last kept page.
    tail: u64,
}

impl PageWatch {
    /// Takes the parts of an interrupted run and returns the number of their last page. `first` is the
    /// first page, fetched again.
    ///
    /// Reads the ids in chunks, on a blocking thread: a part can have a billion ids. After the stream is
    /// dropped, at most one more chunk is read.
    pub(super) async fn keep(mut self, parts: &[KeptPages], first: &Page) -> Result<(Self, u64)> {
        let (Some(head), Some(tail)) = (parts.first(), parts.last()) else { return Ok((self, 0)) };
        let (start, end) = (first.number(), *tail.facts.pages.end());
        let full = first.len() as u64;
        let mut first_ids = Vec::new();
        let mut last_ids = Vec::new();
        for (index, part) in parts.iter().enumerate() {
            // Parts end on page boundaries, so each of the two pages lies in one part.
            let before = (end - *part.facts.pages.start()).saturating_mul(full);
            let open = Open {
                part,
                head: if index == 0 { full } else { 0 },
                tail: if index + 1 == parts.len() { before } else { u64::MAX },
            };
            self = self.part(open, first, &mut first_ids, &mut last_ids).await?;
        }
        if *head.facts.pages.start() != start || !first.ids().eq(first_ids) {
            self.proof.report(Violation::Shifted { page: start });
        } else if end > start {
            self.boundary = Some(Boundary { page: end, ids: last_ids });
        }
        Ok((self, end))
    }

    async fn part(
        mut self,
        open: Open<'_>,
        first: &Page,
        first_ids: &mut Vec<Uuid>,
        last_ids: &mut Vec<Uuid>,
    ) -> Result<Self> {
        let Open { part, head, tail } = open;
        let path = part.ids.clone();
        let mut file = blocking(move || File::open(&path).map_err(Error::io("read", path))).await?;
        let (mut read, mut begin, mut last) = (0, None, None);
        while read < part.rows {
            let (path, rows) = (part.ids.clone(), CHUNK.min(part.rows - read));
            let entry = part.entry_bytes.max(16) as usize;
            let ids;
            (self, file, ids) = blocking(move || {
                let mut bytes = vec![0; entry * rows as usize];
                file.read_exact(&mut bytes).map_err(Error::io("read", path))?;
                let ids = bytes.chunks_exact(entry).filter_map(|entry| entry.first_chunk());
                let ids: Vec<_> = ids.map(|id| Uuid::from_bytes(*id)).collect();
                let kept = self.proof.ids(ids.iter().copied());
                kept.map_err(|error| self.cannot_keep(error))?;
                Ok((self, file, ids))
            })
            .await?;
            let within = |limit: u64| limit.saturating_sub(read).min(rows) as usize;
            first_ids.extend_from_slice(&ids[..within(head)]);
            last_ids.extend_from_slice(&ids[within(tail)..]);
            begin = begin.or_else(|| ids.first().copied());
            (read, last) = (read + rows, ids.last().copied());
        }
        if let (Some(order), Some(id), Some(own)) = (&mut self.order, begin, part.first_order) {
            let in_order = order.row(*part.facts.pages.start(), 0, own, id);
            in_order.map_err(|violation| Error::OutOfOrder(violation.to_string()))?;
        }
        if let (Some(order), Some(id), Some(row)) = (&mut self.order, last, first.rows().next()) {
            order.skip((row.order, row.id), (part.last_order, id));
        }
        let kept = self.proof.page(part.facts.clone(), []);
        kept.map_err(|error| self.cannot_keep(error))?;
        Ok(self)
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tasks::blocking("reading ids", work).await?
}
