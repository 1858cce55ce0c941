//! The state of an export by many workers, and its end without a publication.

use serde::Serialize;

use super::{
    coverage::{RangeProblem, covered},
    place::ClusterOutput,
    plan::{ClusterPlan, PlannedRange, StoredPlan},
};
use crate::{
    destination::abort_plan,
    error::{Error, Result},
};

/// The state of an export by many workers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ClusterStatus {
    /// The plan.
    #[serde(flatten)]
    pub plan: ClusterPlan,
    /// Time at which it was begun, RFC 3339, UTC.
    pub begun_at: String,
    /// Whether a commit has begun to publish: it is active, or it was interrupted, and the next commit continues it.
    pub commit_begun: bool,
    /// Number of finished ranges.
    pub finished: u64,
    /// Number of ranges that have pages. All others have no work, and do not count as finished.
    pub with_pages: u64,
    /// The state of each range, in order.
    pub states: Vec<RangeStatus>,
}

/// The state of a range.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RangeStatus {
    /// The range.
    #[serde(flatten)]
    pub range: PlannedRange,
    /// Whether it is finished.
    pub state: RangeState,
    /// Why its parts cannot be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Number of parts.
    pub files: u64,
    /// Bytes of these parts.
    pub bytes: u64,
}

/// Whether a range is finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RangeState {
    /// A worker has finished it.
    Done,
    /// No worker has finished it. Whether one is active is unknown.
    Missing,
    /// It was finished, but its parts were changed or are lost: it must be written again.
    Unusable,
    /// It has no pages.
    Empty,
}

/// Returns the state of an export by many workers. Takes no lock, sends no request to the API, and does not read the parts.
/// Blocks.
///
/// # Errors
/// [`Error::PlanEnded`] or [`Error::NoPlan`] if there is no plan. [`Error::Io`], [`Error::Store`] if the staging cannot be
/// read.
pub fn status(output: &ClusterOutput) -> Result<ClusterStatus> {
    let (found, plan) = StoredPlan::find(output)?;
    let found = found.state(&plan.request(output)?)?;
    let commit_begun = found.is_committing;
    let covered = covered(&plan, found, plan.layout.width());
    let shown = plan.shown(output.given());
    let state = |range: &PlannedRange| {
        // The ranges are in order.
        let own = covered.binary_search_by_key(&range.range, |covered| covered.range).ok();
        let own = own.and_then(|own| covered.get(own));
        let parts = own.and_then(|own| own.record.as_ref().ok()).map(|record| &record.parts);
        let (state, problem) = match own.map(|own| &own.record) {
            None => (RangeState::Empty, None),
            Some(Ok(_)) => (RangeState::Done, None),
            Some(Err(RangeProblem::Missing)) => (RangeState::Missing, None),
            Some(Err(RangeProblem::Unusable(why))) => (RangeState::Unusable, Some(why.clone())),
        };
        RangeStatus {
            range: *range,
            state,
            problem,
            files: parts.map_or(0, |parts| parts.len() as u64),
            bytes: parts.map_or(0, |parts| parts.iter().map(|kept| kept.part.bytes).sum()),
        }
    };
    let states: Vec<_> = shown.ranges().iter().map(state).collect();
    let finished = states.iter().filter(|it| it.state == RangeState::Done).count() as u64;
    let with_pages = states.iter().filter(|it| it.state != RangeState::Empty).count() as u64;
    let begun_at = plan.begun_at.clone();
    Ok(ClusterStatus { plan: shown, begun_at, commit_begun, finished, with_pages, states })
}

/// What [`abort`] has removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AbortSummary {
    /// The output, as given.
    pub output: String,
    /// Id of the plan. `None` if it could not be read, or was lost before. Then the numbers are 0.
    pub plan: Option<String>,
    /// Number of finished ranges that were given up.
    pub ranges: u64,
    /// Number of their parts.
    pub files: u64,
    /// Bytes of these parts.
    pub bytes: u64,
}

/// Gives an export by many workers up: removes its plan and everything that workers have staged. A worker that is still
/// active ends with [`Error::PlanEnded`]. The export that is at the output stays as it is. A damaged plan can be given up,
/// too, and so can the staging of a plan that is lost. Blocks.
///
/// The parts that an interrupted commit has made visible are removed, too, if some of them were changed since.
///
/// # Errors
/// - [`Error::PlanEnded`], [`Error::NoPlan`]: there is no plan.
/// - [`Error::Locked`]: a commit is active.
/// - [`Error::Output`]: a commit had begun to publish. Its publication is finished now.
/// - [`Error::Io`], [`Error::Store`]: something could not be removed. The plan may be gone then.
pub fn abort(output: &ClusterOutput) -> Result<AbortSummary> {
    let summary = given_up(output);
    let (wanted, is_readable, ended) = match StoredPlan::find(output) {
        Ok((_, plan)) => (plan.request(output)?, true, None),
        Err(ended @ (Error::PlanEnded { .. } | Error::NoPlan { .. })) => {
            (output.request()?, true, Some(ended))
        }
        // The place of its record is unknown.
        Err(Error::PlanDamaged { .. } | Error::Output { .. } | Error::Io { .. }) => {
            (output.request()?, false, None)
        }
        Err(error) => return Err(error),
    };
    match abort_plan(&wanted, is_readable)? {
        true => Ok(summary),
        false => Err(ended.unwrap_or_else(|| Error::PlanEnded { path: output.given().clone() })),
    }
}

/// Describes the finished ranges that an abort gives up.
fn given_up(output: &ClusterOutput) -> AbortSummary {
    let mut summary = AbortSummary {
        output: output.given().display().to_string(),
        plan: None,
        ranges: 0,
        files: 0,
        bytes: 0,
    };
    // If the plan or the records cannot be read, there is nothing to say about them.
    let Ok(status) = status(output) else { return summary };
    summary.plan = Some(status.plan.plan);
    for state in status.states.iter().filter(|it| it.state == RangeState::Done) {
        summary.ranges += 1;
        summary.files += state.files;
        summary.bytes += state.bytes;
    }
    summary
}
