//! Explains what a transformation makes of the rows of a stream of pages. Writes nothing.

use std::collections::HashSet;

use futures::Stream;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::{
    blocking,
    handover::{QUEUED_BATCHES, forward},
    shaping::{InterruptOnDrop, ended_early, shape_pages},
    transformed::TransformPlan,
};
use crate::{
    client::Page,
    error::{Error, Result},
    transform::{Explanation, Shaped, Stage, keep_missing, missing_values_of},
};

/// What a transformation makes of a row.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct RowExplanation {
    /// The id of the row.
    pub id: Uuid,
    /// Whether the row is kept.
    pub is_kept: bool,
    /// Whether an export would end at this row, because an expression fails on it.
    pub is_end: bool,
    /// The split of a row that is kept. `None` if the rows are not split.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// Why it is left out, or what failed on a row that is kept. Names of options are in backticks.
    pub reason: Option<String>,
}

/// What a transformation makes of some rows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ExplainedRows {
    /// What becomes of each row, in order.
    pub rows: Vec<RowExplanation>,
    /// The fields that the expressions read and none of these rows has, as in [`Part::missing`](crate::Part::missing).
    pub missing: Vec<String>,
}

impl ExplainedRows {
    /// Returns a sentence for each field that no row has, with the name that was probably meant. Names of options are in
    /// backticks.
    pub fn notes(&self) -> Vec<String> {
        missing_values_of("no row that was read", &self.missing, 0)
    }
}

/// The explanations of rows so far, and the keys of those that are kept.
#[derive(Default)]
pub(crate) struct ExplanationsSoFar {
    rows: Vec<RowExplanation>,
    seen: HashSet<u128>,
    missing: Option<Vec<String>>,
}

impl ExplanationsSoFar {
    /// Adds the next rows. `missing` is what none of them gave to the expressions.
    pub(crate) fn add(
        &mut self,
        rows: impl Iterator<Item = (Uuid, Explanation)>,
        missing: &[String],
    ) {
        keep_missing(&mut self.missing, missing);
        let seen = &mut self.seen;
        self.rows.extend(rows.map(|(id, it)| {
            let Explanation { is_kept, is_end, split, reason, key } = it;
            match key {
                Some((hash, why)) if is_kept && !seen.insert(hash) => {
                    RowExplanation { id, is_kept: false, is_end, split: None, reason: Some(why) }
                }
                _ => RowExplanation { id, is_kept, is_end, split, reason },
            }
        }));
    }

    pub(crate) fn into_rows(self) -> ExplainedRows {
        let mut missing = self.missing.unwrap_or_default();
        // The results of expressions are in the explanations.
        missing.retain(|text| text.contains(": "));
        ExplainedRows { rows: self.rows, missing }
    }
}

/// Explains for each row of a stream of pages whether a transformation keeps it, and why not; with splits, also in which
/// split it is.
///
/// A row on which an expression fails is an explanation here, also if it would end an export. The explanations of all
/// rows are in memory, so limit the rows of the stream.
///
/// # Errors
/// The first error of the stream, or of an expression that does not end in time. [`Error::Usage`] if the plan has no
/// transformation.
///
/// ```
/// use overmind_export::{Client, StreamOptions, Transform, TransformPlan, demo, explain_rows};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dataset = demo::Dataset::generated(300, 7);
/// # let id = dataset.id;
/// # let server = demo::Server::start(demo::Options::default(), vec![dataset]).await?;
/// # let client = Client::builder().base_url(server.url()).api_key("demo").build()?;
/// let plan = TransformPlan::new(&Transform::new().keep_where(".order < 2"), None, &[])?;
/// let options = StreamOptions { limit: Some(3), ..StreamOptions::default() };
/// let explained = explain_rows(client.dataset(id).options(options).pages(), &plan).await?;
/// let rows = explained.rows;
/// assert_eq!(rows.iter().map(|row| row.is_kept).collect::<Vec<_>>(), [true, true, false]);
/// assert_eq!(rows[2].reason.as_deref(), Some("`where` \".order < 2\" does not hold"));
/// # Ok(())
/// # }
/// ```
pub async fn explain_rows(
    mut pages: impl Stream<Item = Result<Page>> + Unpin,
    plan: &TransformPlan,
) -> Result<ExplainedRows> {
    let (sender, mut receiver) = mpsc::channel(QUEUED_BATCHES);
    let interrupt = InterruptOnDrop::default();
    let (interrupted, limits) = (interrupt.0.clone(), plan.limits());
    let nothing = || Error::Usage("there is no transformation to explain: give `where`".to_owned());
    let shaper = plan.shaper().ok_or_else(nothing)?;
    let explaining = blocking(move || {
        let mut rows = ExplanationsSoFar::default();
        let mut explain = |shaped: Shaped<Page>| {
            rows.add(shaped.block.ids().zip(shaped.explanations), &shaped.missing);
            Ok(())
        };
        let stage = Stage::explaining(shaper, limits)?;
        match shape_pages(&mut receiver, stage, &interrupted, &mut explain)? {
            true => Ok(rows.into_rows()),
            false => Err(ended_early()),
        }
    });
    let (forwarded, explained) = futures::join!(forward(&mut pages, sender), explaining);
    forwarded.and(explained)
}
