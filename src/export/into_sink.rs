//! Writes a stream of pages into one sink, without a plan. This serves custom formats and outputs.

use futures::Stream;

use super::transformed::{TransformPlan, write_transformed};
use crate::{
    batch::Column,
    client::Page,
    error::Result,
    sink::{Sink, Written},
};

/// Writes the rows of a stream of pages into a sink, which may be your own implementation.
///
/// The sink receives batches of 4,000 rows or 4 MiB of values. The content of a file does not depend on the
/// batches, but its bytes can: they may differ from the bytes that [`Export`](crate::Export) writes for
/// equal rows. The file's own metadata contains no facts about an export.
///
/// # Errors
/// The first error of the stream or of the sink. The sink is then aborted once, unless its
/// [`finish`](Sink::finish) failed.
///
/// ```no_run
/// # async fn write() -> overmind_export::Result<()> {
/// use overmind_export::{Client, Column, Encoding, Format, Query, StreamOptions, schema, write_pages};
///
/// let dataset = "182bd5e5-6e1a-4fe4-a799-aa6d9a6ab26e".parse().expect("a uuid");
/// let pages = Client::from_env()?.dataset(dataset).pages();
/// let encoding = Encoding::from(Format::JsonLines);
/// let sink = encoding.sink(schema(&Column::ALL), Box::new(std::io::sink()), 1)?;
/// let written = write_pages(pages, &Column::ALL, sink).await?;
/// # Ok(())
/// # }
/// ```
pub async fn write_pages(
    pages: impl Stream<Item = Result<Page>> + Unpin,
    columns: &[Column],
    sink: Box<dyn Sink>,
) -> Result<Written> {
    let done = write_transformed(pages, &TransformPlan::of_api(columns), sink).await?;
    Ok(done.written)
}
