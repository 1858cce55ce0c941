//! The page about the runs of the scheduled jobs. It reads their histories when somebody asks, at most every five seconds.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{AgendaEntry, Planned, Timetable};
use crate::{
    clock::{Clock as _, SystemClock},
    error::Result,
    location::Location,
    record::place::HIDDEN,
    report::{JobNights, Report},
    snapshots::{RunHistory, plan_retention, stored_damage, stored_snapshots},
    tasks::blocking,
};

/// How long a page is served again: 5 s. Many readers cause as many reads of the histories as one.
const FRESH: Duration = Duration::from_secs(5);

/// The page at `/` of [`MetricsServer`](super::MetricsServer). It shows the jobs of the last [`follow`](Self::follow).
#[derive(Debug, Default)]
pub struct NightsPage {
    jobs: Mutex<Vec<PageJob>>,
    /// The last page. The lock also keeps readers from making the same page side by side.
    made: tokio::sync::Mutex<Option<(Instant, Arc<str>)>>,
}

/// A job on the page.
#[derive(Debug, Clone)]
struct PageJob {
    timetable: Timetable,
    planned: Arc<Planned>,
}

impl NightsPage {
    /// Shows these jobs from now on.
    pub fn follow(&self, entries: &[AgendaEntry<Arc<Planned>>]) {
        let jobs = entries.iter().map(|entry| PageJob {
            timetable: entry.timetable.clone(),
            planned: entry.job.clone(),
        });
        *self.jobs.lock().unwrap_or_else(PoisonError::into_inner) = jobs.collect();
    }

    /// Returns the page.
    ///
    /// # Errors
    /// [`Error::Internal`](crate::Error::Internal) if making it panics.
    pub(super) async fn html(&self) -> Result<Arc<str>> {
        let mut made = self.made.lock().await;
        if let Some((at, page)) = &*made
            && at.elapsed() < FRESH
        {
            return Ok(page.clone());
        }
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let page = blocking("making the page", move || page_of(&jobs)).await?;
        *made = Some((Instant::now(), page.clone()));
        Ok(page)
    }
}

fn page_of(jobs: &[PageJob]) -> Arc<str> {
    let now = SystemClock.now();
    let nights = jobs.iter().map(|job| {
        let name = &job.planned.job().name;
        let read = read(&job.planned);
        let mut nights = read.unwrap_or_else(|error| JobNights::unreadable(name, &error));
        let last = nights.last_ended();
        nights.missed = last.map(|last| job.timetable.missed_since(last, now));
        nights.next = job.timetable.next_starts(now);
        nights
    });
    let nights: Vec<JobNights> = nights.collect();
    Report::of_nights("Schedule", &nights, now).as_html().into()
}

/// Reads the history of a job, and its snapshots if they are on a file system: each snapshot in a store would cost a
/// request.
fn read(planned: &Planned) -> Result<JobNights> {
    let (job, storage) = (planned.job(), planned.storage());
    let history = RunHistory::of_job(job, storage)?;
    let mut nights = JobNights::new(&job.name, history.runs);
    nights.unreadable_lines = history.unreadable;
    if let Ok(root) = Location::of(&job.root, storage)
        && root.as_local().is_some_and(|root| root.join(HIDDEN).is_dir())
    {
        nights.damaged = stored_damage(&root, &job.name)?;
        nights.snapshots = stored_snapshots(&root, &job.name)?;
        nights.retention = plan_retention(job, storage)?;
    }
    Ok(nights)
}
