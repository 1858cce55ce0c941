//! Converts an export, or a file with the columns of an export, into another format, layout or place. Never sends a
//! request to the API.
//!
//! ```text
//! source ══► reader (a thread) ══► stage (threads) ══► writer (a thread) ─► encoders (threads) ─► publish
//!            checks the rows        only if asked       cuts batches and parts
//!            and their digests
//! ```
//!
//! - **Rows flow as record batches.** The reader passes on the batches of [`readback`](crate::readback). The writer
//!   copies their values into batches whose cuts depend on the rows alone, so the bytes of the output do not depend on
//!   the source's format or cuts, or on the number of threads. A file of an export that was not transformed gets the
//!   bytes that an export to this format writes. The parts of a directory end at exactly `rows_per_file` rows, because
//!   there are no pages, or before when their values have 512 MiB. With splits, a part of each split is open, and all end
//!   when one of them is full.
//! - **Expressions see the fields of the API.** Computed columns of the source are columns of the output, too, but not
//!   fields of a row. An expression that names one of them, or a field that the source does not have, is refused.
//! - **Nothing is published unless the rows are those of the source.** The rows of each file are compared with the
//!   recorded number and digest. If nothing is transformed, the digest of the output must also be that of the rows read:
//!   that of the source, unless it has nested columns, whose JSON text can be spelled otherwise than before. The rows of
//!   splits are put back into the order of the source for it. A source
//!   without a record is checked as far as possible, also if it states something of itself: ids are distinct UUIDs, JSON
//!   columns are JSON. JSON is always checked before values in it are replaced.
//! - **The record says what is known.** Dataset, query, count and completeness are those of the source. A source that
//!   states nothing gives a record without them, and the completeness `partial`. Transformations of the source stay in
//!   the record as `earlier`.
//! - **Nested columns need their types first.** Unless they are given, the source is read and transformed twice.
//! - **A conversion is not resumed.** It needs no request and is fast, so the next run deletes the files of a killed one
//!   and begins again.

mod apart;
mod block;
mod checks;
mod explained;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod nesting;
mod order;
mod outcome;
mod plan;
mod reader;
mod replaced;
mod resplit;
mod run;
mod source;
mod source_plan;
mod summary;
mod transformed;
mod writer;

pub use self::{
    explained::explain_export,
    plan::{ConvertOptions, ConvertPlan},
    run::Convert,
    summary::{ConvertDryRun, ConvertSummary},
    transformed::TransformedBatches,
};
