//! Checks the free space after the first page has shown the number of rows. The output needs space, and so do
//! ids that do not fit in memory. An unwritable folder for ids ends the run. Too little space only causes a
//! warning, because the needed space is an estimate.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use super::{Export, blocking, slot::DestinationSlot};
use crate::{
    client::Page,
    destination::{Destination, KeptPart, free_bytes},
    error::{Error, Result},
    paginator::rows_of,
    proof::{DEFAULT_LIMIT_BYTES, ID_BYTES},
    sink::{Compression, Encoding},
    text::grouped,
};

/// The space that an export needs.
struct SpaceNeeded {
    /// Number of rows whose ids are compared.
    rows: u64,
    /// Bytes of JSON still to fetch, estimated from the rows of the first page.
    json_bytes: u64,
    encoding: Encoding,
    temp_dir: PathBuf,
}

impl Export {
    /// Ends the run if ids cannot be spilled, and warns if there may be too little space.
    pub(super) async fn check_free_space(
        &self,
        slot: &mut DestinationSlot,
        first: &Page,
        kept: &[KeptPart],
    ) -> Result<()> {
        let options = &self.plan.options;
        let rows = rows_of(options.pages, options.limit, first);
        let groups = kept.iter().step_by(self.plan.splits().len().max(1));
        let kept_rows = groups.map(|kept| kept.part.rows_read).sum();
        let row_bytes = (first.bytes() / first.len().max(1)) as u64;
        let need = SpaceNeeded {
            rows,
            json_bytes: rows.saturating_sub(kept_rows).saturating_mul(row_bytes),
            encoding: self.plan.encoding,
            temp_dir: self.plan.temp_dir(),
        };
        let staged = slot.take()?;
        let (staged, notes) = blocking(move || {
            let notes = look(&need, &staged);
            Ok((staged, notes))
        })
        .await?;
        slot.put_back(staged);
        for note in notes? {
            self.progress.note(note);
        }
        Ok(())
    }
}

/// Returns the warnings that the run should print before it fetches more pages.
///
/// # Errors
/// [`Error::Io`] when ids must be spilled to disk and the folder for them is unwritable.
fn look(need: &SpaceNeeded, destination: &Destination) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    let id_bytes = need.rows.saturating_mul(ID_BYTES as u64);
    if id_bytes > DEFAULT_LIMIT_BYTES as u64 {
        let place = &need.temp_dir;
        try_temp_dir(place).map_err(Error::io("keep ids in", place))?;
        if let Some(free) = free_bytes(place).filter(|free| *free < id_bytes) {
            notes.push(format!(
                "{} has {} free, but the ids of all rows need {}: name another folder with \
                 `temp_dir`",
                place.display(),
                megabytes(free),
                megabytes(id_bytes)
            ));
        }
    }
    let output_bytes = need.json_bytes / compression_ratio(need.encoding.compression());
    if let Some(free) = destination.free_bytes().filter(|free| *free < output_bytes) {
        notes.push(format!(
            "the output may take about {} (estimated from the first page), but only {} are free there",
            megabytes(output_bytes),
            megabytes(free)
        ));
    }
    Ok(notes)
}

fn try_temp_dir(folder: &Path) -> io::Result<()> {
    tempfile::tempfile_in(folder)?.write_all(b".")
}

/// Returns the usual ratio of JSON size to export size, to estimate the output. It is the lower end of the
/// codecs' range on evaluation sets, so that a warning is meaningful.
fn compression_ratio(compression: Compression) -> u64 {
    match compression {
        Compression::None => 1,
        Compression::Snappy | Compression::Lz4 => 2,
        Compression::Gzip | Compression::Zstd(_) => 4,
    }
}

fn megabytes(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{} kB", grouped(bytes / 1000)),
        1_000_000..10_000_000_000 => format!("{} MB", grouped(bytes / 1_000_000)),
        _ => format!("{} GB", grouped(bytes / 1_000_000_000)),
    }
}
