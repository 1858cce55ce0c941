//! Runs jobs at their scheduled times. A job never overlaps itself.
//!
//! The schedule exports metrics, and passes the result of each run to the user's `on_result` program. It does
//! not know what a run does.
//!
//! ```text
//! timetable ─► agenda ─► loop ────► runner ──► on_result
//! next run     jobs      timer,     runs       the user's
//! in a zone    due now   reload     a job      program
//!                           └─────► metrics ──► /metrics, /healthz, and a page at /
//! ```

mod agenda;
mod health;
mod hook;
mod hosts;
mod jobs;
mod metrics;
#[cfg(unix)]
mod orphans;
#[cfg(feature = "report")]
mod page;
mod run;
mod serve;
mod textfile;
mod timetable;

#[cfg(unix)]
pub use self::orphans::reap_orphans;
#[cfg(feature = "report")]
pub use self::page::NightsPage;
pub use self::{
    agenda::AgendaEntry,
    health::{EmptySnapshot, FailedRun, JobHealth, RunWithRows, job_health},
    hook::{HookError, OnResult},
    jobs::{Planned, SnapshotJobs},
    metrics::{Metrics, RunEnd},
    run::{Runner, Scheduler},
    serve::MetricsServer,
    textfile::textfile,
    timetable::{Slot, Timetable},
};
