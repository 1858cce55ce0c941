//! Jobs at their times: when each is due, one run of each at once, what a scraper and a program of the
//! user's are told; never knows what a run does.
//!
//! ```text
//! timetable ─► agenda ─► loop ──► runner ──► on_result
//! next run     what is    time,    what        a program
//! in a zone    due now    orders   happens     of the user's
//!                           └─────► metrics ──► /metrics, /healthz
//! ```

mod agenda;
mod hook;
mod jobs;
mod metrics;
#[cfg(unix)]
mod orphans;
mod run;
mod serve;
mod timetable;

#[cfg(unix)]
pub use self::orphans::reap_orphans;
pub use self::{
    agenda::AgendaEntry,
    hook::{HookError, OnResult},
    jobs::{Planned, SnapshotJobs},
    metrics::{Metrics, RunEnd},
    run::{Runner, Scheduler},
    serve::MetricsServer,
    timetable::{Slot, Timetable},
};
