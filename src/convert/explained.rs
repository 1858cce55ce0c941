//! Explains what a transformation makes of the first rows of an export. Writes nothing.

use std::{ops::ControlFlow, sync::Arc};

use uuid::Uuid;

use super::{block::BatchBlock, source_plan::SourcePlan};
use crate::{
    error::{Error, Result},
    export::{ExplainedRows, ExplanationsSoFar},
    location::Location,
    paginator::StreamOptions,
    readback::ReadOptions,
    tasks::cores,
    transform::{Shaper, Stage, StageLimits, Transform},
};

/// Explains for each of the first `rows` rows of an export whether a transformation keeps it, and why not; with splits,
/// also in which split it is.
///
/// A row on which an expression fails is an explanation here, also if it would end a conversion. The explanations of all
/// these rows are in memory. An export without the column `id` gives nil ids. Blocks.
///
/// # Errors
/// Those of [`TransformedBatches::open`](crate::TransformedBatches::open), those of reading the rows, and the error of an
/// expression that does not end in time. [`Error::Usage`] if there is no transformation.
///
/// ```no_run
/// use overmind_export::{Location, ReadOptions, Transform, explain_export};
///
/// let transform = Transform::new().keep_where(".order < 2");
/// let place = Location::from("rows.parquet");
/// for row in explain_export(&place, &ReadOptions::default(), &transform, 20)?.rows {
///     println!("{} {}", row.id, row.reason.unwrap_or_default());
/// }
/// # Ok::<(), overmind_export::Error>(())
/// ```
pub fn explain_export(
    location: &Location,
    options: &ReadOptions,
    transform: &Transform,
    rows: usize,
) -> Result<ExplainedRows> {
    let nothing = || Error::Usage("there is no transformation to explain: give `where`".to_owned());
    let shaper = Shaper::compile(transform)?.map(Arc::new).ok_or_else(nothing)?;
    let read = ReadOptions { columns: Vec::new(), ..options.clone() };
    let plan = SourcePlan::open(location, read, (None, &[]), Some(shaper.clone()))?;
    let bytes = StreamOptions::default().prefetch_bytes;
    let mut stage =
        Stage::explaining(shaper, StageLimits { threads: cores(), bytes, hash_key: None })?;
    let (mut explained, mut left, mut failed) = (ExplanationsSoFar::default(), rows, None);
    let mut take = |stage: &mut Stage<BatchBlock>| -> Result<()> {
        let Some(shaped) = stage.take(|| options.go_on().is_err())? else {
            return options.go_on();
        };
        let ids = shaped.block.ids.into_iter().chain(std::iter::repeat(Uuid::nil()));
        explained.add(ids.zip(shaped.explanations), &shaped.missing);
        Ok(())
    };
    let reader = plan.reader(false, std::env::temp_dir());
    let read = reader.read(|block| {
        let count = block.batch.num_rows().min(left);
        left -= count;
        let batch = block.batch.slice(0, count);
        let ids = block.ids.iter().copied().take(count).collect();
        let block = BatchBlock { batch, ids, ..block };
        while failed.is_none() && !stage.has_room(&block) {
            failed = take(&mut stage).err();
        }
        if failed.is_none() {
            stage.submit(block);
        }
        if left == 0 || failed.is_some() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    if let Some(error) = failed {
        return Err(error);
    }
    read?;
    while !stage.is_empty() {
        take(&mut stage)?;
    }
    Ok(explained.into_rows())
}
